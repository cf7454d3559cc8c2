"""corkage sync: the replica becomes all that Stripe lists, in few calls, while others write."""

import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest
from elsewhere import be_impatient, elsewhere, hold, lose
from harness import APP, DAY, running, until
from rows import deciding_subscription

from corkage import storage
from corkage.errors import DatabaseUnavailable, StripeFailed, StripeUnavailable
from corkage.models import Cursor, Customer, StripeEvent, Subscription, User
from corkage.sync import jobs
from corkage.sync import resync as resync_module
from corkage.sync.converge import Converger
from corkage.sync.resync import resync

pytestmark = pytest.mark.slow


def sync(app, now=None, **options):
    return resync(app.billing.service.worker.converger, time.time() if now is None else now, **options)


def everything(app):
    """All that decides, as it stands in the file."""
    rows = Subscription.select().order_by(Subscription.id).dicts()
    return (
        [row | {"clock_ahead": 0, "ask_at": None} for row in rows],
        {user.id: app.billing.access(user.id) for user in User.select()},
        {user.id: (user.email, user.stripe_customer_id, user.trial_used_at) for user in User.select()},
        {each.id: each.user_id for each in Customer.select()},
    )


def api_calls(shop):
    return len(shop.simulator.requests)


def test_a_lost_database_is_rebuilt_with_the_same_answers(config, shop, simulator):
    ann = shop.customer(email="ann@example.com")
    shop.client.v1.subscriptions.cancel(shop.subscribe(ann))
    shop.subscribe(ann, trial_period_days=14)
    bob = shop.customer("bob")
    shop.subscribe(bob, user="bob")
    stranger = shop.customer(None)
    shop.subscribe(stranger, user=None)
    shop.use_card(bob, "pm_card_chargeCustomerFail")
    simulator.advance(32 * DAY)
    with running(config) as app:
        for customer in (ann, bob, stranger):
            app.converge(customer)
        before = everything(app)
    lose(config.database)

    with running(config) as app:
        report = sync(app)
        after = everything(app)

    assert after == before
    assert before[1]["bob"].status == "past_due"
    assert (report.new, report.changed, report.unowned, report.failed) == (4, 0, 1, {})
    assert sorted(report.access) == ["ann", "bob"]


def test_sync_repairs_and_reports_lost_changes_once(app, shop):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    app.converge(customer)
    shop.client.v1.subscriptions.cancel(subscription)

    report = sync(app)

    before, after = report.access["ann"]
    assert (before.reason, after.reason) == ("active", "ended")
    assert (report.new, report.changed) == (0, 1)
    assert app.billing.access("ann").reason == "ended"
    again = sync(app)
    assert (again.new, again.changed, again.access, again.failed) == (0, 0, {}, {})


def test_a_dry_run_reports_the_same_and_writes_nothing(app, shop):
    known, unknown = shop.customer(), shop.customer("bob")
    subscription = shop.subscribe(known)
    shop.subscribe(unknown, user="bob")
    app.converge(known)
    shop.client.v1.subscriptions.cancel(subscription)
    held = everything(app), Cursor.select().count()

    dry = sync(app, writes=False)

    assert (everything(app), Cursor.select().count()) == held
    assert not app.billing.access("bob").allowed
    wet = sync(app)
    assert dry == wet
    assert app.billing.access("bob").allowed


def test_a_dry_run_fetches_what_the_list_lacks_and_writes_nothing(app, shop):
    clock = shop.client.v1.test_helpers.test_clocks.create(params={"frozen_time": int(time.time())}).id
    customer = shop.customer(test_clock=clock)
    subscription = shop.subscribe(customer)
    app.converge(customer)
    shop.client.v1.subscriptions.cancel(subscription)
    held = everything(app)

    report = sync(app, writes=False)

    assert everything(app) == held
    assert (report.singly, report.changed) == (1, 1)
    assert report.access["ann"][1].reason == "ended"


