"""Grants: a plan that is given, not paid: by the host, by the command line, and what becomes of it."""

import re
import time
from dataclasses import replace

import pytest
from buying import click, submit, url_of
from harness import DAY, PRO, is_error, running

from corkage import storage
from corkage.access import Access, access_at
from corkage.errors import NoBillingAccount, Outdated, UnknownPlan
from corkage.models import Grant, NoticeRow, User
from corkage.plans import Plan

pytestmark = pytest.mark.slow

NOW = int(time.time())
TEAM = Plan("team", "Team", ("team_monthly",), features=("sharing",), limits={"seats": 5})
STORAGE = Plan("storage", "Storage", ("storage_monthly",), limits={"gb": 100}, adds_to=("pro", "team"))
GIFT = Plan("gift", "Gift", granted_only=True, features=("gifts",))
FREE = Plan("free", "Free", free=True, features=("notes",), limits={"notes": 50})


@pytest.fixture
def settings(config):
    return replace(config, plans=(FREE, PRO, TEAM, STORAGE, GIFT), billing_url="https://billing.example.com")


@pytest.fixture
def app(settings, simulator, shop):
    simulator.add_price("team_monthly", 2900)
    simulator.add_price("storage_monthly", 200)
    with running(settings) as served:
        yield served


def kinds(user="ann"):
    return [row.kind for row in NoticeRow.select().where(NoticeRow.user == user).order_by(NoticeRow.id)]


def test_a_granted_user_is_let_in_at_once_and_stripe_is_not_asked(app, simulator):
    before = len(simulator.requests)

    access = app.billing.grant("ann", "pro", until=NOW + 30 * DAY, reason="a friend", given_by="support")

    assert access == app.billing.access("ann")
    assert (access.allowed, access.reason, access.plan, access.until) == (True, "granted", "pro", NOW + 30 * DAY)
    assert access.plans == ("free", "pro")
    assert access.features == ("exports", "api", "notes")
    assert app.ask().json()["limits"] == {"notes": 50}
    assert kinds() == ["access_granted"]
    assert len(simulator.requests) == before
    (row,) = Grant.select()
    assert (row.plan, row.quantity, row.reason, row.given_by) == ("pro", 1, "a friend", "support")


def test_a_grant_without_an_end_lasts_until_it_is_revoked(app):
    app.billing.grant("ann", "gift")
    assert access_at("ann", NOW + 10_000 * DAY).allowed

    assert app.billing.revoke("ann", "gift")

    access = app.billing.access("ann")
    assert (access.allowed, access.reason) == (False, "ended")
    assert access.features == ("notes",)
    assert kinds() == ["access_granted", "access_revoked"]
    assert not app.billing.revoke("ann", "gift")
    assert kinds() == ["access_granted", "access_revoked"]
    assert Grant.select().count() == 1


def test_a_grant_replaces_the_running_one_of_the_same_plan_only(app):
    app.billing.grant("ann", "pro", until=NOW + DAY)
    app.billing.grant("ann", "team", quantity=3)

    app.billing.grant("ann", "pro", until=NOW + 9 * DAY, quantity=2)

    assert sorted((row.plan, row.quantity) for row in Grant.select()) == [("pro", 2), ("team", 3)]
    assert app.billing.access("ann").plan == "team"
    app.billing.revoke("ann", "team")
    access = app.billing.access("ann")
    assert (access.plan, access.quantity, access.until) == ("pro", 2, NOW + 9 * DAY)


def test_a_grant_ends_by_time_alone_and_is_notified(app):
    app.billing.grant("ann", "pro", until=NOW + DAY)

    app.work(NOW + DAY - 1)
    assert kinds() == ["access_granted"]
    assert access_at("ann", NOW + DAY - 1).allowed
    assert not access_at("ann", NOW + DAY).allowed
    app.work(NOW + DAY)
    app.work(NOW + DAY + 5)

    assert kinds() == ["access_granted", "access_revoked"]
    assert access_at("ann", NOW + DAY).reason == "ended"


