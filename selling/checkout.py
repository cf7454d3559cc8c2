"""What a click on "subscribe" does: one customer per user, one open session and subscription per group of plans."""

import enum
import functools
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from ..access import ENDED, Terms, read_access
from ..errors import (
    AlreadyBought,
    CheckoutInProgress,
    CodeRefused,
    InvalidQuantity,
    NeedsPlan,
    PriceRefused,
    StripeFailed,
    StripeRefused,
    StripeUnavailable,
    UnknownCustomer,
)
from ..gateway.gateway import Gateway
from ..gateway.states import SessionState, SubscriptionState
from ..logs.facts import logger
from ..models import CheckoutAttempt, Customer, Price, Purchase, Subscription, User
from ..plans import Plan
from ..replica.marks import warn_of_marked
from ..replica.prices import Catalogue
from ..storage import column, rows, writing
from ..sync.converge import Converger
from . import CODE_UNKNOWN, LONGEST_CODE, attempts
from .buyer import Buyer, Lead, Selling, Wish, had_trial, wish_text
from .held import held_for_good, held_subscriptions, is_covered, own_subscriptions
from .subscribers import PAYABLE, is_of, lead_subscriber, resume_asked
from .unlinked import refuse_maybe_subscribed

MOST_TURNS = 12
TRIAL = "trial_period_days"

# The worker asks this each time that it looks for work; mostly there is none.
_MAY_BE_BOUGHT = f"""
SELECT a.user_id, a.group_name FROM corkage_checkout_attempt AS a
WHERE a.session_id IS NOT NULL
    AND (a.claimed_until IS NULL OR a.claimed_until <= ? OR a.claimed_until > ?)
    AND (
        a.wish = '{attempts.WISH_OF_BEFORE}'
        OR a.params LIKE '%{TRIAL}%'
        OR EXISTS (
            SELECT 1 FROM corkage_customer AS c JOIN corkage_subscription AS s ON s.customer_id = c.id
            WHERE c.user_id = a.user_id AND s.status NOT IN ({", ".join(f"'{status}'" for status in ENDED)})
        )
        OR EXISTS (
            SELECT 1 FROM corkage_customer AS c JOIN corkage_purchase AS b ON b.customer_id = c.id
            WHERE c.user_id = a.user_id
        )
    )
"""  # noqa: S608 -- the inserted texts are constants of this program; all input is bound

log = logger("corkage.checkout")


class _Page(enum.Enum):
    """What is known of the page of an attempt, after Stripe was asked."""

    NONE = "there is none"
    MAKING = "a click is making one, or was cut off while it did"
    OPEN = "it is open, and sells what is wanted"
    CHANGED = "it was paid, or something else happened to it in this moment"


class Bought(NamedTuple):
    """Who came back from a session that is complete. gives_access: not a pack that is paid, which gives credit."""

    user_id: str
    gives_access: bool


