"""The gateway: every call to Stripe. No type of the stripe library leaves this file."""

import copy
import functools
import itertools
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar, cast
from urllib.parse import quote_plus

import stripe

from ..errors import StripeRefused
from ..logs.facts import logger
from .client import TIMEOUT_SECONDS, Client, Object, Page, translated, unless_missing
from .events import EventRef, read_event
from .mirrored import to_metadata
from .outage import Outage
from .reading import (
    Payments,
    customer_of,
    expanded,
    id_of,
    invoice_of,
    is_paid,
    is_void,
    last_paid_of,
    latest_invoice_of,
    meter_errors_of,
    meter_of,
    payments_of,
    phases_of,
    preview_of,
    price_of,
    purchases_of,
    return_of,
    says_whether_pending,
    schedule_of,
    session_of,
    subscription_id_of,
    subscription_of,
)
from .side_by_side import Threads
from .states import (
    CustomerState,
    InvoiceState,
    LatestInvoice,
    Listed,
    MeterErrors,
    MeterState,
    PaidInvoice,
    PaymentState,
    PreviewState,
    PriceState,
    PurchaseState,
    ScheduleState,
    SessionState,
    SubscriptionState,
)
from .watched import Watched

PAGE = 100
API_VERSION: str = stripe.api_version  # of stripe-python, in which its calls are made and webhooks are wanted
METER_ERRORS = ("v1.billing.meter.error_report_triggered", "v1.billing.meter.no_meter_found")
TWICE = "duplicate_meter_event"
MOST_TYPES = 20  # that Stripe takes in a call for events

_Read = TypeVar("_Read")

log = logger("corkage.stripe")


