"""True under disorder: whatever is lost, doubled, late, cut or killed, the replica ends equal to what Stripe holds.

Random stories, by Hypothesis. On each engine, with CI=true 25 of each kind, on the next day 25 others, and so on for
four days; elsewhere 15, the same in every run. ALL_ORDERS=true plays all 100 of each kind, CORKAGE_STORIES=N plays N
new ones. Of those with several processes it is a fifth.
"""

import contextlib
import functools
import json
import os
import time
from dataclasses import replace

import pytest
import stripe
from elsewhere import without_fsync
from given import Given, GivenPlan, given, invoices_of, unpaid_after_the_last_paid
from harness import APP, DAY, PRO, WEBHOOK_SECRET, open_shop, sdk
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from racing import Race, post
from sabotage import Killed, at_step, cut, kill, thin
from sampling import TODAY

from corkage import storage
from corkage.access import access_at
from corkage.billing_app import Billing
from corkage.config import Config
from corkage.gateway import client as client_module
from corkage.models import Customer, Grant, NoticeRow, StripeEvent, Subscription, SubscriptionItem, User
from corkage.plans import Plan
from corkage.simulator import ApiFaults, Simulator

pytestmark = [pytest.mark.slow, pytest.mark.every_run]

LIVE = ("active", "trialing", "past_due", "unpaid", "paused", "incomplete")
PARTS = 5  # for several processes to share
DAYS = 4
IS_CI = os.environ.get("CI") == "true"
PROCESSES = 4
STEPS = st.integers(0, 25)
CHOICE = st.integers(0, 1000)

PLUS = replace(PRO, prices=("pro_monthly", "pro_yearly"), limits={"notes": 50})
TEAM = Plan(
    "team", "Team", ("team_monthly",), features=("sso", "api"), pending="deny", limits={"notes": 20, "seats": 3}
)
SEATS = Plan("seats", "Seats", ("seats_monthly",), features=("extra",), adds_to=("team",), limits={"seats": 1})
FREE = Plan("free", "Free", features=("basics",), free=True, limits={"notes": 5})
PRICES = (("pro_yearly", 9000, "year"), ("team_monthly", 2900, "month"), ("seats_monthly", 300, "month"))
EDITIONS = {
    "all": (PLUS, TEAM, SEATS),
    "another grace": (replace(PLUS, grace_days=1, features=("exports", "more")), TEAM, SEATS),
    "no grace": (replace(PLUS, grace_days=0), TEAM, SEATS),
    "without team": (PLUS,),
    "with free": (FREE, PLUS, TEAM, SEATS),
}


