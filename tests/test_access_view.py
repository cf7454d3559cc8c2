"""The rule of access: every combination of status, time, grace and price, by name."""

import itertools
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from harness import DAY, PRO, running
from rows import read_view, renew_timelines

import corkage
from corkage import storage
from corkage.access import REASONS, Access, access_at
from corkage.models import (
    AnswerRow,
    Customer,
    NoticeDelivery,
    NoticeRow,
    Price,
    Subscription,
    SubscriptionItem,
    User,
)
from corkage.plans import Plan

STATUSES = (
    "none", "incomplete", "incomplete_expired", "trialing", "active", "past_due", "canceled", "unpaid", "paused", "new",
)  # fmt: skip
TIMES = ("running", "over", "ending", "ended")  # the period goes on, is over; or an end is scheduled, and has passed
GRACES = ("paid", "in grace", "grace over")  # no unpaid invoice; one of 3 days; one of 8 days, with 7 days' grace
PRICES = ("ours, in a plan", "foreign, in a plan", "ours, in no plan", "foreign, in no plan")

# status x time x grace -> the answer where the price is in a plan, ours in no plan, foreign in no plan. `*` is any.
TABLE = """
none               | *       | *          | no no_subscription | no no_subscription | no no_subscription
incomplete         | *       | *          | no incomplete      | no incomplete      | no unknown_price
incomplete_expired | *       | *          | no ended           | no ended           | no ended
trialing           | running | *          | yes trialing       | yes trialing       | no unknown_price
trialing           | over    | *          | yes trialing?      | yes trialing?      | no unknown_price?
trialing           | ending  | *          | yes canceling      | yes canceling      | no unknown_price
trialing           | ended   | *          | yes canceling?     | yes canceling?     | no unknown_price?
active             | running | *          | yes active         | yes active         | no unknown_price
active             | over    | *          | yes active?        | yes active?        | no unknown_price?
active             | ending  | *          | yes canceling      | yes canceling      | no unknown_price
active             | ended   | *          | yes canceling?     | yes canceling?     | no unknown_price?
past_due           | running | paid       | no past_due        | no past_due        | no unknown_price
past_due           | over    | paid       | no past_due?       | no past_due?       | no unknown_price?
past_due           | ending  | paid       | no past_due        | no past_due        | no unknown_price
past_due           | ended   | paid       | no past_due?       | no past_due?       | no unknown_price?
past_due           | running | in grace   | yes grace          | no past_due        | no unknown_price
past_due           | over    | in grace   | yes grace?         | no past_due?       | no unknown_price?
past_due           | ending  | in grace   | yes grace          | no past_due        | no unknown_price
past_due           | ended   | in grace   | yes grace?         | no past_due?       | no unknown_price?
past_due           | running | grace over | no past_due        | no past_due        | no unknown_price
past_due           | over    | grace over | no past_due?       | no past_due?       | no unknown_price?
past_due           | ending  | grace over | no past_due        | no past_due        | no unknown_price
past_due           | ended   | grace over | no past_due?       | no past_due?       | no unknown_price?
canceled           | *       | *          | no ended           | no ended           | no ended
unpaid             | *       | *          | no unpaid          | no unpaid          | no unknown_price
paused             | *       | *          | no paused          | no paused          | no unknown_price
new                | *       | *          | no unknown_status  | no unknown_status  | no unknown_price
"""


def answers():
    """Spread the table over every cell; each must be named once."""
    found = {}
    for line in TABLE.strip().splitlines():
        status, times, graces, in_plan, ours, foreign = (part.strip() for part in line.split("|"))
        for moment, grace in itertools.product(
            TIMES if times == "*" else (times,), GRACES if graces == "*" else (graces,)
        ):
            for price, answer in zip(PRICES, (in_plan, in_plan, ours, foreign), strict=True):
                assert found.setdefault((status, moment, grace, price), answer) is answer
    return found


ANSWERS = answers()


def user_in(app, status, moment, grace, price, now, **columns):
    """Make the rows of a user as converging would have written them, and their timeline."""
    forget()
    end = now + (DAY if moment in ("running", "ending") else -DAY)
    User.create(id="ann", created_at=now)
    Customer.create(id="cus_1", user="ann")
    if status != "none":
        facts = {
            "current_period_end": end,
            "cancel_at": end if moment in ("ending", "ended") else None,
            "trial_end": end if status == "trialing" else None,
            "unpaid_since": {"paid": None, "in grace": now - 3 * DAY, "grace over": now - 8 * DAY}[grace],
            "ours": price.startswith("ours"),
        }
        Subscription.create(id="sub_1", customer="cus_1", status=status, created=now, **facts | columns)
        named = "price_named" if price.endswith("in a plan") else "price_unnamed"
        SubscriptionItem.create(subscription="sub_1", price_id=named, quantity=1)
    renew_timelines(app)


