"""What a click on "subscribe" does: one customer per user, one open session, and never a second subscription."""

import json
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from peewee import SQL, fn

from .. import storage
from ..access import CURRENT, ENDED, OWING
from ..errors import (
    CheckoutInProgress,
    StripeFailed,
    StripeRefused,
    StripeUnavailable,
    UnknownCustomer,
)
from ..models import CheckoutAttempt, Customer, Price, Subscription, User
from ..pauses import is_due
from ..sync.converge import Converger
from ..sync.gateway import SLOWEST_CALL_SECONDS, Gateway
from ..sync.marks import warn_of_marked
from ..sync.prices import Catalogue
from ..sync.states import SessionState, SubscriptionState
from .held import group_of, held_subscription
from .portal import open_portal

CLAIM_SECONDS = 3 * SLOWEST_CALL_SECONDS
WAIT_SECONDS = 3.0
PAUSE_SECONDS = 0.2
KEYS_LAST_SECONDS = 23 * 3600  # Stripe keeps idempotency keys for at least 24 hours
MOST_TURNS = 12
RETURN_PAUSE_SECONDS = 2  # less than the waiting page waits; reloading /return must not cost a call each time

log = logging.getLogger("corkage.checkout")


@dataclass(frozen=True, slots=True)
class Buyer:
    """The user who buys, and where Stripe sends them afterwards.

    Shape   portal_return_url: where the portal leads back to; empty for cancel_url
    """

    user_id: str
    email: str | None
    name: str | None
    success_url: str
    cancel_url: str
    portal_return_url: str = ""

    @property
    def after_portal(self) -> str:
        return self.portal_return_url or self.cancel_url