class Disorder(RuleBasedStateMachine):
    """One user and what may happen to them, to their money, and to every word of it on the way to us."""

    customers_of_user = 1
    promises_order = True
    new_database = None  # what makes a story's own

    def __init__(self):
        super().__init__()
        self.undo = contextlib.ExitStack()
        self.database = self.undo.enter_context(self.new_database())
        self.now = int(time.time())
        self.simulator = Simulator(seed=1, now=self.now).start()
        self.shop = open_shop(self.simulator, sdk(self.simulator))
        self.v1 = self.shop.client.v1
        self.prices = {
            name: self.simulator.add_price(name, amount, interval=period)["id"] for name, amount, period in PRICES
        }
        self.plans = {}
        self.grants = {}
        self.customers = []
        self.truths = []
        self.app = None

    @initialize(worker=st.sampled_from(["off", "inline"]))
    def start(self, worker):
        self.config = Config(
            stripe_secret_key=self.simulator.api_key,
            stripe_api_base=self.simulator.url,
            frontend_urls=(f"https://{APP}",),
            app=APP,
            plans=EDITIONS["all"],
            webhook_secrets=(WEBHOOK_SECRET,),
            database=self.database,
            worker=worker,
            settle_seconds=0,
            poll_seconds=600,
            keep_events_days=3650,  # a story may take half a year, and all its notices are compared at its end
        )
        self.prices |= {"pro_monthly": self.shop.price}
        self.open()
        self.work()

    def teardown(self):
        try:
            if hasattr(self, "billing"):
                self.heal()
                self.compare()
        finally:
            if hasattr(self, "billing"):
                self.close()
            self.simulator.stop()
            self.undo.close()

    # What happens at Stripe.

    @rule(days=st.sampled_from([0, 0, 1, 14]), card=st.sampled_from(["pm_card_visa", "pm_card_chargeCustomerFail"]))
    def subscribe(self, days, card):
        if len(self.customers) < self.customers_of_user:
            self.customers.append(self.shop.customer())
        self.shop.use_card(self.customers[-1], card)
        params = {"trial_period_days": days} if days else {}
        self.shop.subscribe(self.customers[-1], **params)

    @rule(
        items=st.sampled_from([("team_monthly",), ("seats_monthly", "team_monthly"), ("seats_monthly",)]),
        card=st.sampled_from(["pm_card_visa", "pm_usBankAccount_noAccount", "pm_card_chargeCustomerFail"]),
        quantity=st.integers(1, 3),
    )
    def subscribe_to_more(self, items, card, quantity):
        if len(self.customers) < self.customers_of_user:
            self.customers.append(self.shop.customer())
        self.shop.use_card(self.customers[-1], card)
        wanted = [{"price": self.prices[name], "quantity": quantity} for name in items]
        self.shop.subscribe(self.customers[-1], items=wanted)

    @precondition(lambda self: self.live())
    @rule(
        which=CHOICE,
        behavior=st.sampled_from(["void", "keep_as_draft", "mark_uncollectible", ""]),
        days=st.sampled_from([None, 2, 40]),
    )
    def pause_collection(self, which, behavior, days):
        resumes = {"resumes_at": self.simulator.world.now + days * DAY} if days else {}
        params = {"pause_collection": {"behavior": behavior} | resumes if behavior else ""}
        with contextlib.suppress(stripe.InvalidRequestError):
            self.v1.subscriptions.update(self.live()[which % len(self.live())], params=params)

    @precondition(lambda self: self.live())
    @rule(which=CHOICE, name=st.sampled_from(["pro_yearly", "pro_monthly", "team_monthly"]))
    def change_price(self, which, name):
        with contextlib.suppress(stripe.InvalidRequestError, stripe.CardError):
            self.change_item(self.live()[which % len(self.live())], price=self.prices[name])

    @precondition(lambda self: self.simulator.world.all("charge"))
    @rule(which=CHOICE)
    def refund(self, which):
        """The money goes back."""
        charges = self.v1.charges.list().data
        with contextlib.suppress(stripe.InvalidRequestError):
            self.v1.refunds.create(params={"charge": charges[which % len(charges)].id})

    @rule(plan=st.sampled_from(["pro", "team"]), days=st.sampled_from([None, 1, 30]))
    def grant(self, plan, days):
        self.promises_order = False  # what was given, and what the replica does not know yet, meet as they never did
        now = self.present()
        ends_at = now + days * DAY if days else None
        with storage.writing():
            User.insert(id="ann", created_at=now).on_conflict_ignore().execute()
            row = Grant.create(user="ann", plan=plan, reason="a test", given_by="host", created_at=now, ends_at=ends_at)
            self.timelines().store(["ann"], now)
        self.grants[row.id] = GivenPlan(plan, ends_at)

    @precondition(lambda self: self.grants)
    @rule(which=CHOICE)
    def revoke(self, which):
        now = self.present()
        id_ = list(self.grants)[which % len(self.grants)]
        with storage.writing():
            Grant.update(ends_at=now).where(Grant.id == id_).execute()
            self.timelines().store(["ann"], now)
        self.grants[id_] = self.grants[id_]._replace(ends_at=now)

    @rule(edition=st.sampled_from(sorted(EDITIONS)))
    def edit_plans(self, edition):
        """plans.toml is edited, and the program started again."""
        self.promises_order = False
        self.config = replace(self.config, plans=EDITIONS[edition])
        self.restart()

    @precondition(lambda self: self.live())
    @rule(which=CHOICE, how=st.sampled_from(["now", "at end", "undo", "quantity", "price", "pause", "resume"]))
    def change(self, which, how):
        subscription = self.live()[which % len(self.live())]
        calls = {
            "now": self.v1.subscriptions.cancel,
            "at end": lambda each: self.v1.subscriptions.update(each, params={"cancel_at_period_end": True}),
            "undo": lambda each: self.v1.subscriptions.update(each, params={"cancel_at_period_end": False}),
            "quantity": lambda each: self.change_item(each, quantity=which % 3 + 2),
            "price": lambda each: self.change_item(each, price=self.shop.other_price),
            "pause": lambda each: self.v1.subscriptions.pause(each, params={"type": "subscription"}),
            "resume": self.v1.subscriptions.resume,
        }
        with contextlib.suppress(stripe.InvalidRequestError):  # for what the subscription's status does not allow
            calls[how](subscription)

    @precondition(lambda self: self.customers)
    @rule(card=st.sampled_from(["pm_card_visa", "pm_card_chargeCustomerFail"]))
    def use_card(self, card):
        if self.simulator.world.find("customer", self.customers[-1]).get("deleted"):
            return
        self.shop.use_card(self.customers[-1], card)
        for invoice in self.v1.invoices.list(params={"customer": self.customers[-1], "status": "open"}).data:
            with contextlib.suppress(stripe.CardError, stripe.InvalidRequestError):  # another payment is on its way
                self.v1.invoices.pay(invoice.id)

    @precondition(lambda self: self.customers)
    @rule()
    def delete_customer(self):
        self.v1.customers.delete(self.customers.pop())

    @rule(seconds=st.sampled_from([3600, DAY, 8 * DAY, 31 * DAY]))
    def time_passes(self, seconds):
        """Stripe's time and ours, alike."""
        self.now += seconds
        self.simulator.advance(seconds)

    @rule(seconds=st.sampled_from([DAY, 8 * DAY, 31 * DAY]))
    def a_test_clock_is_moved(self, seconds):
        """Stripe's time, and not ours."""
        self.simulator.advance(seconds)

    # Delivery of the events: twice, late, in any order, or not at all.

    @precondition(lambda self: self.simulator.world.all("event"))
    @rule(which=st.lists(CHOICE, min_size=1, max_size=6), is_thin=st.booleans(), step=st.none() | STEPS)
    def hear(self, which, is_thin, step):
        events = self.simulator.world.all("event")
        for each in which:
            body = self.body(events[each % min(len(events), 40)], is_thin)
            self.attempt(functools.partial(self.deliver, body), step, cut)

    @rule(step=st.none() | STEPS, happens=st.sampled_from([cut, kill]))
    def work(self, step=None, happens=cut):
        self.attempt(lambda: self.billing.service.worker.work_once(self.present()), step, happens)

    @rule(step=STEPS)
    def two_workers(self, step):
        """Another worker does a whole round while the first waits for an answer of Stripe's."""
        self.attempt(
            lambda: self.billing.service.worker.work_once(self.present()),
            step,
            lambda: self.billing.service.worker.work_once(self.present()),
        )

    @rule()
    def restart(self):
        self.close()
        self.open()

    @invariant()
    def remember_the_truth(self):
        if hasattr(self, "billing"):
            truth = self.truth()
            if not self.truths or self.truths[-1] != truth:
                self.truths.append(truth)

    # How it is done.

    def live(self):
        held = self.simulator.world.all("subscription")
        return [each["id"] for each in held if each["status"] in LIVE and each["customer"] in self.customers]

    def change_item(self, subscription, **change):
        item = self.v1.subscriptions.retrieve(subscription)["items"].data[0].id
        self.v1.subscriptions.update(subscription, params={"items": [{"id": item} | change]})

    def timelines(self):
        return self.billing.service.worker.converger.timelines

    def open(self):
        gone = {key: replace(plan, free=False) for key, plan in self.plans.items() if key in ("pro", "team", "seats")}
        plans = {plan.key: plan for plan in self.config.plans}
        plans = gone | plans  # who holds a plan that is out of the file keeps what it gave last
        self.plans = plans | {self.prices[name]: plan for plan in plans.values() for name in plan.prices}
        self.billing = Billing(self.config)
        self.billing.service.worker.owed.clock = self.present  # by two clocks an add-on is ended and kept for ever
        without_fsync()

    def close(self):
        self.billing.close()

    def present(self):
        self.now = max(self.now, int(time.time()) + 1)
        return self.now

    def attempt(self, act, step, happens):
        """Act, with something going wrong at a step; a killed process is started again on the same file."""
        if step is None:
            act()
            return
        try:
            with at_step(step, happens):
                act()
        except Killed:
            self.restart()

    def body(self, event, is_thin):
        event = stripe.Event.construct_from(event, None)
        return thin(event) if is_thin else str(event).encode()

    def deliver(self, body):
        """Post a signed webhook to the app, as its server would hand it on."""
        assert post(self.billing, body) in (200, 503)

    def heal(self):
        """No word comes any more; what was lost is found by polling, what failed is tried again."""
        for _ in range(3):
            self.now += 7200
            self.simulator.advance(7200)
            self.remember_the_truth()
            self.work()
            self.remember_the_truth()
        pending = [(each.type, each.error) for each in StripeEvent.select().where(StripeEvent.applied_at.is_null())]
        assert pending == []

    def compare(self):
        held = self.held()
        assert {
            row.id: columns(row) for row in Subscription.select().join(Customer).where(Customer.user.is_null(False))
        } == {each["id"]: facts(self.simulator.world, each) for each in held}
        linked = {row.id for row in Customer.select().where(Customer.user == "ann")}
        assert {each["customer"] for each in held} <= linked
        now = self.present()
        for later in (0, -3600, 3600, 3 * DAY, 10 * DAY, 50 * DAY):
            access = access_at("ann", now + later)
            answer = Given(access.allowed, frozenset(access.plans), frozenset(access.features), dict(access.limits))
            assert (later, answer) == (later, self.given(now + later))
        if User.select().exists():
            self.compare_notices(access_at("ann", now))

    def compare_notices(self, access):
        notices = list(NoticeRow.select().where(NoticeRow.subscription_id.is_null()).order_by(NoticeRow.id))
        assert (json.loads(User.get().notified) or [False])[0] == access.allowed
        before = {"allowed": False}
        for notice in notices:
            earlier, after = json.loads(notice.before), json.loads(notice.after)
            assert earlier["allowed"] == before["allowed"]
            before = earlier if is_same_change(notice, notices) else after
        assert sum((notice.kind == "access_granted") - (notice.kind == "access_revoked") for notice in notices) == int(
            access.allowed
        )
        if self.promises_order:
            assert self.are_true([json.loads(notice.after) for notice in notices])

    def are_true(self, notices):
        """Whether all of this was once so at Stripe, in this order."""
        truths = iter(self.truths)
        names = ("allowed",)
        seen = None
        for each in notices:
            said = {name: each[name] for name in names}
            if said != seen and not any(truth == said for truth in truths):
                return False
            seen = said
        return True

    def held(self):
        """The user's subscriptions; without customers deleted before their first fetch, which have no known owner."""
        world = self.simulator.world
        linked = {row.id for row in Customer.select().where(Customer.user == "ann")}
        is_deleted = {each["id"]: each.get("deleted", False) for each in world.all("customer")}
        return [
            each for each in world.all("subscription") if each["customer"] in linked or not is_deleted[each["customer"]]
        ]

    def truth(self):
        """Return whether the user is let in, derived from Stripe's own state without our code."""
        return {"allowed": self.given(self.now).allowed}

    def given(self, at):
        """Return what the user must get at a moment by our clock, if nothing happens before."""
        world = self.simulator.world
        return given(world, self.held(), self.grants.values(), self.plans, (at, at - self.now + world.now))


