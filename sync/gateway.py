"""The gateway: every call to Stripe. No type of the stripe library leaves this file."""

import copy
import functools
import logging
import re
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeVar, cast

import stripe

from ..errors import (
    StripeError,
    StripeFailed,
    StripeRefused,
    StripeUnavailable,
    UnknownCustomer,
)
from .events import EventRef, read_event
from .explained import refusal_of
from .side_by_side import Threads
from .states import (
    CustomerState,
    InvoiceState,
    ItemState,
    LatestInvoice,
    Listed,
    PriceState,
    SessionState,
    SubscriptionState,
)

TIMEOUT_SECONDS = (3, 10)
RETRIES = 2
SLOWEST_CALL_SECONDS = (1 + RETRIES) * sum(TIMEOUT_SECONDS) + 5
PAGE = 100
OF_CUSTOMER = (None, "id", "customer")  # the parameter that Stripe names when the customer is missing

# What a JSON text escapes: a whole surrogate pair, NUL or half of a pair, anything else.
_PAIR = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_NEVER_STORED = rb"(\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2}))"
_ESCAPED = re.compile(_PAIR + b"|" + _NEVER_STORED + rb"|\\.", re.DOTALL)

_Found = TypeVar("_Found")

log = logging.getLogger("corkage.stripe")


