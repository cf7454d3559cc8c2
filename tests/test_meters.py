"""Meters: what is used is stored with the use, sent to Stripe in time, and counted there once, whatever happens."""

import time
from contextlib import suppress
from dataclasses import replace

import pytest
from examined import examine
from harness import DAY, running
from spending import PLANS, open_meter, use_at

from corkage import storage
from corkage.commands.database import restore as restoring
from corkage.errors import DatabaseUnavailable
from corkage.health import metering
from corkage.models import MeterEvent, Subscription
from corkage.simulator.http.faults import ApiFaults
from corkage.storage import backup as backups
from corkage.sync import meters

pytestmark = pytest.mark.slow

EVENTS = "/v1/billing/meter_events"
HOUR = 3600


@pytest.fixture
def now(simulator):
    """The beginning of this hour, at which Stripe's clock stands still: what is used is sent hour by hour."""
    simulator.world.clock._stands_at = int(time.time()) // HOUR * HOUR
    return simulator.world.clock.now()


@pytest.fixture
def app(config, now):
    with running(replace(config, plans=PLANS)) as served:
        yield served


@pytest.fixture
def meter(shop):
    return open_meter(shop.client)


@pytest.fixture
def customer(app, shop, meter, now):
    return subscribed(app, shop, now)


def subscribed(app, shop, now):
    """A customer of ann's, who subscribed to the metered price."""
    app.billing.service.catalogue.refresh(app.billing.service.worker.gateway)
    made = shop.customer()
    (price,) = shop.client.v1.prices.list(params={"lookup_keys": ["calls_metered"]}).data
    shop.subscribe(made, price.id)
    app.billing.service.converger.converge(made, now)
    return made


def sent(simulator):
    """The events that Stripe has taken: how much, and of when."""
    taken = [each.params for each in simulator.requests if each.path == EVENTS and each.status == 200]
    return [(int(each["payload"]["value"]), int(each["timestamp"])) for each in taken]


def tried(simulator):
    """The identifiers of all events that were sent to Stripe; None where it did not read the request."""
    return [each.params.get("identifier") for each in simulator.requests if each.path == EVENTS]


def counted(shop, meter, customer, now, days=60):
    """How much Stripe has counted for a customer around now."""
    start = now - now % 60 - days * DAY
    span = {"customer": customer, "start_time": start, "end_time": start + 2 * days * DAY}
    shop.simulator.advance(120)  # summaries lag
    return sum(each.aggregated_value for each in shop.client.v1.billing.meters.event_summaries.list(meter, params=span))


def test_what_is_used_goes_to_stripe_as_one_event_some_minutes_after_the_first_use(app, customer, simulator, now):
    use_at(app.billing, now, "ann", "calls", 2)
    use_at(app.billing, now + 200, "ann", "calls", 3)

    app.work(now + 299)
    assert sent(simulator) == []
    app.work(now + 300)
    assert sent(simulator) == [(5, now)]
    app.work(now + 4 * HOUR)
    assert len(sent(simulator)) == 1


def test_stripe_counts_it_for_the_customer(app, customer, simulator, shop, meter, now):
    use_at(app.billing, now, "ann", "calls", 7)
    app.work(now + 300)

    assert counted(shop, meter, customer, now) == 7


def test_what_is_used_after_sending_is_an_event_of_its_own(app, customer, simulator, now):
    use_at(app.billing, now, "ann", "calls", 2)
    app.work(now + 300)
    simulator.advance(301)
    use_at(app.billing, now + 301, "ann", "calls", 3)
    app.work(now + 601)

    assert sent(simulator) == [(2, now), (3, now + 301)]


def test_a_worker_sends_when_something_is_due_and_no_earlier(app, customer, now):
    before = app.billing.service.worker.next_due_at(now)
    use_at(app.billing, now, "ann", "calls")

    assert app.billing.service.worker.next_due_at(now) == min(before, now + 300)


def test_a_script_that_works_at_once_sends_at_once(app, customer, simulator, now):
    use_at(app.billing, now, "ann", "calls", 4)

    app.billing.service.worker.work_at_once(now)

    assert sent(simulator) == [(4, now)]