def is_same_change(notice, notices):
    """Whether another notice of the same change follows: they share what was and what is."""
    position = notices.index(notice)
    following = notices[position + 1 : position + 2]
    return bool(following) and (following[0].before, following[0].after) == (notice.before, notice.after)


def columns(row):
    names = "id status currency current_period_end cancel_at trial_end unpaid_since created ended_at "
    names = (names + "pause_behavior resumes_at").split()
    items = SubscriptionItem.select().where(SubscriptionItem.subscription == row.id)
    return {name: getattr(row, name) for name in names} | {
        "user_id": row.customer.user_id,
        "items": {(each.price_id, each.quantity) for each in items},
    }


def facts(world, subscription):
    """What the rows of a subscription and of its items must hold."""
    items = subscription["items"]["data"]
    invoices = invoices_of(world, subscription)
    unpaid = unpaid_after_the_last_paid(invoices)
    paused = subscription["pause_collection"] or {"behavior": None, "resumes_at": None}
    is_past_due = subscription["status"] == "past_due"
    return {
        "id": subscription["id"],
        "status": subscription["status"],
        "currency": subscription["currency"],
        "items": {(each["price"]["id"], each["quantity"]) for each in items},
        "current_period_end": min(each["current_period_end"] for each in items),
        "cancel_at": subscription["cancel_at"],
        "pause_behavior": paused["behavior"],
        "resumes_at": paused["resumes_at"],
        "trial_end": subscription["trial_end"],
        "unpaid_since": (unpaid or invoices[-1:])[0]["created"] if is_past_due else None,
        "created": subscription["created"],
        "ended_at": subscription["ended_at"],
        "user_id": "ann",
    }