def test_sync_fetches_a_subscription_missing_from_the_list(app, shop):
    clock = shop.client.v1.test_helpers.test_clocks.create(params={"frozen_time": int(time.time())}).id
    hidden = shop.customer(test_clock=clock)
    shop.subscribe(hidden)
    app.converge(hidden)

    report = sync(app)

    assert (report.subscriptions, report.singly, report.changed) == (0, 1, 0)
    assert app.billing.access("ann").allowed


def test_only_an_overtaken_customer_is_fetched_alone(app, shop):
    customers = [shop.customer(user) for user in ("ann", "bob", "eve")]
    subscriptions = [
        shop.subscribe(each, user=user) for each, user in zip(customers, ("ann", "bob", "eve"), strict=True)
    ]
    gateway = app.billing.service.worker.gateway
    listing = gateway.every_subscription

    def list_and_be_overtaken(known):
        yield from listing(known)
        shop.client.v1.subscriptions.cancel(subscriptions[0])
        app.converge(customers[0])

    gateway.every_subscription = list_and_be_overtaken
    calls = shop.calls()
    report = sync(app)

    assert report.singly == 1
    assert app.billing.access("ann").reason == "ended"
    assert app.billing.access("bob").allowed
    assert app.billing.access("eve").allowed
    assert shop.calls() - calls == 3  # the list, the one who overtook, and the one who was overtaken


def test_a_link_made_by_hand_during_sync_is_kept(app, shop):
    customer = shop.customer("ann")
    shop.subscribe(customer)
    gateway = app.billing.service.worker.gateway
    listing = gateway.every_subscription

    def list_while_somebody_links(known):
        yield from listing(known)
        app.billing.service.worker.converger.link("bob", customer, time.time())

    gateway.every_subscription = list_while_somebody_links
    sync(app)

    assert Customer.get().user_id == "bob"
    assert not app.billing.access("ann").allowed


def test_a_customers_subscriptions_on_two_pages_are_merged(app, shop, monkeypatch):
    monkeypatch.setattr("corkage.gateway.gateway.PAGE", 1)
    customer = shop.customer()
    old = shop.subscribe(customer)
    shop.subscribe(shop.customer("bob"), user="bob")
    shop.client.v1.subscriptions.cancel(shop.subscribe(customer))

    report = sync(app)

    assert (report.subscriptions, report.customers, report.new) == (3, 2, 3)
    assert deciding_subscription() == old
    assert report.access["ann"][1].reason == "active"
    assert report.access["ann"][0].reason == "no_subscription"


def test_sync_stores_an_unowned_customer_without_user(app, shop):
    theirs = shop.customer("ann", app="another.example.com")
    shop.subscribe(theirs)

    report = sync(app)

    assert (report.unowned, report.access) == (1, {})
    assert (Customer.get().id, Customer.get().user_id) == (theirs, None)
    assert User.select().count() == 0