class Gateway:
    """Stripe's API, as far as Corkage uses it.

    Errors  every call raises StripeUnavailable when Stripe does not answer within the retries, or says 429 or 5xx;
            StripeRefused when Stripe rejects the key or the request; StripeError when the response makes no sense
    """

    def __init__(
        self,
        secret_key: str,
        api_base: str | None = None,
        timeout_seconds: tuple[float, float] = TIMEOUT_SECONDS,
        retries: int | None = None,
    ) -> None:
        stripe.enable_telemetry = False
        # The same call fetches the time of a subscription's test clock. Live mode has no test clocks.
        self._expanded = ["latest_invoice"] if "_live_" in secret_key else ["latest_invoice", "test_clock"]
        self._timeout_seconds = timeout_seconds
        self._make_client = functools.partial(
            stripe.StripeClient,
            secret_key,
            base_addresses={"api": api_base} if api_base else {},
            max_network_retries=RETRIES if retries is None else retries,
        )
        self._http_client: stripe.HTTPClient = _CleaningClient(timeout=timeout_seconds)
        self._client = self._make_client(http_client=self._http_client)
        self._threads = Threads(self.close)

    def side_by_side(self, *calls: Callable[[], Any]) -> list[Any]:
        """Return the results of functions that do not need each other's: the first runs here, each other in a thread.

        Errors  the first error of any of them, when all have ended
        """
        return self._threads.together(*calls)

    def paced(self, calls_per_second: float) -> "Gateway":
        """Return a gateway like this one that spaces its calls and retries: for work that makes many of them."""
        other = copy.copy(self)
        other._http_client = _PacedClient(calls_per_second=calls_per_second, timeout=self._timeout_seconds)
        other._client = self._make_client(http_client=other._http_client)
        return other

    def close(self) -> None:
        """Close the connections of this thread. The next call opens new ones."""
        self._http_client.close()  # type: ignore[no-untyped-call]  # stripe-python gives this method no types

    def end(self) -> None:
        """Close the connections of this thread, and end the threads that side_by_side() started."""
        self._threads.close()
        self.close()

    def account_id(self) -> str | None:
        """Fetch the id of the account that the key belongs to; None when the key may not read it."""
        try:
            with _translated():
                return self._client.v1.accounts.retrieve_current().id
        except StripeRefused as error:
            if isinstance(error.__cause__, stripe.PermissionError):
                return None
            raise

    def customer(self, customer_id: str) -> CustomerState:
        """Fetch a customer.

        Errors  UnknownCustomer when this account has none of this id
        Source  docs.stripe.com/api/customers/retrieve
        """
        began = time.monotonic()
        with _translated(customer_id):
            customer = self._client.v1.customers.retrieve(customer_id)
            return _customer(customer, _as_of(customer, began))

    def subscriptions_of(
        self,
        customer_id: str,
        known_to_pay: Container[str] = (),
        *,
        with_customer: bool = False,
        with_invoices: bool = False,
    ) -> "Subscriptions":
        """Fetch every subscription the customer has or had, as Stripe holds them now.

        Shape   known_to_pay: ids of subscriptions of which an invoice above zero was paid: less is to be fetched;
                with_customer: the customer itself in the same call, as far as it has a subscription;
                with_invoices: its invoices by a call beside this one, so that none is made after it;
                one SubscriptionState per subscription, newest first
        Errors  UnknownCustomer when this account has no such customer
        Source  docs.stripe.com/api/subscriptions/list, API version 2026-10-28.endive
        """
        began = time.monotonic()
        expanded = [f"data.{name}" for name in (*self._expanded, *(["customer"] if with_customer else []))]

        def fetch() -> stripe.ListObject[stripe.Subscription]:
            params: stripe.params.SubscriptionListParams = {
                "customer": customer_id,
                "status": "all",
                "limit": PAGE,
                "expand": expanded,
            }
            return self._client.v1.subscriptions.list(params=params)

        with _translated(customer_id):
            if with_invoices:
                page, invoices = self.side_by_side(fetch, lambda: self._invoices(customer_id))
            else:
                page, invoices = fetch(), None
            as_of = _as_of(page, began)
            found = list(page.auto_paging_iter())
            states = tuple(self._subscription(each, known_to_pay, invoices=invoices) for each in found)
            customer = _customer(found[0].customer, as_of) if with_customer and found else None
            return Subscriptions(states, as_of, customer)

    def _invoices(self, customer_id: str) -> "_Invoices":
        page = self._client.v1.invoices.list(params={"customer": customer_id, "limit": PAGE})
        return _Invoices(page.data, is_whole=not page.has_more)

    def every_subscription(
        self, known_to_pay: Container[str] = ()
    ) -> Iterator[Listed[tuple[CustomerState, SubscriptionState]]]:
        """Fetch every subscription of the account, ended ones included, with its customer, page by page, newest first.

        A call returns a hundred. Open invoices are listed once, and only if they matter to a subscription; those of
        which the list does not decide are read one by one. In a sandbox Stripe leaves out subscriptions on test clocks.

        Shape   a customer's subscriptions may be on several pages
        Source  docs.stripe.com/api/subscriptions/list, docs.stripe.com/api/invoices/list
        """
        open_invoices = functools.cache(self._with_open_invoices)
        params: stripe.params.SubscriptionListParams = {
            "status": "all",
            "limit": PAGE,
            "expand": ["data.customer", *(f"data.{name}" for name in self._expanded)],
        }
        while True:
            began = time.monotonic()
            with _translated():
                page = self._client.v1.subscriptions.list(params=params)
                as_of = _as_of(page, began)
                found = tuple(
                    (_customer(each.customer, as_of), self._subscription(each, known_to_pay, open_invoices))
                    for each in page.data
                )
            yield Listed(found, as_of)
            if not page.has_more:
                return
            params["starting_after"] = page.data[-1].id

    def subscription(self, subscription_id: str, known_to_pay: Container[str] = ()) -> SubscriptionState | None:
        """Fetch one subscription by its id; None when this account has none of this id.

        Source  docs.stripe.com/api/subscriptions/retrieve
        """

        def fetch() -> SubscriptionState:
            found = self._client.v1.subscriptions.retrieve(subscription_id, params={"expand": self._expanded})
            return self._subscription(found, known_to_pay)

        return _unless_missing(fetch)

    def test_clock_time(self, clock_id: str) -> int | None:
        """Fetch the present time of a test clock, in Unix seconds; None when it was deleted.

        Source  docs.stripe.com/api/test_clocks/retrieve
        """
        return _unless_missing(lambda: self._client.v1.test_helpers.test_clocks.retrieve(clock_id).frozen_time)

    def events_since(self, since: int, types: tuple[str, ...]) -> Listed[EventRef]:
        """Fetch the events of these types since a time, all pages, newest first. Stripe keeps 30 days.

        Source  docs.stripe.com/api/events/list
        """
        began = time.monotonic()
        with _translated():
            page = self._client.v1.events.list(params={"created": {"gte": since}, "types": list(types), "limit": PAGE})
            as_of = _as_of(page, began)
            return Listed(tuple(read_event(each.to_dict()) for each in page.auto_paging_iter()), as_of)

    def event(self, event_id: str) -> EventRef | None:
        """Fetch one event by its id; None when Stripe does not have it. Stripe keeps events for 30 days.

        Source  docs.stripe.com/api/events/retrieve
        """
        return _unless_missing(lambda: read_event(self._client.v1.events.retrieve(event_id).to_dict()))

    def price(self, price_id: str) -> PriceState | None:
        """Fetch one price by its id, with what its product says; None when this account has none of this id."""
        expanded: stripe.params.PriceRetrieveParams = {"expand": ["product", "currency_options"]}
        return _unless_missing(lambda: _price(self._client.v1.prices.retrieve(price_id, params=expanded)))

    def create_price(self, lookup_key: str, product: str, unit_amount: int, currency: str, interval: str) -> PriceState:
        """Create a product with a recurring price that has this lookup key. The amount is in minor units.

        Source  docs.stripe.com/api/prices/create
        """
        params: Any = {
            "currency": currency,
            "lookup_key": lookup_key,
            "product_data": {"name": product},
            "recurring": {"interval": interval},
            "unit_amount": unit_amount,
        }
        with _translated():
            return _price(self._client.v1.prices.create(params=params))

    def prices_by_lookup_key(self, lookup_keys: list[str]) -> tuple[PriceState, ...]:
        """Fetch the prices that have these lookup keys now, archived ones included, with what their products say.

        Source  docs.stripe.com/api/prices/list; at most ten lookup keys a call
        """
        found: list[PriceState] = []
        with _translated():
            for start in range(0, len(lookup_keys), 10):
                params: stripe.params.PriceListParams = {
                    "lookup_keys": lookup_keys[start : start + 10],
                    "limit": PAGE,
                    "expand": ["data.product", "data.currency_options"],
                }
                found.extend(_price(each) for each in self._client.v1.prices.list(params=params).auto_paging_iter())
        return tuple(found)

    def create_customer(self, app: str, user_id: str, email: str | None, name: str | None, key: str) -> str:
        """Create the user's customer, marked as ours; return its id. The same key gives the same customer for a day.

        An e-mail that Stripe refuses is left out: Checkout asks the visitor for one.

        Source  docs.stripe.com/api/customers/create, docs.stripe.com/api/idempotent_requests
        """
        params: stripe.params.CustomerCreateParams = {"metadata": {"corkage_app": app, "corkage_user": user_id}}
        if email:
            params["email"] = email
        if name:
            params["name"] = name
        with _translated():
            try:
                return self._client.v1.customers.create(params=params, options={"idempotency_key": key}).id
            except stripe.InvalidRequestError as error:
                if "email" not in params or error.param != "email":
                    raise
                log.warning("user %s gets a customer without an e-mail: Stripe refuses theirs: %s", user_id, error.code)
            del params["email"]
            options: stripe.RequestOptions = {"idempotency_key": f"{key}-without-email"}
            return self._client.v1.customers.create(params=params, options=options).id

    def update_customer(self, customer_id: str, changes: dict[str, str]) -> None:
        """Change a customer's e-mail or name; "" removes it. Safe to repeat.

        Errors  UnknownCustomer when the customer does not exist or was deleted
        Source  docs.stripe.com/api/customers/update
        """
        params: Any = changes
        with _translated(customer_id):
            self._client.v1.customers.update(customer_id, params=params)

    def disown_customer(self, customer_id: str) -> None:
        """Remove our metadata from a customer that another product uses, too.

        Errors  UnknownCustomer when the customer does not exist or was deleted
        """
        with _translated(customer_id):
            params: Any = {"metadata": {"corkage_app": "", "corkage_user": ""}}
            self._client.v1.customers.update(customer_id, params=params)

    def delete_customer(self, customer_id: str) -> None:
        """Delete a customer for ever, with its cards. Its subscriptions end at once; invoices and payments stay.

        Errors  UnknownCustomer when the customer does not exist or was deleted
        Source  docs.stripe.com/api/customers/delete
        """
        with _translated(customer_id):
            self._client.v1.customers.delete(customer_id)

    def cancel_subscription(self, subscription_id: str) -> None:
        """End a subscription at once, without a refund.

        Errors  StripeRefused when it has ended already
        Source  docs.stripe.com/api/subscriptions/cancel
        """
        with _translated():
            self._client.v1.subscriptions.cancel(subscription_id)

    def create_checkout_session(self, params: dict[str, Any], key: str) -> SessionState:
        """Create a Checkout Session. The same key with the same parameters gives the same session for a day.

        Errors  UnknownCustomer when the customer in the parameters does not exist or was deleted
        Source  docs.stripe.com/api/checkout/sessions/create
        """
        with _translated(params.get("customer")):
            wanted = cast("stripe.params.checkout.SessionCreateParams", params)
            return _session(self._client.v1.checkout.sessions.create(params=wanted, options={"idempotency_key": key}))

    def checkout_session(self, session_id: str) -> SessionState | None:
        """Fetch a Checkout Session; None when this account has none of this id.

        Source  docs.stripe.com/api/checkout/sessions/retrieve
        """
        expanded: stripe.params.checkout.SessionRetrieveParams = {"expand": ["customer"]}
        return _unless_missing(
            lambda: _session(self._client.v1.checkout.sessions.retrieve(session_id, params=expanded))
        )

    def expire_checkout_session(self, session_id: str) -> None:
        """Close an open Checkout Session for ever.

        Errors  StripeRefused when it is no longer open
        """
        with _translated():
            self._client.v1.checkout.sessions.expire(session_id)

    def finalize_invoice(self, invoice_id: str) -> LatestInvoice:
        """Finalize a draft, so that it can be paid.

        Errors  StripeRefused when it is no draft
        Source  docs.stripe.com/api/invoices/finalize
        """
        with _translated():
            return _latest(self._client.v1.invoices.finalize_invoice(invoice_id))

    def void_invoice(self, invoice_id: str) -> None:
        """Void an open invoice: nobody can pay it any more.

        Errors  StripeRefused when it is not open, as when it was paid in this moment
        Source  docs.stripe.com/api/invoices/void
        """
        with _translated():
            self._client.v1.invoices.void_invoice(invoice_id)

    def resume_subscription(self, subscription_id: str) -> str:
        """Resume a paused subscription, with a new period from now that is charged at once; return its status.

        While the payment does not succeed it is paused, with the open invoice as its latest.

        Errors  StripeRefused when it is not paused
        Source  docs.stripe.com/api/subscriptions/resume
        """
        with _translated():
            params: stripe.params.SubscriptionResumeParams = {
                "billing_cycle_anchor": {"type": "now"},
                "payment_behavior": "resume_on_payment_success",
            }
            return self._client.v1.subscriptions.resume(subscription_id, params=params).status

    def promotion_codes(self, code: str) -> dict[str | None, str]:
        """Fetch the active promotion codes that visitors know by this text: ids by the customer that each is for.

        Shape   None stands for any customer
        Source  docs.stripe.com/api/promotion_codes/list
        """
        with _translated():
            page = self._client.v1.promotion_codes.list(params={"code": code, "active": True, "limit": PAGE})
            return {_id(each.customer) if each.customer else None: each.id for each in page.auto_paging_iter()}

    def create_portal_session(self, customer_id: str, params: dict[str, object]) -> str:
        """Create a portal session for the customer, and return its address.

        Shape   params: Stripe's parameters of a portal session, without the customer
        Errors  UnknownCustomer when the customer does not exist or was deleted;
                StripeRefused when the portal's configuration does not offer the wanted flow
        Source  docs.stripe.com/api/customer_portal/sessions/create
        """
        everything = cast("stripe.params.billing_portal.SessionCreateParams", {"customer": customer_id, **params})
        with _translated(customer_id):
            return self._client.v1.billing_portal.sessions.create(params=everything).url

    def invoices_of(self, customer_id: str, most: int = 12) -> tuple[InvoiceState, ...]:
        """Fetch the customer's latest invoices, newest first, without drafts. One call.

        Errors  UnknownCustomer when this account has no such customer
        Source  docs.stripe.com/api/invoices/list
        """
        with _translated(customer_id):
            page = self._client.v1.invoices.list(params={"customer": customer_id, "limit": most})
            latest = {_subscription_of(each): each.id for each in reversed(page.data)}
            return tuple(_invoice(each, latest) for each in page.data if each.status != "draft")

    def _subscription(
        self,
        found: stripe.Subscription,
        known_to_pay: Container[str] = (),
        open_invoices: "_OpenInvoices | None" = None,
        invoices: "_Invoices | None" = None,
    ) -> SubscriptionState:
        items = self._items(found)
        period_end = min((item.current_period_end for item in items), default=None)
        app, user_id = _owner(found.metadata)
        paid = self._payments(found, known_to_pay, open_invoices, invoices)
        paused = found.pause_collection
        return SubscriptionState(
            id=found.id,
            customer_id=_id(found.customer),
            status=found.status,
            currency=found.currency,
            items=tuple(ItemState(item.id, _price(item.price), getattr(item, "quantity", None)) for item in items),
            created=found.created,
            current_period_end=period_end,
            cancel_at=found.cancel_at or (period_end if found.cancel_at_period_end else None),
            trial_start=found.trial_start,
            trial_end=found.trial_end,
            ended_at=found.ended_at,
            unpaid_since=paid.unpaid_since,
            has_paid=paid.has_paid,
            payment_pending=paid.is_pending,
            pause_behavior=paused.behavior if paused else None,
            resumes_at=paused.resumes_at if paused else None,
            paid_until=paid.paid_until,
            test_clock=_clock(found.test_clock),
            latest_invoice=_latest(found.latest_invoice) if isinstance(found.latest_invoice, stripe.Invoice) else None,
            lacks_card=_is_paused_for_a_card(found),
            has_card=_has_card(found),
            buyer_id=_metadata(found.metadata).get("corkage_buyer"),
            app=app,
            user_id=user_id,
            sold=_sold(found.metadata),
        )

    def _items(self, found: stripe.Subscription) -> list[stripe.SubscriptionItem]:
        """Return all items. A subscription holds the first ten; more are in a list of their own."""
        held: stripe.ListObject[stripe.SubscriptionItem] = found["items"]
        if not held.has_more:
            return list(held.data)
        page = self._client.v1.subscription_items.list(params={"subscription": found.id, "limit": PAGE})
        return list(page.auto_paging_iter())

    def _payments(
        self,
        found: stripe.Subscription,
        known_to_pay: Container[str],
        open_invoices: "_OpenInvoices | None",
        known: "_Invoices | None",
    ) -> "_Payments":
        """Return what was paid of a subscription. Where its latest invoice says enough, no other is read."""
        latest = found.latest_invoice if isinstance(found.latest_invoice, stripe.Invoice) else None
        has_paid = found.id in known_to_pay
        invoices = [latest] if latest is not None else []
        may_be_pending = found.status == "active" and not (has_paid or _says_whether_pending(latest))
        is_unclear = found.status == "past_due" or (may_be_pending and not _has_none(found.id, open_invoices))
        if is_unclear or (_is_void(found) and not (latest and latest.status == "paid")):
            of_known = known.until_paid(found.id) if known else None
            invoices = list(self._invoices_until_paid(found.id)) if of_known is None else of_known
        return _payments(found, invoices, has_paid=has_paid)

    def _invoices_until_paid(self, subscription_id: str) -> Iterator[stripe.Invoice]:
        """Fetch the invoices of a subscription, newest first, to the first that was paid."""
        page = self._client.v1.invoices.list(params={"subscription": subscription_id, "limit": PAGE})
        for invoice in page.auto_paging_iter():
            yield invoice
            if _is_paid(invoice):
                return

    def _with_open_invoices(self) -> set[str]:
        """Return the subscriptions of the account that have an open invoice."""
        listed = self._client.v1.invoices.list(params={"status": "open", "limit": PAGE}).auto_paging_iter()
        return {found for each in listed if (found := _subscription_of(each)) is not None}


