"""The table of clicks: for whatever a user holds and wants, where a click leads, in how many round trips, and that one
subscription is there at the end: also with a second tab, a kill at any step, and Stripe failing at any call.
"""

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
import requests
import stripe
from buying import pay
from harness import APP, PRO, App, Shop, running
from rounds import counted
from sabotage import Killed, at_step, kill

from corkage.access import ENDED
from corkage.errors import BillingError, CurrencyRefused
from corkage.gateway.client import Transport
from corkage.identity import Identity
from corkage.models import Subscription
from corkage.plans import Plan
from corkage.selling.attempts import CLAIM_SECONDS

pytestmark = pytest.mark.slow

PRODUCT = f"https://{APP}"
TEAM = Plan("team", "Team", ("team_monthly",), seats=(1, 50))
COURSE = Plan("course", "Course", ("course_monthly",), group="school")
STORAGE = Plan("storage", "Storage", ("storage_monthly",), adds_to=("pro",))
CALLS = Plan("calls", "Calls", ("calls_metered",), group="usage")
FAR = 2**31


@dataclass(frozen=True)
class Scene:
    """A user in a state at Stripe, known here."""

    app: App
    shop: Shop
    user: str
    prices: dict[str, str]

    def customer(self, card: str | None = "pm_card_visa") -> str:
        made = {"payment_method": card, "invoice_settings": {"default_payment_method": card}} if card else {}
        metadata = {"corkage_app": APP, "corkage_user": self.user}
        customer: str = self.shop.client.v1.customers.create(params={**made, "metadata": metadata}).id
        return customer

    def subscribe(self, *items: str, card: str | None = "pm_card_visa", **params: Any) -> str:
        customer = self.customer(card)
        wanted = [{"price": self.prices[each]} for each in items or ("pro",)]
        return self.shop.subscribe(customer, user=self.user, items=wanted, **params)

    def click(self, plan: str, quantity: int | None = None, code: str = "") -> Any:
        service = self.app.billing.service
        buyer = service.buyer(Identity(self.user, f"{self.user}@example.com"), "https://billing.example.com", PRODUCT)
        return service.subscribe(buyer, plan, quantity, code)

    def customers(self) -> set[str]:
        return {
            each["id"]
            for each in self.shop.simulator.world.all("customer")
            if each["metadata"].get("corkage_user") == self.user
        }

    def change(self, subscription: str, **values: Any) -> None:
        self.shop.simulator.world.get("subscription", subscription).update(values)

    def converge(self) -> None:
        for customer in self.customers():
            self.app.converge(customer)

    def going_on(self) -> list[str]:
        """The plans of the user's subscriptions that have not ended, without those never paid."""
        names = {price: name for name, price in self.prices.items()}
        return sorted(
            "+".join(names[item["price"]["id"]] for item in each["items"]["data"])
            for each in self.shop.simulator.world.all("subscription")
            if each["customer"] in self.customers() and each["status"] not in (*ENDED, "incomplete")
        )


@dataclass(frozen=True)
class Row:
    """A row of the table: the state, the wish, where it leads, in how many round trips, what goes on at the end.

    Shape   with_old_page: what goes on when a page of before is paid, too, where that is more
    """

    name: str
    arrange: Callable[[Scene], object]
    leads_to: str
    rounds: int
    at_the_end: tuple[str, ...]
    plan: str = "pro"
    quantity: int | None = None
    note: str = ""
    with_old_page: tuple[str, ...] = ()


def nothing(scene: Scene) -> None:
    pass


def granted(scene: Scene) -> None:
    scene.app.billing.grant(scene.user, "pro")


def canceled(scene: Scene) -> None:
    scene.shop.client.v1.subscriptions.cancel(scene.subscribe())


def expired(scene: Scene) -> None:
    scene.change(scene.subscribe(), status="incomplete_expired", ended_at=int(time.time()))


def page(scene: Scene) -> Any:
    return scene.click("pro").url


def active(scene: Scene) -> None:
    scene.subscribe()


