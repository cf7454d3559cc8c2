"""What a click on "subscribe" does: one customer per user, one open session, and never a second subscription."""

import json
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from peewee import fn

from .. import storage
from ..access import read_access
from ..errors import (
    CheckoutInProgress,
    NoBillingAccount,
    StripeFailed,
    StripeRefused,
    StripeUnavailable,
    UnknownCustomer,
    UnknownFlow,
)
from ..models import CheckoutAttempt, Price, Subscription, User
from ..pauses import is_due
from ..sync.best import ENDED
from ..sync.converge import Converger
from ..sync.gateway import SLOWEST_CALL_SECONDS, Gateway
from ..sync.prices import Catalogue
from ..sync.states import InvoiceState, SubscriptionState

CLAIM_SECONDS = 3 * SLOWEST_CALL_SECONDS
WAIT_SECONDS = 3.0
PAUSE_SECONDS = 0.2
KEYS_LAST_SECONDS = 23 * 3600  # Stripe keeps idempotency keys for at least 24 hours
MOST_TURNS = 12
RETURN_PAUSE_SECONDS = 2  # less than the waiting page waits; whoever reloads the way back must not have us ask at will
FLOWS = ("payment_method_update", "subscription_update", "subscription_cancel")

log = logging.getLogger("corkage.checkout")


