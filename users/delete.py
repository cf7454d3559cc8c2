"""Forget a user when the host deletes the account: nothing is charged any more, and nothing here names them."""

import time
from typing import Any

from peewee import JOIN, Case, fn

from .. import storage
from ..access import ENDED
from ..errors import BillingError, CheckoutInProgress, StripeRefused, UnknownCustomer
from ..gateway.gateway import Gateway
from ..logs.facts import logger
from ..models import CheckoutAttempt, Customer, NoticeDelivery, Price, StripeEvent, Subscription, SubscriptionItem, User
from ..selling.attempts import PAUSE_SECONDS, WAIT_SECONDS, is_claimed
from ..sync.converge import Converger
from . import receipt as receipts
from .held import ERASED, conditions_of, count_rows
from .receipt import Receipt

MOST_TURNS = 5

log = logger("corkage.users")


def forget_user(converger: Converger, user_id: str, now: float, receipt: Receipt) -> None:
    """End everything at Stripe first, then delete the rows here, so that a second call continues after a failure.

    The bare id of each customer stays, without a user, for events that come late. What is done is read again at Stripe,
    and counted here, and noted in the receipt, also where this raises.

    Errors  CheckoutInProgress while a click of the user's is carried out; StripeError as the gateway's
    """
    ended: set[str] = set()
    _wait_for_clicks(user_id, now)
    for _ in range(MOST_TURNS):
        _close_checkout(converger.gateway, user_id, now, receipt)
        for customer_id in _customers(user_id) - ended:
            _end(converger, customer_id, now, receipt)
            ended.add(customer_id)
        if _erase(user_id, ended, now, receipt):
            receipt.is_done = True
            log.info("user %s is forgotten, %d customers ended", user_id, len(ended))
            return
    raise CheckoutInProgress(f"user {user_id}: new customers came {MOST_TURNS} times in a row")


def _wait_for_clicks(user_id: str, now: float) -> None:
    """Wait a little for what holds the user's attempts: a click, or the worker, which closes the page of what was just
    bought.
    """
    begun_at = time.monotonic()
    while (passed := time.monotonic() - begun_at) < WAIT_SECONDS and _is_any_claimed(user_id, now + passed):
        time.sleep(PAUSE_SECONDS)


def _is_any_claimed(user_id: str, now: float) -> bool:
    return any(is_claimed(each, now) for each in CheckoutAttempt.select().where(CheckoutAttempt.user == user_id))


def _customers(user_id: str) -> set[str]:
    query = Customer.select(Customer.id).where(Customer.user == user_id, Customer.deleted_at.is_null())
    return set(storage.column(query))


def _close_checkout(gateway: Gateway, user_id: str, now: float, receipt: Receipt) -> None:
    for attempt in _attempts(user_id, now):
        try:
            if attempt.session_id is not None:
                gateway.expire_checkout_session(attempt.session_id)
                receipt.sessions.append(attempt.session_id)
        except StripeRefused as error:
            log.info("%s is no longer open: %s", attempt.session_id, error)


def _attempts(user_id: str, now: float) -> list[CheckoutAttempt]:
    found = list(CheckoutAttempt.select().where(CheckoutAttempt.user == user_id))
    if any(is_claimed(attempt, now) for attempt in found):
        raise CheckoutInProgress(f"user {user_id}: a click is being carried out, and may make a customer yet")
    return found


def _end(converger: Converger, customer_id: str, now: float, receipt: Receipt) -> None:
    """Delete the customer. Where another product has subscriptions of it, cancel only ours."""
    converger.converge(customer_id, now, reads_customer=True)
    row = Customer.get_by_id(customer_id)
    if row.deleted_at is not None or row.missing_at is not None:
        receipt.customers[customer_id] = receipts.DELETED_BEFORE if row.deleted_at is not None else receipts.UNKNOWN
        return
    going_on = _going_on(customer_id)
    ours = [id_ for id_, is_ours in going_on.items() if is_ours]
    if len(ours) == len(going_on):
        converger.gateway.delete_customer(customer_id)
    else:
        log.warning("%s has subscriptions of another product, too: only ours are canceled", customer_id)
        for subscription_id in ours:
            converger.gateway.cancel_subscription(subscription_id)
        converger.gateway.disown_customer(customer_id)
    receipt.subscriptions += ours
    receipt.customers[customer_id] = _read_again(converger.gateway, customer_id, ours)


def _read_again(gateway: Gateway, customer_id: str, ended: list[str]) -> str:
    """Return what is true of a customer at Stripe now.

    Errors  StripeRefused when something goes on that was to end
    """
    for subscription_id in ended:
        found = gateway.subscription(subscription_id)
        if found is not None and found.status not in ENDED:
            raise StripeRefused(f"{subscription_id} was ended, and is {found.status} at Stripe all the same")
    try:
        customer = gateway.customer(customer_id)
    except UnknownCustomer:
        return receipts.UNKNOWN
    if customer.user_id is not None:
        raise StripeRefused(f"{customer_id} was deleted, and is at Stripe all the same")
    return receipts.DELETED if customer.deleted else receipts.SHARED


def _going_on(customer_id: str) -> dict[str, bool]:
    """Return the subscriptions that have not ended, with whether each is ours: sold by us, or to a plan's price."""
    is_ours = Case(None, [(Subscription.ours | Price.plan.is_null(False), 1)], 0)
    query: Any = (
        Subscription.select(Subscription.id, fn.MAX(is_ours))
        .join(SubscriptionItem, JOIN.LEFT_OUTER)
        .join(Price, JOIN.LEFT_OUTER, on=(SubscriptionItem.price_id == Price.id))
        .where(Subscription.customer == customer_id, Subscription.status.not_in(ENDED))
        .group_by(Subscription.id)
    )
    with storage.reading():
        return dict(query.tuples())


def _erase(user_id: str, ended: set[str], now: float, receipt: Receipt) -> bool:
    """Delete the user's rows; return False while there is a customer that was not ended."""
    conditions = conditions_of(user_id)
    with storage.reading():
        receipt.events = StripeEvent.select().where(conditions[StripeEvent]).count()
        for customer_id in storage.column(Customer.select(Customer.id).where(conditions[Customer])):
            receipt.customers.setdefault(customer_id, receipts.DELETED_BEFORE)
    with storage.writing():
        storage.exclude_acts(user_id)  # no use of theirs may be counted in the midst of this
        if not _customers(user_id) <= ended:
            return False
        _attempts(user_id, now)
        got = (conditions[NoticeDelivery], NoticeDelivery.delivered_at.is_null(False))
        receipt.delivered = NoticeDelivery.select().where(*got).count()
        receipt.rows = count_rows(conditions)
        for table in ERASED[:-1]:
            table.delete().where(conditions[table]).execute()
        # Discard fetches in flight: they know the user.
        bare = {"user": None, "revision": Customer.revision + 1}
        Customer.update(bare).where(Customer.user == user_id).execute()
        is_marked: Any = Customer.marked_app.is_null(False)  # in these words an index has them
        Customer.update(marked_user=None).where(is_marked, Customer.marked_user == user_id).execute()
        User.delete().where(conditions[User]).execute()
        if left := count_rows(conditions):
            raise BillingError(f"rows of user {user_id} are left: {left}")
    return True
