"""At 80 columns, and on a phone: no word is broken, and nothing is beside the screen."""

import re
import time
from dataclasses import replace

import pytest
from harness import ADMIN_TOKEN, DAY, running
from in_terminal import run_in_terminal
from once import buy, hear, stock
from rows import record_event

from corkage import terminal
from corkage.models import StripeEvent
from corkage.plans import read_plans

pytestmark = pytest.mark.slow

TEAM = "org_2f6a7f0e-52c1-4f4c-9d0a-88b1c1f6a1d2"  # as long as hosts' own ids are
PLANS_FILE = """
[pro]
name = "Pro"
prices = ["pro_monthly"]
features = ["exports", "api", "priority_support", "single_sign_on", "audit_log", "custom_domains"]
limits = { exports = { limit = 10, every = "month" } }
grace_days = 7

[lifetime]
name = "Lifetime"
prices = ["lifetime_once"]
features = ["exports", "api"]

[pack]
name = "A hundred exports"
prices = ["pack_100"]
adds = { exports = 100 }
"""
COMMANDS = (
    "user show ann",
    f"user show {TEAM}",
    "user show nobody-of-this-name",
    "user grants",
    "user grants --only-here",
    "user revoke ann max",
    "events",
    "events --state applied",
    "events replay evt_nothing",
    "notices",
    "notices --state delivered",
    "stats",
    "doctor",
    "doctor --all",
    "sync --dry-run",
    "sync",
    "move-price pro_monthly pro_2027",
    "move-price pro_monthly nothing",
    "user change ann lifetime",
    "user cancel ann",
    "token ann",
    "push --dry-run",
    "push",
    "import missing.csv",
    "backup copy.db",
    "restore missing.db",
    "--version",
    "nothing",
    "user",
    "user grant ann pro --days 0",
)


@pytest.fixture
def filled(config, shop, simulator, environ, tmp_path):
    """A database with some of everything, and a command line for it."""
    stock(shop)
    simulator.add_price("pro_2027", 1_200)
    (tmp_path / "plans.toml").write_text(PLANS_FILE)
    plans = read_plans(tmp_path / "plans.toml")
    settings = replace(config, plans=plans, billing_url="https://app.example.com/billing", admin_token=ADMIN_TOKEN)
    with running(settings) as app:
        for user in ("ann", TEAM):
            buy(app, "pro", user)
            buy(app, "pack", user)
            hear(app, shop)
        app.billing.use("ann", "exports", 3)
        app.billing.grant(TEAM, "pro", until=int(time.time()) + DAY, reason="a reason that takes some words to say it")
        app.billing.grant("someone-else", "pro", given_by="the support team in the office", reason="for a good cause")
        stranger = shop.customer(None, email="somebody.with.a.long.name@a-long-domain.example.com")
        shop.subscribe(stranger, user=None)
        shop.subscribe(shop.customer("bob"), user="bob", price=shop.other_price)
        hear(app, shop)
        app.converge(stranger)
        record_event("evt_fails", stranger, time.time() - 4_000, "customer.subscription.updated")
        failing = {"attempts": 3, "next_attempt_at": time.time() + 60}
        failing["error"] = "stripe_unavailable: Stripe has not answered in time, and was asked several times in a row"
        StripeEvent.update(failing).where(StripeEvent.id == "evt_fails").execute()
        environ |= {"BILLING_ADMIN_TOKEN": ADMIN_TOKEN, "BILLING_URL": "https://app.example.com/billing"}
        environ |= {"BILLING_APP": config.app}
        yield app


def words(text):
    """Return the longer words, but for those that each run makes anew: times, Stripe's request ids and tokens."""
    return {each for each in text.split() if len(each) > 7 and not re.search(r"\d\d:\d\d|%|#|^req_|^eyJ", each)}


@pytest.mark.one_engine("sqlite", "what is printed is the same on either")
def test_at_80_columns_no_command_breaks_a_word(filled, corkage, environ, tmp_path):
    assert {each: found for each in COMMANDS if (found := broken(corkage, environ, tmp_path, each))} == {}


def broken(corkage, environ, folder, arguments):
    """Return the lines that are too long, and the words that are printed otherwise than into a pipe."""
    whole = corkage(*arguments.split())
    code, printed = run_in_terminal(arguments.split(), folder, environ)
    assert code == whole.returncode
    lines = [each.rpartition("\r")[2] for each in printed.splitlines()]
    lost = words(whole.stdout + whole.stderr) - words(printed)
    return [each for each in lines if len(each) > 80 and not may_be_long(each)] + sorted(lost)


def may_be_long(line):
    """Return whether a line is one word, or a command to be copied."""
    return len(line.split()) <= 2 or terminal._WHOLE.match(line)