class Checkout:
    """Decides where a click leads, on what Stripe says at that moment. The replica alone never decides a sale."""

    def __init__(self, gateway: Gateway, catalogue: Catalogue, converger: Converger, app: str) -> None:
        self.gateway = gateway
        self.catalogue = catalogue
        self.converger = converger
        self.app = app
        self.clock: Callable[[], float] = time.time

    def subscribe_url(self, buyer: Buyer, plan: str) -> str:
        """Return where to send a visitor who wants this plan: Checkout, the portal, or an open invoice.

        Errors  UnknownPlan; CheckoutInProgress; StripeError as the gateway's
        """
        price = self.catalogue.sold_price(plan, self.gateway)
        for _ in range(MOST_TURNS):
            # Read before Stripe is asked: otherwise an attempt that is paid meanwhile would look like none.
            attempt = CheckoutAttempt.get_or_none(CheckoutAttempt.user == buyer.user_id)
            held = self._held(buyer.user_id, price)
            if held is not None:
                if attempt is not None and not self._close(attempt, price):
                    continue
                return self._url_for_subscriber(buyer, held, price)
            url = self._session_url(buyer, plan, price, attempt)
            if url is not None:
                return url
        raise CheckoutInProgress(f"user {buyer.user_id}: the attempt changed {MOST_TURNS} times in a row")

    def come_back(self, session_id: str, gateway: Gateway, now: float) -> str | None:
        """Converge the user whom Stripe sends back from a session that we made.

        The attempt ends when the session is complete and its customer was converged. Until then each return looks
        again, after a pause: the visitor may pay a moment later, and Stripe may fail.

        Shape   the user's id, when the session is complete; else None
        Errors  CheckoutInProgress within the pause after the last fetch; StripeError as the gateway's
        """
        attempt = CheckoutAttempt.get_or_none(CheckoutAttempt.session_id == session_id)
        if attempt is None:
            return None
        if not self._claim_return(attempt, now):
            raise CheckoutInProgress(f"user {attempt.user_id}: {session_id} was fetched a moment ago")
        session = gateway.checkout_session(session_id)
        if session is None or session.status != "complete":
            return None
        self._bought(attempt, session.subscription_id, gateway)
        return attempt.user_id

    def look_again(self, user_id: str, gateway: Gateway) -> None:
        """Converge all that the user has, for one who comes back from the portal.

        Errors  StripeError as the gateway's
        """
        self.converger.with_gateway(gateway).converge_user(user_id, self.clock())

    def _held(self, user_id: str, price: Price) -> SubscriptionState | None:
        """Fetch the best subscription that the user holds in the price's group; None when all have ended."""
        if User.get_or_none(User.id == user_id) is None:
            return None
        self.converger.converge_user(user_id, self.clock())
        plans = self.catalogue.plans
        held = held_subscription(user_id, plans, group_of(price.plan, plans))
        return None if held is None else self.gateway.subscription(held.id)

    def _url_for_subscriber(self, buyer: Buyer, held: SubscriptionState, price: Price) -> str:
        """Return the portal, or the open invoice: a subscriber never gets another Checkout."""
        if held.status == "incomplete" and held.open_invoice_url:
            return held.open_invoice_url
        if held.status in (*OWING, "paused", "incomplete"):
            return open_portal(self.gateway, held.customer_id, buyer.after_portal, {"type": "payment_method_update"})
        if held.status not in CURRENT or len(held.items) != 1 or held.items[0].price.id == price.id:
            return open_portal(self.gateway, held.customer_id, buyer.after_portal)
        item = {"id": held.items[0].id, "price": price.id, "quantity": held.items[0].quantity or 1}
        return open_portal(
            self.gateway,
            held.customer_id,
            buyer.after_portal,
            {
                "type": "subscription_update_confirm",
                "subscription_update_confirm": {"subscription": held.id, "items": [item]},
            },
        )

    def _session_url(self, buyer: Buyer, plan: str, price: Price, attempt: CheckoutAttempt | None) -> str | None:
        """Return the address of the user's one open session; None when it changed, and the caller must look again."""
        if attempt is None:
            return self._begin(buyer, plan, price)
        if attempt.session_id is None:
            return self._resume(attempt)
        session = self.gateway.checkout_session(attempt.session_id)
        is_the_same = attempt.plan == plan and self._parameters(buyer, price) == attempt.params
        if session is not None and session.status == "open" and is_the_same:
            return session.url
        self._end(attempt, session)
        return None

    def open_pages(self, now: float) -> list[CheckoutAttempt]:
        """Return the attempts of users who hold a subscription of the same group."""
        table: Any = CheckoutAttempt
        theirs = (Customer.user == table.user, Subscription.status.not_in(ENDED))
        holds = fn.EXISTS(Subscription.select(SQL("1")).join(Customer).where(*theirs))
        is_free = table.claimed_until.is_null() | is_due(table.claimed_until, now, CLAIM_SECONDS)
        found = table.select().where(table.session_id.is_null(False), is_free, holds)
        return [each for each in found if self._holds(each.user_id, each.plan)]

    def close_page(self, attempt: CheckoutAttempt) -> None:
        """Expire a session while nobody clicks, so that its page sells nothing more; see whether it was paid.

        A failure leaves the attempt claimed, and it is tried again when the claim is over.

        Errors  StripeError as the gateway's
        """
        if not self._claim(attempt) or attempt.session_id is None:
            return
        self._end(attempt, self.gateway.checkout_session(attempt.session_id))

    def _close(self, attempt: CheckoutAttempt, price: Price) -> bool:
        """Close the page of a subscriber, if it is of the price's group; return False when it may have been paid."""
        plans = self.catalogue.plans
        if attempt.session_id is None or group_of(attempt.plan, plans) != group_of(price.plan, plans):
            return True
        return self._end(attempt, self.gateway.checkout_session(attempt.session_id))

    def _end(self, attempt: CheckoutAttempt, session: SessionState | None) -> bool:
        """Expire the session if it is open, and end the attempt; return False when it was paid, or may have been in
        this moment, which the next look shows.
        """
        if session is not None and session.status == "complete":
            self._bought(attempt, session.subscription_id, self.gateway)
            return False
        if session is not None and session.status == "open" and not self._expire(session.id):
            return False
        self._drop(attempt)
        return True

    def _holds(self, user_id: str, plan: str) -> bool:
        plans = self.catalogue.plans
        return held_subscription(user_id, plans, group_of(plan, plans)) is not None

    def _expire(self, session_id: str) -> bool:
        """Expire an open session; return False when it is not open, as when it was paid in this very moment."""
        try:
            self.gateway.expire_checkout_session(session_id)
        except StripeRefused as error:
            log.info("%s could not be expired, it is no longer as it was read: %s", session_id, error)
            return False
        return True

    def _begin(self, buyer: Buyer, plan: str, price: Price) -> str | None:
        """Store a claimed attempt with all its parameters before Stripe is asked; None when another click was first."""
        now = self.clock()
        with storage.writing():
            row = {"id": buyer.user_id, "created_at": int(now)}
            User.insert(row).on_conflict_ignore().execute()
            is_new = (User.id == buyer.user_id) & User.stripe_customer_id.is_null()
            known = {"email": fn.COALESCE(buyer.email, User.email), "name": fn.COALESCE(buyer.name, User.name)}
            User.update(known).where(is_new).execute()
            won = (
                CheckoutAttempt.insert(
                    user=buyer.user_id,
                    nonce=str(uuid.uuid4()),
                    plan=plan,
                    params=self._parameters(buyer, price),
                    claimed_until=now + CLAIM_SECONDS,
                    created_at=int(now),
                )
                .on_conflict_ignore()
                .as_rowcount()
                .execute()
            )
        if not won:
            return None
        warn_of_marked(buyer.user_id)
        return self._carry_out(CheckoutAttempt.get_by_id(buyer.user_id))

    def _resume(self, attempt: CheckoutAttempt) -> str | None:
        """Wait for the click that holds the claim. After a crash, carry the attempt out with its stored parameters."""
        deadline = self.clock() + WAIT_SECONDS
        while is_claimed(attempt, self.clock()):
            if self.clock() >= deadline:
                raise CheckoutInProgress(f"user {attempt.user_id}: another click holds the claim")
            time.sleep(PAUSE_SECONDS)
            found = CheckoutAttempt.get_or_none(CheckoutAttempt.user == attempt.user_id)
            if found is None or found.session_id is not None or found.nonce != attempt.nonce:
                return None
            attempt = found
        if abs(self.clock() - attempt.created_at) > KEYS_LAST_SECONDS:  # either way: our clock may have been wrong
            self._drop(attempt)
            return None
        return self._carry_out(attempt) if self._claim(attempt) else None

    def _carry_out(self, attempt: CheckoutAttempt) -> str | None:
        """Create the customer, where there is none, and the session. The attempt must be claimed."""
        try:
            params = json.loads(attempt.params)
            params["customer"] = self._customer(attempt)
            session = self.gateway.create_checkout_session(params, f"{attempt.nonce}-session")
        except (StripeRefused, StripeFailed, UnknownCustomer):
            self._drop(
                attempt
            )  # answered: the same idempotency key would repeat the answer, so the next click takes another
            raise
        except StripeUnavailable:
            self._release(attempt)  # not answered: the same idempotency key will show what became of it
            raise
        made = {"session_id": session.id, "url": session.url, "expires_at": session.expires_at}
        self._change(CheckoutAttempt.nonce == attempt.nonce, claimed_until=None, **made)
        log.info("user %s: session for plan %s", attempt.user_id, attempt.plan)
        return None if self._holds(attempt.user_id, attempt.plan) else session.url  # bought elsewhere meanwhile

    def _customer(self, attempt: CheckoutAttempt) -> str:
        """Return the user's one customer, created when there is none. Its row is on disk before it is used."""
        user = User.get_by_id(attempt.user_id)
        if user.stripe_customer_id is not None:
            return user.stripe_customer_id
        key = f"{attempt.nonce}-customer"
        customer_id = self.gateway.create_customer(self.app, user.id, user.email, user.name, key)
        self.converger.adopt(user.id, customer_id, self.clock())
        return customer_id

    def _parameters(self, buyer: Buyer, price: Price) -> str:
        """Return the parameters of the session as JSON, without the customer."""
        user = User.get_or_none(User.id == buyer.user_id)
        ours = {"corkage_app": self.app, "corkage_user": buyer.user_id}
        plan = self.catalogue.plans[price.plan or ""]
        data: dict[str, object] = {"metadata": ours | {"corkage_plan": plan.key, "corkage_price": price.id}}
        if plan.trial_days and (user is None or user.trial_used_at is None):
            data["trial_period_days"] = plan.trial_days
        parameters = {
            "mode": "subscription",
            "line_items": [{"price": price.id, "quantity": 1}],
            "client_reference_id": buyer.user_id,
            "metadata": ours,
            "subscription_data": data,
            "success_url": buyer.success_url,
            "cancel_url": buyer.cancel_url,
        }
        return json.dumps(parameters, sort_keys=True)

    def _bought(self, attempt: CheckoutAttempt, subscription_id: str | None, gateway: Gateway) -> None:
        """Converge the customer of a session that was paid, and end the attempt. No webhook is needed for it."""
        user = User.get_by_id(attempt.user_id)
        if user.stripe_customer_id is not None:
            also = (subscription_id,) if subscription_id else ()
            self.converger.with_gateway(gateway).converge(user.stripe_customer_id, self.clock(), also=also)
        self._drop(attempt)

    def _claim(self, attempt: CheckoutAttempt) -> bool:
        """Claim by compare-and-set: of all clicks that found the attempt free, one gets it."""
        table: Any = CheckoutAttempt  # or the checker takes a nullable column for its value
        return self._change(
            CheckoutAttempt.nonce == attempt.nonce,
            table.claimed_until == attempt.claimed_until,
            claimed_until=self.clock() + CLAIM_SECONDS,
        )

    def _release(self, attempt: CheckoutAttempt) -> None:
        self._change(CheckoutAttempt.nonce == attempt.nonce, claimed_until=None)

    def _claim_return(self, attempt: CheckoutAttempt, now: float) -> bool:
        """Return whether the session may be fetched now; of several requests at once, one may."""
        table, last = CheckoutAttempt, attempt.returned_at
        if last is not None and now - RETURN_PAUSE_SECONDS < last <= now:
            return False
        return self._change(table.nonce == attempt.nonce, table.returned_at == last, returned_at=int(now))

    def _change(self, *is_as_read: Any, **values: object) -> bool:
        with storage.writing():
            return bool(CheckoutAttempt.update(values).where(*is_as_read).execute())

    def _drop(self, attempt: CheckoutAttempt) -> None:
        with storage.writing():
            table: Any = CheckoutAttempt
            table.delete().where(table.nonce == attempt.nonce).execute()


def is_claimed(attempt: CheckoutAttempt, now: float) -> bool:
    """Return whether a click is being carried out. It may still create a customer or a session."""
    return not is_due(attempt.claimed_until or 0, now, CLAIM_SECONDS)
