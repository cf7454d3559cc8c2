"""Stripe's events: the types that matter, with the reason for each, and what an event points at."""

import datetime
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidBody

# An event only says "look". These say it of a customer whose subscriptions may have changed:
CUSTOMER_EVENTS = (
    "checkout.session.completed",  # a purchase; sometimes the only event of a new subscription
    "checkout.session.async_payment_succeeded",  # a delayed payment arrived
    "checkout.session.async_payment_failed",  # a delayed payment did not
    "customer.deleted",  # ends its subscriptions at once
    "customer.updated",  # a new e-mail address, or our metadata set by hand
    "invoice.paid",  # a renewal, a recovery
    "invoice.payment_failed",  # past_due begins, or another try failed
)
CUSTOMER_PREFIXES = ("customer.subscription.",)  # every change of a subscription, and types that Stripe will add
RETURN_EVENTS = (
    "charge.dispute.closed",  # won, lost, or a mere question
    "charge.dispute.created",  # the customer's bank wants the money back
    "charge.dispute.funds_reinstated",  # it was won
    "charge.dispute.funds_withdrawn",  # a question became a dispute
    "charge.dispute.updated",  # such as a question that became a dispute
    "charge.refunded",  # in full or in part
    "refund.created",  # the same
    "refund.failed",  # the money did not arrive, and is ours again
    "refund.updated",  # it arrived, or was canceled
)
RETURN_PREFIXES = ("charge.dispute.", "refund.")  # and types that Stripe will add
LEADS_TO_CUSTOMER = ("sub_", "cs_")  # objects that a thin event names instead of the customer
LEADS_TO_PAYMENT = ("pi_", "ch_", "py_", "re_", "pyr_", "dp_", "du_")  # objects of which charges say the customer
CLOCK_EVENT = "test_helpers.test_clock.ready"  # a test clock was advanced, and the subscriptions on it
CATALOGUE_PREFIXES = ("price.", "product.")  # a lookup key of a plan may have moved to another price

ABOUT_CUSTOMER = ("customer.updated", "customer.deleted")
ONCE, PAYMENT = "cs_", "pi_"  # what the objects' ids begin with, of events about a purchase and about money returned
LONGEST_ID = 255


@dataclass(frozen=True, slots=True)
class EventRef:
    """What an event points at. Its account of what happened is never used.

    Shape   customer_id is None for prices, products and test clocks, and where a thin event names no customer;
            object_id is the subscription's id where one is named, and the PaymentIntent's of a refund or dispute;
            account: the account of the event, if it is not the endpoint's own
    """

    id: str
    type: str
    created: int
    livemode: bool
    account: str | None
    customer_id: str | None
    object_id: str | None
    is_thin: bool = False

    @property
    def is_wanted(self) -> bool:
        """Whether the event points at something that the replica holds."""
        if self.type.startswith(CATALOGUE_PREFIXES):
            return True
        if self.type == CLOCK_EVENT:
            return self.object_id is not None
        if is_of_return(self.type):
            return (self.object_id or "").startswith(LEADS_TO_PAYMENT)
        is_of_customer = self.type in CUSTOMER_EVENTS or self.type.startswith(CUSTOMER_PREFIXES)
        leads_to_one = self.is_thin and (self.object_id or "").startswith(LEADS_TO_CUSTOMER)
        return is_of_customer and (self.customer_id is not None or leads_to_one)

    @property
    def is_always_news(self) -> bool:
        """Whether a fetch of its customer may leave out what it is about: the customer itself, charges, purchases."""
        is_beside = is_of_return(self.type) or (self.object_id or "").startswith(ONCE)
        return self.type in ABOUT_CUSTOMER or is_beside


def is_of_return(kind: str) -> bool:
    """Return whether events of this type are about a refund or a dispute."""
    return kind in RETURN_EVENTS or kind.startswith(RETURN_PREFIXES)


def read_event(payload: dict[str, Any]) -> EventRef:
    """Return what an event points at. Reads snapshot events of any API version since 2024, and thin events.

    Errors  InvalidBody when it is not an event of Stripe
    """
    if payload.get("object") == "v2.core.event":
        return _read_thin(payload)
    if payload.get("object") != "event":
        raise InvalidBody(f"the body is not an event: its object is {str(payload.get('object'))[:40]!r}")
    data = payload.get("data")
    subject = data.get("object") if isinstance(data, dict) else None
    if not isinstance(subject, dict):
        raise InvalidBody("the event has no data.object")
    kind = _text(payload, "type")
    return EventRef(
        id=_text(payload, "id"),
        type=kind,
        created=_whole_number(payload, "created"),
        livemode=payload.get("livemode") is True,
        account=payload.get("account"),
        customer_id=_related_id(subject if subject.get("object") == "customer" else subject.get("customer")),
        object_id=_object_id(subject, kind),
    )


def _object_id(subject: dict[str, Any], kind: str) -> str | None:
    if is_of_return(kind):  # without a PaymentIntent, it is of nothing that we sold
        return _related_id(subject.get("payment_intent"))
    return _subscription_id(subject) or _related_id(subject)


def _read_thin(payload: dict[str, Any]) -> EventRef:
    """Return what a thin event points at. It names one object and nothing else.

    Source  docs.stripe.com/api/v2/core/events/object
    """
    related = payload.get("related_object")
    related = related if isinstance(related, dict) else {}
    subject_id = _related_id(related)
    is_customer = related.get("type") == "customer"
    return EventRef(
        id=_text(payload, "id"),
        type=_text(payload, "type").removeprefix("v1."),
        created=_moment(payload, "created"),
        livemode=payload.get("livemode") is True,
        account=payload.get("context"),
        customer_id=subject_id if is_customer else None,
        object_id=subject_id,
        is_thin=True,
    )


def _text(payload: dict[str, Any], name: str) -> str:
    value = payload.get(name)
    if not _is_id(value):
        raise InvalidBody(f"the event's {name} is not a text of 1 to {LONGEST_ID} printable characters")
    return str(value)


def _is_id(value: object) -> bool:
    """Return whether the value is safe as an id in database and log: no newline, no half of a surrogate pair."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_ID and value.isprintable()


def _whole_number(payload: dict[str, Any], name: str) -> int:
    value = payload.get(name)
    if type(value) is not int or not 0 <= value < 2**53:
        raise InvalidBody(f"the event's {name} is not a time in Unix seconds")
    return value


def _moment(payload: dict[str, Any], name: str) -> int:
    try:
        return max(0, int(datetime.datetime.fromisoformat(_text(payload, name)).timestamp()))
    except (ValueError, OverflowError) as error:
        raise InvalidBody(f"the event's {name} is not a time of RFC 3339") from error


def _related_id(related: object) -> str | None:
    """Return the id of a related object, which is an id or, expanded, an object."""
    found = related.get("id") if isinstance(related, dict) else related
    return str(found) if _is_id(found) else None


def _subscription_id(subject: dict[str, Any]) -> str | None:
    if subject.get("object") == "subscription":
        return _related_id(subject)
    parent = subject.get("parent")
    details = parent.get("subscription_details") if isinstance(parent, dict) else None
    since_basil = details.get("subscription") if isinstance(details, dict) else None
    return _related_id(since_basil or subject.get("subscription"))
