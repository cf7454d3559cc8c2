"""Invoices that the customer is sent: their due date, and the events around it."""

from typing import Any

from ...clock import DAY
from ...errors import ApiError, invalid, missing_parameter
from ...world import Object, World

SENT = "send_invoice"
REMINDER_DAYS = 3  # at Stripe, an automation of the account's Dashboard sets these days


def check_terms(world: World, customer: Object, method: str, params: dict[str, Any], *, has_term: bool) -> None:
    """Raise ApiError if an invoice cannot be collected like this.

    Shape   params: may have days_until_due and due_date; has_term: the invoice has a due date already
    """
    given = [name for name in ("days_until_due", "due_date") if name in params]
    if method != SENT:
        if given:
            raise invalid(f"You can only set {given[0]} if the collection method is `send_invoice`.", given[0])
        return
    if len(given) > 1:
        raise invalid("You may only specify one of these parameters: days_until_due, due_date.", "days_until_due")
    if params.get("due_date", world.now + 1) <= world.now:
        raise invalid("The due date must be in the future.", "due_date")
    if not given and not has_term:
        raise missing_parameter("days_until_due")
    if customer["email"] is None:
        message = "Missing email. In order to create invoices that are sent to the customer, the customer must have a "
        raise ApiError(400, message + "valid email.", param="customer")


def set_terms(world: World, invoice: Object, method: str, params: dict[str, Any]) -> None:
    """Set how a draft is collected, and how long its customer has to pay, from its finalization on."""
    invoice["collection_method"] = method
    terms = world.hidden.setdefault(invoice["id"], {})
    if "days_until_due" in params:
        terms["days_until_due"] = params["days_until_due"]
        invoice["due_date"] = world.now + params["days_until_due"] * DAY
    elif "due_date" in params:
        terms.pop("days_until_due", None)
        invoice["due_date"] = params["due_date"]
    elif method != SENT:
        terms.pop("days_until_due", None)
        invoice["due_date"] = None


def start(world: World, invoice: Object) -> None:
    """Fix the due date of an invoice that is finalized, and schedule its events."""
    if invoice["collection_method"] != SENT:
        return
    days = world.hidden.get(invoice["id"], {}).get("days_until_due")
    if days is not None:
        invoice["due_date"] = world.now + days * DAY
    reminder = invoice["due_date"] - REMINDER_DAYS * DAY
    if reminder > world.now:
        world.clock.schedule(reminder, "remind_of_invoice", invoice["id"])
    world.clock.schedule(invoice["due_date"], "invoice_overdue", invoice["id"])


def send(world: World, invoice: Object) -> None:
    """Send an open invoice to its customer: no e-mail leaves the simulator."""
    world.emit("invoice.sent", invoice)


def remind(world: World, invoice_id: str, _moment: int) -> None:
    invoice = world.find("invoice", invoice_id)
    if invoice and invoice["status"] == "open":
        world.emit("invoice.will_be_due", invoice)


def pass_due_date(world: World, invoice_id: str, moment: int) -> None:
    """Emit the event of an invoice that is not paid by its due date."""
    invoice = world.find("invoice", invoice_id)
    if invoice and invoice["status"] == "open" and invoice["due_date"] == moment:
        world.emit("invoice.overdue", invoice)