def test_a_use_that_was_refused_or_repeated_is_not_billed(app, customer, simulator, now):
    use_at(app.billing, now, "ann", "calls", 4, "a")
    use_at(app.billing, now, "ann", "calls", 4, "a")
    app.work(now + 300)

    assert sent(simulator) == [(4, now)]


def test_what_is_given_or_not_metered_is_counted_and_not_billed(app, simulator, shop, meter, now):
    app.billing.grant("ann", "metered")
    app.billing.grant("ann", "large")

    assert use_at(app.billing, now, "ann", "calls", 4).used == 4
    assert use_at(app.billing, now, "ann", "exports", 4).used == 4
    assert MeterEvent.select().count() == 0


def test_a_given_plan_is_not_billed_at_a_subscription_that_lets_nobody_in(app, customer, shop, now):
    Subscription.update(status="unpaid").execute()
    app.billing.grant("ann", "metered")

    assert use_at(app.billing, now, "ann", "calls", 4).allowed
    assert MeterEvent.select().count() == 0


@pytest.mark.parametrize("failure", ["cut_after", "error_after", "cut_within"])
def test_a_lost_answer_counts_once(app, customer, simulator, shop, meter, now, failure):
    use_at(app.billing, now, "ann", "calls", 5)
    simulator.api_faults = ApiFaults(failure=failure, path=EVENTS)
    app.work(now + 300)
    assert MeterEvent.get().sent_at is None
    assert "stripe" in MeterEvent.get().error
    simulator.api_faults = ApiFaults()

    app.work(now + 400)

    assert len(set(tried(simulator))) == 1
    assert (MeterEvent.get().sent_at, MeterEvent.get().error) == (now + 400, None)
    assert counted(shop, meter, customer, now) == 5


@pytest.mark.parametrize("failure", ["cut", "error", "rate_limit"])
def test_what_did_not_arrive_is_sent_again_with_backoff(app, customer, simulator, shop, meter, now, failure):
    use_at(app.billing, now, "ann", "calls", 5)
    simulator.api_faults = ApiFaults(failure=failure, path=EVENTS)
    app.work(now + 300)
    tries = len(tried(simulator))
    app.work(now + 301)
    assert len(tried(simulator)) == tries
    simulator.api_faults = ApiFaults()

    app.work(now + 310)

    assert counted(shop, meter, customer, now) == 5


def test_a_crash_after_stripe_took_it_counts_once(app, customer, simulator, shop, meter, now, monkeypatch):
    use_at(app.billing, now, "ann", "calls", 5)

    def crash(*_):
        raise DatabaseUnavailable("the power is off")

    with monkeypatch.context() as patched, suppress(DatabaseUnavailable):
        patched.setattr(storage, "execute_many", crash)
        app.work(now + 300)
    assert (len(sent(simulator)), MeterEvent.get().sent_at) == (1, None)

    app.work(now + 300 + meters.LEASE_SECONDS - 1)
    assert len(tried(simulator)) == 1
    app.work(now + 301 + meters.LEASE_SECONDS)

    assert (len(tried(simulator)), MeterEvent.get().sent_at is None) == (2, False)
    assert counted(shop, meter, customer, now) == 5


@pytest.mark.parametrize(("failure", "again"), [("cut_after", 0), ("cut", 1)])
def test_after_a_day_stripe_is_asked_first_whether_it_has_it(
    app, customer, simulator, shop, meter, now, failure, again
):
    use_at(app.billing, now, "ann", "calls", 1)
    app.work(now + 300)  # of the same minute, and counted
    MeterEvent.update(used_at=now - now % 60).execute()
    use_at(app.billing, now, "ann", "calls", 5)
    simulator.api_faults = ApiFaults(failure=failure, path=EVENTS)
    app.work(now + 300)
    simulator.api_faults = ApiFaults()
    simulator.advance(2 * DAY)
    tries = len(tried(simulator))

    app.work(now + 2 * DAY)

    assert len(tried(simulator)) - tries == again
    assert MeterEvent.select().where(MeterEvent.sent_at.is_null()).count() == 0
    assert counted(shop, meter, customer, now) == 6