def forget():
    for table in (SubscriptionItem, Subscription, Customer, NoticeDelivery, NoticeRow, AnswerRow, User):
        table.delete().execute()


@pytest.fixture
def prices(app):
    Price.create(id="price_named", product_id="p", plan="pro")
    Price.create(id="price_unnamed", product_id="q")
    return app


@pytest.mark.parametrize("status", STATUSES)
def test_the_view_agrees_with_every_cell_of_the_table(prices, status):
    now, seen = int(time.time()), 0
    for moment, grace, price in itertools.product(TIMES, GRACES, PRICES):
        expected = ANSWERS[status, moment, grace, price]
        user_in(prices, status, moment, grace, price, now)
        access = read_view("ann")
        said = f"{'yes' if access.allowed else 'no'} {access.reason}{'?' if access.stale else ''}"
        assert said == expected, (status, moment, grace, price)
        assert access.features == (("exports", "api") if access.allowed and price.endswith("in a plan") else ())
        assert (access.until is not None) is access.allowed
        seen += 1
    assert seen == len(TIMES) * len(GRACES) * len(PRICES)


def test_the_table_names_every_cell():
    assert set(ANSWERS) == set(itertools.product(STATUSES, TIMES, GRACES, PRICES))


def test_documented_reasons_are_exactly_those_of_the_table():
    in_table = {answer.split()[1].rstrip("?") for answer in ANSWERS.values()}

    others = "payment_pending collection_paused granted refunded disputed addon_only free".split()
    assert in_table | set(others) == set(REASONS)


IN_WORDS = {
    "running": "goes on", "over": "is over", "ending": "goes on to a set end", "ended": "a set end has passed",
    "paid": "nothing", "in grace": "less than `grace_days`", "grace over": "longer",
    "none": "(none)", "new": "(any other)",
}  # fmt: skip


def in_the_view(app, status, moment, grace):
    """Ask the view about a subscription to a plan's price."""
    user_in(app, status, moment, grace, "ours, in a plan", int(time.time()))
    access = read_view("ann")
    return f"{'**yes**' if access.allowed else 'no'} | `{access.reason}` | {'yes' if access.stale else ''}"


def in_words(values, whole):
    return "any" if set(values) == set(whole) else ", ".join(IN_WORDS[each] for each in values)


def rows_of(app, status):
    """Write a status's rows: what is answered alike is one."""
    by_grace = {grace: tuple(in_the_view(app, status, moment, grace) for moment in TIMES) for grace in GRACES}
    for answers_in_time in dict.fromkeys(by_grace.values()):
        graces = [grace for grace in GRACES if by_grace[grace] == answers_in_time]
        for answer in dict.fromkeys(answers_in_time):
            times = [moment for moment, each in zip(TIMES, answers_in_time, strict=True) if each == answer]
            name = IN_WORDS.get(status, f"`{status}`")
            yield f"| {name} | {in_words(times, TIMES)} | {in_words(graces, GRACES)} | {answer} |"


def test_the_reference_has_the_views_own_answers(prices):
    reference = (Path(corkage.__file__).parent / "docs/reference.md").read_text()
    written = reference.split("<!-- answers -->\n")[1].split("\n\n")[0].splitlines()[2:]

    answered = [row for status in STATUSES for row in rows_of(prices, status)]

    assert written == answered, "docs/reference.md wants these rows:\n" + "\n".join(answered)


@pytest.mark.parametrize("denies", [False, True])
def test_the_plan_decides_access_during_a_pending_first_payment(prices, denies):
    plans = prices.billing.service.catalogue.timelines.plans
    plans["pro"] = plans["pro"]._replace(denies_pending=denies)

    user_in(prices, "active", "running", "paid", "ours, in a plan", int(time.time()), payment_pending=True)

    access = read_view("ann")
    assert (access.allowed, access.reason) == (not denies, "payment_pending")
    assert access.features == (() if denies else ("exports", "api"))


@pytest.mark.parametrize(("age", "expected"), [(7 * DAY - 60, True), (7 * DAY, False)])
def test_grace_ends_at_its_second_without_an_event(prices, age, expected):
    now = int(time.time())
    user_in(prices, "past_due", "running", "in grace", "ours, in a plan", now, unpaid_since=now - age)

    access = read_view("ann")

    assert access.allowed is expected
    assert access.until == (now - age + 7 * DAY if expected else None)


