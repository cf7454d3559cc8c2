"""The values that the gateway returns: Stripe's objects as plain data."""

from dataclasses import dataclass
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Listed(Generic[_Item]):
    """The items of a list at Stripe. Everything that happened before `as_of` is included.

    Units   as_of in Unix seconds by Stripe's clock, rounded down; 0 when the response has no date
    """

    items: tuple[_Item, ...]
    as_of: int


@dataclass(frozen=True, slots=True)
class PriceState:
    """A price as Stripe holds it. Amounts are minor currency units, None where the price has tiers."""

    id: str
    product_id: str
    lookup_key: str | None
    unit_amount: int | None
    currency: str
    interval: str | None
    interval_count: int | None


@dataclass(frozen=True, slots=True)
class CustomerState:
    """A customer as Stripe holds it. A deleted one has only an id. as_of is that of Listed."""

    id: str
    email: str | None = None
    name: str | None = None
    app: str | None = None
    user_id: str | None = None
    deleted: bool = False
    as_of: int = 0


@dataclass(frozen=True, slots=True)
class ItemState:
    """One item of a subscription: a price, and how many of it."""

    id: str
    price: PriceState
    quantity: int | None


@dataclass(frozen=True, slots=True)
class SubscriptionState:
    """A subscription as Stripe holds it, with one field where Stripe has several for the same thing.

    Shape   cancel_at: when it will end, from either of Stripe's two fields;
            current_period_end: the earliest of its items;
            past_due_since: when the oldest unpaid invoice was due, None unless status is past_due;
            payment_pending: active, but the first payment is still processing;
            test_clock: the id and the present time of its test clock; None without one;
            open_invoice_url: where the latest invoice can be paid, None unless it is open
    Units   times are Unix seconds, UTC
    """

    id: str
    customer_id: str
    status: str
    items: tuple[ItemState, ...]
    created: int
    current_period_end: int | None
    cancel_at: int | None
    trial_start: int | None
    trial_end: int | None
    ended_at: int | None
    past_due_since: int | None
    payment_pending: bool
    test_clock: tuple[str, int] | None
    open_invoice_url: str | None
    app: str | None
    user_id: str | None


@dataclass(frozen=True, slots=True)
class SessionState:
    """A Checkout Session as Stripe holds it. status is "open", "complete" or "expired"; url is None unless open."""

    id: str
    status: str
    url: str | None
    expires_at: int
    subscription_id: str | None
    customer_id: str | None


@dataclass(frozen=True, slots=True)
class InvoiceState:
    """An invoice as Stripe holds it, not a draft. status is "open", "paid", "void" or "uncollectible".

    Shape   page_url: where to see or pay it; pdf_url: the file; both, and number, are None where Stripe has none
    Units   created in Unix seconds, total in the currency's minor units
    """

    id: str
    number: str | None
    created: int
    status: str
    total: int
    currency: str
    page_url: str | None
    pdf_url: str | None
