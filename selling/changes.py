"""Changes of a subscription by the host's code, the operator or the worker: stored, sent to Stripe, then converged.

What was stored is sent until Stripe has answered. An answer that did not come is asked for with the same idempotency
key, which makes one change of two requests; Stripe repeats its own failures under a key, so after one it is decided
anew what is still to be sent. The replica is never written from a wish: what Stripe then says is fetched.
"""

import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from .. import storage
from ..access import ENDED
from ..errors import (
    BillingError,
    CannotChange,
    ChangeInProgress,
    DatabaseUnavailable,
    StripeError,
    StripeFailed,
    StripeRefused,
    StripeUnavailable,
    UnknownCustomer,
    UnknownPlan,
    UnknownSubscription,
    error_with,
)
from ..gateway.gateway import Gateway
from ..gateway.states import SubscriptionState
from ..logs.facts import logger
from ..models import ChangeRow, Subscription
from ..replica import owed
from ..replica.addons import is_lonely
from ..replica.prices import Catalogue
from ..sync.converge import Converger
from . import decisions, price_notices
from .decisions import CHARGES, NOW, PERIOD_END, Decision, Situation
from .held import held_subscriptions, own_subscriptions

MOST_TURNS = 12

log = logger("corkage.changes")


class Preview(NamedTuple):
    """What a change would cost. Nothing was changed.

    Shape   charged_now: what is charged when the change is made, less than 0 for a credit; next_amount: the next
            regular payment after it, with what is then charged for the rest of this period;
            prorated_at: the moment for which this holds, to pass on to the change itself
    Units   amounts in the currency's minor units; next_at and prorated_at in Unix seconds
    """

    charged_now: int
    next_amount: int
    next_at: int | None
    currency: str
    prorated_at: int


