"""Attempts to buy: one for each user and group of plans, carried out by one click at a time."""

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

from peewee import fn

from .. import storage
from ..errors import CheckoutInProgress
from ..gateway.client import SLOWEST_CALL_SECONDS
from ..models import CheckoutAttempt, User
from ..pacing.pauses import is_due
from .buyer import Buyer, Wish

CLAIM_SECONDS = 3 * SLOWEST_CALL_SECONDS
WAIT_SECONDS = 3.0
PAUSE_SECONDS = 0.2
KEYS_LAST_SECONDS = 23 * 3600  # Stripe keeps idempotency keys for at least 24 hours
RETURN_PAUSE_SECONDS = 2  # less than the waiting page waits; reloading /return must not cost a call each time

WISH_OF_BEFORE = "{}"  # what the upgrade of the tables gives an attempt of a version that stored no wish

table: Any = CheckoutAttempt  # or the checker takes a nullable column for its value


def find(user_id: str, group: str) -> CheckoutAttempt | None:
    """Return the user's attempt to buy something of the group."""
    found: CheckoutAttempt | None = table.get_or_none(table.user == user_id, table.group == group)
    return found


def begin(buyer: Buyer, wish: Wish, group: str, texts: dict[str, str], now: float) -> CheckoutAttempt | None:
    """Store a claimed attempt before Stripe is asked; None when another click was first.

    While the user has no customer, that may be a click in another group: two attempts would make two customers.

    Shape   texts: its `wish` and its `params`
    """
    nonce = str(uuid.uuid4())
    with storage.writing():
        if in_the_way(buyer.user_id) is not None:
            return None
        know(buyer, now)
        row = {"user": buyer.user_id, "group": group, "nonce": nonce, "plan": wish.plan.key, **texts}
        times = {"claimed_until": now + CLAIM_SECONDS, "created_at": int(now)}
        won = table.insert(row | times).on_conflict_ignore().as_rowcount().execute()
    return _by_nonce(nonce) if won else None


def know(buyer: Buyer, now: float) -> None:
    """Store who buys, as the host says. To be called inside a writing transaction."""
    rows = [{"id": each, "created_at": int(now)} for each in buyer.people]  # a trial is noted for each of them
    User.insert_many(rows).on_conflict_ignore().execute()
    is_new = (User.id == buyer.user_id) & User.stripe_customer_id.is_null()
    known = {name: fn.COALESCE(getattr(buyer, name), getattr(User, name)) for name in ("email", "name")}
    User.update(known | {"said_email": known["email"]}).where(is_new).execute()


def in_the_way(user_id: str) -> CheckoutAttempt | None:
    """Return an attempt, of any group, that may be making the customer of a user who has none."""
    has_customer = User.select().where(User.id == user_id, User.stripe_customer_id.is_null(False)).exists()
    open_ones = table.select().where(table.user == user_id, table.session_id.is_null())
    found: CheckoutAttempt | None = open_ones.order_by(table.group).first()  # the same one for every click
    return None if has_customer else found


def people_of(attempt: CheckoutAttempt) -> list[str]:
    """Return the user, and whoever buys for them: they get one trial between them."""
    buyer = json.loads(attempt.params).get("subscription_data", {}).get("metadata", {}).get("corkage_buyer")
    return [attempt.user_id, buyer] if buyer else [attempt.user_id]


def wait_for(attempt: CheckoutAttempt, clock: Callable[[], float]) -> CheckoutAttempt | None:
    """Wait for the click that holds the claim; return the attempt when it is free, None when it changed.

    Errors  CheckoutInProgress when the other click takes longer than this one can wait
    """
    deadline = clock() + WAIT_SECONDS
    while is_claimed(attempt, clock()):
        if clock() >= deadline:
            raise CheckoutInProgress(f"user {attempt.user_id}: another click holds the claim")
        time.sleep(PAUSE_SECONDS)
        found = _by_nonce(attempt.nonce)
        if found is None or found.session_id is not None:
            return None
        attempt = found
    return attempt


def is_claimed(attempt: CheckoutAttempt, now: float) -> bool:
    """Return whether a click is being carried out. It may still create a customer or a session."""
    return not is_due(attempt.claimed_until or 0, now, CLAIM_SECONDS)


def is_repeatable(attempt: CheckoutAttempt, now: float) -> bool:
    """Return whether Stripe still knows its idempotency keys."""
    return abs(now - attempt.created_at) <= KEYS_LAST_SECONDS  # either way: our clock may have been wrong


def claim(attempt: CheckoutAttempt, now: float) -> bool:
    """Claim by compare-and-set: of all clicks that found the attempt free, one gets it."""
    is_as_read = table.claimed_until == attempt.claimed_until
    return change(attempt, is_as_read, claimed_until=now + CLAIM_SECONDS)


def claim_return(attempt: CheckoutAttempt, now: float) -> bool:
    """Return whether the session may be fetched now; of several requests at once, one may."""
    last = attempt.returned_at
    if last is not None and now - RETURN_PAUSE_SECONDS < last <= now:
        return False
    return change(attempt, table.returned_at == last, returned_at=int(now))


def change(attempt: CheckoutAttempt, *is_as_read: Any, **values: object) -> bool:
    """Change the attempt, unless it has ended or is not as read; return whether it was changed."""
    with storage.writing():
        return bool(table.update(values).where(table.nonce == attempt.nonce, *is_as_read).execute())


def end(attempt: CheckoutAttempt) -> None:
    """Delete the attempt."""
    with storage.writing():
        table.delete().where(table.nonce == attempt.nonce).execute()


def _by_nonce(nonce: str) -> CheckoutAttempt | None:
    found: CheckoutAttempt | None = table.get_or_none(table.nonce == nonce)
    return found