def team_of_three(scene: Scene) -> None:
    scene.shop.subscribe(scene.customer(), items=[{"price": scene.prices["team"], "quantity": 3}], user=scene.user)


def trialing(scene: Scene) -> None:
    scene.subscribe(trial_period_days=14)


def two_items(scene: Scene) -> None:
    scene.subscribe("pro", "storage")


def scheduled(scene: Scene) -> None:
    subscription = scene.subscribe()
    schedules = scene.shop.client.v1.subscription_schedules
    schedule = schedules.create(params={"from_subscription": subscription})
    phase = schedule.phases[0]
    item = {"price": scene.prices["pro"]}
    now = {"items": [item], "start_date": phase.start_date, "end_date": phase.end_date}
    later = {"items": [{"price": scene.prices["team"]}], "duration": {"interval": "month", "interval_count": 1}}
    schedules.update(schedule.id, params={"phases": [now, later]})


def canceling(scene: Scene) -> None:
    scene.shop.client.v1.subscriptions.update(scene.subscribe(), params={"cancel_at_period_end": True})


def past_due(scene: Scene) -> str:
    """The card fails when a new period begins."""
    subscription = scene.subscribe()
    (customer,) = scene.customers()
    scene.shop.client.v1.payment_methods.attach("pm_card_chargeCustomerFail", params={"customer": customer})
    scene.shop.use_card(customer, "pm_card_chargeCustomerFail")
    anew = {"billing_cycle_anchor": {"type": "now"}, "proration_behavior": "none"}
    found = scene.shop.client.v1.subscriptions.update(subscription, params=anew)
    assert found.status == "past_due"
    return subscription


def unpaid_with_a_draft(scene: Scene) -> None:
    """The next period's invoice of an unpaid subscription stays a draft."""
    subscription = past_due(scene)
    world = scene.shop.simulator.world
    scene.change(subscription, status="unpaid")
    latest = world.get("invoice", world.get("subscription", subscription)["latest_invoice"])
    latest.update(status="draft", auto_advance=False, hosted_invoice_url=None, invoice_pdf=None, number=None)


def incomplete(scene: Scene) -> None:
    scene.subscribe(card="pm_card_chargeCustomerFail")


def paused(scene: Scene) -> None:
    end = {"trial_settings": {"end_behavior": {"missing_payment_method": "pause"}}}
    subscription = scene.subscribe(card=None, trial_period_days=1, **end)
    scene.change(subscription, status="paused", status_details=WITHOUT_CARD)


def paused_with_card(scene: Scene) -> None:
    paused(scene)
    (customer,) = scene.customers()
    scene.shop.client.v1.payment_methods.attach("pm_card_visa", params={"customer": customer})
    scene.shop.use_card(customer, "pm_card_visa")


def unheard_of(scene: Scene) -> None:
    scene.change(scene.subscribe(), status="unheard_of")


def in_euros(scene: Scene) -> None:
    scene.subscribe("course", currency="eur")


CAUSE = "trial_end_without_payment_method"
WITHOUT_CARD = {"paused": {"subscription": {"type": CAUSE}, "transitioned_at": 1, "type": "subscription"}}