class Changes:
    """Makes changes of subscriptions at Stripe, each once."""

    def __init__(self, gateway: Gateway, catalogue: Catalogue, converger: Converger) -> None:
        self.gateway, self.catalogue, self.converger = gateway, catalogue, converger
        self.clock = time.time

    def make(self, user_id: str, kind: str, wish: Mapping[str, Any], subscription: str | None = None) -> None:
        """Make a change that the host asks for, and converge. Safe to repeat: the same wish is one change.

        Shape   kind: one of owed.ASKED_BY_HOST; wish: its parameters; subscription: the id of one of the user's own
        Errors  UnknownSubscription, UnknownPlan, InvalidQuantity, CannotChange, ChangeInProgress; StripeError as the
                gateway's: after StripeUnavailable the change is owed, and is made by the worker
        """
        target = self.target(user_id, kind, wish, subscription)
        if target is None:
            return
        for _ in range(MOST_TURNS):
            begun = owed.begin(user_id, target, kind, wish, self.clock())
            if begun.is_claimed:
                self._send(begun.row)
                return
            self._wait(begun.row, kind, wish)
        raise ChangeInProgress(f"{target} was being changed {MOST_TURNS} times in a row")

    def preview(self, user_id: str, wish: Mapping[str, Any], subscription: str | None = None) -> Preview:
        """Fetch what a change would cost, for a wish as of make(). Nothing is stored or changed.

        Errors  as make()
        """
        target = self.target(user_id, "change", wish, subscription)
        held = self.gateway.subscription(target) if target else None
        if held is None:
            raise UnknownSubscription(f"user {user_id} has no subscription to change")
        wanted = decisions.wanted_item(held, wish, self.catalogue, self.gateway)
        at = wish["prorated_at"] or (held.test_clock[1] if held.test_clock else int(self.clock()))
        return self._preview(held, wanted, wish, at)

    def due(self, now: float) -> list[str]:
        """Return the changes that are owed and may be sent, by their nonces."""
        return owed.due(now)

    def next_due_at(self, now: float) -> float | None:
        """Return when the next change that is owed may be sent; None when none is owed."""
        return owed.next_due_at(now)

    def carry_on(self, nonce: str) -> BillingError | None:
        """Send a change that is owed, unless somebody else does; return the error that kept it from being made.

        Errors  DatabaseUnavailable
        """
        row = owed.claim(nonce, self.clock())
        if row is None:
            return None
        try:
            self._send(row)
        except DatabaseUnavailable:
            raise
        except BillingError as error:
            log.warning("%s of %s, user %s: %s: %s", row.kind, row.subscription_id, row.user_id, error.code, error)
            return error
        return None

    def target(self, user_id: str, kind: str, wish: Mapping[str, Any], subscription: str | None) -> str | None:
        """Return the subscription that a change is about; None where all that is to be canceled has ended.

        Errors  UnknownSubscription; UnknownPlan; CannotChange where several could be meant
        """
        own = own_subscriptions(user_id)
        if subscription is not None:
            if subscription not in own:
                raise UnknownSubscription(f"user {user_id} has no subscription {subscription!r}")
            return subscription
        offer = wish.get("plan")
        held = held_subscriptions(user_id, self.catalogue.plans, None if offer is None else self._group(offer))
        if kind == "cancel" and not held and own:
            return None
        if kind == "cancel" and wish["when"] == NOW and len(held) > 1:  # repeated, it would end the next best
            raise CannotChange(f"user {user_id} has {' and '.join(each.id for each in held)}: say which is to end now")
        if not held:
            raise UnknownSubscription(f"user {user_id} has no subscription to change; a new one is sold in Checkout")
        return held[0].id

    def _group(self, offer: str) -> str:
        plan = self.catalogue.plans.get(offer.partition(":")[0])
        if plan is None or not plan.prices:
            raise UnknownPlan(f"{offer!r} is not on offer")
        return plan.in_group

    def _wait(self, sending: ChangeRow, kind: str, wish: Mapping[str, Any]) -> None:
        """Wait for whoever sends a change; raise the error by which the same wish was refused."""
        ended = owed.wait_for(sending, self.clock)
        is_same = (sending.kind, sending.wish) == (kind, json.dumps(wish, sort_keys=True))
        if ended is not None and is_same and ended.error:
            raise error_with(ended.outcome or "")(ended.error)

    def _send(self, row: ChangeRow) -> None:
        """Send a claimed change, and converge."""
        try:
            outcome = self._carry_out(row)
        except BillingError as error:
            self._store_failure(row, error)
            raise
        self._store_outcome(row, outcome)
        self._converge(row)

    def _carry_out(self, row: ChangeRow) -> str:
        now = self.clock()
        if not owed.is_repeatable(row, now):
            decision = self._decide(row)
            if not decision.steps:
                return decision.outcome
            owed.store_decision(row, decision.steps, now)
        for number, (name, params) in enumerate(json.loads(row.params or "[]")):
            self._call(name, row.subscription_id, params, f"{row.nonce}-{row.turn}-{number}")
        return "done"

    def _decide(self, row: ChangeRow) -> Decision:
        held = self.gateway.subscription(row.subscription_id)
        if held is None:
            raise UnknownSubscription(f"Stripe knows no subscription {row.subscription_id}")
        found = self._situation(row, held)
        return decisions.decide(row.kind, json.loads(row.wish), found, self.catalogue, self.gateway)

    def _situation(self, row: ChangeRow, held: SubscriptionState) -> Situation:
        now = held.test_clock[1] if held.test_clock else int(self.clock())
        schedule = self.gateway.schedule(held.schedule_id, now) if held.schedule_id else None
        if row.kind == owed.END_REPLACED:
            return Situation(held, schedule, is_replaced=_is_replaced(held.id))
        if row.kind not in (owed.END_ADDON, "keep_addon"):
            return Situation(held, schedule)
        newest = owed.newest_done(row.subscription_id)
        return Situation(
            held,
            schedule,
            is_lonely=is_lonely(row.user_id, row.subscription_id, self.catalogue.timelines.plans, self.clock()),
            ended_by_us=newest is not None and (newest.kind, newest.outcome) == (owed.END_ADDON, "done"),
        )

    def _call(self, name: str, subscription_id: str, params: dict[str, Any], key: str) -> None:
        gateway = self.gateway
        if name == "update":
            gateway.update_subscription(subscription_id, params, key)
        elif name == "cancel":
            self._cancel(subscription_id, params)
        elif name == "resume":
            gateway.resume_subscription(subscription_id, key)
        elif name == "schedule":
            gateway.schedule_items(subscription_id, params["items"], key)
        else:
            gateway.release_schedule(params["schedule"], key)

    def _cancel(self, subscription_id: str, params: dict[str, Any]) -> None:
        """End it at once. Stripe takes no idempotency key for that, and refuses to end it again."""
        try:
            self.gateway.cancel_subscription(subscription_id, params)
        except StripeRefused:
            held = self.gateway.subscription(subscription_id)
            if held is None or held.status not in ENDED:
                raise

    def _store_failure(self, row: ChangeRow, error: BillingError) -> None:
        """Store what became of a change: a refusal ends it, and everything else is tried again."""
        now, text = self.clock(), f"{error.code}: {error}"
        if isinstance(error, StripeError) and not isinstance(error, (StripeRefused, UnknownCustomer)):
            was_answered = isinstance(error, StripeFailed) or not isinstance(error, StripeUnavailable)
            owed.postpone(row, text, now, forgets=was_answered, longest_pause=self.gateway.outage.longest_pause)
        elif not isinstance(error, DatabaseUnavailable):
            owed.end(row, error.code, now, text)

    def _store_outcome(self, row: ChangeRow, outcome: str) -> None:
        """Store the end of a change, and that the worker is to fetch the subscription, should this process end here."""
        now = self.clock()
        owed.end(row, outcome, now)
        with storage.writing():
            if outcome.startswith(decisions.LEFT_OUT):
                price_notices.withdraw(row, self.catalogue.timelines.plans, now)
            Subscription.update(ask_at=0).where(Subscription.id == row.subscription_id).execute()
        log.info("user %s: %s of %s: %s", row.user_id, row.kind, row.subscription_id, outcome)

    def _converge(self, row: ChangeRow) -> None:
        found = Subscription.get_or_none(Subscription.id == row.subscription_id)
        if found is not None:
            self.converger.converge(found.customer_id, self.clock(), also=(row.subscription_id,))

    def _preview(self, held: SubscriptionState, wanted: decisions.Wanted, wish: Mapping[str, Any], at: int) -> Preview:
        is_later = wish["when"] == PERIOD_END
        charge = "nothing" if is_later else wish["charge"]
        items = [wanted.parameters()]
        changed = {"items": items, "proration_behavior": CHARGES[charge]}
        dated = changed if charge == "nothing" else changed | {"proration_date": at}
        shown = self.gateway.preview_change(held.id, dated)
        was, is_ = wanted.item.price, wanted.price
        is_anew = (was.interval, was.interval_count) != (is_.interval, is_.interval_count)
        if is_anew:  # the preview is of the invoice that begins the new period
            now = 0 if is_later or held.status == "trialing" else shown.amount_due
            return Preview(now, shown.recurring, held.current_period_end if is_later else None, shown.currency, at)
        if charge == "now":
            later = self.gateway.preview_change(held.id, changed | {"proration_behavior": "none"})
            return Preview(shown.amount_due, later.amount_due, held.current_period_end, shown.currency, at)
        return Preview(0, shown.amount_due, held.current_period_end, shown.currency, at)


def _is_replaced(subscription_id: str) -> bool:
    row = Subscription.get_or_none(Subscription.id == subscription_id)
    return row is not None and row.replaced_by is not None