class DisorderOfTwoCustomers(Disorder):
    """The same, of a user who has an old customer and a new one; between the two, no order of truths is promised."""

    customers_of_user = 2
    promises_order = False


class DisorderOfProcesses(Disorder):
    """The same, and four more processes share the work: all act at once, and any is killed at any step."""

    customers_of_user = 2
    promises_order = False

    def open(self):
        super().open()
        self.race = Race(self.config, PROCESSES, {"corkage.gateway.client.RETRIES": 0})

    def close(self):
        self.race.end()
        super().close()

    @rule(
        steps=st.lists(st.tuples(st.sampled_from(["hear", "hear", "thin", "work", "poll", "see"]), CHOICE), min_size=6),
        deaths=st.dictionaries(st.integers(0, PROCESSES - 1), STEPS, max_size=2),
        failure=st.sampled_from(["none", "none", "cut", "cut_after", "error"]),
    )
    def all_act_at_once(self, steps, deaths, failure):
        """Each step is done by one of them, and a share of what they ask Stripe fails."""
        parts = [[] for _ in range(PROCESSES)]
        for name, number in steps:
            parts[number % PROCESSES].append(self.step(name, number))
        self.simulator.api_faults = ApiFaults(failure=failure, share=0.1)
        self.race.play(parts, deaths)
        self.simulator.api_faults = ApiFaults()
        errors = storage.column(StripeEvent.select(StripeEvent.error).where(StripeEvent.error.is_null(False)))
        assert [error for error in errors if error.startswith("bug")] == []

    hear = two_workers = all_act_at_once  # so that it comes thrice as often: what a process does alone is played above

    def step(self, name, number):
        """Return what a process is to do, and with what."""
        events, now = self.simulator.world.all("event"), self.present()
        if name in ("hear", "thin") and events:
            return "hear", self.body(events[number % min(len(events), 40)], name == "thin")
        if name == "see" and self.customers:
            return "see", self.customers[number % len(self.customers)], now
        return "poll" if name == "poll" else "work", now