class Subscriptions(NamedTuple):
    """What subscriptions_of() fetched. The customer is None where it was not asked for, or has no subscription."""

    items: tuple[SubscriptionState, ...]
    as_of: int
    customer: CustomerState | None = None


class _Invoices:
    """The newest invoices of a customer, of all subscriptions. is_whole: there are no older ones."""

    def __init__(self, invoices: Sequence[stripe.Invoice], *, is_whole: bool) -> None:
        self._invoices, self._is_whole = invoices, is_whole

    def until_paid(self, subscription_id: str) -> list[stripe.Invoice] | None:
        """Return those of a subscription, newest first, to the first that was paid; None when these do not tell."""
        found = []
        for invoice in self._invoices:
            if _subscription_of(invoice) == subscription_id:
                found.append(invoice)
                if _is_paid(invoice):
                    return found
        return found if self._is_whole else None


_OpenInvoices = Callable[[], Container[str]]
"""Returns the subscriptions of the account that have an open invoice."""


class _Payments(NamedTuple):
    """What the invoices of a subscription say; see SubscriptionState."""

    has_paid: bool
    is_pending: bool
    unpaid_since: int | None
    paid_until: int | None


def _payments(found: stripe.Subscription, invoices: Sequence[stripe.Invoice], *, has_paid: bool) -> _Payments:
    """Return what invoices say, the newest first, to the first that was paid.

    A draft counts where it is the first invoice: after a trial or a period every invoice is a draft for an hour.
    """
    unpaid = [each for each in invoices if each.total > 0 and (each.status == "open" or _is_first_draft(each))]
    has_paid = has_paid or any(map(_is_paid, invoices))
    is_past_due = found.status == "past_due"
    otherwise = _due(invoices[0]) if invoices else found.created
    ends = [line.period.end for each in invoices if each.status == "paid" for line in each.lines.data]
    return _Payments(
        has_paid=has_paid,
        is_pending=(found.status == "active" or is_past_due) and bool(unpaid) and not has_paid,
        unpaid_since=min(map(_due, unpaid), default=otherwise) if is_past_due else None,
        paid_until=max(ends, default=None) if _is_void(found) else None,
    )