def test_an_addon_may_be_given_and_adds_to_a_plan_only(app):
    alone = app.billing.grant("ann", "storage", quantity=2)
    assert (alone.allowed, alone.reason, alone.limits) == (False, "addon_only", {"notes": 50})

    both = app.billing.grant("ann", "pro")

    assert (both.allowed, both.plan, both.plans) == (True, "pro", ("free", "pro", "storage"))
    assert both.limits == {"gb": 200, "notes": 50}


@pytest.mark.parametrize("plan", ["free", "nothing", ""])
def test_a_plan_that_cannot_be_given_is_refused(app, plan):
    for act in (app.billing.grant, app.billing.revoke):
        with pytest.raises(UnknownPlan, match="has pro, team, storage, gift"):
            act("ann", plan)

    assert User.select().count() == Grant.select().count() == 0


@pytest.mark.parametrize(
    "given",
    [
        {"until": NOW - 1},
        {"until": NOW + 1.5},
        {"until": True},
        {"until": 10**18},
        {"quantity": 0},
        {"quantity": True},
        {"reason": "a\nb"},
        {"reason": None},
        {"given_by": "x" * 501},
    ],
)
def test_a_grant_that_does_not_fit_is_refused_and_stores_nothing(app, given):
    with pytest.raises(ValueError, match=r"until is|quantity is|reason and given_by are"):
        app.billing.grant("ann", "pro", **given)
    for act in (app.billing.grant, app.billing.revoke):
        with pytest.raises(ValueError, match="a user id"):
            act("", "pro")

    assert User.select().count() == Grant.select().count() == 0


def test_an_outdated_process_gives_and_revokes_nothing(app):
    app.billing.grant("ann", "pro")
    with storage.writing():
        storage.execute("UPDATE corkage_setting SET value = '[9, 9, \"another\"]' WHERE name = 'rule'")

    with pytest.raises(Outdated):
        app.billing.grant("bob", "pro")
    with pytest.raises(Outdated):
        app.billing.revoke("ann", "pro")

    assert [(row.user_id, row.ends_at) for row in Grant.select()] == [("ann", None)]
    assert User.get_or_none(User.id == "bob") is None


def test_a_grant_of_a_plan_that_left_the_file_goes_on_and_can_be_revoked(app, settings):
    app.billing.grant("ann", "gift")
    app.billing.close()

    with running(replace(settings, plans=(FREE, PRO))) as later:
        assert later.billing.access("ann").features == ("gifts", "notes")
        with pytest.raises(UnknownPlan):
            later.billing.grant("ann", "gift")
        assert later.billing.revoke("ann", "gift")
        assert not later.billing.access("ann").allowed


def a_failed_renewal(app, shop, simulator):
    customer = shop.customer()
    shop.subscribe(customer)
    app.converge(customer)
    shop.use_card(customer, "pm_card_chargeCustomerFail")
    simulator.advance_to("renewal")
    app.converge(customer)


@pytest.mark.parametrize("given", ["before", "after"])
def test_a_payment_that_fails_as_a_grant_ends_leaves_the_grace(app, shop, simulator, given):
    end = int(time.time()) + 60
    if given == "before":
        app.billing.grant("ann", "pro", until=end)
    a_failed_renewal(app, shop, simulator)
    if given == "after":
        app.billing.grant("ann", "pro", until=end)

    assert app.billing.access("ann").reason == "grace"
    app.work(end + 1)
    assert (access_at("ann", end).allowed, access_at("ann", end).reason) == (True, "grace")
    assert "access_revoked" not in kinds()

    app.work(end + 8 * DAY)
    assert (access_at("ann", end + 8 * DAY).allowed, access_at("ann", end + 8 * DAY).reason) == (False, "past_due")
    assert kinds().count("access_revoked") == 1