@pytest.mark.one_engine("sqlite", "backups of a file")
def test_what_a_backup_has_as_owed_and_was_sent_since_is_billed_once(config, shop, meter, simulator, now, tmp_path):
    settings, made = replace(config, plans=PLANS), str(tmp_path / "made.db")
    with running(settings) as app:
        customer = subscribed(app, shop, now)
        use_at(app.billing, now, "ann", "calls", 5)
        backups.copy(storage.current().of_thread(), made, int(now), lambda *_: None)
        app.work(now + 300)
        assert len(sent(simulator)) == 1
    simulator.advance(2 * DAY)  # Stripe has forgotten the identifier

    assert restoring._restore(settings, made, config.database, yes=True) == 0

    with running(settings) as app:
        assert [(row.amount, row.sent_at) for row in MeterEvent.select()] == [(5, None)]
        use_at(app.billing, now + 60, "ann", "calls", 2)  # within the hour, and no part of the row before
        app.work(now + 2 * DAY)
        assert MeterEvent.select().where(MeterEvent.sent_at.is_null()).count() == 0
        assert [amount for amount, _ in sent(simulator)] == [5, 2]
        assert counted(shop, meter, customer, now) == 7


def test_uses_of_two_hours_are_two_events(app, customer, simulator, now):
    hour = now - now % HOUR + HOUR
    use_at(app.billing, hour - 1, "ann", "calls", 1)
    use_at(app.billing, hour, "ann", "calls", 2)

    assert sorted((row.used_at, row.amount) for row in MeterEvent.select()) == [(hour - 1, 1), (hour, 2)]


@pytest.mark.parametrize("is_heard", [True, False])
def test_uses_before_and_after_the_end_of_a_period_are_two_events(app, customer, now, is_heard):
    end = now - now % HOUR + HOUR + 1800
    Subscription.update(current_period_end=end).execute()
    use_at(app.billing, end - 1, "ann", "calls", 1)
    if is_heard:
        Subscription.update(current_period_end=end + 30 * DAY).execute()
    use_at(app.billing, end, "ann", "calls", 2)
    use_at(app.billing, end + 1, "ann", "calls", 3)

    assert sorted((row.used_at, row.amount) for row in MeterEvent.select()) == [(end - 1, 1), (end, 5)]


def test_what_is_used_on_a_test_clock_has_its_time(app, customer, simulator, shop, now):
    simulator.advance(40 * DAY)
    app.billing.service.converger.converge(customer, now)

    use_at(app.billing, now, "ann", "calls", 3)
    app.work(now + 300)

    assert sent(simulator) == [(3, now + 40 * DAY)]


def test_what_stripe_refuses_is_tried_again_until_it_is_too_old_and_given_up(app, customer, simulator, now, caplog):
    use_at(app.billing, now, "ann", "calls", 3)
    MeterEvent.update(used_at=now - 36 * DAY).execute()  # a time that Stripe does not take
    app.work(now + 300)
    assert "stripe_refused: HTTP 400" in MeterEvent.get().error
    assert MeterEvent.get().asked_at is None

    app.work(now + 34 * DAY)
    assert len(tried(simulator)) == 2
    app.work(now + 34 * DAY + 2 * HOUR)

    assert len(tried(simulator)) == 2
    assert MeterEvent.get().lost_at == now + 34 * DAY + 2 * HOUR
    assert "not sent for 34 days" in caplog.text
    assert meters.next_due_at() is None


def test_sent_rows_and_keys_and_old_windows_are_pruned_and_what_never_begins_anew_stays(app, customer, now):
    use_at(app.billing, now, "ann", "calls", 3, "a")
    use_at(app.billing, now, "ann", "projects", 3)
    use_at(app.billing, now, "ann", "calls", 3)
    counts = {}
    for days in (30, 32, 89, 91, 399, 440):
        app.work(now + days * DAY)
        tables = ("usage_key", "meter_event", "usage")
        counts[days] = [storage.row(f"SELECT count(*) FROM corkage_{each}")[0] for each in tables]

    assert counts == {30: [1, 1, 2], 32: [0, 1, 2], 89: [0, 1, 2], 91: [0, 0, 2], 399: [0, 0, 2], 440: [0, 0, 1]}


def findings(app, now):
    return list(metering.examine(app.billing.service.worker.gateway, PLANS, now))