ROWS = (
    Row("nothing", nothing, "checkout", 2, ("pro",)),
    Row("nothing, seats", nothing, "checkout", 2, ("team",), "team", 3),
    Row("nothing, metered", nothing, "checkout", 2, ("calls",), "calls"),
    Row("granted", granted, "checkout", 2, ("pro",)),
    Row("canceled", canceled, "checkout", 2, ("pro",)),
    Row("incomplete_expired", expired, "checkout", 2, ("pro",)),
    Row("open page, same plan", page, "checkout", 1, ("pro",)),
    Row("open page, other plan", page, "checkout", 2, ("team",), "team"),
    Row("open page, other group", page, "checkout", 2, ("course",), "course", with_old_page=("course", "pro")),
    Row("active, same price", active, "home", 2, ("pro",)),
    Row("active, other price", active, "change", 2, ("pro",), "team"),
    Row("active, other group", active, "checkout", 2, ("course", "pro"), "course"),
    Row("active, add-on", active, "checkout", 2, ("pro", "storage"), "storage"),
    Row("active, same seats", team_of_three, "home", 2, ("team",), "team", 3),
    Row("active, more seats", team_of_three, "home", 2, ("team",), "team", 5, note="not_offered"),
    Row("trialing, other price", trialing, "change", 2, ("pro",), "team"),
    Row("several items, same price", two_items, "home", 2, ("pro+storage",)),
    Row("several items, other price", two_items, "home", 2, ("pro+storage",), "team", note="several_items"),
    Row("scheduled, other price", scheduled, "home", 2, ("pro",), "team", note="not_offered"),
    Row("canceling, same price", canceling, "home", 2, ("pro",), note="canceling"),
    Row("canceling, other price", canceling, "home", 2, ("pro",), "team", note="canceling"),
    Row("past_due, same price", past_due, "invoice", 1, ("pro",)),
    Row("past_due, other price", past_due, "invoice", 1, ("pro",), "team"),
    Row("unpaid, draft, same price", unpaid_with_a_draft, "invoice", 2, ("pro",)),
    Row("unpaid, draft, other price", unpaid_with_a_draft, "invoice", 2, ("pro",), "team"),
    Row("incomplete, same price", incomplete, "invoice", 1, ("pro",)),
    Row("incomplete, other price", incomplete, "checkout", 3, ("team",), "team"),
    Row("paused, no card", paused, "card", 2, ("pro",)),
    Row("paused, card", paused_with_card, "product", 2, ("pro",)),
    Row("unknown status", unheard_of, "home", 2, ("pro",), "team"),
    Row("other group in euros, sold in euros", in_euros, "checkout", 2, ("course", "pro"), "pro"),
)
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "-"))