def test_sync_sees_a_customer_deleted_at_stripe(app, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    app.converge(customer)
    shop.client.v1.customers.delete(customer)

    report = sync(app)

    assert report.access["ann"][1].reason == "ended"
    assert Customer.get().deleted_at is not None
    assert User.get().stripe_customer_id is None


def test_grace_uses_the_oldest_open_invoice_with_one_list_for_each(app, shop, simulator):
    simulator.rules.after_retries = "past_due"
    for user in ("ann", "bob", "eve"):
        customer = shop.customer(user)
        shop.subscribe(customer, user=user)
        shop.use_card(customer, "pm_card_chargeCustomerFail")
    simulator.advance(70 * DAY)
    invoices = shop.calls("/v1/invoices")

    sync(app)

    assert shop.calls("/v1/invoices") - invoices == 3
    rows = list(Subscription.select())
    since = {row.id: row.unpaid_since for row in rows}
    for row in rows:
        app.converge(row.customer_id)
    assert {row.id: row.unpaid_since for row in Subscription.select()} == since
    assert len(since) == 3
    assert max(since.values()) < simulator.world.now - 35 * DAY


def test_without_past_due_subscriptions_no_invoices_are_listed(app, shop):
    shop.subscribe(shop.customer())
    invoices = shop.calls("/v1/invoices")

    sync(app)

    assert shop.calls("/v1/invoices") == invoices


def test_syncing_three_hundred_subscriptions_costs_seven_calls_after_the_first_time(app, shop, simulator):
    customer = shop.customer()
    first = shop.subscribe(customer)
    fill(simulator, customer, first, 299)
    before = api_calls(shop)

    report = sync(app)

    # three pages of customers and of subscriptions, one each of prices, refunds and disputes
    assert api_calls(shop) - before == 10
    assert (report.subscriptions, report.customers, len(report.access)) == (300, 300, 300)
    assert all(after.allowed for _, after in report.access.values())
    before = api_calls(shop)
    sync(app)
    assert api_calls(shop) - before <= 7


def fill(simulator, customer, subscription, count):
    """Copy a subscription and its customer, to users of their own; the first copy is past due."""
    world = simulator.world
    for number in range(count):
        user = {"corkage_app": APP, "corkage_user": f"user-{number}"}
        copied = world.add("customer", world.get("customer", customer) | {"id": f"cus_{number}", "metadata": user})
        status = {"status": "active" if number else "past_due", "metadata": user}
        held = world.get("subscription", subscription)
        world.add("subscription", held | {"id": f"sub_{number}", "customer": copied["id"]} | status)


def test_sync_spaces_its_calls(app, shop, monkeypatch):
    monkeypatch.setattr(resync_module, "CALLS_PER_SECOND", 10)
    monkeypatch.setattr("corkage.gateway.gateway.PAGE", 1)
    customer = shop.customer()
    for _ in range(4):
        shop.subscribe(customer)
    began = time.monotonic()

    sync(app)

    assert time.monotonic() - began >= 0.3


def test_a_sync_interrupted_between_pages_has_written_nothing(app, shop, monkeypatch):
    monkeypatch.setattr("corkage.gateway.gateway.PAGE", 1)
    customer = shop.customer()
    shop.subscribe(customer)
    shop.subscribe(customer)
    gateway = app.billing.service.worker.gateway
    listing = gateway.every_subscription

    def break_off(known):
        yield next(listing(known))
        raise StripeUnavailable("cut between two pages")

    gateway.every_subscription = break_off
    with pytest.raises(StripeUnavailable):
        sync(app)

    assert Subscription.select().count() == 0
    gateway.every_subscription = listing
    assert sync(app).new == 2


def hidden_customers(app, shop, users):
    """Customers on a test clock, whom lists lack, so that each is fetched singly."""
    clock = shop.client.v1.test_helpers.test_clocks.create(params={"frozen_time": int(time.time())}).id
    customers = [shop.customer(user, test_clock=clock) for user in users]
    for customer, user in zip(customers, users, strict=True):
        shop.client.v1.subscriptions.cancel(shop.subscribe(customer, user=user))
        app.converge(customer)
    Subscription.update(status="active").execute()
    return customers


def break_at(app, count):
    """Have Stripe not answer from the nth list of one customer on; return what makes it answer again."""
    gateway, asked = app.billing.service.worker.gateway, []
    fetch = gateway.subscriptions_of

    def fetch_or_break(customer_id, *known, **options):
        asked.append(customer_id)
        if len(asked) >= count:
            raise StripeUnavailable("no answer")
        return fetch(customer_id, *known, **options)

    gateway.subscriptions_of = fetch_or_break
    return lambda: setattr(gateway, "subscriptions_of", fetch)


def test_a_sync_resumes_within_an_hour_and_then_starts_over(app):
    jobs.save_position("sync", 1_000_000)

    assert resync_module._began(1_000_000 + 3600) == 1_000_000
    assert resync_module._began(1_000_000 + 3601) == 1_000_000 + 3601


def test_an_interrupted_sync_is_resumed(app, shop, simulator):
    customers = hidden_customers(app, shop, ("ann", "bob", "eve"))
    Customer.update(fetched_at=0).execute()
    mend, now = break_at(app, 2), time.time()
    with pytest.raises(StripeUnavailable):
        sync(app, now)
    assert Subscription.select().where(Subscription.status == "canceled").count() == 1
    Subscription.update(status="active").where(Subscription.customer == min(customers)).execute()

    mend()
    simulator.advance(2)
    report = sync(app, now + 2)

    assert report.singly == 2
    assert Cursor.get_by_id("sync").position == 0
    assert sync(app, now + 3).done_before == 0


def test_sync_reports_a_customer_stripe_refuses_and_continues(app, shop):
    hidden_customers(app, shop, ("ann", "bob"))
    gateway = app.billing.service.worker.gateway
    fetch, first = gateway.subscriptions_of, min(each.id for each in Customer.select())

    def refuse_one(customer_id, *known, **options):
        if customer_id == first:
            raise StripeFailed("HTTP 500")
        return fetch(customer_id, *known, **options)

    gateway.subscriptions_of = refuse_one
    report = sync(app)

    assert report.failed == {first: "stripe_failed: HTTP 500"}
    assert [row.customer_id == first for row in Subscription.select() if row.status == "active"] == [True]


def test_sync_leaves_pending_events_to_the_worker(app, shop):
    shop.subscribe(shop.customer())
    app.deliver(shop.event("customer.subscription.created"))

    sync(app)

    assert StripeEvent.get().applied_at is None


def test_the_command_lists_changed_access_then_no_difference(corkage, app, shop):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    app.converge(customer)
    shop.client.v1.subscriptions.cancel(subscription)
    shop.subscribe(shop.customer("bob"), user="bob")

    dry = corkage("sync", "--dry-run")
    assert app.billing.access("ann").allowed
    assert not app.billing.access("bob").allowed
    wet = corkage("sync")
    again = corkage("sync")

    assert [run.returncode for run in (dry, wet, again)] == [0, 0, 0]
    assert dry.stdout.splitlines()[0] == "2 subscriptions of 2 customers, 0 of them unowned"
    assert "left so (dry run): 1 subscriptions new, 1 changed, access of 2 users" in dry.stdout
    assert "different, and mended: 1 subscriptions new, 1 changed, access of 2 users" in wet.stdout
    assert re.search(r"  ann: yes, active, pro, until \d{4}-.+ UTC -> no, ended, pro\n", wet.stdout)
    assert re.search(r"  bob: no, no_subscription -> yes, active, pro, until \d{4}-.+ UTC\n", wet.stdout)
    assert again.stdout.splitlines()[1:] == ["nothing was different"]
    assert not app.billing.access("ann").allowed
    assert app.billing.access("bob").allowed


def test_the_progress_bar_is_drawn_only_on_a_terminal(corkage, environ, tmp_path, shop):
    shop.subscribe(shop.customer())
    environ["BILLING_LOG"] = "warning"
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "corkage.cli", "sync"], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=end
    )
    process.communicate(timeout=60)
    drawn = os.read(terminal, 10_000).decode()
    os.close(terminal)
    os.close(end)

    assert f"compared  [{'#' * 36}]  1/1" in drawn
    assert drawn.endswith("\x1b[?25h\r\n")
    assert corkage("sync").stderr == ""