class Checkout:
    """Decides where a click leads, on what Stripe says at that moment. The replica alone never decides a sale."""

    def __init__(self, gateway: Gateway, catalogue: Catalogue, converger: Converger, selling: Selling) -> None:
        self.gateway = gateway
        self.catalogue = catalogue
        self.converger = converger
        self.selling = selling
        self.clock: Callable[[], float] = time.time

    def subscribe(
        self, buyer: Buyer, offer: str, quantity: int | None = None, code: str = "", *, again: bool = False
    ) -> Lead:
        """Return where to lead a visitor who wants this plan: Checkout, the portal, or an open invoice.

        Shape   offer: "plan" or "plan:price"; code: a promotion code, as the visitor typed it;
                again: they were asked whether they pay already, and want to buy
        Errors  UnknownPlan; InvalidQuantity; NeedsPlan; AlreadyBought; MaybeSubscribed; CheckoutInProgress;
                StripeError as the gateway's
        """
        price = self.catalogue.sold_price(offer, self.gateway)
        plans = self.catalogue.plans
        plan = plans[price.plan or ""]
        with_seats = frozenset(each.key for each in plans.values() if each.seats)
        wish = Wish(plan, price, quantity, code, ":" in offer or len(plan.prices) == 1, with_seats, again)
        least, most = wish.plan.seats or (1, 1)
        if quantity is not None and not least <= quantity <= most:
            raise InvalidQuantity(f"{quantity} of plan {wish.plan.key}, which is sold from {least} to {most}")
        for _ in range(MOST_TURNS):
            lead = self._turn(buyer, wish)
            if lead is not None:
                return lead
        raise CheckoutInProgress(f"user {buyer.user_id}: the attempt changed {MOST_TURNS} times in a row")

    def come_back(self, session_id: str, gateway: Gateway, now: float) -> Bought | None:
        """Converge the user whom Stripe sends back from a session that we made.

        The attempt ends when the session is complete and its customer was converged. Until then each return looks
        again, after a pause: the visitor may pay a moment later, and Stripe may fail.

        Shape   None unless the session is complete
        Errors  CheckoutInProgress within the pause after the last fetch; StripeError as the gateway's
        """
        attempt = CheckoutAttempt.get_or_none(CheckoutAttempt.session_id == session_id)
        if attempt is None:
            return None
        if not attempts.claim_return(attempt, now):
            raise CheckoutInProgress(f"user {attempt.user_id}: {session_id} was fetched a moment ago")
        converger = self.converger.with_gateway(gateway)
        session, _ = gateway.side_by_side(
            functools.partial(gateway.checkout_session, session_id),
            functools.partial(converger.converge_user, attempt.user_id, now, reads_purchases=_is_once(attempt)),
        )
        if session is None or session.status != "complete":
            return None
        if not _is_stored(session):  # the list lags behind
            self._converge_buyer(session, converger)
        attempts.end(attempt)
        return Bought(attempt.user_id, gives_access=not self._is_pack(session))

    def _is_pack(self, session: SessionState) -> bool:
        """Return whether a session has sold a pack, and it is paid."""
        bought = Purchase.select(Purchase.price_id).where(Purchase.id == session.id)
        plans = column(Price.select(Price.plan).where(Price.id.in_(bought)))
        terms = self.catalogue.timelines.plans
        return bool(plans) and all(terms.get(plan or "", Terms()).is_pack for plan in plans)

    def look_again(self, user_id: str, gateway: Gateway) -> None:
        """Converge all that the user has, for one who comes back from the portal; resume what waited for a card.

        Errors  StripeError as the gateway's
        """
        converger = self.converger.with_gateway(gateway)
        found = converger.converge_user(user_id, self.clock())
        if self._resume_asked(user_id, found, gateway):
            converger.converge_user(user_id, self.clock())

    def resume_paused(self, customer_id: str, subscriptions: tuple[SubscriptionState, ...]) -> bool:
        """Resume what of a customer waited for a card that its user went to give; return whether anything goes on.

        Errors  StripeError as the gateway's
        """
        if not any(each.lacks_card for each in subscriptions):
            return False
        customer = Customer.get_or_none(Customer.id == customer_id)
        user_id = None if customer is None else customer.user_id
        return user_id is not None and self._resume_asked(user_id, subscriptions, self.gateway)

    def _resume_asked(self, user_id: str, states: tuple[SubscriptionState, ...], gateway: Gateway) -> bool:
        if not any(each.lacks_card for each in states):
            return False
        own = own_subscriptions(user_id)
        return resume_asked(gateway, [each for each in states if each.id in own], self.clock())

    def open_pages(self, now: float) -> list[CheckoutAttempt]:
        """Return the attempts of users who hold what the page sells, a subscription of the same group for one, or had a
        trial since; and the attempts of an earlier version, which knew no groups.
        """
        found = rows(_MAY_BE_BOUGHT, (now, now + attempts.CLAIM_SECONDS))
        table = CheckoutAttempt
        read = [table.get_or_none(table.user == user_id, table.group == group) for user_id, group in found]
        return [each for each in read if each is not None and self._is_bought(each)]

    def _is_bought(self, attempt: CheckoutAttempt) -> bool:
        if attempt.wish == attempts.WISH_OF_BEFORE or self._is_held(attempt):
            return True
        return TRIAL in attempt.params and had_trial(attempts.people_of(attempt))

    def close_page(self, attempt: CheckoutAttempt) -> None:
        """Expire a session while nobody clicks, so that its page sells nothing more; see whether it was paid.

        A failure leaves the attempt claimed, and it is tried again when the claim is over.

        Errors  StripeError as the gateway's
        """
        if attempts.claim(attempt, self.clock()) and attempt.session_id is not None:
            self._end(attempt, self.gateway.checkout_session(attempt.session_id))

    def _turn(self, buyer: Buyer, wish: Wish) -> Lead | None:
        """Ask Stripe all that decides, side by side, then do what follows. None: look again.

        Another page than the wanted one is expired in the first round trip, so that nothing is sold before that is
        answered.
        """
        group = wish.plan.in_group
        # Read before Stripe is asked: otherwise an attempt that is paid meanwhile would look like none.
        attempt, theirs = attempts.find(buyer.user_id, group), self._customers(buyer.user_id)
        if attempt is None and not theirs:
            self._refuse_lonely_addon(buyer.user_id, wish.plan)
            return self._begin(buyer, wish, json.dumps(self._parameters(buyer, wish) | _to_look_up(wish)))
        wanted = self._wish_text(buyer, wish)
        look = functools.partial(self.converger.converge_user, buyer.user_id, self.clock())
        states, page, code_id, _ = self.gateway.side_by_side(
            functools.partial(look, reads_purchases=not wish.plan.adds),
            functools.partial(self._look_at_page, attempt, wanted),
            functools.partial(self._code_id, wish.code, theirs),
            functools.partial(self._update_email, buyer, theirs),
        )
        if page is _Page.CHANGED:
            return None
        self._refuse_bought(buyer.user_id, wish.plan)
        # What is paid once is sold beside a subscription, which is ended when it is paid.
        held = [] if wish.is_once else self._held(buyer.user_id, group, states)
        go_on = functools.partial(self._go_on, buyer, wish, attempt, page, code_id)
        if not held:
            return go_on()
        begun = [each for each in held if each.status != "incomplete"]
        if not begun and not _is_same(held[0], wish):
            return self._replace(held, go_on)
        lead_on = functools.partial(lead_subscriber, self.gateway, buyer, [*begun, *held][0], wish, code_id)
        if attempt is None or page is not _Page.OPEN:
            return lead_on()
        lead, is_closed = self.gateway.side_by_side(lead_on, functools.partial(self._expire, attempt))
        return lead if is_closed else None

    def _go_on(
        self, buyer: Buyer, wish: Wish, attempt: CheckoutAttempt | None, page: _Page, code_id: str | None
    ) -> Lead | None:
        """Lead to Checkout: to the page that is open, else to a new one."""
        if attempt is not None and page is _Page.MAKING:
            lead = self._carry_on(attempt)
            return lead if attempt.wish == self._wish_text(buyer, wish) else None
        self._refuse_lonely_addon(buyer.user_id, wish.plan)
        if attempt is None or page is not _Page.OPEN:
            parameters = _with_code(self._parameters(buyer, wish), code_id)
            return self._begin(buyer, wish, json.dumps(parameters))
        if attempt.wish != self._wish_text(buyer, wish):  # a trial was found that nobody had heard of
            self._expire(attempt)
            return None
        return _lead_to_page(attempt.url, attempt.params, wish.code)

    def _replace(self, held: list[SubscriptionState], go_on: Callable[[], Lead | None]) -> Lead | None:
        """Cancel subscriptions that were never paid, and sell another; None when one was paid in this moment.

        Their invoices are voided first. Only then nobody can pay them any more, in another tab for one.
        """
        latest = [each.latest_invoice for each in held]
        if any(invoice is not None and invoice.status == "paid" for invoice in latest):
            return None
        payable = [invoice.id for invoice in latest if invoice is not None and invoice.status in PAYABLE]
        try:
            self.gateway.side_by_side(*(functools.partial(self.gateway.void_invoice, id_) for id_ in payable))
        except StripeRefused as error:
            log.info("an invoice could not be voided, it is no longer as it was read: %s", error)
            return None
        cancel = (functools.partial(self._cancel_unpaid, each.id) for each in held)
        lead: Lead | None = self.gateway.side_by_side(go_on, *cancel)[0]
        return lead

    def _cancel_unpaid(self, subscription_id: str) -> None:
        try:
            self.gateway.cancel_subscription(subscription_id)
        except StripeRefused as error:
            log.info("%s has ended already: %s", subscription_id, error)

    def _look_at_page(self, attempt: CheckoutAttempt | None, wanted: str) -> _Page:
        """Return what became of the attempt's page, after expiring it where it sells something else."""
        if attempt is None:
            return _Page.NONE
        if attempt.session_id is None:
            return _Page.MAKING
        if attempt.wish != wanted:
            return _Page.NONE if self._expire(attempt) else _Page.CHANGED
        session = self.gateway.checkout_session(attempt.session_id)
        if session is not None and session.status == "open" and session.is_customer_gone:
            attempts.end(attempt)
            self._look_at_customer(attempt.user_id)
            return _Page.CHANGED
        if session is not None and session.status == "open":
            if session.customer_id in self._customers(attempt.user_id):
                return _Page.OPEN
            self._expire(attempt)  # the customer was linked to another user
            return _Page.CHANGED
        return _Page.NONE if self._end(attempt, session) else _Page.CHANGED

    def _expire(self, attempt: CheckoutAttempt) -> bool:
        """Expire the page, and end the attempt; return False when it was paid, or may have been in this moment."""
        if attempt.session_id is None:
            return False
        try:
            self.gateway.expire_checkout_session(attempt.session_id)
        except StripeRefused as error:
            log.info("%s could not be expired, it is no longer as it was read: %s", attempt.session_id, error)
            session = self.gateway.checkout_session(attempt.session_id)
            return (session is None or session.status != "open") and self._end(attempt, session)
        attempts.end(attempt)
        return True

    def _end(self, attempt: CheckoutAttempt, session: SessionState | None) -> bool:
        """End the attempt, and its session if it is open; return False when it was paid, or may have been."""
        if session is not None and session.status == "open":
            return self._expire(attempt)
        is_paid = session is not None and session.status == "complete"
        if session is not None and is_paid:
            self._converge_buyer(session, self.converger)
        attempts.end(attempt)
        return not is_paid

    def _converge_buyer(self, session: SessionState, converger: Converger) -> None:
        """Converge the customer of a session that was paid. No webhook is needed for it."""
        if session.customer_id is not None:
            also = (session.subscription_id or session.id,)
            converger.converge(session.customer_id, self.clock(), also=also)

    def _customers(self, user_id: str) -> list[str]:
        theirs = (Customer.user == user_id, Customer.deleted_at.is_null())
        return column(Customer.select(Customer.id).where(*theirs).order_by(Customer.id))

    def _held(self, user_id: str, group: str, states: tuple[SubscriptionState, ...]) -> list[SubscriptionState]:
        """Return the user's subscriptions of the group that have not ended, the best first, never paid ones too."""
        known = {each.id: each for each in states}
        held = [each.id for each in held_subscriptions(user_id, self.catalogue.plans, group)]
        found = [known.get(id_) or self.gateway.subscription(id_) for id_ in held]
        return [each for each in found if each is not None]

    def _is_held(self, attempt: CheckoutAttempt) -> bool:
        """Return whether the user of an attempt has by now what would be sold once more."""
        plan = self.catalogue.plans.get(attempt.plan)
        if plan is not None and self._has_for_good(attempt.user_id, plan):
            return True
        return not _is_once(attempt) and self._holds(attempt.user_id, attempt.group)

    def _has_for_good(self, user_id: str, plan: Plan) -> bool:
        plans = self.catalogue.plans
        return is_covered(plan, held_for_good(user_id, plans), plans)

    def _refuse_bought(self, user_id: str, plan: Plan) -> None:
        if self._has_for_good(user_id, plan):
            raise AlreadyBought(f"user {user_id} has bought for good what gives as much as {plan.key}")

    def _holds(self, user_id: str, group: str) -> bool:
        """Return whether the user holds a subscription of the group that runs. One never paid is no obstacle, nor is
        one of a customer that Stripe does not know.
        """
        running = [
            each.id for each in held_subscriptions(user_id, self.catalogue.plans, group) if each.status != "incomplete"
        ]
        known = (Subscription.id.in_(running), Customer.missing_at.is_null())
        return Subscription.select().join(Customer).where(*known).exists()

    def _refuse_lonely_addon(self, user_id: str, plan: Plan) -> None:
        """Raise NeedsPlan for an add-on to plans of which the user has none."""
        if not plan.adds_to:
            return
        held = {each.plan for each in held_subscriptions(user_id, self.catalogue.plans)}
        if not (held | set(read_access(user_id).plans)) & set(plan.adds_to):
            raise NeedsPlan(f"user {user_id} has none of {', '.join(plan.adds_to)}, to which {plan.key} adds")

    def _code_id(self, code: str, customers: list[str]) -> str | None:
        """Fetch the id of a promotion code: the one for a customer of the user's, else the one for anybody."""
        if not code or len(code) > LONGEST_CODE or not self.selling.takes_codes:
            return None
        found = self.gateway.promotion_codes(code)
        return next((found[each] for each in customers if each in found), found.get(None))

    def _update_email(self, buyer: Buyer, customers: list[str]) -> None:
        """Store the e-mail at Stripe when the host says another one than before. A refusal is logged.

        Until then an e-mail that the user changed at Stripe stays.
        """
        user = User.get_or_none(User.id == buyer.user_id)
        if user is None or not customers or not buyer.email or buyer.email == user.said_email:
            return
        if user.said_email is not None and not buyer.buyer_id:
            for customer_id in customers:
                try:
                    self.gateway.update_customer(customer_id, {"email": buyer.email})
                except (StripeRefused, UnknownCustomer) as error:
                    log.warning("user %s: Stripe does not take the new e-mail: %s", user.id, error.code)
        with writing():
            User.update(said_email=buyer.email).where(User.id == user.id).execute()

    def _begin(self, buyer: Buyer, wish: Wish, params: str) -> Lead | None:
        """Store a claimed attempt with all its parameters before Stripe is asked; None when another click was first."""
        refuse_maybe_subscribed(buyer, wish, self.catalogue.plans, self.clock())
        texts = {"wish": self._wish_text(buyer, wish), "params": params}
        attempt = attempts.begin(buyer, wish, wish.plan.in_group, texts, self.clock())
        if attempt is None:
            self._wait_for_customer(buyer.user_id)
            return None
        warn_of_marked(buyer.user_id)
        return self._carry_out(attempt)

    def _wait_for_customer(self, user_id: str) -> None:
        """Wait for a click that makes the user's customer. After a crash, make it with the key of that click."""
        other = attempts.in_the_way(user_id)
        free = attempts.wait_for(other, self.clock) if other is not None else None
        if free is None:
            return
        if not attempts.is_repeatable(free, self.clock()):
            attempts.end(free)
        elif attempts.claim(free, self.clock()):
            self._customer(free)
            attempts.change(free, claimed_until=None)

    def _carry_on(self, attempt: CheckoutAttempt) -> Lead | None:
        """Wait for the click that holds the claim. After a crash, carry the attempt out with its stored parameters."""
        free = attempts.wait_for(attempt, self.clock)
        if free is None:
            return None
        if not attempts.is_repeatable(free, self.clock()):
            attempts.end(free)
            return None
        self._look_at_customer(free.user_id)  # its keys would bring back a customer that was deleted since
        return self._carry_out(free) if attempts.claim(free, self.clock()) else None

    def _carry_out(self, attempt: CheckoutAttempt) -> Lead | None:
        """Create the customer, where there is none, and the session. The attempt must be claimed."""
        try:
            session, params = self._make_session(attempt)
        except (StripeRefused, StripeFailed, UnknownCustomer) as error:
            # Answered: the same idempotency key would repeat the answer, so the next click takes another.
            attempts.end(attempt)
            if isinstance(error, PriceRefused):
                self.catalogue.refresh(self.gateway)
            if not isinstance(error, UnknownCustomer):
                raise
            self._look_at_customer(attempt.user_id)
            return None
        except StripeUnavailable:
            attempts.change(attempt, claimed_until=None)  # not answered: the same key will show what became of it
            raise
        made = {"session_id": session.id, "url": session.url, "expires_at": session.expires_at}
        attempts.change(attempt, claimed_until=None, params=params, **made)
        log.info("user %s: session for plan %s", attempt.user_id, attempt.plan)
        if self._is_held(attempt):  # bought elsewhere meanwhile
            return None
        return _lead_to_page(session.url, params, json.loads(attempt.wish).get("code", ""))

    def _make_session(self, attempt: CheckoutAttempt) -> tuple[SessionState, str]:
        """Create the session; return it with its parameters. A code that does not fit is left out."""
        params: dict[str, Any] = json.loads(attempt.params)
        code = params.pop("code", "")
        customer_id, code_id = self.gateway.side_by_side(
            functools.partial(self._customer, attempt),
            functools.partial(self._code_id, code, self._customers(attempt.user_id)),
        )
        params = _with_code(params, code_id)
        attempts.change(attempt, params=json.dumps(params))  # one key, the same parameters
        key = f"{attempt.nonce}-session"
        try:
            session = self.gateway.create_checkout_session(params | {"customer": customer_id}, key)
        except CodeRefused as error:
            log.info("user %s: Checkout without the code: %s", attempt.user_id, error)
            params = {name: value for name, value in params.items() if name != "discounts"}
            session = self.gateway.create_checkout_session(params | {"customer": customer_id}, f"{key}-without-code")
        return session, json.dumps(params)

    def _look_at_customer(self, user_id: str) -> None:
        """Find out whether Stripe still has the user's customer. If not, another is made."""
        user = User.get_by_id(user_id)
        if user.stripe_customer_id is not None:
            self.converger.converge(user.stripe_customer_id, self.clock(), reads_customer=True)

    def _customer(self, attempt: CheckoutAttempt) -> str:
        """Return the user's one customer, created when there is none. Its row is on disk before it is used."""
        user = User.get_by_id(attempt.user_id)
        if user.stripe_customer_id is not None:
            return user.stripe_customer_id
        key = f"{attempt.nonce}-customer"
        customer_id = self.gateway.create_customer(self.selling.app, user.id, user.email, user.name, key)
        if Customer.select().where(Customer.id == customer_id, Customer.deleted_at.is_null(False)).exists():
            raise UnknownCustomer(f"{customer_id}, which an earlier try made, was deleted since")
        self.converger.adopt(user.id, customer_id, self.clock())
        return customer_id

    def _parameters(self, buyer: Buyer, wish: Wish) -> dict[str, object]:
        return self.selling.parameters(buyer, wish, had_trial=had_trial(buyer.people))

    def _wish_text(self, buyer: Buyer, wish: Wish) -> str:
        return wish_text(wish, self._parameters(buyer, wish))


