"""Disputes: the customer's bank wants the money of a charge back."""

from typing import Any

from ..clock import DAY
from ..world import Object, World
from . import balance
from .instruments import instrument_of

FEE = 1_500
DAYS_TO_RESPOND = 9
REASONS = {"dispute": "fraudulent", "not_received": "product_not_received", "inquiry": "general"}
NETWORK_CODES = {"dispute": "10.4", "not_received": "13.1", "inquiry": "10.4"}
OPEN = ("needs_response", "warning_needs_response")
UNDER_REVIEW = {"needs_response": "under_review", "warning_needs_response": "warning_under_review"}
WINNING, LOSING, ESCALATING = "winning_evidence", "losing_evidence", "escalate_inquiry_evidence"
"""Stripe's words for `evidence[uncategorized_text]` that decide a dispute of a test card at once."""


def submit(world: World, dispute: Object) -> None:
    """Send the evidence to the bank, which decides at once if the evidence is one of Stripe's words."""
    details, words = dispute["evidence_details"], dispute["evidence"]["uncategorized_text"]
    details |= {"submission_count": details["submission_count"] + 1, "submission_method": "manual"}
    is_inquiry = dispute["status"] == "warning_needs_response"
    dispute["status"] = UNDER_REVIEW[dispute["status"]]
    world.emit("charge.dispute.updated", dispute, {"status": OPEN[is_inquiry]})
    if words == ESCALATING and is_inquiry:
        _escalate(world, dispute)
    elif words in (WINNING, LOSING):
        close(world, dispute, is_won=words == WINNING)


def close(world: World, dispute: Object, *, is_won: bool = False) -> None:
    """Close a dispute. One that is won gives the money back; an inquiry took none."""
    if dispute["status"].startswith("warning_"):
        dispute["status"] = "warning_closed"
    else:
        dispute["status"] = "won" if is_won else "lost"
    if dispute["status"] == "won":
        _book(world, dispute, dispute["amount"], "dispute_reversal", fee=-FEE)
        world.emit("charge.dispute.funds_reinstated", dispute)
    world.emit("charge.dispute.closed", dispute)


def close_when_due(world: World, dispute_id: str, _moment: int) -> None:
    """Close a dispute that got no response in time: it is lost."""
    dispute = world.find("dispute", dispute_id)
    if dispute and dispute["status"] in OPEN:
        dispute["evidence_details"]["past_due"] = True
        close(world, dispute)


def open_dispute(world: World, charge: Object, sequel: str) -> None:
    """Open a dispute, which takes the money at once, or an inquiry, which does not."""
    is_inquiry = sequel == "inquiry"
    dispute = world.add("dispute", _blank(world, charge, sequel))
    dispute["status"] = OPEN[is_inquiry]
    charge["disputed"] = True
    world.clock.schedule(dispute["evidence_details"]["due_by"], "close_dispute", dispute["id"])
    world.emit("charge.dispute.created", dispute)
    if not is_inquiry:
        _withdraw(world, dispute)


def _escalate(world: World, dispute: Object) -> None:
    card = dispute["payment_method_details"]["card"] | {"case_type": "chargeback"}
    dispute |= {"status": "needs_response", "payment_method_details": {"card": card, "type": "card"}}
    world.emit("charge.dispute.updated", dispute, {"status": "warning_under_review"})
    _withdraw(world, dispute)


def _withdraw(world: World, dispute: Object) -> None:
    dispute["is_charge_refundable"] = False
    _book(world, dispute, -dispute["amount"], "dispute", fee=FEE)
    world.emit("charge.dispute.funds_withdrawn", dispute)


def _book(world: World, dispute: Object, amount: int, category: str, fee: int) -> None:
    booked = balance.book(world, "adjustment", amount, dispute, fee=fee, category=category)
    dispute["balance_transactions"] = [*dispute["balance_transactions"], booked]


EVIDENCE_TEXTS = (
    "access_activity_log billing_address cancellation_policy_disclosure cancellation_rebuttal customer_email_address "
    "customer_name customer_purchase_ip duplicate_charge_explanation duplicate_charge_id product_description "
    "refund_policy_disclosure refund_refusal_explanation service_date shipping_address shipping_carrier shipping_date "
    "shipping_tracking_number uncategorized_text"
).split()
EVIDENCE_FILES = (
    "cancellation_policy customer_communication customer_signature duplicate_charge_documentation receipt "
    "refund_policy service_documentation shipping_documentation uncategorized_file"
).split()


def _blank(world: World, charge: Object, sequel: str) -> Object:
    nothing: dict[str, Any] = dict.fromkeys((*EVIDENCE_TEXTS, *EVIDENCE_FILES))
    card = {
        "brand": instrument_of(world, charge["payment_method"]).brand,
        "case_type": "inquiry" if sequel == "inquiry" else "chargeback",
        "network": instrument_of(world, charge["payment_method"]).brand,
        "network_reason_code": NETWORK_CODES[sequel],
    }
    return {
        "id": world.new_id("dispute"),
        "object": "dispute",
        "amount": charge["amount"],
        "balance_transactions": [],
        "charge": charge["id"],
        "created": world.now,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": nothing | {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": world.now + DAYS_TO_RESPOND * DAY,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": True,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {"card": card, "type": "card"},
        "reason": REASONS[sequel],
    }