def _says_whether_pending(latest: stripe.Invoice | None) -> bool:
    """Return whether this invoice alone says if a first payment is pending: it was paid, or there is no other yet."""
    return latest is not None and (_is_paid(latest) or latest.billing_reason == "subscription_create")


def _has_none(subscription_id: str, open_invoices: "_OpenInvoices | None") -> bool:
    return open_invoices is not None and subscription_id not in open_invoices()


def _is_void(found: stripe.Subscription) -> bool:
    return found.pause_collection is not None and found.pause_collection.behavior == "void"


def _is_paid(invoice: stripe.Invoice) -> bool:
    return invoice.status == "paid" and invoice.total > 0


def _is_first_draft(invoice: stripe.Invoice) -> bool:
    return invoice.status == "draft" and invoice.billing_reason == "subscription_create"


class _CleaningClient(stripe.RequestsClient):
    """Puts a U+FFFD in the place of what no database can store, which a customer's name may hold: what was paid must
    count all the same.
    """

    def request(self, *arguments: Any, **options: Any) -> Any:
        body, status, headers = super().request(*arguments, **options)
        if b"\\u" in body:
            body = _ESCAPED.sub(lambda found: rb"\ufffd" if found[1] else found[0], body)
        return body, status, headers


class _PacedClient(_CleaningClient):
    """Spaces the requests of all threads."""

    def __init__(self, calls_per_second: float, **options: Any) -> None:
        super().__init__(**options)
        self._seconds_apart = 1 / calls_per_second
        self._lock = threading.Lock()
        self._free_at = 0.0

    def request(self, *arguments: Any, **options: Any) -> Any:
        with self._lock:
            begins = max(self._free_at, time.monotonic())
            self._free_at = begins + self._seconds_apart
            time.sleep(max(0.0, begins - time.monotonic()))
        return super().request(*arguments, **options)