@pytest.fixture(autouse=True)
def _stripe_is_asked_once(monkeypatch):
    monkeypatch.setattr(client_module, "RETRIES", 0)


def days():
    """The days whose stories are played."""
    if os.environ.get("ALL_ORDERS") == "true":
        return range(DAYS)
    return [TODAY % DAYS if IS_CI else 0]


def play(story, part, engine, new_database, share=1, phases=tuple(Phase)):
    """Play a part of the stories of a kind: one of `share`, on databases of this engine."""
    machine = type("Story", (story,), {"new_database": staticmethod(new_database)})
    if stories := int(os.environ.get("CORKAGE_STORIES", "0")):
        run(machine, stories // share // PARTS or 1, phases)
        return
    first = 0 if engine == "sqlite" else PARTS * DAYS
    for day in days():
        run(seed(first + part + PARTS * day)(machine), (25 if IS_CI else 15) // share // PARTS or 1, phases)


def run(machine, stories, phases):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=stories,
            stateful_step_count=12,
            deadline=None,
            database=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("story", [Disorder, DisorderOfTwoCustomers], ids=["one customer", "two customers"])
def test_replica_and_notices_end_equal_to_the_history_at_stripe(story, part, engine, new_database):
    play(story, part, engine, new_database)


@pytest.mark.parametrize("part", range(PARTS))
def test_the_same_with_several_processes(part, engine, new_database):
    # A race that was seen once is not made smaller by repeating.
    play(DisorderOfProcesses, part, engine, new_database, share=5, phases=[Phase.generate])