def _is_same(held: SubscriptionState, wish: Wish) -> bool:
    """Return whether a subscription is what is wanted, in that number where one is named."""
    return is_of(held, wish) and (wish.quantity is None or wish.quantity in [each.quantity for each in held.items])


def _is_once(attempt: CheckoutAttempt) -> bool:
    """Return whether the attempt is to buy what is paid once."""
    return bool(json.loads(attempt.params).get("mode") == "payment")


def _is_stored(session: SessionState) -> bool:
    """Return whether what a complete session sold is in the replica. What is not paid yet will come with its event."""
    if session.is_once:
        return session.is_unpaid or Purchase.select().where(Purchase.id == session.id).exists()
    bought = session.subscription_id
    return bought is not None and Subscription.select().where(Subscription.id == bought).exists()


def _to_look_up(wish: Wish) -> dict[str, object]:
    """Return the parameter that keeps a code until its id is fetched, beside the creation of the customer."""
    return {"code": wish.code} if wish.code else {}


def _with_code(parameters: dict[str, Any], code_id: str | None) -> dict[str, Any]:
    """Return the parameters with a promotion code. Stripe takes either a code or a field for one."""
    if code_id is None:
        return parameters
    others = {name: value for name, value in parameters.items() if name != "allow_promotion_codes"}
    return others | {"discounts": [{"promotion_code": code_id}]}


def _lead_to_page(url: str | None, params: str, code: str) -> Lead:
    if code and "discounts" not in json.loads(params):
        return Lead(url or "", CODE_UNKNOWN, {"code": code})
    return Lead(url or "")