@pytest.fixture
def scenes(config: Any, shop: Shop) -> Any:
    """Return a function that makes a new user in the state of a row."""
    prices = {"pro": shop.price}
    shop.client.v1.prices.update(shop.price, params={"currency_options": {"eur": {"unit_amount": 800}}})
    for name, amount in (("team", 2900), ("course", 300), ("storage", 100)):
        product = shop.client.v1.products.create(params={"name": name}).id
        params = {"product": product, "currency": "usd", "unit_amount": amount, "recurring": {"interval": "month"}}
        euros = {"currency_options": {"eur": {"unit_amount": 200}}} if name == "course" else {}
        key = {"lookup_key": f"{name}_monthly"}
        prices[name] = shop.client.v1.prices.create(params={**params, **euros, **key}).id
    meter = shop.client.v1.billing.meters.create(
        params={"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
    )
    usage = {"interval": "month", "usage_type": "metered", "meter": meter.id}
    product = shop.client.v1.products.create(params={"name": "Calls"}).id
    params = {"product": product, "currency": "usd", "unit_amount": 10, "recurring": usage}
    prices["calls"] = shop.client.v1.prices.create(params={**params, "lookup_key": "calls_metered"}).id
    numbers = itertools.count()
    plans = (PRO, TEAM, COURSE, STORAGE, CALLS)
    with running(replace(config, plans=plans, billing_url="https://billing.example.com")) as app:
        app.billing.service.catalogue.refresh(app.billing.service.gateway)

        def make(row: Row) -> tuple[Scene, Any]:
            scene = Scene(app, shop, f"u{next(numbers)}", prices)
            arranged = row.arrange(scene)
            scene.converge()
            return scene, arranged

        yield make


def where(scene: Scene, lead: Any) -> str:
    if lead.url == PRODUCT:
        return "product"
    if "/c/pay/" in lead.url:
        return "checkout"
    if "/i/" in lead.url:
        return "invoice"
    flow = scene.shop.simulator.world.get("billing_portal.session", lead.url.rpartition("/")[2])["flow"]
    return {"payment_method_update": "card", "subscription_update_confirm": "change"}[flow["type"]] if flow else "home"


def follow(scene: Scene, lead: Any) -> None:
    """Pay what is to be paid where the click led."""
    if where(scene, lead) in ("checkout", "invoice"):
        paid = requests.post(lead.url, data=CARD, allow_redirects=False, timeout=30)
        assert paid.status_code < 400, paid.text


CARD = {"number": "4242 4242 4242 4242", "expiry": "12/40", "cvc": "123"}


@each_row
def test_where_a_click_leads_and_in_how_many_round_trips(scenes, row):
    scene, _ = scenes(row)

    with counted() as rounds:
        lead = scene.click(row.plan, row.quantity)

    assert (where(scene, lead), lead.note) == (row.leads_to, row.note)
    assert rounds.count == row.rounds
    follow(scene, lead)
    assert scene.going_on() == sorted(row.at_the_end)


@each_row
def test_with_a_second_tab_there_is_one_subscription(scenes, row):
    scene, old_page = scenes(row)

    with ThreadPoolExecutor(2) as tabs:
        leads = [tab.result() for tab in [tabs.submit(scene.click, row.plan, row.quantity) for _ in range(2)]]
    for lead in leads:
        assert where(scene, lead) in (row.leads_to, "home" if row.leads_to == "product" else row.leads_to)
        if where(scene, lead) in ("checkout", "invoice"):
            pay(lead.url)
    if isinstance(old_page, str) and "/c/pay/" in old_page:
        pay(old_page)

    assert scene.going_on() == sorted(row.with_old_page or row.at_the_end)


@pytest.mark.parametrize("row", [each for each in ROWS if each.arrange is page], ids=lambda row: row.name)
def test_with_the_page_of_another_tab_paid_meanwhile_there_is_one_subscription(scenes, row):
    """The visitor pays in one tab while a click in the other is under way."""
    for step in range(12):
        scene, old_page = scenes(row)
        with at_step(step, lambda old_page=old_page: pay(old_page)):
            lead = scene.click(row.plan, row.quantity)
        if where(scene, lead) == "checkout":
            pay(lead.url)
        assert len(scene.going_on()) <= len(row.with_old_page or row.at_the_end), (step, scene.going_on())
        assert scene.going_on(), step


@pytest.mark.many_alike
@each_row
def test_a_kill_at_any_step_leaves_a_way_to_one_subscription(scenes, row):
    for step in itertools.count():
        scene, _ = scenes(row)
        was_killed = False
        with at_step(step, kill), suppress(Killed):
            scene.click(row.plan, row.quantity)
            was_killed = None
        if was_killed is None:
            break
        scene.app.billing.service.checkout.clock = lambda: time.time() + CLAIM_SECONDS + 1
        lead = scene.click(row.plan, row.quantity)
        scene.app.billing.service.checkout.clock = time.time
        follow(scene, lead)
        assert scene.going_on() == sorted(row.at_the_end), step
    assert step > 1


@pytest.mark.many_alike
@each_row
def test_while_stripe_fails_at_any_call_nothing_is_lost(scenes, row, monkeypatch):
    send, calls, fails_from = Transport.request, itertools.count(), [FAR]

    def request(self, *args, **options):
        if next(calls) >= fails_from[0]:
            raise stripe.APIConnectionError("it fails")
        return send(self, *args, **options)

    monkeypatch.setattr(Transport, "request", request)
    monkeypatch.setattr("stripe._http_client.time.sleep", lambda _: None)
    for call in itertools.count():
        fails_from[0] = FAR
        scene, _ = scenes(row)
        calls = itertools.count()
        fails_from[0] = call
        errors: list[int] = []
        try:
            scene.click(row.plan, row.quantity)
        except BillingError as error:
            errors.append(error.http_status)
        if not errors:
            break
        assert errors == [503]
        fails_from[0] = FAR
        lead = scene.click(row.plan, row.quantity)
        follow(scene, lead)
        assert scene.going_on() == sorted(row.at_the_end), call
    assert call > 0


def test_a_plan_that_is_not_sold_in_the_currency_of_a_subscriber_is_refused_in_words(scenes, caplog):
    row = Row("euros", in_euros, "", 2, (), "team")
    scene, _ = scenes(row)

    with pytest.raises(CurrencyRefused) as refused:
        scene.click("team")

    assert "another currency" in refused.value.sentence
    assert "currency_options" in str(refused.value)


def test_a_paused_trial_goes_on_in_the_replica_too(scenes):
    scene, _ = scenes(Row("paused", paused_with_card, "", 2, ()))

    scene.click("pro")
    scene.app.work()

    assert scene.app.billing.access(scene.user).allowed
    assert [each.status for each in Subscription.select()] == ["active"]


def test_a_card_that_is_given_in_the_portal_resumes_a_paused_trial_without_another_click(scenes, shop):
    scene, _ = scenes(Row("paused", paused, "", 2, ()))
    assert scene.click("pro").url
    assert not scene.app.billing.access(scene.user).allowed
    (customer,) = scene.customers()
    shop.client.v1.payment_methods.attach("pm_card_visa", params={"customer": customer})
    shop.use_card(customer, "pm_card_visa")

    scene.app.deliver(shop.event("customer.updated"))
    scene.app.work(time.time() + 1)

    assert scene.app.billing.access(scene.user).allowed


def test_a_declined_card_is_tried_once_and_the_next_click_leads_to_its_invoice(scenes, shop, simulator):
    scene, _ = scenes(Row("paused", paused, "", 2, ()))
    (customer,) = scene.customers()
    shop.client.v1.payment_methods.attach("pm_card_chargeCustomerFail", params={"customer": customer})
    shop.use_card(customer, "pm_card_chargeCustomerFail")
    scene.app.billing.portal_url(scene.user, "payment_method_update")
    for _ in range(3):
        scene.app.billing.service.invoices(scene.user, after_portal=True)

    resumptions = [each for each in simulator.requests if each.path.endswith("/resume")]
    assert len(resumptions) == 1
    assert where(scene, scene.click("pro")) == "invoice"
    assert not scene.app.billing.access(scene.user).allowed


def test_the_way_back_and_the_account_page_take_one_round_trip(scenes):
    scene, page_url = scenes(Row("page", page, "", 2, ()))
    back = pay(page_url).headers["Location"]
    service = scene.app.billing.service
    with counted() as rounds:
        assert service.come_back(back.rpartition("session_id=")[2]).user_id == scene.user
    assert rounds.count == 1
    assert scene.app.billing.access(scene.user).allowed

    for after_portal in (False, True):
        with counted() as rounds:
            assert len(service.invoices(scene.user, after_portal=after_portal)) == 1
        assert rounds.count == 1


def test_a_new_user_who_clicks_on_two_groups_at_once_gets_one_customer(scenes, simulator):
    scene, _ = scenes(Row("nothing", nothing, "", 2, ()))

    with ThreadPoolExecutor(2) as tabs:  # of more tabs at once the third would be refused
        leads = list(tabs.map(scene.click, ("pro", "course")))

    assert len({lead.url for lead in leads}) == 2
    assert len(scene.customers()) == 1


@pytest.mark.parametrize("step", range(6))
def test_a_kill_before_the_customer_is_stored_makes_no_second_customer_in_another_group(scenes, step):
    scene, _ = scenes(Row("nothing", nothing, "", 2, ()))
    with at_step(step, kill), suppress(Killed):
        scene.click("pro")
    scene.app.billing.service.checkout.clock = lambda: time.time() + CLAIM_SECONDS + 1

    leads = [scene.click("course"), scene.click("pro")]

    assert len(scene.customers()) == 1
    for lead in leads:
        follow(scene, lead)
    assert scene.going_on() == ["course", "pro"]


@pytest.mark.parametrize("plan", ["pro", "team"])
def test_who_pays_the_invoice_that_an_unpaid_subscription_leads_to_is_let_in_again(scenes, plan):
    scene, _ = scenes(Row("unpaid", unpaid_with_a_draft, "", 2, ()))
    assert not scene.app.billing.access(scene.user).allowed

    follow(scene, scene.click(plan))
    scene.converge()

    assert scene.app.billing.access(scene.user).reason == "active"
