"""corkage doctor: it reports each problem with its repair, and nothing that is in order."""

import logging
import time

import pytest
from examined import Finding, examine
from rows import record_event

from corkage.gateway.gateway import Gateway
from corkage.models import Subscription, User

pytestmark = pytest.mark.slow

REPLAY = "corkage events replay --failed"


def test_doctor_finds_nothing_when_all_is_well(corkage, app, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    shop.client.v1.subscriptions.cancel(shop.subscribe(customer))
    app.converge(customer)

    well = corkage("doctor")

    assert (well.returncode, well.stdout.splitlines()[-1]) == (0, "all is well")
    assert not [line for line in well.stdout.splitlines() if line.startswith(("wrong", "not checked"))]


@pytest.mark.one_engine("postgresql", "its clock may be another machine's")
def test_doctor_reports_a_server_whose_clock_is_apart(app, monkeypatch):
    monkeypatch.setattr("corkage.health.server.MOST_SECONDS_APART", -1.0)  # any clock is

    finding = examine(app)[0]

    assert finding.what.startswith("the clock of PostgreSQL's machine is ")
    assert finding.repair.startswith("timedatectl")


def test_doctor_logs_nothing_of_what_it_only_compares(app, shop, caplog):
    customer = shop.customer()
    shop.subscribe(customer)
    app.converge(customer)
    caplog.set_level(logging.INFO, "corkage")
    caplog.clear()

    assert examine(app) == []

    assert [each.message for each in caplog.records if customer in each.message] == []


def test_doctor_reports_a_user_paying_twice_and_what_to_cancel(app, shop, simulator, caplog):
    customer = shop.customer()
    old = shop.subscribe(customer)
    app.converge(customer)
    assert "several subscriptions" not in caplog.text
    simulator.advance(60)
    new = shop.subscribe(customer)

    app.converge(customer)

    assert f"user ann pays for several subscriptions of one group: {old} and {new}" in caplog.text
    assert examine(app) == [
        Finding(
            f"user ann pays for several subscriptions of one group: {old}, {new}; "
            f"the user loses nothing when {old} ends with its period",
            f"stripe subscriptions update {old} -d cancel_at_period_end=true",
        )
    ]
    caplog.clear()
    shop.client.v1.subscriptions.cancel(old)
    app.converge(customer)
    assert examine(app) == []
    assert "several subscriptions" not in caplog.text


def test_doctor_sees_doubles_over_two_customers_of_this_product_only(app, shop, simulator):
    first, second = shop.customer(), shop.customer()
    old = shop.subscribe(first)
    simulator.advance(60)
    shop.subscribe(second)
    shop.subscribe(second, price=shop.other_price, user=None)
    for customer in (first, second):
        app.converge(customer)

    advice = [each.repair for each in examine(app) if "several subscriptions" in each.what]
    assert advice == [f"stripe subscriptions update {old} -d cancel_at_period_end=true"]


def test_doctor_reports_an_unowned_paying_customer_and_how_to_link_it(app, shop, corkage):
    customer = shop.customer(None)
    shop.subscribe(customer, user=None)
    app.converge(customer)

    result = corkage("doctor")

    assert result.returncode == 1
    said = (
        f"unowned: {customer} pays for pro and belongs to no user\n             > corkage user link USER {customer}\n"
    )
    assert said in result.stdout
    assert result.stdout.endswith("problems: 1\n")
    app.billing.service.worker.converger.link("ann", customer, time.time())
    assert [each for each in examine(app) if each.repair] == []


def test_doctor_counts_another_products_customers_without_complaint(app, shop, corkage):
    customer = shop.customer(None)
    shop.subscribe(customer, price=shop.other_price, user=None)
    app.converge(customer)

    result = corkage("doctor")

    assert result.returncode == 0
    assert "1 customers pay for prices of no plan" in result.stdout
    assert result.stdout.endswith("all is well\n")


def test_doctor_ignores_an_unowned_customer_after_its_subscription(app, shop):
    customer = shop.customer(None)
    shop.client.v1.subscriptions.cancel(shop.subscribe(customer, user=None))
    app.converge(customer)

    assert examine(app) == []


def test_doctor_reports_a_price_without_plan_once(app, shop):
    for user in ("ann", "bob"):
        customer = shop.customer(user)
        shop.subscribe(customer, price=shop.other_price, user=user)
        app.converge(customer)

    (finding,) = examine(app)

    assert finding.what.startswith(f"no plan names {shop.other_price}, and 2 subscriptions")
    assert f'retired = ["{shop.other_price}"]' in finding.repair


def move_key(shop, **params):
    """Move the lookup key of pro to a new price, dearer by a dollar."""
    product = shop.client.v1.prices.retrieve(shop.price).product
    wanted = {"product": product, "currency": "usd", "unit_amount": 1000, "recurring": {"interval": "month"}}
    key = {"lookup_key": "pro_monthly", "transfer_lookup_key": True}
    return shop.client.v1.prices.create(params=wanted | key | params).id


def test_doctor_asks_for_retired_once_a_key_has_moved(app, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    app.converge(customer)
    move_key(shop)
    app.billing.service.catalogue.refresh(app.billing.service.gateway)

    assert examine(app, sample=0) == [
        Finding(
            f"{shop.price} stands for pro, and only this database knows: plans.toml and Stripe do not say so",
            f'name it in plans.toml, under [pro]: retired = ["{shop.price}"], and restart',
        )
    ]

    shop.client.v1.prices.update(shop.price, params={"metadata": {"corkage_plan": "pro"}})
    app.converge(customer)
    assert examine(app) == []


def test_doctor_asks_for_the_plan_before_a_key_moves(app, shop):
    customer = shop.customer()
    shop.subscribe(customer, user=None)
    app.converge(customer)

    (note,) = examine(app)

    assert note.repair is None
    assert note.what == (
        f'before you move the lookup key pro_monthly: name its price under retired = ["{shop.price}"], or run '
        f'stripe prices update {shop.price} -d "metadata[corkage_plan]=pro"'
    )
    shop.client.v1.prices.update(shop.price, params={"metadata": {"corkage_plan": "pro"}})
    app.converge(customer)
    assert examine(app) == []


def test_doctor_says_how_many_answers_wait_for_the_worker(app, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    app.converge(customer)
    User.update(rule=0).execute()

    assert examine(app) == [
        Finding("1 users still have answers by an earlier plans.toml; the worker is replacing them", None)
    ]
    app.work()
    assert examine(app) == []


def test_doctor_reports_answers_made_by_another_plans_toml(app, corkage, tmp_path):
    plans = tmp_path / "plans.toml"
    plans.write_text(plans.read_text().replace("grace_days", "grace_days = 3 #"))

    examined = corkage("doctor")

    assert examined.returncode == 1
    assert "made by a process with another plans.toml or another version of Corkage than this one" in examined.stdout


@pytest.mark.parametrize(("late", "mend"), [(300, []), (301, ["corkage work --once"])])
def test_doctor_reports_unapplied_events_after_five_minutes(app, shop, late, mend):
    now = time.time()
    record_event("evt_1", "cus_1", now - late)

    assert [each.repair for each in examine(app, now)] == mend


def test_doctor_reports_failing_events_and_not_future_ones(app, shop):
    now = time.time()
    record_event("evt_fails", "cus_1", now - 9000, attempts=2, error="stripe_failed", next_attempt_at=now + 60)
    record_event("evt_fresh", "cus_1", now)

    assert examine(app, now) == [
        Finding("1 events fail, the oldest since 2 h: stripe_failed; `corkage events` lists them", REPLAY),
    ]


def test_doctor_reports_drifted_access_and_writes_nothing(app, shop):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    app.converge(customer)
    shop.client.v1.subscriptions.cancel(subscription)

    (finding,) = examine(app)

    assert finding.what.startswith("user ann: the replica says active, Stripe says ended; different: allowed")
    assert finding.repair == "corkage sync"
    assert app.billing.access("ann").allowed


def test_doctor_reports_drift_that_does_not_change_access(app, shop):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    shop.client.v1.subscriptions.cancel(subscription)
    shop.subscribe(customer)
    app.converge(customer)
    Subscription.update(ended_at=1).where(Subscription.id == subscription).execute()

    assert [each.what.split(";")[0] for each in examine(app)] == ["1 subscriptions differ from Stripe"]


def test_a_user_with_a_pending_event_has_not_drifted(app, shop):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    app.converge(customer)
    shop.client.v1.subscriptions.cancel(subscription)
    app.deliver(shop.event("customer.subscription.deleted"))

    assert examine(app) == []


def test_doctor_fetches_no_more_than_a_sample(app, shop):
    for user in ("ann", "bob", "eve"):
        customer = shop.customer(user)
        shop.subscribe(customer, user=user)
        app.converge(customer)
    calls = shop.calls()

    examine(app, sample=2)

    assert shop.calls() - calls == 2 + 1  # and one list of those who pay


def test_doctor_reports_what_the_database_knows_without_stripe(app, shop, corkage):
    customer = shop.customer()
    for _ in range(2):
        shop.subscribe(customer)
    app.converge(customer)

    result = corkage("doctor", STRIPE_API_BASE="http://127.0.0.1:1")

    assert result.returncode == 1
    assert "pays for several subscriptions" in result.stdout
    assert "drift: could not be looked at: stripe_unavailable, see key" in result.stdout
    assert result.stdout.count("HTTP none") == 1
    assert "Traceback" not in result.stderr


def test_doctor_reports_a_customer_unknown_to_stripe_and_sync_mends_it(app, shop, corkage):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    app.converge(customer)
    with shop.simulator.world.lock:
        shop.simulator.world.remove("customer", customer)
        shop.simulator.world.remove("subscription", subscription)

    assert Finding(f"Stripe does not know {customer}", "corkage sync") in examine(app)
    sync = corkage("sync", BILLING_DATABASE=app.billing.config.database)
    assert sync.returncode == 0, sync.stdout + sync.stderr

    (finding,) = examine(app)
    assert (finding.what.startswith("Stripe does not know 1 customers"), customer in finding.what) == (True, True)
    assert finding.repair is None


def test_a_sample_beyond_the_number_of_users_fetches_everyone(app, shop):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    app.converge(customer)
    shop.client.v1.subscriptions.cancel(subscription)

    assert [each.repair for each in examine(app, sample=1000)] == ["corkage sync"]
    assert examine(app, sample=0) == []


def test_doctor_distinguishes_unowned_payers_with_and_without_a_plan(app, shop):
    ours, theirs, both = shop.customer(None), shop.customer(None), shop.customer(None)
    for customer, price in ((ours, None), (theirs, shop.other_price), (both, None), (both, shop.other_price)):
        shop.subscribe(customer, price=price, user=None)
        app.converge(customer)

    findings = examine(app)

    links = {f"corkage user link USER {each}" for each in (ours, both)}
    assert {each.repair for each in findings} == links | {None}
    assert [each.what for each in findings if each.repair is None] == [
        "1 customers pay for prices of no plan: they belong to another product"
    ]


def test_doctor_reports_an_unreachable_stripe_beside_other_findings(app, shop, simulator):
    customer = shop.customer(None)
    shop.subscribe(customer, user=None)
    app.converge(customer)
    simulator.stop()
    app.billing.service.worker.gateway = Gateway(simulator.api_key, "http://127.0.0.1:1", retries=0)

    found = examine(app)

    assert [each.repair for each in found if "link" in (each.repair or "")] == [f"corkage user link USER {customer}"]
    unasked = [each for each in found if "stripe_unavailable" in each.what]
    assert [each.repair for each in unasked if each.repair] == ["corkage doctor, again"]
    assert len(unasked) > 5
