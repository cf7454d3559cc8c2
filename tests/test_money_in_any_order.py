"""Purchases, refunds and disputes, by Hypothesis: whatever happened at Stripe, in whatever order it is heard, however
often, and at whatever moments the worker runs, the rows are those of a database that asks Stripe for everything.
"""

import random
import time
from dataclasses import replace

import pytest
from elsewhere import without_fsync
from harness import DAY, running
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from once import PLANS, stock

from corkage import storage
from corkage.gateway.events import read_event
from corkage.models import TABLES, AnswerRow, Credit, Purchase, Refund, StripeEvent, Subscription
from corkage.simulator import visitor
from corkage.sync import inbox
from corkage.sync.resync import resync

pytestmark = [pytest.mark.slow, pytest.mark.every_run]

CARDS = ("4242424242424242", "4000000000000259", "4000000000001976", "4000000000005126", "4000000000007726")
EVIDENCE = ("winning_evidence", "losing_evidence", "escalate_inquiry_evidence")
KEPT = ("Setting", "Cursor", "Price", "PlanRow")
CHOICE = st.integers(0, 9)

BUY = st.tuples(st.just("buy"), st.sampled_from(("pack_100", "lifetime_once", "thirty_days")), st.sampled_from(CARDS))
REFUND = st.tuples(st.just("refund"), CHOICE, st.sampled_from((0.3, 0.7, 1.0)))
DECIDE = st.tuples(st.just("decide"), CHOICE, st.sampled_from(EVIDENCE))
WAIT = st.tuples(st.just("wait"), st.sampled_from((1, 10, 32)), st.just(None))
SUBSCRIBE = st.tuples(st.just("subscribe"), st.sampled_from(CARDS), st.just(None))
STORIES = st.lists(BUY | REFUND | REFUND | DECIDE | WAIT | SUBSCRIBE, min_size=2, max_size=9)


class Story:
    """A customer at the simulated Stripe, and what happens to their money there."""

    def __init__(self, shop, prices):
        self.shop, self.prices, self.v1 = shop, prices, shop.client.v1
        self.began = shop.simulator.world.clock.now()
        self.user = f"user_{time.monotonic_ns()}"
        self.customer = shop.customer(self.user)

    def buy(self, key, card):
        params = {"mode": "payment", "line_items": [{"price": self.prices[key], "quantity": 1}]}
        self._pay(params | {"payment_intent_data": {}, "invoice_creation": {"enabled": True}}, card)

    def subscribe(self, card, _):
        self._pay(
            {"mode": "subscription", "line_items": [{"price": self.prices["better_monthly"], "quantity": 1}]}, card
        )

    def _pay(self, params, card):
        metadata = {"corkage_app": "app.example.com", "corkage_user": self.user}
        common = {"customer": self.customer, "success_url": "https://x", "metadata": metadata}
        visitor.pay(self.v1.checkout.sessions.create(params=common | params).url, card)

    def refund(self, which, share):
        charges = self.v1.charges.list(params={"customer": self.customer}).data
        open_ones = [each for each in charges if each.amount_refunded < each.amount and not each.disputed]
        if open_ones:
            charge = open_ones[which % len(open_ones)]
            amount = max(1, int((charge.amount - charge.amount_refunded) * share))
            self.v1.refunds.create(params={"charge": charge.id, "amount": amount})

    def decide(self, which, evidence):
        wanted = [each for each in self.v1.disputes.list().data if each.status.endswith("needs_response")]
        if wanted:
            dispute = wanted[which % len(wanted)].id
            self.v1.disputes.update(dispute, params={"evidence": {"uncategorized_text": evidence}})

    def wait(self, days, _):
        self.shop.simulator.advance(days * DAY)

    def events(self):
        found = self.v1.events.list(params={"limit": 100, "created": {"gte": self.began}}).auto_paging_iter()
        read = [read_event(each.to_dict()) for each in found]
        wanted = [each for each in read if each.is_wanted]
        return [each for each in wanted if each.customer_id in (None, self.customer)]


def emptied():
    with storage.writing():
        for table in reversed(TABLES):
            if table.__name__ not in KEPT:
                table.delete().execute()


def rows(user, customer):
    """All that was written of a customer's money, but what notices remember."""
    names = "starts_at ends_at allowed reason plan plans quantity features until".split()
    answers = AnswerRow.select().where(AnswerRow.user_id == user).order_by(AnswerRow.starts_at)
    purchases = Purchase.select().where(Purchase.customer == customer)
    refunds = Refund.select().where(Refund.customer == customer)
    subscriptions = Subscription.select().where(Subscription.customer == customer)
    credit = Credit.select().where(Credit.user == user)
    return {
        "answers": [tuple(getattr(row, name) for name in names) for row in answers],
        "purchases": sorted((row.id, row.price_id, row.created, row.amount, row.returned) for row in purchases),
        "refunds": sorted((row.id, row.status, row.invoice_id, row.subscription_id, row.amount) for row in refunds),
        "credit": sorted((row.purchase_id, row.name, row.left) for row in credit),
        "subscriptions": sorted((row.id, row.status, row.returned) for row in subscriptions),
    }


def hear(app, events, chance, now):
    """Store events, with the worker at random moments."""
    for event in events:
        inbox.record(event, "webhook", now, now)
        if chance.random() < 0.15:
            app.work(now)


@pytest.fixture
def app(config, shop):
    with running(replace(config, plans=PLANS)) as served:
        without_fsync()
        yield served


@pytest.fixture
def prices(shop):
    return stock(shop)


def test_what_was_heard_in_any_order_ends_as_if_stripe_had_been_asked_for_everything(prices, app, shop):
    @settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(STORIES, st.integers(0, 10**6))
    def play(steps, seed):
        emptied()
        chance, story, now = random.Random(seed), Story(shop, prices), time.time()
        for name, *choices in steps:
            getattr(story, name)(*choices)
            shop.simulator.advance(5)  # what is heard after the next fetch looks like old news
            if chance.random() < 0.5:
                heard = story.events()
                hear(app, chance.sample(heard, min(3, len(heard))), chance, now)
                app.work(now)
        shop.simulator.world.clock._stands_at = shop.simulator.world.clock.now()
        heard = story.events()
        hear(app, chance.sample(heard * 2, 2 * len(heard)), chance, now)
        app.work(now)
        assert StripeEvent.select().where(StripeEvent.applied_at.is_null()).count() == 0
        heard_of = rows(story.user, story.customer)

        emptied()
        resync(app.billing.service.converger, now)
        assert rows(story.user, story.customer) == heard_of

    play()