def test_a_sync_that_stripe_interrupts_fails_with_a_sentence(corkage):
    refused = corkage("sync", STRIPE_API_BASE="http://127.0.0.1:1")

    assert refused.returncode == 1
    assert "stripe_unavailable" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_ctrl_c_says_how_to_resume(environ, tmp_path, shop, simulator):
    customer = shop.customer()
    fill(simulator, customer, shop.subscribe(customer), 2000)
    process = subprocess.Popen(
        [sys.executable, "-m", "corkage.cli", "sync"],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: shop.calls("/v1/subscriptions") >= 1, 30)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "run it again within the hour" in said
    assert "Traceback" not in said


def test_an_unowned_subscription_missing_from_the_list_is_fetched_too(app, shop):
    clock = shop.client.v1.test_helpers.test_clocks.create(params={"frozen_time": int(time.time())}).id
    stranger = shop.customer(None, test_clock=clock)
    subscription = shop.subscribe(stranger, user=None)
    app.converge(stranger)
    shop.client.v1.subscriptions.cancel(subscription)

    report = sync(app)

    assert (report.singly, report.changed, report.unowned) == (1, 1, 1)
    assert Subscription.get().status == "canceled"


def test_sync_corrects_a_test_clocks_lead_without_reporting_it(app, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    app.converge(customer)
    Subscription.update(clock_ahead=5000).execute()

    report = sync(app)

    assert (report.changed, report.access) == (0, {})
    assert abs(Subscription.get().clock_ahead) < 60


def test_a_user_with_two_customers_is_reported_once(app, shop, simulator):
    shop.client.v1.subscriptions.cancel(shop.subscribe(shop.customer()))
    simulator.advance(60)
    shop.subscribe(shop.customer())

    report = sync(app)

    before, after = report.access["ann"]
    assert (report.customers, len(report.access)) == (2, 1)
    assert (before.reason, after.reason) == ("no_subscription", "active")


def test_access_that_ends_as_it_began_is_not_reported(app, shop):
    old, new = shop.customer(), shop.customer()
    shop.subscribe(old)
    held = shop.subscribe(new)
    for customer in (old, new):
        app.converge(customer)
    Subscription.update(currency="eur").where(Subscription.id == held).execute()
    mending = resync_module.ReportingConverger(app.billing.service.worker.converger, writes=False)
    access = app.billing.access("ann")

    mending._note_access(access, access._replace(allowed=False))
    mending._note_access(access._replace(allowed=False), access)

    assert mending.report.access == {}


def test_the_earliest_due_date_counts_in_any_order_of_invoices(app, shop, simulator):
    simulator.rules.after_retries = "past_due"
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    shop.use_card(customer, "pm_card_chargeCustomerFail")
    simulator.advance(70 * DAY)
    newest, oldest = shop.client.v1.invoices.list(params={"subscription": subscription, "status": "open"}).data
    with simulator.world.lock:
        simulator.world.get("invoice", oldest.id)["due_date"] = newest.created + DAY

    sync(app)

    assert Subscription.get().unpaid_since == newest.created


def test_a_customer_listed_twice_or_fetched_alone_is_stored_once(app, shop, simulator):
    clock = shop.client.v1.test_helpers.test_clocks.create(params={"frozen_time": int(time.time())}).id
    done, hidden = shop.customer(), shop.customer("bob", test_clock=clock)
    shop.subscribe(done)
    shop.subscribe(hidden, user="bob")
    now = time.time()
    app.converge(hidden)
    mend = break_at(app, 1)
    with pytest.raises(StripeUnavailable):
        sync(app, now - 2)
    Customer.update(fetched_at=int(now) - 10).where(Customer.id == hidden).execute()
    revisions = {row.id: row.revision for row in Customer.select()}

    mend()
    simulator.advance(2)
    report = sync(app, now)

    assert (report.done_before, report.singly) == (1, 1)
    assert {row.id: row.revision - revisions[row.id] for row in Customer.select()} == {done: 0, hidden: 1}


def test_sync_reports_a_bug_in_one_customer_and_continues(app, shop, monkeypatch):
    poisoned = shop.customer()
    shop.subscribe(poisoned)
    shop.subscribe(shop.customer("bob"), user="bob")
    write = Converger.compare_and_set

    def stumble(self, held, *others):
        if held.customer.id == poisoned:
            raise ZeroDivisionError
        return write(self, held, *others)

    monkeypatch.setattr(Converger, "compare_and_set", stumble)
    report = sync(app)

    assert report.failed == {poisoned: "bug: ZeroDivisionError"}
    assert app.billing.access("bob").allowed
    assert not app.billing.access("ann").allowed


def test_an_unwritable_database_ends_the_sync_and_blames_no_customer(app, shop, config, monkeypatch):
    be_impatient(monkeypatch)
    shop.subscribe(shop.customer())
    if not storage.is_url(config.database):
        storage.current().of_thread().execute("PRAGMA busy_timeout = 100")
    gateway = app.billing.service.worker.gateway
    listing = gateway.every_subscription

    def list_and_be_locked_out(known):
        yield from listing(known)
        hold(other)

    gateway.every_subscription = list_and_be_locked_out
    with elsewhere(config.database) as other, pytest.raises(DatabaseUnavailable):
        sync(app, writes=False)

    assert Subscription.select().count() == 0