class Gateway:
    """Stripe's API, as far as Corkage uses it.

    Shape   outage: whether Stripe is down
    Errors  every call raises StripeUnavailable when Stripe does not answer within the retries, or says 429 or 5xx;
            StripeRefused when Stripe rejects the key or the request; StripeError when the response makes no sense
    """

    def __init__(
        self,
        secret_key: str,
        api_base: str | None = None,
        timeout_seconds: tuple[float, float] = TIMEOUT_SECONDS,
        retries: int | None = None,
        watched: Watched | None = None,
    ) -> None:
        # The same call fetches the time of a subscription's test clock. Live mode has no test clocks.
        self._expanded = ["latest_invoice"] if "_live_" in secret_key else ["latest_invoice", "test_clock"]
        self.outage = Outage()
        watched = watched or Watched()
        self._client = Client(secret_key, api_base, timeout_seconds, retries, watched, self.outage)
        self._threads = Threads()

    def side_by_side(self, *calls: Callable[[], Any]) -> list[Any]:
        """Return the results of functions that do not need each other's: the first runs here, each other in a thread.

        Errors  the first error of any of them, when all have ended
        """
        return self._threads.together(*calls)

    def paced(self, calls_per_second: float) -> "Gateway":
        """Return a gateway like this one that spaces its calls and retries: for work that makes many of them."""
        other = copy.copy(self)
        other._client = self._client.paced(calls_per_second)
        return other

    def close(self, longest_seconds: float | None = None) -> None:
        """Close the connections, and end the threads that side_by_side() started, after so long at most. The next call
        opens new ones.
        """
        self._threads.close(longest_seconds)
        self._client.close()

    def account_id(self) -> str | None:
        """Fetch the id of the account that the key belongs to; None when the key may not read it."""
        try:
            with translated():
                return str(self._client.get("/v1/account")[0]["id"])
        except StripeRefused as error:
            if is_forbidden(error):
                return None
            raise

    def first(self, path: str, most: int = PAGE, **params: Any) -> list[Object]:
        """Fetch the first objects of a list, as Stripe's JSON has them: for what only the doctor looks at.

        Shape   path: such as "/v1/webhook_endpoints"; most: how many, over as many pages
        """
        with translated():
            found = self._client.every(path, limit=min(most, PAGE), **params)
            return list(itertools.islice(found, most))

    def event_destinations(self) -> list[Object]:
        """Fetch the destinations of events that are made in the v2 API, as Stripe's JSON has them, the first hundred.

        Source  docs.stripe.com/api/v2/core/event_destinations/list
        """
        with translated():
            found, _ = self._client.get("/v2/core/event_destinations", limit=PAGE, include=["webhook_endpoint.url"])
            return list(found["data"])

    def is_permitted(self, method: str, path: str) -> bool:
        """Return whether the key has the permission for a call.

        Stripe looks at the permission first. So a call that changes nothing, because it names what does not exist, is
        refused for another reason where the permission is there.

        Shape   method: "get" or "post"
        """
        try:
            with translated():
                self._client.library.raw_request(method, path)
        except StripeRefused as error:
            if is_unknown_key(error):
                raise
            return not is_forbidden(error)
        return True

    def customer(self, customer_id: str) -> CustomerState:
        """Fetch a customer.

        Errors  UnknownCustomer when this account has none of this id
        Source  docs.stripe.com/api/customers/retrieve
        """
        with translated(customer_id):
            return customer_of(*self._client.get(_path("customers", customer_id)))

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
        wanted = [f"data.{name}" for name in (*self._expanded, *(["customer"] if with_customer else []))]
        fetch = functools.partial(
            self._client.whole, "/v1/subscriptions", customer=customer_id, status="all", limit=PAGE, expand=wanted
        )
        with translated(customer_id):
            if with_invoices:
                listed, invoices = self.side_by_side(fetch, lambda: self._invoices(customer_id))
            else:
                listed, invoices = fetch(), None
            found, as_of = listed
            states = tuple(self._subscription(each, known_to_pay, invoices=invoices) for each in found)
            customer = customer_of(found[0]["customer"], as_of) if with_customer and found else None
            return Subscriptions(states, as_of, customer)

    def _invoices(self, customer_id: str) -> "_Invoices":
        page = self._client.page("/v1/invoices", customer=customer_id, limit=PAGE)
        return _Invoices(page.items, is_whole=not page.has_more)

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
        wanted = ["data.customer", *(f"data.{name}" for name in self._expanded)]

        def read(page: Page) -> Listed[tuple[CustomerState, SubscriptionState]]:
            found = (
                (customer_of(each["customer"], page.as_of), self._subscription(each, known_to_pay, open_invoices))
                for each in page.items
            )
            return Listed(tuple(found), page.as_of)

        yield from self._each_page(read, "/v1/subscriptions", status="all", limit=PAGE, expand=wanted)

    def every_customer(self) -> Iterator[Listed[CustomerState]]:
        """Fetch every customer of the account, page by page, newest first. In a sandbox Stripe leaves out those on test
        clocks.

        Source  docs.stripe.com/api/customers/list
        """
        yield from self._each_page(
            lambda page: Listed(tuple(customer_of(each, page.as_of) for each in page.items), page.as_of),
            "/v1/customers",
            limit=PAGE,
        )

    def subscription(self, subscription_id: str, known_to_pay: Container[str] = ()) -> SubscriptionState | None:
        """Fetch one subscription by its id; None when this account has none of this id.

        Source  docs.stripe.com/api/subscriptions/retrieve
        """

        def fetch() -> SubscriptionState:
            found, _ = self._client.get(_path("subscriptions", subscription_id), expand=self._expanded)
            return self._subscription(found, known_to_pay)

        return unless_missing(fetch)

    def purchases_of(self, customer_id: str) -> tuple[PurchaseState, ...]:
        """Fetch what the customer bought once: of every Checkout Session that is complete and paid, whoever made it.

        Errors  UnknownCustomer when this account has no such customer
        Source  docs.stripe.com/api/checkout/sessions/list, API version 2026-10-28.endive
        """
        with translated(customer_id):
            wanted = ["data.line_items", "data.invoice"]
            listed = self._client.every(
                "/v1/checkout/sessions", customer=customer_id, status="complete", limit=PAGE, expand=wanted
            )
            return tuple(purchase for each in listed for purchase in purchases_of(each, self._line_items(each)))

    def purchases_in(self, session_id: str) -> tuple[PurchaseState, ...]:
        """Fetch what a Checkout Session sold once; nothing while it is not paid, or where there is none of this id.

        Source  docs.stripe.com/api/checkout/sessions/retrieve
        """

        def fetch() -> tuple[PurchaseState, ...]:
            wanted = ["line_items", "invoice"]
            session, _ = self._client.get(_path("checkout/sessions", session_id), expand=wanted)
            return purchases_of(session, self._line_items(session))

        return unless_missing(fetch) or ()

    def every_purchase(self) -> Iterator[Listed[tuple[CustomerState, PurchaseState]]]:
        """Fetch what every customer of the account bought once, with the customer, page by page, newest first.

        Source  docs.stripe.com/api/checkout/sessions/list
        """
        wanted = ["data.line_items", "data.invoice", "data.customer"]

        def read(page: Page) -> Listed[tuple[CustomerState, PurchaseState]]:
            found = (
                (customer_of(each["customer"], page.as_of), purchase)
                for each in page.items
                for purchase in purchases_of(each, self._line_items(each))
            )
            return Listed(tuple(found), page.as_of)

        yield from self._each_page(read, "/v1/checkout/sessions", status="complete", limit=PAGE, expand=wanted)

    def payment(self, payment_intent: str) -> PaymentState | None:
        """Fetch the refunds and disputes of a payment, and what was paid by it: three calls side by side. None when the
        key may not read them: what else is fetched of the customer must not wait for that.

        Source  docs.stripe.com/api/refunds/list, docs.stripe.com/api/disputes/list,
                docs.stripe.com/api/invoice-payment/list
        """
        try:
            return self._payment(payment_intent)
        except StripeRefused as error:
            if not is_forbidden(error):
                raise
            log.error("%s: what was paid back is not known: %s. Then run corkage sync", payment_intent, error)
            return None

    def _payment(self, payment_intent: str) -> PaymentState:
        of_payment = {"payment": {"type": "payment_intent", "payment_intent": payment_intent}}
        with translated():
            refunds, disputes, paid = self.side_by_side(
                lambda: list(self._client.every("/v1/refunds", payment_intent=payment_intent, limit=PAGE)),
                lambda: list(self._client.every("/v1/disputes", payment_intent=payment_intent, limit=PAGE)),
                lambda: self._client.page("/v1/invoice_payments", **of_payment, expand=["data.invoice"]).items,
            )
            invoice = expanded(paid[0]["invoice"]) if paid else None
            return PaymentState(
                payment_intent,
                tuple(map(return_of, [*refunds, *disputes])),
                invoice_id=str(invoice["id"]) if invoice else None,
                subscription_id=subscription_id_of(invoice) if invoice else None,
            )

    def payment_behind(self, object_id: str) -> tuple[str | None, str | None]:
        """Fetch whose payment a charge, a refund, a dispute or a PaymentIntent is about: the customer and the
        PaymentIntent, each None where there is none.

        Source  docs.stripe.com/api/charges/retrieve, docs.stripe.com/api/charges/list
        """
        if object_id.startswith("pi_"):
            with translated():
                found = self._client.page("/v1/charges", payment_intent=object_id, limit=1).items
            return (_customer_id(found[0]), object_id) if found else (None, None)
        kind, expand = _KINDS_OF_RETURNS.get(object_id.split("_", 1)[0], ("charges", None))
        path, wanted = _path(kind, object_id), {"expand": [expand]} if expand else {}
        charge = unless_missing(lambda: self._charge_of(self._client.get(path, **wanted)[0], expand))
        if charge is None or not charge["payment_intent"]:
            return None, None
        return _customer_id(charge), id_of(charge["payment_intent"])

    def _charge_of(self, found: Object, expand: str | None) -> Object | None:
        return expanded(found[expand]) if expand else found

    def every_return(self) -> Iterator[tuple[str, str, str, str]]:
        """Fetch all refunds and disputes of the account, newest first: the customer, the PaymentIntent, the refund or
        dispute, and its status. Those of no customer, or of a payment without a PaymentIntent, are left out.

        Source  docs.stripe.com/api/refunds/list, docs.stripe.com/api/disputes/list
        """

        def read(page: Page) -> list[tuple[str, str, str, str]]:
            known = [(each, expanded(each["charge"]) or {"customer": None}) for each in page.items]
            return [
                (customer_id, id_of(each["payment_intent"]), str(each["id"]), str(each["status"]))
                for each, charge in known
                if each["payment_intent"] and (customer_id := _customer_id(charge)) is not None
            ]

        for path in ("/v1/refunds", "/v1/disputes"):
            for found in self._each_page(read, path, limit=PAGE, expand=["data.charge"]):
                yield from found

    def last_paid_invoice(self, subscription_id: str) -> PaidInvoice | None:
        """Fetch the last invoice above zero of a subscription that was paid.

        Source  docs.stripe.com/api/invoices/list
        """
        with translated():
            return last_paid_of(list(self._invoices_until_paid(subscription_id)))

    def test_clock_time(self, clock_id: str) -> int | None:
        """Fetch the present time of a test clock, in Unix seconds; None when it was deleted.

        Source  docs.stripe.com/api/test_clocks/retrieve
        """
        path = _path("test_helpers/test_clocks", clock_id)
        return unless_missing(lambda: int(self._client.get(path)[0]["frozen_time"]))

    def events_since(self, since: int, types: tuple[str, ...]) -> Listed[EventRef]:
        """Fetch the events of these types since a time, all pages. Stripe keeps 30 days, and takes no wildcards.

        Source  docs.stripe.com/api/events/list
        """
        wanted = {"created": {"gte": since}, "limit": PAGE}
        pieces = [list(types[start : start + MOST_TYPES]) for start in range(0, len(types), MOST_TYPES)]
        fetch = functools.partial(self._client.whole, "/v1/events", **wanted)
        with translated():
            lists = self.side_by_side(*(functools.partial(fetch, types=piece) for piece in pieces))
            found = tuple(read_event(each) for listed, _ in lists for each in listed)
            return Listed(found, min(as_of for _, as_of in lists))

    def event(self, event_id: str) -> EventRef | None:
        """Fetch one event by its id; None when Stripe does not have it. Stripe keeps events for 30 days.

        Source  docs.stripe.com/api/events/retrieve
        """
        return unless_missing(lambda: read_event(self._client.get(_path("events", event_id))[0]))

    def price(self, price_id: str) -> PriceState | None:
        """Fetch one price by its id, with what its product says; None when this account has none of this id."""
        wanted = ["product", "currency_options"]
        return unless_missing(lambda: price_of(self._client.get(_path("prices", price_id), expand=wanted)[0]))

    def set_up(self, method: str, path: str, params: dict[str, Any], key: str | None = None) -> Object:
        """Make a call that changes what is sold or how, for `corkage push`; return the object, as Stripe's JSON has it.

        Shape   method: "post" or "delete"; key: the idempotency key
        """
        options = {"idempotency_key": key} if key else {}
        with translated():
            return dict(self._client.library.raw_request(method, path, **params, **options).data)

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
        with translated():
            return price_of(self._client.library.v1.prices.create(params=params).to_dict())

    def prices_by_lookup_key(self, lookup_keys: list[str]) -> tuple[PriceState, ...]:
        """Fetch the prices that have these lookup keys now, archived ones included, with what their products say.

        Source  docs.stripe.com/api/prices/list; at most ten lookup keys a call
        """
        found: list[PriceState] = []
        with translated():
            for start in range(0, len(lookup_keys), 10):
                some = lookup_keys[start : start + 10]
                wanted = ["data.product", "data.currency_options"]
                listed = self._client.every("/v1/prices", lookup_keys=some, limit=PAGE, expand=wanted)
                found.extend(map(price_of, listed))
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
        with translated():
            try:
                return self._client.library.v1.customers.create(params=params, options={"idempotency_key": key}).id
            except stripe.InvalidRequestError as error:
                if "email" not in params or error.param != "email":
                    raise
                log.warning("user %s gets a customer without an e-mail: Stripe refuses theirs: %s", user_id, error.code)
            del params["email"]
            options: stripe.RequestOptions = {"idempotency_key": f"{key}-without-email"}
            return self._client.library.v1.customers.create(params=params, options=options).id

    def update_customer(self, customer_id: str, changes: dict[str, str]) -> None:
        """Change a customer's e-mail or name; "" removes it. Safe to repeat.

        Errors  UnknownCustomer when the customer does not exist or was deleted
        Source  docs.stripe.com/api/customers/update
        """
        params: Any = changes
        with translated(customer_id):
            self._client.library.v1.customers.update(customer_id, params=params)

    def mark_customer(self, customer_id: str, app: str, user_id: str) -> None:
        """Mark a customer as ours and this user's, in its metadata; the rest of its metadata stays. Safe to repeat.

        Errors  UnknownCustomer when the customer does not exist or was deleted; StripeRefused when its metadata is full
        """
        with translated(customer_id):
            params: Any = {"metadata": {"corkage_app": app, "corkage_user": user_id}}
            self._client.library.v1.customers.update(customer_id, params=params)

    def disown_customer(self, customer_id: str) -> None:
        """Remove our metadata from a customer that another product uses, too.

        Errors  UnknownCustomer when the customer does not exist or was deleted
        """
        with translated(customer_id):
            params: Any = {"metadata": {"corkage_app": "", "corkage_user": "", **to_metadata("")}}
            self._client.library.v1.customers.update(customer_id, params=params)

    def mirror_grants(self, customer_id: str, metadata: dict[str, str]) -> None:
        """Store the mirror of a user's grants with their customer; the rest of its metadata stays. Safe to repeat.

        Errors  UnknownCustomer when the customer does not exist or was deleted; StripeRefused when its metadata is full
        Source  docs.stripe.com/api/metadata
        """
        with translated(customer_id):
            params: Any = {"metadata": metadata}
            self._client.library.v1.customers.update(customer_id, params=params)

    def delete_customer(self, customer_id: str) -> None:
        """Delete a customer for ever, with its cards. Its subscriptions end at once; invoices and payments stay.

        Errors  UnknownCustomer when the customer does not exist or was deleted
        Source  docs.stripe.com/api/customers/delete
        """
        with translated(customer_id):
            self._client.library.v1.customers.delete(customer_id)

    def cancel_subscription(
        self, subscription_id: str, params: dict[str, Any] | None = None, key: str | None = None
    ) -> None:
        """End a subscription at once, without a refund.

        Shape   params: Stripe's parameters, such as the reason; key: an idempotency key
        Errors  StripeRefused when it has ended already
        Source  docs.stripe.com/api/subscriptions/cancel
        """
        options: stripe.RequestOptions = {"idempotency_key": key} if key else {}
        wanted = cast("stripe.params.SubscriptionCancelParams", params or {})
        with translated():
            self._client.library.v1.subscriptions.cancel(subscription_id, params=wanted, options=options)

    def update_subscription(self, subscription_id: str, params: dict[str, Any], key: str) -> None:
        """Change a subscription. The same key with the same parameters makes one change for a day.

        Errors  StripeRefused when Stripe does not take the change; CardRefused when what it costs cannot be charged
        Source  docs.stripe.com/api/subscriptions/update
        """
        wanted = cast("stripe.params.SubscriptionUpdateParams", params)
        with translated():
            self._client.library.v1.subscriptions.update(
                subscription_id, params=wanted, options={"idempotency_key": key}
            )

    def schedule(self, schedule_id: str, now: int) -> ScheduleState | None:
        """Fetch a subscription schedule, as of a moment; None when this account has none of this id.

        Source  docs.stripe.com/api/subscription_schedules/retrieve
        """
        path = _path("subscription_schedules", schedule_id)
        return unless_missing(lambda: schedule_of(self._client.get(path)[0], now))

    def schedule_items(self, subscription_id: str, items: list[dict[str, Any]], key: str) -> None:
        """Have a subscription go on with other items from the end of its period on. Safe to repeat with the same key.

        A schedule takes two calls: one makes it of the subscription as it is, the other adds what comes next. A day
        after the change it lets the subscription go: the portal changes none that has a schedule.

        Shape   items: Stripe's parameters of the items that the next phase has, with the price that each had: "was"
        Errors  StripeRefused when the subscription has a schedule already, or takes no such items
        Source  docs.stripe.com/api/subscription_schedules/create and /update
        """
        schedules = self._client.library.v1.subscription_schedules
        with translated():
            made = schedules.create(
                params={"from_subscription": subscription_id}, options={"idempotency_key": f"{key}-create"}
            ).to_dict()
            params: Any = {"end_behavior": "release", "proration_behavior": "none", "phases": phases_of(made, items)}
            try:
                schedules.update(made["id"], params=params, options={"idempotency_key": f"{key}-update"})
            except stripe.InvalidRequestError:
                schedules.release(made["id"], options={"idempotency_key": f"{key}-release"})
                raise

    def release_schedule(self, schedule_id: str, key: str) -> None:
        """Let the subscription of a schedule go on as it is, without the schedule.

        Errors  StripeRefused when the schedule has come to its end already
        Source  docs.stripe.com/api/subscription_schedules/release
        """
        with translated():
            self._client.library.v1.subscription_schedules.release(schedule_id, options={"idempotency_key": key})

    def preview_change(self, subscription_id: str, details: dict[str, Any]) -> PreviewState:
        """Fetch the invoice that would follow a change of a subscription. Nothing is changed.

        Shape   details: Stripe's `subscription_details`
        Errors  StripeRefused when Stripe would refuse the change
        Source  docs.stripe.com/api/invoices/create_preview
        """
        params: Any = {"subscription": subscription_id, "subscription_details": details}
        with translated():
            return preview_of(self._client.library.v1.invoices.create_preview(params=params).to_dict())

    def subscriptions_at(self, price_id: str) -> Iterator[SubscriptionState]:
        """Fetch the subscriptions that have an item at this price and were not canceled, without what was paid of them.

        In a sandbox Stripe leaves out subscriptions on test clocks.

        Source  docs.stripe.com/api/subscriptions/list
        """
        nothing = Payments(has_paid=False, is_pending=False, unpaid_since=None, paid_until=None, last_paid=None)
        pages = self._client.pages("/v1/subscriptions", price=price_id, limit=PAGE)
        while True:
            with translated():
                if (page := next(pages, None)) is None:
                    return
                found = [subscription_of(each, self._items(each), nothing) for each in page.items]
            yield from found

    def create_checkout_session(self, params: dict[str, Any], key: str) -> SessionState:
        """Create a Checkout Session. The same key with the same parameters gives the same session for a day.

        Errors  UnknownCustomer when the customer in the parameters does not exist or was deleted
        Source  docs.stripe.com/api/checkout/sessions/create
        """
        with translated(params.get("customer")):
            wanted = cast("stripe.params.checkout.SessionCreateParams", params)
            made = self._client.library.v1.checkout.sessions.create(params=wanted, options={"idempotency_key": key})
            return session_of(made.to_dict())

    def checkout_session(self, session_id: str) -> SessionState | None:
        """Fetch a Checkout Session; None when this account has none of this id.

        Source  docs.stripe.com/api/checkout/sessions/retrieve
        """
        path = _path("checkout/sessions", session_id)
        return unless_missing(lambda: session_of(self._client.get(path, expand=["customer"])[0]))

    def expire_checkout_session(self, session_id: str) -> None:
        """Close an open Checkout Session for ever.

        Errors  StripeRefused when it is no longer open
        """
        with translated():
            self._client.library.v1.checkout.sessions.expire(session_id)

    def finalize_invoice(self, invoice_id: str) -> LatestInvoice:
        """Finalize a draft, so that it can be paid.

        Errors  StripeRefused when it is no draft
        Source  docs.stripe.com/api/invoices/finalize
        """
        with translated():
            return latest_invoice_of(self._client.library.v1.invoices.finalize_invoice(invoice_id).to_dict())

    def void_invoice(self, invoice_id: str) -> None:
        """Void an open invoice: nobody can pay it any more.

        Errors  StripeRefused when it is not open, as when it was paid in this moment
        Source  docs.stripe.com/api/invoices/void
        """
        with translated():
            self._client.library.v1.invoices.void_invoice(invoice_id)

    def resume_subscription(self, subscription_id: str, key: str | None = None) -> str:
        """Resume a paused subscription, with a new period from now that is charged at once; return its status.

        While the payment does not succeed it is paused, with the open invoice as its latest.

        Shape   key: an idempotency key
        Errors  StripeRefused when it is not paused
        Source  docs.stripe.com/api/subscriptions/resume
        """
        with translated():
            params: stripe.params.SubscriptionResumeParams = {
                "billing_cycle_anchor": {"type": "now"},
                "payment_behavior": "resume_on_payment_success",
            }
            options: stripe.RequestOptions = {"idempotency_key": key} if key else {}
            return self._client.library.v1.subscriptions.resume(subscription_id, params=params, options=options).status

    def promotion_codes(self, code: str) -> dict[str | None, str]:
        """Fetch the active promotion codes that visitors know by this text: ids by the customer that each is for.

        Shape   None stands for any customer
        Source  docs.stripe.com/api/promotion_codes/list
        """
        with translated():
            found = self._client.every("/v1/promotion_codes", code=code, active=True, limit=PAGE)
            return {id_of(each["customer"]) if each["customer"] else None: each["id"] for each in found}

    def report_usage(self, event_name: str, customer_id: str, amount: int, identifier: str, used_at: int) -> None:
        """Report usage to a meter. Stripe counts an identifier once for at least a day: what it has already is done.

        Stripe says later, by an event, what it could not count after all: see meter_errors().

        Units   used_at in Unix seconds, by the customer's test clock where it has one
        Errors  StripeRefused when Stripe did not take it; after any other error it may have it
        Source  docs.stripe.com/api/billing/meter-event/create
        """
        params: stripe.params.billing.MeterEventCreateParams = {
            "event_name": event_name,
            "identifier": identifier,
            "payload": {"stripe_customer_id": customer_id, "value": str(amount)},
            "timestamp": used_at,
        }
        with translated():
            try:
                self._client.library.v1.billing.meter_events.create(params=params)
            except stripe.InvalidRequestError as error:
                if not _is_known(error):
                    raise

    def meters(self) -> tuple[MeterState, ...]:
        """Fetch the active meters.

        Source  docs.stripe.com/api/billing/meter/list
        """
        with translated():
            return tuple(map(meter_of, self._client.every("/v1/billing/meters", status="active", limit=PAGE)))

    def usage_of(self, meter_id: str, customer_id: str, starts_at: int, ends_at: int) -> float:
        """Fetch how much of a meter Stripe has counted for a customer. It adds up late: what is newest may lack.

        Units   Unix seconds, of whole minutes; the end does not belong to it
        Errors  UnknownCustomer when this account has no such customer
        Source  docs.stripe.com/api/billing/meter-event-summary/list
        """
        path = f"{_path('billing/meters', meter_id)}/event_summaries"
        with translated(customer_id):
            found = self._client.every(path, customer=customer_id, start_time=starts_at, end_time=ends_at, limit=PAGE)
            return float(sum(each["aggregated_value"] for each in found))

    def meter_errors(self) -> tuple[MeterErrors, ...]:
        """Fetch what Stripe could not count in the last thirty days, after it had taken it; newest first.

        Source  docs.stripe.com/api/v2/core/events/list
        """
        found: list[MeterErrors] = []
        with translated():
            page: Any = self._client.get("/v2/core/events", types=list(METER_ERRORS))[0]
            while True:
                found += (each for event in page["data"] for each in meter_errors_of(self._whole(event)))
                if not page["next_page_url"]:
                    return tuple(found)
                page = self._client.get(page["next_page_url"])[0]

    def _whole(self, event: Object) -> Object:
        """Return a thin event with its data, which a list may leave out."""
        return event if event.get("data") else self._client.get(f"/v2/core/events/{quote_plus(event['id'])}")[0]

    def create_portal_session(self, customer_id: str, params: dict[str, object]) -> str:
        """Create a portal session for the customer, and return its address.

        Shape   params: Stripe's parameters of a portal session, without the customer
        Errors  UnknownCustomer when the customer does not exist or was deleted;
                StripeRefused when the portal's configuration does not offer the wanted flow
        Source  docs.stripe.com/api/customer_portal/sessions/create
        """
        everything = cast("stripe.params.billing_portal.SessionCreateParams", {"customer": customer_id, **params})
        try:
            with translated(customer_id):
                return self._client.library.v1.billing_portal.sessions.create(params=everything).url
        except StripeRefused as error:
            if getattr(error.__cause__, "param", None) != "configuration":
                raise
            log.warning("the portal opens with the account's own settings: %s. `corkage push` mends it", error)
            others = {name: value for name, value in params.items() if name != "configuration"}
            return self.create_portal_session(customer_id, others)

    def invoices_of(self, customer_id: str, most: int = 12) -> tuple[InvoiceState, ...]:
        """Fetch the customer's latest invoices, newest first, without drafts. One call.

        Errors  UnknownCustomer when this account has no such customer
        Source  docs.stripe.com/api/invoices/list
        """
        with translated(customer_id):
            page = self._client.page("/v1/invoices", customer=customer_id, limit=most)
            latest = {subscription_id_of(each): each["id"] for each in reversed(page.items)}
            return tuple(invoice_of(each, latest) for each in page.items if each["status"] != "draft")

    def _subscription(
        self,
        found: Object,
        known_to_pay: Container[str] = (),
        open_invoices: "_OpenInvoices | None" = None,
        invoices: "_Invoices | None" = None,
    ) -> SubscriptionState:
        paid = self._payments(found, known_to_pay, open_invoices, invoices)
        return subscription_of(found, self._items(found), paid)

    def _each_page(self, read: Callable[[Page], _Read], path: str, **params: Any) -> Iterator[_Read]:
        """Fetch a list, and return what each page is read as."""
        pages = self._client.pages(path, **params)
        while True:
            with translated():
                if (page := next(pages, None)) is None:
                    return
                found = read(page)
            yield found

    def _line_items(self, session: Object) -> list[Object]:
        """Return all line items of a Checkout Session. It holds the first ten; more are in a list of their own."""
        held = session["line_items"]
        if not held["has_more"]:
            return list(held["data"])
        return list(self._client.every(f"{_path('checkout/sessions', session['id'])}/line_items", limit=PAGE))

    def _items(self, found: Object) -> list[Object]:
        """Return all items. A subscription holds the first ten; more are in a list of their own."""
        held = found["items"]
        if not held["has_more"]:
            return list(held["data"])
        return list(self._client.every("/v1/subscription_items", subscription=found["id"], limit=PAGE))

    def _payments(
        self,
        found: Object,
        known_to_pay: Container[str],
        open_invoices: "_OpenInvoices | None",
        known: "_Invoices | None",
    ) -> Payments:
        """Return what was paid of a subscription. Where its latest invoice says enough, no other is read."""
        id_, latest = found["id"], expanded(found["latest_invoice"])
        has_paid = id_ in known_to_pay
        invoices = [latest] if latest is not None else []
        may_be_pending = found["status"] == "active" and not (has_paid or says_whether_pending(latest))
        is_unclear = found["status"] == "past_due" or (may_be_pending and not _has_none(id_, open_invoices))
        if is_unclear or (is_void(found) and not (latest and latest["status"] == "paid")):
            of_known = known.until_paid(id_) if known else None
            invoices = list(self._invoices_until_paid(id_)) if of_known is None else of_known
        return payments_of(found, invoices, has_paid=has_paid)

    def _invoices_until_paid(self, subscription_id: str) -> Iterator[Object]:
        """Fetch the invoices of a subscription, newest first, to the first that was paid."""
        for invoice in self._client.every("/v1/invoices", subscription=subscription_id, limit=PAGE):
            yield invoice
            if is_paid(invoice):
                return

    def _with_open_invoices(self) -> set[str]:
        """Return the subscriptions of the account that have an open invoice."""
        listed = self._client.every("/v1/invoices", status="open", limit=PAGE)
        return {found for each in listed if (found := subscription_id_of(each)) is not None}


