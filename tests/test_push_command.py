"""`corkage push` as a command: what it prints, asks and returns, and what it remembers for portal sessions."""

import json
import signal
import subprocess
import sys

import pytest
from harness import running, until

from corkage import models
from corkage.plans import read_plans
from corkage.replica.timelines import Timelines
from corkage.simulator import ApiFaults

PLANS = '[pro]\nprices = [{ lookup_key = "pro_monthly", unit_amount = 900, currency = "usd", interval = "month" }]\n'
pytestmark = [
    pytest.mark.slow,
    pytest.mark.one_engine("sqlite", reason="it remembers one setting, as other commands do"),
]


@pytest.fixture
def plans(environ, tmp_path):
    """plans.toml with an amount, in the place of the one that names a price alone."""
    (tmp_path / "plans.toml").write_text(PLANS)
    return tmp_path / "plans.toml"


def configurations(simulator):
    return [each for each in simulator.world.all("billing_portal.configuration") if not each["is_default"]]


def test_a_dry_run_shows_account_mode_and_difference_changes_nothing_and_returns_2(plans, corkage, simulator):
    done = corkage("push", "--dry-run")

    assert done.returncode == 2
    assert done.stdout.startswith("app.example.com at acct_1CorkageSimulator, sandbox\n")
    assert "  price    pro_monthly  make: 9.00 USD a month\n" in done.stdout
    assert (simulator.world.all("price"), simulator.world.all("product"), configurations(simulator)) == ([], [], [])


def test_after_a_push_a_dry_run_returns_0(plans, corkage):
    assert corkage("push", "--yes").returncode == 0

    done = corkage("push", "--dry-run")

    assert (done.returncode, done.stdout.splitlines()[1]) == (0, "Stripe is as plans.toml and the settings want it.")


def test_without_yes_and_without_a_terminal_nothing_is_done(plans, corkage, simulator):
    done = corkage("push")

    assert (done.returncode, simulator.world.all("price")) == (1, [])
    assert "--yes" in done.stderr


def test_a_live_key_changes_nothing_without_live(plans, corkage, simulator):
    key = "sk_live_of_a_test"

    done = corkage("push", "--yes", STRIPE_SECRET_KEY=key, STRIPE_API_BASE=simulator.url.replace("http:", "https:"))

    assert done.returncode != 0
    assert simulator.world.all("price") == []


def test_json_has_each_difference_with_what_is_refused_and_who_keeps_what_they_pay(plans, corkage, shop):
    found = json.loads(corkage("push", "--dry-run", "--json").stdout)

    assert (found["app"], found["account"], found["livemode"]) == ("app.example.com", "acct_1CorkageSimulator", False)
    (price,) = [each for each in found["differences"] if each["stage"] == "price"]
    assert price["name"] == "pro_monthly"
    assert "push did not make it" in price["refused"]


def test_what_is_refused_returns_1_and_the_rest_is_done(plans, corkage, shop, simulator):
    done = corkage("push", "--yes")

    assert done.returncode == 1
    assert "Not done: price pro_monthly: " in done.stdout
    assert len(configurations(simulator)) == 1


def test_a_change_of_an_amount_says_how_many_subscribers_keep_theirs(plans, corkage, client, simulator):
    corkage("push", "--yes")
    (price,) = simulator.world.all("price")
    card = {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    for _ in range(2):
        customer = client.v1.customers.create(params=card)
        client.v1.subscriptions.create(params={"customer": customer.id, "items": [{"price": price["id"]}]})
    plans.write_text(PLANS.replace("900", "1100"))

    done = corkage("push", "--yes")

    assert done.returncode == 0
    said = [line.split("  ")[-1] for line in done.stdout.splitlines()]
    assert "change: 9.00 USD -> 11.00 USD a month" in said
    assert "2 subscribers keep what they pay" in said
    assert max(map(len, done.stdout.splitlines())) <= 80
    held = simulator.world.all("subscription")
    assert {item["price"]["id"] for each in held for item in each["items"]["data"]} == {price["id"]}


def test_a_push_beside_a_server_that_still_has_the_old_plans_succeeds(plans, corkage, config, simulator, environ):
    """The server's plans stay those of the database until it is restarted."""
    with running(config):
        plans.write_text(PLANS + '[gold]\nprices = [{ lookup_key = "gold", unit_amount = 1, currency = "usd" }]\n')

        done = corkage("push", "--yes", BILLING_APP=config.app)

    assert (done.returncode, done.stderr) == (0, "")
    assert {each["lookup_key"] for each in simulator.world.all("price")} == {"pro_monthly", "gold"}


def test_portal_sessions_have_the_configuration_that_push_made(plans, corkage, config, simulator, shop, client):
    customer = shop.customer("ann")
    shop.subscribe(customer)
    with running(config) as app:
        app.converge(customer)
        corkage("push", "--yes")  # the price is not ours and refused; the portal is made all the same
        (made,) = configurations(simulator)

        app.billing.portal_url("ann")
        assert {each["configuration"] for each in simulator.world.all("billing_portal.session")} == {made["id"]}
        assert models.setting("portal_configuration") == made["id"]

        client.v1.billing_portal.configurations.update(made["id"], params={"active": False})
        app.billing.portal_url("ann")  # nobody is locked out by what somebody did in the Dashboard
        assert len({each["configuration"] for each in simulator.world.all("billing_portal.session")}) == 2


def test_the_amounts_do_not_make_timelines_anew(tmp_path):
    digests = set()
    for plans in (PLANS, PLANS.replace("900", "1200"), '[pro]\nprices = ["pro_monthly"]\n'):
        (tmp_path / "plans.toml").write_text(plans)
        digests.add(Timelines(read_plans(tmp_path / "plans.toml"))._digest)

    assert len(digests) == 1


def test_where_the_env_file_cannot_be_replaced_no_endpoint_is_made_whose_secret_would_be_lost(
    plans, corkage, simulator, tmp_path
):
    (tmp_path / ".env").symlink_to(tmp_path / "no such folder/.env")

    done = corkage("push", "--yes", STRIPE_WEBHOOK_SECRET="", BILLING_URL="http://127.0.0.1:9/billing")

    assert (done.returncode, simulator.world.all("webhook_endpoint")) == (1, [])
    assert "The endpoint's secret cannot be kept in .env: No such file or directory" in done.stderr


def test_a_push_that_is_declined_makes_no_env_file(plans, corkage, simulator, tmp_path):
    done = corkage("push", STRIPE_WEBHOOK_SECRET="", BILLING_URL="http://127.0.0.1:9/billing")

    assert (done.returncode, (tmp_path / ".env").exists()) == (1, False)


def test_a_push_that_is_broken_off_has_failed(plans, environ, tmp_path, simulator):
    simulator.api_faults = ApiFaults(path="/v1/", latency_seconds=2)
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # which a shell's "&" has ignored
    program = f"import signal, sys; {heard}; from corkage.cli import main; sys.exit(main(['push', '--yes']))"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stderr=subprocess.PIPE) as process:
        until(lambda: simulator.requests)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    assert (process.returncode, simulator.world.all("price")) == (1, [])
