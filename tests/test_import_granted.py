"""corkage import --granted: what another provider gives, until it ends, beside what is sold here."""

import json
import time

import pytest
from buying import pay
from harness import DAY
from moving_in import notices

from corkage.identity import Identity
from corkage.models import Grant
from corkage.moving.grants import give_all, missing_from, read_grants

LATER = int(time.time()) + 30 * DAY


def give(app, text, provider="paddle", now=None, *, revokes=False, **options):
    now = time.time() if now is None else now
    given, problems = read_grants(text.encode(), app.billing.service.catalogue)
    assert problems == []
    revoked = missing_from(given, provider, now) if revokes else ()
    return give_all(app.billing.service.catalogue, given, provider, now, revoked=revoked, **options)


def running_grants():
    rows = Grant.select().where(Grant.ends_at.is_null() | (Grant.ends_at > time.time())).order_by(Grant.id)
    return [(row.user_id, row.plan, row.ends_at, row.given_by, row.reason) for row in rows]


def test_what_another_provider_gives_lets_in_until_it_ends_and_is_no_news(app):
    outcome = give(app, f"ann,pro,{LATER},paddle sub_1\nbob,pro,,\n")

    assert (outcome.new, outcome.same) == (2, 0)
    ann, bob = app.billing.access("ann"), app.billing.access("bob")
    assert (ann.allowed, ann.reason, ann.plan, ann.until) == (True, "granted", "pro", LATER)
    assert (bob.allowed, bob.until) == (True, None)
    assert running_grants()[0] == ("ann", "pro", LATER, "paddle", "paddle sub_1")
    assert notices() == []


def test_the_same_file_again_changes_nothing_and_another_end_moves_the_grant(app):
    give(app, f"ann,pro,{LATER}\n")
    uid = Grant.get().uid

    same, changed = give(app, f"ann,pro,{LATER}\n"), give(app, f"ann,pro,{LATER + DAY}\n")

    assert ((same.new, same.same), (changed.new, changed.changed)) == ((0, 1), (0, 1))
    assert Grant.select().count() == 1
    assert (Grant.get().ends_at, Grant.get().uid) == (LATER + DAY, uid)
    assert app.billing.access("ann").until == LATER + DAY
    assert notices() == []


def test_what_vanished_stays_unless_it_is_to_be_revoked_and_its_end_is_news(app):
    give(app, f"ann,pro,{LATER}\nbob,pro,{LATER}\n")
    app.billing.grant("eve", "pro", given_by="operator")
    give(app, f"joe,pro,{LATER}\n", provider="gumroad")

    assert give(app, f"ann,pro,{LATER}\n").revoked == 0
    assert app.billing.access("bob").allowed
    before = notices()
    assert give(app, f"ann,pro,{LATER}\n", revokes=True).revoked == 1

    allowed = {user: app.billing.access(user).allowed for user in ("ann", "bob", "eve", "joe")}
    assert allowed == {"ann": True, "bob": False, "eve": True, "joe": True}
    assert notices()[len(before) :] == [("bob", "access_revoked")]


def test_a_grant_by_hand_stays_beside_that_of_a_provider(app):
    app.billing.grant("ann", "pro", until=LATER + DAY, given_by="operator", reason="a prize")

    give(app, f"ann,pro,{LATER}\n")

    assert [each[3] for each in running_grants()] == ["operator", "paddle"]
    assert app.billing.access("ann").until == LATER + DAY


def test_a_line_about_what_has_ended_ends_the_grant_and_gives_nothing_anew(app):
    give(app, f"ann,pro,{LATER}\n")
    past = int(time.time()) - DAY

    outcome = give(app, f"ann,pro,{past}\nbob,pro,{past}\n")

    assert (outcome.ended, outcome.over, outcome.new) == (1, 1, 0)
    assert not app.billing.access("ann").allowed
    assert not app.billing.access("bob").allowed
    assert notices() == [("ann", "access_revoked")]


def test_what_begins_again_after_it_had_ended_is_news(app):
    now = time.time()
    give(app, f"ann,pro,{int(now) - 10}\n", now=now - 100)
    app.work(now)
    assert notices() == [("ann", "access_revoked")]

    give(app, f"ann,pro,{LATER}\n")

    assert notices()[1:] == [("ann", "access_granted")]


