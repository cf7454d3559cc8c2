"""Forget a user when the host deletes the account: nothing is charged any more, and nothing here names them."""

import logging
import time
from typing import Any

from peewee import JOIN, Case, fn

from .. import storage
from ..access import ENDED
from ..errors import CheckoutInProgress, StripeRefused
from ..models import (
    AnswerRow,
    ChangeRow,
    CheckoutAttempt,
    Credit,
    Customer,
    Grant,
    GrantMirror,
    MeterEvent,
    Move,
    Price,
    Purchase,
    Refund,
    Subscription,
    SubscriptionItem,
    Usage,
    UsageKey,
    User,
)
from ..notices import outbox
from ..selling.attempts import PAUSE_SECONDS, WAIT_SECONDS, is_claimed
from ..sync.converge import Converger
from ..sync.gateway import Gateway

MOST_TURNS = 5
_OF_USER = (CheckoutAttempt, Credit, Usage, UsageKey, MeterEvent, ChangeRow, Grant, GrantMirror)

log = logging.getLogger("corkage.users")


def forget_user(converger: Converger, user_id: str, now: float) -> None:
    """End everything at Stripe first, then delete the rows here, so that a second call continues after a failure.

    The bare id of each customer stays, without a user, for events that come late.

    Errors  CheckoutInProgress while a click of the user's is carried out; StripeError as the gateway's
    """
    ended: set[str] = set()
    _wait_for_clicks(user_id, now)
    for _ in range(MOST_TURNS):
        _close_checkout(converger.gateway, user_id, now)
        for customer_id in _customers(user_id) - ended:
            _end(converger, customer_id, now)
            ended.add(customer_id)
        if _erase(user_id, ended, now):
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


def _close_checkout(gateway: Gateway, user_id: str, now: float) -> None:
    for attempt in _attempts(user_id, now):
        try:
            if attempt.session_id is not None:
                gateway.expire_checkout_session(attempt.session_id)
        except StripeRefused as error:
            log.info("%s is no longer open: %s", attempt.session_id, error)


def _attempts(user_id: str, now: float) -> list[CheckoutAttempt]:
    found = list(CheckoutAttempt.select().where(CheckoutAttempt.user == user_id))
    if any(is_claimed(attempt, now) for attempt in found):
        raise CheckoutInProgress(f"user {user_id}: a click is being carried out, and may make a customer yet")
    return found


def _end(converger: Converger, customer_id: str, now: float) -> None:
    """Delete the customer. Where another product has subscriptions of it, cancel only ours."""
    converger.converge(customer_id, now, reads_customer=True)
    row = Customer.get_by_id(customer_id)
    if row.deleted_at is not None or row.missing_at is not None:
        return
    going_on = _going_on(customer_id)
    if all(is_ours for is_ours in going_on.values()):
        converger.gateway.delete_customer(customer_id)
        return
    log.warning("%s has subscriptions of another product, too: only ours are canceled", customer_id)
    for subscription_id in (id_ for id_, is_ours in going_on.items() if is_ours):
        converger.gateway.cancel_subscription(subscription_id)
    converger.gateway.disown_customer(customer_id)


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


def _erase(user_id: str, ended: set[str], now: float) -> bool:
    """Delete the user's rows; return False while there is a customer that was not ended."""
    with storage.writing():
        storage.exclude_acts(user_id)  # no use of theirs may be counted in the midst of this
        if not _customers(user_id) <= ended:
            return False
        _attempts(user_id, now)
        theirs = Customer.select(Customer.id).where(Customer.user == user_id)
        subscriptions = Subscription.select(Subscription.id).where(Subscription.customer.in_(theirs))
        SubscriptionItem.delete().where(SubscriptionItem.subscription.in_(subscriptions)).execute()
        Move.delete().where(Move.subscription_id.in_(subscriptions)).execute()
        Subscription.delete().where(Subscription.customer.in_(theirs)).execute()
        for of_customer in (Purchase, Refund):
            of_customer.delete().where(of_customer.customer.in_(theirs)).execute()
        for of_user in _OF_USER:
            of_user.delete().where(of_user.user == user_id).execute()
        AnswerRow.delete().where(AnswerRow.user_id == user_id).execute()
        outbox.withdraw(user_id)
        # Discard fetches in flight: they know the user.
        bare = {"user": None, "revision": Customer.revision + 1}
        Customer.update(bare).where(Customer.user == user_id).execute()
        User.delete().where(User.id == user_id).execute()
    return True