@dataclass(frozen=True, slots=True)
class Buyer:
    """Who buys, and where Stripe sends them afterwards; from the portal, unless it is said, as from Checkout."""

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
    """Decides where a click leads, always on what Stripe says now: never is a sale decided on the replica alone."""

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
        price = self.catalogue.sold_price(plan, self.gateway, self.clock())
        for _ in range(MOST_TURNS):
            # Read before Stripe is looked at: an attempt that ends by a purchase meanwhile is then not taken for none.
            attempt = CheckoutAttempt.get_or_none(CheckoutAttempt.user == buyer.user_id)
            held = self._deciding(buyer.user_id)
            if held is not None:
                return self._url_for_subscriber(buyer, held, price)
            url = self._session_url(buyer, plan, price, attempt)
            if url is not None:
                return url
        raise CheckoutInProgress(f"user {buyer.user_id}: the attempt changed {MOST_TURNS} times in a row")

    def portal_url(self, user_id: str, return_url: str, flow: str | None = None) -> str:
        """Return the address of the user's own portal, or of one of its flows.

        Errors  UnknownFlow; NoBillingAccount before any purchase, asking nobody; StripeError as the gateway's
        """
        if flow is not None and flow not in FLOWS:
            raise UnknownFlow(f"flow {flow!r}; there are {', '.join(FLOWS)}")
        held, customer_id = _to_manage(user_id)
        if customer_id is None:
            raise NoBillingAccount(f"user {user_id} has no Stripe customer")
        if flow is None or (flow != "payment_method_update" and held is None):
            return self._portal(customer_id, return_url)
        detail = {} if flow == "payment_method_update" else {flow: {"subscription": held}}
        return self._portal(customer_id, return_url, {"type": flow, **detail})

    def come_back(self, session_id: str, gateway: Gateway, now: float) -> str | None:
        """Converge the user whom Stripe sends back from a session that we made.

        The attempt ends when the session is complete and its customer was converged. Until then each return looks
        again, after a pause: the visitor may pay a moment later, and Stripe may fail.

        Shape   the user's id, when the session is complete; else None
        Errors  CheckoutInProgress within the pause after the last look; StripeError as the gateway's
        """
        attempt = CheckoutAttempt.get_or_none(CheckoutAttempt.session_id == session_id)
        if attempt is None:
            return None
        if not self._claim_return(attempt, now):
            raise CheckoutInProgress(f"user {attempt.user_id}: {session_id} was looked at a moment ago")
        session = gateway.checkout_session(session_id)
        if session is None or session.status != "complete":
            return None
        self._bought(attempt, session.subscription_id, gateway)
        return attempt.user_id

    def look_again(self, user_id: str, gateway: Gateway) -> None:
        """Converge all that the user has, for one who comes back from the portal.

        Errors  StripeError as the gateway's
        """
        Converger(gateway, self.catalogue, self.app).converge_user(user_id, self.clock())

    def invoices_of(self, user_id: str, gateway: Gateway) -> tuple[InvoiceState, ...]:
        """Fetch the latest invoices of the customer that the user's portal is of; of no customer there are none.

        Errors  StripeError as the gateway's
        """
        _, customer_id = _to_manage(user_id)
        return gateway.invoices_of(customer_id) if customer_id else ()

    def _deciding(self, user_id: str) -> SubscriptionState | None:
        """Read the user's best subscription from Stripe; None when there is none that goes on."""
        user = User.get_or_none(User.id == user_id)
        if user is None:
            return None
        self.converger.converge_user(user_id, self.clock())
        user = User.get_by_id(user_id)
        opens_nothing = read_access(user_id).reason in ("no_subscription", "ended", "unknown_price")
        if opens_nothing or user.subscription_id is None:
            return None
        return self.gateway.subscription(user.subscription_id)

    def _url_for_subscriber(self, buyer: Buyer, held: SubscriptionState, price: Price) -> str:
        """Follow the table: whoever has a subscription gets the portal for it, never another Checkout."""
        if held.status == "incomplete" and held.open_invoice_url:
            return held.open_invoice_url
        if held.status in ("past_due", "unpaid", "paused", "incomplete"):
            return self._portal(held.customer_id, buyer.after_portal, {"type": "payment_method_update"})
        if held.status not in ("active", "trialing") or len(held.items) != 1 or held.items[0].price.id == price.id:
            return self._portal(held.customer_id, buyer.after_portal)
        item = {"id": held.items[0].id, "price": price.id, "quantity": held.items[0].quantity or 1}
        return self._portal(
            held.customer_id,
            buyer.after_portal,
            {
                "type": "subscription_update_confirm",
                "subscription_update_confirm": {"subscription": held.id, "items": [item]},
            },
        )

    def _portal(self, customer_id: str, return_url: str, flow: dict[str, object] | None = None) -> str:
        """Open the portal at a flow or, where its configuration does not offer that, as it is."""
        plain: dict[str, object] = {"return_url": return_url}
        if flow is None:
            return self.gateway.create_portal_session(customer_id, plain)
        after = {"after_completion": {"type": "redirect", "redirect": {"return_url": return_url}}}
        try:
            return self.gateway.create_portal_session(customer_id, plain | {"flow_data": flow | after})
        except StripeRefused as error:
            log.warning("%s gets the plain portal: %s was refused: %s", customer_id, flow["type"], error)
            return self._portal(customer_id, return_url)

    def _session_url(self, buyer: Buyer, plan: str, price: Price, attempt: CheckoutAttempt | None) -> str | None:
        """Return the address of the user's one open session; None when things have changed: look again."""
        if attempt is None:
            return self._begin(buyer, plan, price)
        if attempt.session_id is None:
            return self._resume(attempt)
        session = self.gateway.checkout_session(attempt.session_id)
        if session is None or session.status not in ("open", "complete"):
            self._drop(attempt)
        elif session.status == "complete":
            self._bought(attempt, session.subscription_id, self.gateway)
        elif attempt.plan == plan and self._asks(buyer, price) == attempt.params:
            return session.url
        else:
            self._expire(attempt.session_id)
        return None

    def _expire(self, session_id: str) -> None:
        """Close an open session. It may have been paid in this very moment: what came of it, the next look tells."""
        try:
            self.gateway.expire_checkout_session(session_id)
        except StripeRefused as error:
            log.info("%s could not be expired, it is no longer as it was read: %s", session_id, error)

    def _begin(self, buyer: Buyer, plan: str, price: Price) -> str | None:
        """Claim a new attempt before Stripe is asked, with all its parameters; None when another click was first."""
        now = self.clock()
        with storage.writing():
            known = {"id": buyer.user_id, "created_at": int(now)}
            User.insert(known).on_conflict_ignore().execute()
            is_new = (User.id == buyer.user_id) & User.stripe_customer_id.is_null()
            told = {"email": fn.COALESCE(buyer.email, User.email), "name": fn.COALESCE(buyer.name, User.name)}
            User.update(told).where(is_new).execute()
            won = (
                CheckoutAttempt.insert(
                    user=buyer.user_id,
                    nonce=str(uuid.uuid4()),
                    plan=plan,
                    params=self._asks(buyer, price),
                    claimed_until=now + CLAIM_SECONDS,
                    created_at=int(now),
                )
                .on_conflict_ignore()
                .as_rowcount()
                .execute()
            )
        return self._carry_out(CheckoutAttempt.get_by_id(buyer.user_id)) if won else None

    def _resume(self, attempt: CheckoutAttempt) -> str | None:
        """Wait for the click that holds the claim or, when a crash left it, carry it out with its own parameters."""
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
        """Make the customer, where there is none, and the session. The attempt must be claimed."""
        try:
            params = json.loads(attempt.params)
            params["customer"] = self._customer(attempt)
            session = self.gateway.create_checkout_session(params, f"{attempt.nonce}-session")
        except (StripeRefused, StripeFailed, UnknownCustomer):
            self._drop(attempt)  # answered: the same key would give the same answer, so the next click takes another
            raise
        except StripeUnavailable:
            self._release(attempt)  # not answered: what came of it, the same key will tell
            raise
        made = {"session_id": session.id, "url": session.url, "expires_at": session.expires_at}
        self._change(CheckoutAttempt.nonce == attempt.nonce, claimed_until=None, **made)
        log.info("user %s: session for plan %s", attempt.user_id, attempt.plan)
        return session.url

    def _customer(self, attempt: CheckoutAttempt) -> str:
        """Return the user's one customer, made when there is none. The row goes on disk before it is used."""
        user = User.get_by_id(attempt.user_id)
        if user.stripe_customer_id is not None:
            return user.stripe_customer_id
        key = f"{attempt.nonce}-customer"
        customer_id = self.gateway.create_customer(self.app, user.id, user.email, user.name, key)
        self.converger.adopt(user.id, customer_id, self.clock())
        return customer_id

    def _asks(self, buyer: Buyer, price: Price) -> str:
        """Write down all that the session is to be made of, but the customer."""
        user = User.get_or_none(User.id == buyer.user_id)
        ours = {"corkage_app": self.app, "corkage_user": buyer.user_id}
        data: dict[str, object] = {"metadata": ours}
        plan = self.catalogue.plans[price.plan or ""]
        if plan.trial_days and (user is None or user.trial_used_at is None):
            data["trial_period_days"] = plan.trial_days
        asked = {
            "mode": "subscription",
            "line_items": [{"price": price.id, "quantity": 1}],
            "client_reference_id": buyer.user_id,
            "metadata": ours,
            "subscription_data": data,
            "success_url": buyer.success_url,
            "cancel_url": buyer.cancel_url,
        }
        return json.dumps(asked, sort_keys=True)

    def _bought(self, attempt: CheckoutAttempt, subscription_id: str | None, gateway: Gateway) -> None:
        """The session was paid, whatever the webhooks say yet: converge, and be done with the attempt."""
        user = User.get_by_id(attempt.user_id)
        if user.stripe_customer_id is not None:
            also = (subscription_id,) if subscription_id else ()
            Converger(gateway, self.catalogue, self.app).converge(user.stripe_customer_id, self.clock(), also=also)
        self._drop(attempt)

    def _claim(self, attempt: CheckoutAttempt) -> bool:
        """Compare-and-set: of all who found the claim free, one gets it."""
        table: Any = CheckoutAttempt  # or the checker takes a nullable column for its value
        return self._change(
            CheckoutAttempt.nonce == attempt.nonce,
            table.claimed_until == attempt.claimed_until,
            claimed_until=self.clock() + CLAIM_SECONDS,
        )

    def _release(self, attempt: CheckoutAttempt) -> None:
        self._change(CheckoutAttempt.nonce == attempt.nonce, claimed_until=None)

    def _claim_return(self, attempt: CheckoutAttempt, now: float) -> bool:
        """Return whether the session may be looked at now; of all who ask at once, one may."""
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
    """Return whether a click is being carried out: it may make a customer or a session yet."""
    return not is_due(attempt.claimed_until or 0, now, CLAIM_SECONDS)


def _to_manage(user_id: str) -> tuple[str | None, str | None]:
    """Tell the user's subscription that goes on, and the customer that has it or, without one, that is to buy."""
    user = User.get_or_none(User.id == user_id)
    if user is None:
        return None, None
    held = Subscription.get_or_none(Subscription.id == user.subscription_id)
    if held is None or held.subscription_status in ENDED:
        return None, user.stripe_customer_id
    return held.id, held.customer_id