def test_a_dry_run_counts_and_writes_nothing(app):
    outcome = give(app, f"ann,pro,{LATER}\n", writes=False)

    assert (outcome.new, Grant.select().count()) == (1, 0)
    assert not app.billing.access("ann").allowed


def test_whoever_has_a_grant_of_another_provider_may_buy_here(app, shop):
    give(app, f"ann,pro,{LATER}\n")
    service = app.billing.service
    buyer = service.buyer(Identity("ann"), "https://billing.example.com", "https://app.example.com")

    pay(service.subscribe(buyer, "pro").url)
    service.converger.converge_user("ann", time.time())

    assert app.billing.access("ann").reason == "active"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ann,pro,yesterday", "until is a time such as 2027-01-31 or 2027-01-31T12:00, not 'yesterday'"),
        ("ann,gold,", "'gold' cannot be given; plans.toml has pro"),
        (",pro,", "'' is no user id"),
        ("ann,pro,,,0", "quantity is a whole number from 1 to 1000000, not '0'"),
        (f"ann,pro,,{'a' * 501}", "reason is a text of at most 500 printable characters"),
    ],
)
def test_a_bad_line_is_named_with_its_reason(app, line, reason):
    given, problems = read_grants(f"bob,pro,\n{line}\n".encode(), app.billing.service.catalogue)

    assert [tuple(each) for each in problems] == [(2, reason)]
    assert [each.user_id for each in given] == ["bob"]


def test_a_user_with_two_ends_of_one_plan_is_a_bad_line_and_the_same_line_twice_is_not(app):
    catalogue = app.billing.service.catalogue

    assert read_grants(b"ann,pro,\nann,pro,\n", catalogue)[1] == []
    ((line, reason),) = read_grants(b"ann,pro,\nann,pro,2090-01-01\n", catalogue)[1]
    assert (line, reason) == (2, "user ann has pro on line 1 already, with another end")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2090-01-31", 3789504000),
        ("20900131", 3789504000),
        ("2090-01-31T01:00+01:00", 3789504000),
        ("2090-01-31 00:00:00 UTC", 3789504000),
        ("3789504000", 3789504000),
    ],
)
def test_an_end_is_a_date_a_time_or_unix_seconds(app, text, expected):
    assert read_grants(f"ann,pro,{text}\n".encode(), app.billing.service.catalogue)[0][0].until == expected


def test_a_thousand_grants_take_no_call_to_stripe(app, simulator):
    before = len(simulator.requests)

    assert give(app, "".join(f"user{n},pro,{LATER}\n" for n in range(1000))).new == 1000

    assert len(simulator.requests) == before
    assert app.billing.access("user999").allowed


@pytest.mark.slow
def test_the_command_says_what_it_did_and_asks_before_it_ends_anything(app, corkage, tmp_path):
    file = tmp_path / "paddle.csv"
    file.write_text(f"user,plan,until,reason\nann,pro,{LATER},sub_1\nbob,pro,{LATER},sub_2\n")
    run = ("import", "--granted", "paddle.csv", "--provider", "paddle")

    dry, first = corkage(*run, "--dry-run"), corkage(*run)
    assert dry.stdout == "grants of paddle: 2 would be new, 0 would be changed, 0 would be ended, 0 as they were\n"
    assert first.stdout == "grants of paddle: 2 new, 0 changed, 0 ended, 0 as they were\n"
    file.write_text(f"ann,pro,{LATER},sub_1\n")
    kept, unasked = corkage(*run), corkage(*run, "--revoke-missing")
    assert "  bob keeps pro, which the file does not have; --revoke-missing ends it" in kept.stdout
    assert (unasked.returncode, unasked.stdout) == (1, "")
    assert app.billing.access("bob").allowed
    ended = json.loads(corkage(*run, "--revoke-missing", "--yes", "--json").stdout)
    assert (ended["revoked"], ended["same"], ended["missing"]) == (1, 1, [])
    assert not app.billing.access("bob").allowed
    file.write_text("ann,gold,\n")
    wrong = corkage(*run)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "line 1: 'gold' cannot be given; plans.toml has pro" in wrong.stderr
    assert corkage("import", "--granted", "paddle.csv", "--provider", "operator").returncode == 2