class Subscriptions(NamedTuple):
    """What subscriptions_of() fetched. The customer is None where it was not asked for, or has no subscription."""

    items: tuple[SubscriptionState, ...]
    as_of: int
    customer: CustomerState | None = None


class _Invoices:
    """The newest invoices of a customer, of all subscriptions. is_whole: there are no older ones."""

    def __init__(self, invoices: Sequence[Object], *, is_whole: bool) -> None:
        self._invoices, self._is_whole = invoices, is_whole

    def until_paid(self, subscription_id: str) -> list[Object] | None:
        """Return those of a subscription, newest first, to the first that was paid; None when these do not tell."""
        found = []
        for invoice in self._invoices:
            if subscription_id_of(invoice) == subscription_id:
                found.append(invoice)
                if is_paid(invoice):
                    return found
        return found if self._is_whole else None


def is_forbidden(error: BaseException) -> bool:
    """Return whether the key, a restricted one, lacks a permission."""
    return isinstance(error.__cause__, stripe.PermissionError)


def is_unknown_key(error: BaseException) -> bool:
    """Return whether Stripe does not know the key."""
    return isinstance(error.__cause__, stripe.AuthenticationError)


_KINDS_OF_RETURNS = {
    "re": ("refunds", "charge"),
    "pyr": ("refunds", "charge"),
    "dp": ("disputes", "charge"),
    "du": ("disputes", "charge"),
}
"""By the beginning of an id: the path, and the field that holds the charge."""


def _customer_id(charge: Object) -> str | None:
    return id_of(charge["customer"]) if charge["customer"] else None


_OpenInvoices = Callable[[], Container[str]]
"""Returns the subscriptions of the account that have an open invoice."""


def _is_known(error: stripe.InvalidRequestError) -> bool:
    """Return whether Stripe refuses a meter event because it has its identifier already."""
    return error.code == TWICE or (error.param == "identifier" and "already exists" in str(error))


def _has_none(subscription_id: str, open_invoices: "_OpenInvoices | None") -> bool:
    return open_invoices is not None and subscription_id not in open_invoices()


def _path(kind: str, id_: str) -> str:
    """Return the path of an object at Stripe. An id may come from outside, and then hold anything."""
    return f"/v1/{kind}/{quote_plus(id_)}"
