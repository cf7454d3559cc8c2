"""docs/troubleshooting.md: each entry was tried by a test that it names, and each command in it exists."""

import re
from pathlib import Path

import pytest
import requests
from harness import DAY

import corkage as package
from corkage.cli import main

ROOT = Path(package.__file__).parent
PAGE = (ROOT / "docs/troubleshooting.md").read_text()
ENTRIES = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| you see")]
MARK = re.compile(r"<!-- tried: (.*?) -->")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.split("|")[1].strip()[:40])
def test_each_entry_names_the_test_that_tried_it(entry):
    (names,) = MARK.findall(entry)

    assert len(entry.split(" | ")) == 3
    for file, test in (each.split("::") for each in names.split(", ")):
        assert f"def {test}(" in (ROOT / "tests" / file).read_text()


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`corkage ([a-z][a-z -]*[a-z])", PAGE))))
def test_each_command_exists(command, capsys):
    names = [word for word in command.split() if not word.startswith("-")]
    known = {"user", "events", "notices"}
    words = names[: 2 if names[0] in known and len(names) > 1 else 1]

    assert main([*words, "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in re.findall(r"--[a-z]+", command))


@pytest.fixture
def subscriber(app, shop):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    app.converge(customer)
    return customer, subscription


def test_with_stripe_api_base_left_over_the_pages_are_the_simulators(config, app, shop):
    url = app.billing.checkout_url(package.Identity("ann"), "pro", billing_url="https://app.example.com/billing")

    assert url.startswith(config.stripe_api_base)
    assert "Simulation, not Stripe." in requests.get(url, timeout=30).text


def test_after_a_declined_card_the_user_is_let_in_for_the_days_of_grace_and_no_longer(app, shop, simulator, subscriber):
    shop.use_card(subscriber[0], "pm_card_chargeCustomerFail")
    simulator.advance_to("renewal")
    app.converge(subscriber[0])

    access = app.billing.access("ann")
    assert (access.allowed, access.reason) == (True, "grace")
    simulator.advance(8 * DAY)
    app.billing.service.worker.converger.converge(subscriber[0], simulator.world.clock.now())
    assert (app.billing.access("ann").allowed, app.billing.access("ann").reason) == (False, "past_due")


def test_after_a_cancellation_the_user_is_let_in_until_the_period_ends(app, shop, corkage, subscriber):
    shop.client.v1.subscriptions.update(subscriber[1], params={"cancel_at_period_end": True})
    app.converge(subscriber[0])
    access = app.billing.access("ann")
    assert (access.allowed, access.reason) == (True, "canceling")

    assert corkage("user", "cancel", "ann", "--now", "--yes").returncode == 0

    assert app.billing.access("ann").reason == "ended"


def test_a_gift_is_said_and_can_be_taken_back(app, corkage):
    app.billing.grant("ann", "pro", given_by="bob", reason="a beta tester")

    shown = corkage("user", "show", "ann").stdout

    assert "given by bob" in shown
    assert "a beta tester" in shown
    assert corkage("user", "revoke", "ann", "pro").returncode == 0
    assert not app.billing.access("ann").allowed