@contextmanager
def _translated(customer_id: str | None = None) -> Iterator[None]:
    """Translate every error of the stripe library into one of ours."""
    try:
        yield
    except (stripe.APIConnectionError, stripe.RateLimitError) as error:
        raise StripeUnavailable(_reason(error)) from error
    except (stripe.CardError, stripe.PermissionError, stripe.AuthenticationError) as error:
        raise refusal_of(error, _reason(error)) from error
    except stripe.InvalidRequestError as error:
        if customer_id and _is_missing(error) and error.param in OF_CUSTOMER:
            raise UnknownCustomer(f"Stripe knows no customer {customer_id} in this account and mode") from error
        raise refusal_of(error, _reason(error)) from error
    except stripe.StripeError as error:
        status = error.http_status or 0
        kind = StripeFailed if status >= 500 else StripeUnavailable if status in (409, 429) else StripeRefused
        raise (kind if status >= 400 else StripeError)(_reason(error)) from error
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise StripeError(f"Stripe's response does not have the expected shape: {error!r}") from error


def _unless_missing(fetch: Callable[[], _Found]) -> _Found | None:
    """Return what `fetch` returns; None when this account has no object of this id."""
    try:
        with _translated():
            return fetch()
    except StripeRefused as error:
        if _is_missing(error.__cause__):
            return None
        raise