def test_without_grace_a_grant_bridges_a_failed_payment_to_its_end(settings, shop, simulator):
    with running(replace(settings, plans=(replace(PRO, grace_days=0),))) as app:
        a_failed_renewal(app, shop, simulator)
        assert app.billing.access("ann").reason == "past_due"
        end = int(time.time()) + 60
        app.billing.grant("ann", "pro", until=end)

        assert app.billing.access("ann").reason == "granted"
        assert access_at("ann", end).reason == "past_due"
        app.work(end)

        assert kinds()[-3:] == ["access_revoked", "access_granted", "access_revoked"]


def test_a_granted_user_who_subscribes_gets_checkout_and_no_portal(app, simulator):
    app.billing.grant("ann", "pro")
    before = len(simulator.requests)
    with pytest.raises(NoBillingAccount):
        app.billing.portal_url("ann")
    assert is_error(click(app, "/portal", body={}), 409, "no_billing_account")
    assert len(simulator.requests) == before

    url = url_of(click(app))

    simulator.buy(url, "pm_card_visa")
    app.billing.sync("ann")
    access = app.billing.access("ann")
    assert (access.reason, access.plan) == ("active", "pro")
    app.billing.revoke("ann", "pro")
    assert app.billing.access("ann") == access._replace(quantity=1)


def test_forgetting_a_user_forgets_their_grants(app):
    app.billing.grant("ann", "pro")
    app.billing.grant("bob", "pro")

    app.billing.forget("ann")

    assert [row.user_id for row in Grant.select()] == ["bob"]
    assert app.billing.access("ann") == Access(
        "ann", False, "free", "free", features=("notes",), plans=("free",), limits={"notes": 50}
    )


@pytest.mark.parametrize("plan", ["free", "gift", "free:pro_monthly"])
def test_a_plan_that_is_not_sold_cannot_be_bought(app, simulator, plan):
    before = len(simulator.requests)

    answer = submit(app, "/checkout", plan=plan)

    assert answer.status_code == 400
    assert "There is no such plan." in answer.text
    assert len(simulator.requests) == before


def test_grant_and_revoke_by_command(corkage):
    given = corkage("user", "grant", "ann", "pro", "--days", "30", "--quantity", "2", "--reason", "a friend")
    shown = corkage("user", "show", "ann")
    revoked = corkage("user", "revoke", "ann", "pro")
    again = corkage("user", "revoke", "ann", "pro")

    assert (given.returncode, given.stdout) == (0, shown.stdout)
    assert "grant 1: pro x 2\n  by itself: yes, granted (given by you, not paid)\n" in shown.stdout
    assert re.search(r"given by operator on [-0-9]+ [:0-9]+ UTC, ends [-0-9]+ [:0-9]+ UTC: a friend\n", shown.stdout)
    assert "ann: yes, granted (given by you, not paid)\n  plan: pro\n  quantity: 2\n" in shown.stdout
    assert (revoked.returncode, again.returncode) == (0, 1)
    assert "ann: no, ended" in revoked.stdout
    assert again.stdout == "ann has no running grant of pro\n"


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("pro", "--until", "2020-01-01"), "wanted a time to come, not '2020-01-01'"),
        (("pro", "--until", "soon"), "wanted a time such as 2027-01-31"),
        (("pro", "--days", "0"), "wanted a whole number from 1 to 36500, not '0'"),
        (("pro", "--days", "1", "--until", "2099-01-01"), "Give only one of --until and --days."),
        (("pro", "--quantity", "-1"), "wanted a whole number"),
        (("pro", "--reason", "a\nb"), "printable characters"),
        (("nothing",), "unknown_plan: 'nothing' cannot be given; plans.toml has pro"),
    ],
)
def test_the_command_refuses_a_grant_that_does_not_fit(corkage, arguments, wanted):
    refused = corkage("user", "grant", "ann", *arguments)

    assert refused.returncode in (1, 2)
    assert wanted in refused.stderr
    assert "Traceback" not in refused.stderr
    assert corkage("user", "show", "ann").stdout == "ann: no, no_subscription (never subscribed)\n"


def test_a_date_given_by_command_ends_as_that_day_begins(corkage):
    shown = corkage("user", "grant", "ann", "pro", "--until", "2099-01-31")

    assert "until: 2099-01-31 00:00 UTC" in shown.stdout
