"""BILLING_APP: products of one Stripe account stay apart, the file remembers its name, and a move loses nobody."""

import functools
import time
from dataclasses import replace

import pytest
from buying import click, pay, url_of
from elsewhere import elsewhere
from harness import APP, running

from corkage.billing_app import Billing
from corkage.demo import _config as demo_config
from corkage.errors import ConfigError
from corkage.models import Customer, setting
from corkage.replica import marks
from corkage.sync import jobs
from corkage.sync.resync import resync

OLD = "https://old.example.com"


def at(config, url, *, path="", app="", database=None):
    """Return the settings of a product at this address, without BILLING_APP unless one is given."""
    moved = {"frontend_urls": (url,), "billing_url": url + path, "app": app, "name": ""}
    return replace(config, **moved, database=database or config.database)


def sell(config, shop, user="ann"):
    """Sell the plan to the user from this product; return the customer."""
    with running(config) as app:
        pay(url_of(click(app, user=user)))
        customer = shop.client.v1.customers.list().data[0].id
        app.converge(customer)
        assert app.billing.access(user).allowed
    return str(customer)


def refused(config):
    with pytest.raises(ConfigError) as error:
        Billing(config)
    (problem,) = error.value.problems
    return problem


def test_two_products_on_two_ports_of_a_host_do_not_let_in_each_others_users(config, shop, tmp_path):
    customer = sell(at(config, "http://127.0.0.1:8000"), shop, user="1")

    with running(at(config, "http://127.0.0.1:8001", database=str(tmp_path / "other.db"))) as other:
        other.converge(customer)
        assert not other.billing.access("1").allowed
        assert Customer.get_by_id(customer).user_id is None
    with running(at(config, "http://127.0.0.1:8000")) as first:
        assert first.billing.access("1").allowed


@pytest.mark.slow
def test_another_name_stops_the_start_with_both_names_and_what_to_do(config, corkage, shop):
    customer = sell(at(config, OLD), shop)

    problem = refused(at(config, "https://new.example.com", path="/billing"))

    assert problem.startswith("BILLING_APP: is 'new.example.com/billing'")
    assert "set BILLING_APP=old.example.com" in problem
    assert "another BILLING_DATABASE" in problem
    for command in ("serve", "doctor"):
        stopped = corkage(command)
        assert (stopped.returncode, "set BILLING_APP=old.example.com" in stopped.stderr) == (2, True)
    with running(at(config, "https://new.example.com", app="old.example.com")) as moved:
        assert moved.billing.access("ann").allowed
        assert Customer.get().id == customer


def test_a_refused_start_leaves_the_name_and_the_file_as_they_were(config):
    Billing(config).close()
    refused(replace(config, app="another"))
    refused(replace(config, app="another"))

    billing = Billing(config)
    assert setting("app") == APP
    billing.close()


def forget_the_name(config):
    """Make the file one of an earlier development version."""
    with elsewhere(config.database) as file:
        file.execute("DELETE FROM corkage_setting WHERE name = 'app'")


def test_a_file_without_a_name_keeps_the_one_that_it_ran_under(config, shop):
    sell(at(config, f"{OLD}:8000", app="old.example.com"), shop)
    forget_the_name(config)

    assert "set BILLING_APP=old.example.com" in refused(at(config, f"{OLD}:8000"))
    with running(at(config, f"{OLD}:8000", app="old.example.com")) as app:
        assert app.billing.access("ann").allowed


@pytest.mark.parametrize("app", ["", "shop"])
def test_a_file_without_a_name_starts_where_nothing_but_the_host_is_known_or_the_name_was_set(config, app):
    Billing(at(config, OLD, app=app)).close()
    forget_the_name(config)

    billing = Billing(at(config, OLD, app=app))
    assert setting("app") == (app or "old.example.com")
    billing.close()


def test_a_key_of_the_other_mode_does_not_name_a_file_without_a_name(config):
    Billing(config).close()
    forget_the_name(config)
    live = replace(config, stripe_secret_key="sk_live_a", app="another")

    assert refused(live).startswith("STRIPE_SECRET_KEY")

    Billing(config).close()


def test_a_kept_file_of_the_demo_has_its_name_on_any_port(tmp_path):
    first = demo_config(8000, str(tmp_path / "demo.db"))
    Billing(replace(first, stripe_secret_key="sk_test_demo")).close()

    second = demo_config(8001, str(tmp_path / "demo.db"))

    assert second.app == first.app != demo_config(8001, str(tmp_path / "other.db")).app
    Billing(replace(second, stripe_secret_key="sk_test_demo")).close()


