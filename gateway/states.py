"""The values that the gateway returns: Stripe's objects as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

_Item = TypeVar("_Item")

LARGEST = 2**53  # what JSON can carry to any language; a database has room for more


class _State:
    """Raises ValueError for a number that no database has room for, which Stripe never says of anything."""

    __slots__: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(_fits(getattr(self, name)) for name in self.__slots__):
            raise ValueError("a number is no whole one, or too large")


def _fits(value: object) -> bool:
    if value is None or isinstance(value, str):
        return True
    if isinstance(value, tuple):
        return all(map(_fits, value))
    return not isinstance(value, (int, float)) or (isinstance(value, int) and -LARGEST < value < LARGEST)


@dataclass(frozen=True, slots=True)
class Listed(Generic[_Item]):
    """The items of a list at Stripe. Everything that happened before `as_of` is included.

    Units   as_of in Unix seconds by Stripe's clock, rounded down; 0 when the response has no date
    """

    items: tuple[_Item, ...]
    as_of: int


@dataclass(frozen=True, slots=True)
class PriceState(_State):
    """A price as Stripe holds it. Amounts are minor currency units, None where the price has tiers.

    Shape   app and plan: `corkage_app` and `corkage_plan` in its metadata or, where it was fetched by its id, in its
            product's; amounts: in its other currencies, None where that was not asked for;
            has_active_product: unless its expanded product says otherwise
    """

    id: str
    product_id: str
    lookup_key: str | None
    unit_amount: int | None
    currency: str
    interval: str | None
    interval_count: int | None
    app: str | None = None
    plan: str | None = None
    is_metered: bool = False
    amounts: Mapping[str, int | None] | None = None
    is_active: bool = True
    has_active_product: bool = True


@dataclass(frozen=True, slots=True)
class CustomerState(_State):
    """A customer as Stripe holds it. A deleted one has only an id. as_of is that of Listed.

    Shape   grants: the text of the mirror of grants in its metadata (mirrored.py); empty without one
    """

    id: str
    email: str | None = None
    name: str | None = None
    app: str | None = None
    user_id: str | None = None
    grants: str = ""
    deleted: bool = False
    as_of: int = 0


@dataclass(frozen=True, slots=True)
class ItemState(_State):
    """One item of a subscription: a price, and how many of it."""

    id: str
    price: PriceState
    quantity: int | None


class LatestInvoice(NamedTuple):
    """The invoice by which Stripe judges a subscription. page_url: where it can be paid, None while it is a draft."""

    id: str
    status: str
    page_url: str | None


@dataclass(frozen=True, slots=True)
class SubscriptionState(_State):
    """A subscription as Stripe holds it, with one field where Stripe has several for the same thing.

    Shape   items: all of them, however many; cancel_at: when it will end, from either of Stripe's two fields;
            current_period_end: the earliest of its items;
            unpaid_since: when the oldest unpaid invoice after the last paid one was due, None unless past due;
            has_paid: an invoice above zero was ever paid, as far as that was fetched;
            payment_pending: active or past due, an invoice above zero is open, and none above zero was ever paid;
            pause_behavior and resumes_at: of Stripe's `pause_collection`;
            paid_until: the end of the last paid period, fetched only while collection is paused with "void";
            billed, charged: what its latest invoice bills for whole periods, and what of it is left after discounts;
            None where it bills none, such as one for the rest of a period after a change;
            test_clock: the id and the present time of its test clock; None without one;
            lacks_card: it is paused since the end of a trial, for want of a payment method;
            has_card: there is one, as far as the subscription or its customer says, if that was fetched with it;
            sold: a price and the plan that it stood for when we sold the subscription;
            buyer_id: the user who bought it, where that was for another payer;
            last_paid: the last invoice above zero that was paid, where one was fetched;
            schedule_id: the schedule that changes it; ends_with_period: it is the period's end at which it will end
    Units   times are Unix seconds, UTC
    """

    id: str
    customer_id: str
    status: str
    currency: str
    items: tuple[ItemState, ...]
    created: int
    current_period_end: int | None
    cancel_at: int | None
    trial_start: int | None
    trial_end: int | None
    ended_at: int | None
    unpaid_since: int | None
    has_paid: bool
    payment_pending: bool
    pause_behavior: str | None
    resumes_at: int | None
    paid_until: int | None
    billed: int | None
    charged: int | None
    test_clock: tuple[str, int] | None
    latest_invoice: LatestInvoice | None
    lacks_card: bool
    has_card: bool
    app: str | None
    user_id: str | None
    sold: tuple[str, str] | None
    buyer_id: str | None
    last_paid: "PaidInvoice | None" = None
    schedule_id: str | None = None
    ends_with_period: bool = False


@dataclass(frozen=True, slots=True)
class PurchaseState(_State):
    """A price that was bought once: a line item of a Checkout Session that is complete and paid, or free.

    Shape   id: of the session; payment_intent: None where nothing was to be paid;
            app, user_id and sold: of the session's metadata, as in SubscriptionState
    Units   created: when it was paid, in Unix seconds, else when the session was made; amount in minor currency units
    """

    id: str
    customer_id: str
    price: PriceState
    quantity: int | None
    created: int
    amount: int
    currency: str
    payment_intent: str | None
    app: str | None
    user_id: str | None
    sold: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class ReturnState(_State):
    """A refund or a dispute as Stripe holds it. kind: "refund" or "dispute"; status: Stripe's.

    Units   created in Unix seconds, amount in minor currency units
    """

    id: str
    kind: str
    status: str
    amount: int
    currency: str
    created: int


@dataclass(frozen=True, slots=True)
class PaymentState(_State):
    """A payment of which money was asked back, with what was paid by it.

    Shape   payment_intent: its id; invoice_id and subscription_id: what it paid, None where that is no invoice, or the
            invoice of no subscription
    """

    payment_intent: str
    returns: tuple[ReturnState, ...]
    invoice_id: str | None
    subscription_id: str | None


class PaidInvoice(NamedTuple):
    """An invoice that money came for. amount: what came, in minor currency units."""

    id: str
    amount: int


@dataclass(frozen=True, slots=True)
class ScheduleState(_State):
    """A subscription schedule as Stripe holds it.

    Shape   is_plain: it changes the items once and then lets the subscription go, as ours and the portal's do;
            next_items: prices and quantities after that change, None where there is none to come
    """

    id: str
    is_plain: bool
    next_items: tuple[tuple[str, int | None], ...] | None


@dataclass(frozen=True, slots=True)
class SessionState(_State):
    """A Checkout Session as Stripe holds it. status is "open", "complete" or "expired"; url is None unless open.

    Shape   is_customer_gone: its customer was deleted, so that nobody can pay it; is_once: it sells what is paid once;
            is_unpaid: the payment is on its way
    """

    id: str
    status: str
    url: str | None
    expires_at: int
    subscription_id: str | None
    customer_id: str | None
    is_customer_gone: bool = False
    is_once: bool = False
    is_unpaid: bool = False


@dataclass(frozen=True, slots=True)
class PreviewState(_State):
    """The invoice that would follow a change.

    Shape   recurring: what its lines say of whole periods, without prorations
    Units   amount_due and recurring in the currency's minor units
    """

    amount_due: int
    recurring: int
    currency: str


@dataclass(frozen=True, slots=True)
class InvoiceState(_State):
    """An invoice as Stripe holds it, not a draft. status is "open", "paid", "void" or "uncollectible".

    Shape   page_url: where to see or pay it; pdf_url: the file; both, and number, are None where Stripe has none;
            subscription_id: what it is for, None where that is no subscription; is_latest: whether it is the newest of
            its subscription, drafts included: Stripe judges by that one
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
    subscription_id: str | None
    is_latest: bool


@dataclass(frozen=True, slots=True)
class MeterState(_State):
    """A meter as Stripe holds it.

    Shape   formula: how it adds events up, such as "sum"; customer_key, value_key: what the payload of its events calls
            the customer and the value
    """

    id: str
    event_name: str
    formula: str
    customer_key: str
    value_key: str


class MeterErrors(NamedTuple):
    """Why Stripe could not count some events of a meter, as it said after it took them.

    Shape   meter_id: None where no meter has their event name; errors: how many; samples: the identifiers of some
    Units   created in Unix seconds
    """

    meter_id: str | None
    created: int
    code: str
    errors: int
    samples: tuple[str, ...]