def _reason(error: stripe.StripeError) -> str:
    """Return Stripe's message, but not that about a wrong key: it repeats a part of the key."""
    request = f", {error.request_id}" if error.request_id else ""
    text = type(error).__name__ if isinstance(error, stripe.AuthenticationError) else (error.user_message or str(error))
    return f"HTTP {error.http_status or 'none'}{request}: {' '.join(text.split())}"


def _as_of(response: Any, began: float) -> int:
    """Return when Stripe read its data, by its own clock: the response's Date minus the duration of the call."""
    date = response.last_response.headers.get("Date", "")
    if not date:
        return 0
    return int(parsedate_to_datetime(date).timestamp() - (time.monotonic() - began))


def _is_missing(error: BaseException | None) -> bool:
    return isinstance(error, stripe.InvalidRequestError) and error.code == "resource_missing"


def _id(related: Any) -> str:
    return str(related if isinstance(related, str) else related.id)


def _metadata(metadata: Any) -> dict[str, str]:
    return metadata.to_dict() if metadata else {}


def _owner(metadata: Any) -> tuple[str | None, str | None]:
    known = _metadata(metadata)
    return known.get("corkage_app"), known.get("corkage_user")


def _sold(metadata: Any) -> tuple[str, str] | None:
    known = _metadata(metadata)
    price_id, plan = known.get("corkage_price"), known.get("corkage_plan")
    return (price_id, plan) if price_id and plan else None


