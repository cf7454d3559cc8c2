"""What commands print with --json: what their lines say, for programs."""

import json
import time

import pytest
from harness import DAY


@pytest.fixture
def printed(corkage):
    """Run a command with --json, and return what it printed."""

    def run(*arguments):
        done = corkage(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_a_user_is_printed_with_each_thing_held_and_the_answer(app, shop, printed, corkage):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    app.converge(customer)
    corkage("user", "grant", "ann", "pro", "--days", "3")

    found = printed("user", "show", "ann")

    assert (found["user"], found["customers"]) == ("ann", [customer])
    assert {each["kind"]: each["gives"]["reason"] for each in found["holdings"]} == {
        "subscription": "active",
        "grant": "granted",
    }
    assert subscription in [each["id"] for each in found["holdings"]]
    assert (found["access"]["allowed"], found["access"]["plan"]) == (True, "pro")


def test_grants_are_printed_with_their_end_and_whether_stripe_has_a_copy(app, printed, corkage):
    given_at = int(time.time())
    corkage("user", "grant", "ann", "pro", "--days", "3", "--reason", "won")

    (found,) = printed("user", "grants")

    assert (found["user_id"], found["plan"], found["reason"], found["copy"]) == ("ann", "pro", "won", "no_customer")
    assert 0 <= found["ends_at"] - given_at - 3 * DAY < 60
    assert printed("user", "grants", "--only-here") == [found]


def test_events_and_notices_are_printed_with_their_state_and_times(app, shop, printed):
    shop.subscribe(shop.customer())
    app.deliver(shop.event("customer.subscription.created"))

    (found,) = printed("events")

    assert (found["state"], found["type"], found["attempts"]) == ("pending", "customer.subscription.created", 0)
    assert printed("events", "--state", "applied") == []
    assert printed("notices") == []


def test_a_sync_is_printed_with_what_was_different(app, shop, printed):
    shop.subscribe(shop.customer())

    found = printed("sync")

    assert (found["subscriptions"], found["new"], found["failed"]) == (1, 1, {})
    assert found["access"]["ann"]["after"]["allowed"] is True
    assert printed("sync", "--dry-run")["access"] == {}