def test_doctor_finds_nothing_where_the_sums_agree(app, customer, simulator, now):
    use_at(app.billing, now, "ann", "calls", 3)
    app.work(now + 300)
    simulator.advance(2 * HOUR)

    assert findings(app, now + 2 * HOUR) == []


def test_doctor_says_when_stripe_has_counted_another_sum(app, customer, simulator, shop, now):
    use_at(app.billing, now, "ann", "calls", 3)
    app.work(now + 300)
    payload = {"stripe_customer_id": customer, "value": "4"}
    shop.client.v1.billing.meter_events.create(params={"event_name": "api_calls", "payload": payload})
    simulator.advance(2 * HOUR)

    ((what, _),) = findings(app, now + 2 * HOUR)

    assert what.startswith(f"{customer}: the sums at the meter 'api_calls' differ: 3 were sent since ")
    assert what.endswith("and Stripe has counted 7")


def test_doctor_says_what_stripe_could_not_count_after_it_took_it(app, customer, shop, now):
    use_at(app.billing, now, "ann", "calls", 3)
    shop.client.v1.customers.delete(customer)
    app.work(now + 300)
    assert MeterEvent.get().sent_at == now + 300  # Stripe took it
    shop.client.v1.billing.meter_events.create(params={"event_name": "of_another_product", "payload": {"value": "4"}})

    found = findings(app, now + 400)

    said = [what for what, _ in found if "could not count" in what]
    assert len(said) == 1
    assert f": meter_event_customer_not_found, as of user ann ({customer})" in said[0]


def test_an_event_of_a_list_without_its_data_is_fetched_whole(app, customer, shop, now, monkeypatch):
    gateway = app.billing.service.worker.gateway
    shop.client.v1.billing.meter_events.create(params={"event_name": "nothing", "payload": {"value": "4"}})
    wanted, fetch = gateway.meter_errors(), gateway._client.get

    def without_data(path, **params):
        found, as_of = fetch(path, **params)
        if path == "/v2/core/events":
            found = found | {"data": [each | {"data": None} for each in found["data"]]}
        return found, as_of

    monkeypatch.setattr(gateway._client, "get", without_data)

    assert gateway.meter_errors() == wanted
    assert [each.code for each in wanted] == ["no_meter"]


def test_doctor_says_that_a_meter_is_missing_or_adds_up_otherwise(app, shop, now):
    ((missing, make),) = findings(app, now)
    assert missing == "Stripe has no active meter 'api_calls': what is used of calls is not billed"
    assert '-d "default_aggregation[formula]=sum"' in make

    open_meter(shop.client, default_aggregation={"formula": "count"})

    assert [what.partition(";")[0] for what, _ in findings(app, now) if "meter" in what] == [
        "the meter 'api_calls' is count of 'value' by 'stripe_customer_id'"
    ]


def test_doctor_says_what_waits_what_fails_and_what_was_given_up(app, customer, simulator, now):
    use_at(app.billing, now, "ann", "calls", 3)
    assert findings(app, now + 600) == []
    ((what, repair),) = findings(app, now + 601)
    assert (what.partition(",")[0], repair) == ("1 rows of usage wait for Stripe", "corkage work --once")

    simulator.api_faults = ApiFaults(failure="error", path=EVENTS)
    app.work(now + 601)
    assert next(what for what, _ in findings(app, now + 602)).startswith("1 rows of usage fail to reach Stripe")

    MeterEvent.update(created_at=now - 35 * DAY, next_attempt_at=now).execute()
    app.work(now + 700)
    (what,) = [what for what, _ in findings(app, now + 700)]
    assert what == f"3 calls of {customer} were not sent for 34 days, and will not be billed"


def test_doctor_goes_on_where_the_key_may_not_read_meters(app, customer, simulator, now):
    simulator.api_faults = ApiFaults(failure="error", path="/v1/billing/meters")

    ((what, repair),) = findings(app, now)

    assert (what.partition(":")[0], repair) == ("usage cannot be compared with Stripe", "corkage doctor, again")


def test_the_doctor_has_these_findings_among_its_own(app, shop, now):
    found = [each.what for each in examine(app, now)]

    assert "Stripe has no active meter 'api_calls': what is used of calls is not billed" in found