@pytest.fixture
def moved(config, environ, shop, tmp_path):
    """Two users bought at the old address; then the domain moved and the file was lost. Returns their customers."""
    before = at(config, OLD, database=str(tmp_path / "lost.db"))
    customers = {user: sell(before, shop, user) for user in ("ann", "bob")}
    environ["FRONTEND_URL"] = "https://new.example.com"
    return customers


@pytest.mark.slow
def test_sync_names_the_customers_of_another_app_and_what_mends_it(moved, corkage):
    dry, report, doctor = corkage("sync", "--dry-run"), corkage("sync"), corkage("doctor")

    what = "2 customers are marked for old.example.com (corkage_app), and this is new.example.com: "
    for told in (dry, report, doctor):
        assert what in told.stdout
        assert f"{moved['ann']} (user ann)" in told.stdout
        assert "set BILLING_APP=old.example.com and another BILLING_DATABASE, and run `corkage sync`" in told.stdout
        assert f"corkage user link ann {moved['ann']}" in told.stdout or f"bob {moved['bob']}" in told.stdout
    assert (report.returncode, doctor.returncode) == (0, 1)
    assert "belongs to no user" not in doctor.stdout

    mended = {"BILLING_APP": "old.example.com", "BILLING_DATABASE": "anew.db"}
    again = corkage("sync", **mended)
    assert "marked for" not in again.stdout
    assert "ann: yes, active" in corkage("user", "show", "ann", **mended).stdout
    assert corkage("doctor", **mended).stdout.endswith("all is well\n")


@pytest.mark.slow
def test_a_customer_of_another_app_is_no_problem_once_it_is_linked_or_marked_for_this_one(moved, corkage, shop):
    corkage("sync")
    corkage("user", "link", "ann", moved["ann"])
    shop.client.v1.customers.update(moved["bob"], params={"metadata": {"corkage_app": "new.example.com"}})

    assert "marked for" not in corkage("sync").stdout
    assert corkage("doctor").stdout.endswith("all is well\n")
    for user in moved:
        assert "yes, active" in corkage("user", "show", user).stdout


def test_a_sync_that_goes_on_counts_the_customers_of_the_interrupted_run(app, shop, simulator):
    customer = shop.customer(app="old.example.com")
    shop.subscribe(customer)
    sync = functools.partial(resync, app.billing.service.worker.converger, time.time())
    first = sync()
    jobs.save_position("sync", Customer.get().fetched_at)
    simulator.advance(2)

    again = sync()

    assert (first.done_before, again.done_before) == (0, 1)
    assert first.marked == again.marked == [(customer, "old.example.com", "ann")]


def test_a_name_at_stripe_is_quoted_in_what_the_operator_is_to_run():
    marked = [marks.Marked("cus_1", "a shop", "x; rm -rf ~"), marks.Marked("cus_2", "a shop", None)]

    assert "BILLING_APP='a shop' " in marks.repair(marked)
    assert marks.repair(marked).endswith(": corkage user link 'x; rm -rf ~' cus_1")
    assert marks.repair(marked[1:]).endswith(": corkage user link USER cus_2")


@pytest.mark.slow
def test_customers_of_another_product_are_a_note_and_no_problem(app, shop, corkage):
    customer = shop.customer(app="another.example.com")
    shop.subscribe(customer, price=shop.other_price)

    report, doctor = corkage("sync"), corkage("doctor")

    assert "1 customers are marked for another.example.com" in report.stdout
    assert "1 customers pay for prices of no plan: they belong to another product" in doctor.stdout
    assert doctor.stdout.endswith("all is well\n")


def test_a_checkout_of_one_who_pays_under_another_name_is_in_the_log(moved, config, shop, caplog, simulator):
    with running(at(config, "https://new.example.com")) as app:
        assert app.deliver(shop.event("customer.subscription.created")).status_code == 200
        app.work()
        caplog.clear()
        calls = len(simulator.requests)
        url_of(click(app, user="bob", body={"plan": "pro", "again": "yes"}))
        made = [(each.method, each.path) for each in simulator.requests[calls:]]

    assert f"user bob buys, and {moved['bob']} pays for a plan of this product already" in caplog.text
    assert "BILLING_APP=old.example.com" in caplog.text
    assert ("GET", f"/v1/customers/{moved['bob']}") not in made


def test_a_checkout_of_whom_another_product_serves_is_no_warning(config, shop, caplog):
    customer = shop.customer(app="another.example.com")
    shop.subscribe(customer, price=shop.other_price)
    with running(replace(config, billing_url=f"https://{APP}")) as app:
        app.converge(customer)
        url_of(click(app))

    assert "marked for" not in caplog.text
