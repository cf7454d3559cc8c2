"""The gateway: every call to Stripe. No type of the stripe library leaves this folder."""

import functools
import itertools
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, NamedTuple

import stripe

from ..errors import StripeRefused
from ..logs.facts import logger
from .calls import PAGE, is_forbidden, is_unknown_key, path_of
from .changes import ChangeCalls
from .checkout import PageCalls
from .client import Object, Page, translated, unless_missing
from .events import EventRef, read_event
from .metering import MeterCalls
from .mirrored import to_metadata
from .payments import PaymentCalls
from .reading import (
    Payments,
    customer_of,
    expanded,
    is_paid,
    is_void,
    last_paid_of,
    payments_of,
    price_of,
    says_whether_pending,
    subscription_id_of,
    subscription_of,
)
from .states import (
    CustomerState,
    Listed,
    PaidInvoice,
    PriceState,
    SubscriptionState,
)

MOST_TYPES = 20  # that Stripe takes in a call for events

log = logger("corkage.stripe")


class Gateway(ChangeCalls, MeterCalls, PageCalls, PaymentCalls):
    """Stripe's API, as far as Corkage uses it.

    Shape   outage: whether Stripe is down
    Errors  every call raises StripeUnavailable when Stripe does not answer within the retries, or says 429 or 5xx;
            StripeRefused when Stripe rejects the key or the request; StripeError when the response makes no sense
    """

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
            return customer_of(*self._client.get(path_of("customers", customer_id)))

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
            found, _ = self._client.get(path_of("subscriptions", subscription_id), expand=self._expanded)
            return self._subscription(found, known_to_pay)

        return unless_missing(fetch)

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
        path = path_of("test_helpers/test_clocks", clock_id)
        return unless_missing(lambda: int(self._client.get(path)[0]["frozen_time"]))

    def events_since(self, since: int, types: tuple[str, ...]) -> Listed[EventRef]:
        """Fetch the events of these types since a time, all pages. Stripe keeps 30 days, and takes no wildcards.

        Source  docs.stripe.com/api/events/list
        """
        pieces = [list(types[start : start + MOST_TYPES]) for start in range(0, len(types), MOST_TYPES)]
        with translated():
            lists = self.side_by_side(*(functools.partial(self._events_since, since, piece) for piece in pieces))
            found = tuple(each for listed, _ in lists for each in listed)
            return Listed(found, min(as_of for _, as_of in lists))

    def _events_since(self, since: int, types: list[str]) -> tuple[list[EventRef], int]:
        """Read page by page: all at once, the events of a day may take a gigabyte."""
        found: list[EventRef] = []
        as_of: list[int] = []
        for page in self._client.pages("/v1/events", created={"gte": since}, types=types, limit=PAGE):
            found += map(read_event, page.items)
            as_of.append(page.as_of)
        return found, as_of[0]

    def event(self, event_id: str) -> EventRef | None:
        """Fetch one event by its id; None when Stripe does not have it. Stripe keeps events for 30 days.

        Source  docs.stripe.com/api/events/retrieve
        """
        return unless_missing(lambda: read_event(self._client.get(path_of("events", event_id))[0]))

    def price(self, price_id: str) -> PriceState | None:
        """Fetch one price by its id, with what its product says; None when this account has none of this id."""
        wanted = ["product", "currency_options"]
        return unless_missing(lambda: price_of(self._client.get(path_of("prices", price_id), expand=wanted)[0]))

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

    def _subscription(
        self,
        found: Object,
        known_to_pay: Container[str] = (),
        open_invoices: "_OpenInvoices | None" = None,
        invoices: "_Invoices | None" = None,
    ) -> SubscriptionState:
        paid = self._payments(found, known_to_pay, open_invoices, invoices)
        return subscription_of(found, self._items(found), paid)

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
        """Return those of a subscription, newest first, to the first that was paid; None when these are not enough."""
        found = []
        for invoice in self._invoices:
            if subscription_id_of(invoice) == subscription_id:
                found.append(invoice)
                if is_paid(invoice):
                    return found
        return found if self._is_whole else None


_OpenInvoices = Callable[[], Container[str]]
"""Returns the subscriptions of the account that have an open invoice."""


def _has_none(subscription_id: str, open_invoices: "_OpenInvoices | None") -> bool:
    return open_invoices is not None and subscription_id not in open_invoices()
