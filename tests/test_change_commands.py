"""corkage user change, cancel, resume, extend-trial: what they print, ask and do."""

import time

import pytest
from harness import DAY

pytestmark = pytest.mark.slow

BEFORE = '[pro]\nname = "Pro"\nprices = ["pro_monthly"]\nfeatures = ["exports", "api"]\ngrace_days = 7\n'
TEAM = '[team]\nname = "Team"\nprices = ["team_monthly"]\nseats = { minimum = 2, maximum = 50 }\n'


@pytest.fixture
def subscription(corkage, shop, simulator, tmp_path):
    """The id of ann's subscription, known to the database of the commands."""
    (tmp_path / "plans.toml").write_text(BEFORE + TEAM)
    simulator.add_price("team_monthly", 1_000)
    id_ = shop.subscribe(shop.customer())
    assert corkage("sync").returncode == 0
    return id_


def at_stripe(simulator, id_):
    return simulator.world.get("subscription", id_)


def test_change_says_what_it_costs_and_does_nothing_unasked(corkage, simulator, subscription):
    unasked = corkage("user", "change", "ann", "team", "--quantity", "3")

    assert unasked.returncode == 1
    assert unasked.stdout.startswith("charged now: $0.00\nnext payment: $51.00, 20")
    assert "Nothing was changed." in unasked.stderr
    assert at_stripe(simulator, subscription)["items"]["data"][0]["quantity"] == 1

    done = corkage("user", "change", "ann", "team", "--quantity", "3", "--yes")

    assert done.returncode == 0, done.stderr
    assert "ann: yes, active (paid, and going on)\n  plan: team\n  quantity: 3" in done.stdout
    assert at_stripe(simulator, subscription)["items"]["data"][0]["quantity"] == 3


def test_cancel_and_resume(corkage, simulator, subscription):
    canceled = corkage("user", "cancel", "ann", "--feedback", "unused", "--comment", "No time.", "--yes")
    assert "ann: yes, canceling" in canceled.stdout
    assert at_stripe(simulator, subscription)["cancellation_details"]["feedback"] == "unused"
    assert "ann: yes, active" in corkage("user", "resume", "ann", "--subscription", subscription, "--yes").stdout
    assert "ann: no, ended" in corkage("user", "cancel", "ann", "--now", "--yes").stdout


def test_extend_trial(corkage, shop, simulator):
    id_ = shop.subscribe(shop.customer(), trial_period_days=3)
    corkage("sync")

    assert "ann: yes, trialing" in corkage("user", "extend-trial", "ann", "--days", "20", "--yes").stdout

    assert abs(at_stripe(simulator, id_)["trial_end"] - time.time() - 20 * DAY) < 120


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("change", "ann"), "Name a plan, --quantity or both."),
        (("change", "ann", "nothing", "--yes"), "(unknown_plan: 'nothing' is not on offer)"),
        (("change", "ann", "team", "--charge", "never"), "'never' is not one of 'next_invoice', 'now', 'nothing'."),
        (("change", "bob", "team", "--yes"), "no such user: bob"),
        (("cancel", "ann", "--feedback", "dull"), "'dull' is not one of "),
        (("extend-trial", "ann"), "Give one of --until, --days."),
        (("extend-trial", "ann", "--days", "5", "--yes"), "(cannot_change:"),
    ],
)
def test_what_does_not_fit_is_a_sentence_and_changes_nothing(corkage, simulator, subscription, arguments, wanted):
    refused = corkage("user", *arguments)

    assert refused.returncode in (1, 2)
    assert wanted in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not any(each.method == "POST" and "/v1/subscriptions/sub_" in each.path for each in simulator.requests)