@pytest.mark.parametrize("ahead", [4 * DAY + 3600, -5 * DAY])
def test_a_test_clock_moves_the_time_of_its_customer(prices, ahead):
    now = int(time.time())
    user_in(prices, "past_due", "running", "in grace", "ours, in a plan", now, clock_ahead=ahead)

    assert read_view("ann").allowed is (ahead < 0)
    assert read_view("ann").reason == ("grace" if ahead < 0 else "past_due")
    assert access_at("ann", now + 4 * DAY - ahead - 1).allowed
    over = access_at("ann", now + 4 * DAY - ahead)
    assert (over.allowed, over.reason) == (False, "past_due")


def test_an_answer_is_stale_from_the_second_at_which_its_period_ends(prices):
    now = int(time.time())
    user_in(prices, "active", "running", "paid", "ours, in a plan", now)

    assert [access_at("ann", now + DAY + after).stale for after in (-1, 0)] == [False, True]


def test_before_any_answer_was_stored_nobody_is_let_in(prices):
    forget()

    access = access_at("ann", time.time())
    assert (access.allowed, access.reason, access.stale) == (False, "no_subscription", False)


def test_a_clock_that_steps_back_finds_the_answer_of_that_time(prices):
    now = int(time.time())
    user_in(prices, "past_due", "running", "in grace", "ours, in a plan", now, unpaid_since=now - 7 * DAY - 600)

    assert not read_view("ann").allowed
    assert access_at("ann", now - 3600).allowed
    assert access_at("ann", 1).reason == "grace"


def test_the_free_plan_is_the_answer_for_everybody_else(prices, config):
    prices.billing.close()
    free = Plan("free", "Free", free=True, features=("notes",), limits={"notes": 50})
    with running(replace(config, plans=(free, PRO))) as app:
        access = app.billing.access("somebody")

        assert (access.allowed, access.reason, access.plan, access.plans) == (False, "free", "free", ("free",))
        assert (access.features, access.limits) == (("notes",), {"notes": 50})
        assert app.ask("bob").json()["features"] == ["notes"]
        (row,) = storage.rows("SELECT reason, plan, features FROM corkage_access_default")
        assert row == ("free", "free", '["notes"]')
        assert storage.row("SELECT count(*) FROM corkage_access WHERE user_id = ''") == (0,)


@pytest.mark.parametrize("known", [True, False])
def test_a_user_without_subscription_has_no_access(app, known):
    if known:
        User.create(id="ann", created_at=1)

    assert read_view("ann") == Access("ann", allowed=False, reason="no_subscription")


def test_the_view_has_exactly_the_columns_of_access(app):
    columns = [each[0] for each in storage.current().execute_sql("SELECT * FROM corkage_access").description]

    assert columns == list(Access._fields)


def test_get_access_returns_the_row_and_304_when_unchanged(prices):
    now = int(time.time())
    user_in(prices, "active", "running", "paid", "ours, in a plan", now)

    first = prices.ask()
    again = prices.ask(**{"If-None-Match": first.headers["ETag"]})

    assert first.json() == json.loads(json.dumps(read_view("ann")._asdict()))
    assert (first.headers["Cache-Control"], first.headers["Vary"]) == (
        "private, no-cache",
        "Authorization, Cookie, Origin",
    )
    assert (again.status_code, again.content) == (304, b"")
    user_in(prices, "canceled", "running", "paid", "ours, in a plan", now)
    assert prices.ask(**{"If-None-Match": first.headers["ETag"]}).status_code == 200


def test_a_hostile_etag_does_not_crash(prices):
    assert prices.ask(**{"If-None-Match": b"\xff\xfe"}).status_code == 200


def test_an_etag_matches_in_a_list_but_not_with_unicode_spaces(prices):
    tag = prices.ask().headers["ETag"]

    assert prices.ask(**{"If-None-Match": f'"other",\t W/{tag} , "another"'}).status_code == 304
    for unlike in (f"\xa0{tag}", f"{tag}\x85", f"W/ {tag}", tag[:-2] + '"'):
        assert prices.ask(**{"If-None-Match": unlike.encode("latin-1")}).status_code == 200


def test_reading_access_imports_neither_web_server_nor_stripe(config, tmp_path):
    program = (
        "import sys; from corkage import Billing, Config, Plan\n"
        f"billing = Billing(Config(stripe_secret_key='sk_test_x', frontend_urls=('https://a.example',), app='a', "
        f"plans=(Plan('pro', 'Pro', ('pro',)),), database={str(tmp_path / 'other.db')!r}, worker='off'))\n"
        "assert not billing.access('ann').allowed\n"
        "print({'stripe', 'bottle', 'jwt', 'requests', 'babel', 'dotenv'} & sys.modules.keys())\n"
        "billing.close()\n"
    )

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert (loaded.stdout, loaded.stderr) == ("set()\n", "")