def _customer(customer: Any, as_of: int) -> CustomerState:
    if getattr(customer, "deleted", False):
        return CustomerState(customer.id, deleted=True, as_of=as_of)
    app, user_id = _owner(customer.metadata)
    return CustomerState(customer.id, customer.email, customer.name, app, user_id, as_of=as_of)


def _due(invoice: stripe.Invoice) -> int:
    return invoice.due_date or invoice.created


def _price(price: stripe.Price) -> PriceState:
    recurring = price.recurring
    says = _metadata(price.metadata)
    of_product = getattr(price.product, "metadata", None)  # only an expanded product has it, and no deleted one
    if "corkage_plan" not in says and of_product:
        says = _metadata(of_product)
    options = getattr(price, "currency_options", None)  # only where it is asked for
    return PriceState(
        id=price.id,
        product_id=_id(price.product),
        lookup_key=price.lookup_key,
        unit_amount=price.unit_amount,
        currency=price.currency,
        interval=recurring.interval if recurring else None,
        interval_count=recurring.interval_count if recurring else None,
        app=says.get("corkage_app"),
        plan=says.get("corkage_plan"),
        is_metered=recurring is not None and recurring.usage_type == "metered",
        amounts=None if options is None else {name: each["unit_amount"] for name, each in options.to_dict().items()},
        is_active=price.active,
        has_active_product=getattr(price.product, "active", True),
    )


def _clock(clock: Any) -> tuple[str, int] | None:
    return (clock.id, clock.frozen_time) if isinstance(clock, stripe.test_helpers.TestClock) else None


def _latest(invoice: stripe.Invoice) -> LatestInvoice:
    return LatestInvoice(str(invoice.id), invoice.status or "", invoice.hosted_invoice_url)


def _subscription_of(invoice: stripe.Invoice) -> str | None:
    details = invoice.parent.subscription_details if invoice.parent else None
    return _id(details.subscription) if details else None


def _is_paused_for_a_card(found: stripe.Subscription) -> bool:
    """Return whether it waits since the end of its trial for a payment method, and for nothing else."""
    if found.status != "paused":
        return False
    details: Any = found.status_details  # which stripe-python's newest classes have, and older API versions not
    paused = details.paused if details else None
    subscription = paused.subscription if paused else None
    return subscription is not None and subscription.type == "trial_end_without_payment_method"


def _has_card(found: stripe.Subscription) -> bool:
    """Return whether there is something to charge, as far as the subscription, or its expanded customer, says."""
    customer: Any = found.customer
    settings = getattr(customer, "invoice_settings", None)
    own = found.default_payment_method or found.default_source
    return bool(own or (settings and settings.default_payment_method) or getattr(customer, "default_source", None))


def _session(session: stripe.checkout.Session) -> SessionState:
    return SessionState(
        session.id,
        session.status or "",
        session.url,
        session.expires_at,
        subscription_id=_id(session.subscription) if session.subscription else None,
        customer_id=_id(session.customer) if session.customer else None,
        is_customer_gone=bool(getattr(session.customer, "deleted", False)),
    )


def _invoice(invoice: stripe.Invoice, latest: Mapping[str | None, str]) -> InvoiceState:
    """Return an invoice.

    Shape   latest: the newest invoice of each subscription
    """
    subscription_id = _subscription_of(invoice)
    return InvoiceState(
        id=invoice.id,
        number=invoice.number,
        created=invoice.created,
        status=invoice.status or "",
        total=invoice.total,
        currency=invoice.currency,
        page_url=invoice.hosted_invoice_url,
        pdf_url=invoice.invoice_pdf,
        subscription_id=subscription_id,
        is_latest=latest[subscription_id] == invoice.id,
    )
