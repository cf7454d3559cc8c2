"""`corkage push`, killed at each call, and run again."""

import pytest
from dotenv import dotenv_values
from harness import APP
from mortal import Mortal, command
from pushing import TWO, URL, CutOff
from torture import SEED, size

from corkage.setup import push
from corkage.setup.difference import STAGES
from corkage.setup.portal import portal_of
from corkage.simulator import Simulator

pytestmark = pytest.mark.slow


def everything(pushed):
    """Return the kinds of all that push made, one for each."""
    kinds = ("product", "price", "webhook_endpoint", "billing_portal.configuration", "billing.meter")
    return sorted(kind for kind in kinds for each in pushed.all(kind) if not each.get("is_default"))


METERED = (
    TWO
    + """
[api]
limits = { calls = { meter = "api_calls" } }
prices = [{ lookup_key = "api", unit_amount = 2, currency = "usd", interval = "month", meter = "api_calls" }]
"""
)


@pytest.mark.parametrize("cut_at", range(9))
def test_a_push_that_is_killed_at_any_call_ends_the_same_when_it_is_run_again(pushed, cut_at, simulator, tmp_path):
    pushed.write(METERED)
    with pytest.raises(CutOff):
        pushed.push(cut_at=cut_at)

    pushed.push()

    assert pushed.steps() == []
    assert everything(pushed) == [
        "billing.meter", "billing_portal.configuration", "price", "price", "price", "product", "product",
        "webhook_endpoint",
    ]  # fmt: skip
    assert pushed.secrets[0] == pushed.endpoint()["secret"]


def test_a_whole_push_takes_as_many_calls_as_the_test_above_cuts(pushed):
    assert len(pushed.write(METERED).push()) == 9


@pytest.mark.parametrize("cut_at", range(4))
def test_a_change_that_is_killed_at_any_call_ends_the_same_and_charges_nobody_more(pushed, cut_at):
    subscription = pushed.subscribe()
    first = pushed.price("pro_monthly")["id"]
    pushed.write(TWO.replace("900,", "1200,").replace("9000", "12000") + 'description = "More."\n')
    with pytest.raises(CutOff):
        pushed.push(cut_at=cut_at)

    pushed.push()

    assert (pushed.steps(), len(pushed.all("price"))) == ([], 4)
    held = pushed.simulator.world.get("subscription", subscription)
    assert [each["price"]["id"] for each in held["items"]["data"]] == [first]


@pytest.mark.torture("crash")
@pytest.mark.one_engine("sqlite", "it remembers one setting, as other commands do")
def test_a_push_killed_at_any_moment_and_run_again_ends_as_an_undisturbed_one(environ, tmp_path, figures):
    """Killed after Stripe has done what was asked and before it is known here, too."""
    mortal, pushes, made = Mortal(SEED), 0, None
    while mortal.killed < size(2, long=150):
        pushes += 1
        with Simulator() as stripe:
            folder = tmp_path / str(pushes)
            given = folder, _setting(environ, stripe, folder)
            while mortal.seconds and mortal.dies(command, *given, "push", "--yes"):
                pass
            mortal.lives(command, *given, "push", "--yes")
            mortal.lives(command, *given, "push", "--dry-run")  # Stripe is as the file wants it
            ended = everything(stripe.world)
            made = made or ended
            assert ended == made
            (endpoint,) = stripe.world.all("webhook_endpoint")
            assert dotenv_values(folder / ".env")["STRIPE_WEBHOOK_SECRET"] == endpoint["secret"]
    figures.note(kills=mortal.killed, pushes=pushes)


def _setting(environ, stripe, folder):
    """Return the settings of a product that was never pushed, in a folder of its own."""
    folder.mkdir()
    (folder / "plans.toml").write_text(METERED)
    own = {"STRIPE_API_BASE": stripe.url, "BILLING_DATABASE": str(folder / "corkage.db")}
    without = {name: value for name, value in environ.items() if name != "STRIPE_WEBHOOK_SECRET"}
    return without | own | {"BILLING_URL": URL}


def test_the_secret_is_on_disk_before_the_next_call(pushed):
    seen = []

    def keep(secret):
        seen.append(len(pushed.simulator.requests))
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        push.make(pushed.gateway, pushed.config, STAGES, keep)
    assert pushed.simulator.requests[-1].path == "/v1/webhook_endpoints"
    pushed.push()
    assert (pushed.endpoint()["secret"], pushed.steps()) == (pushed.secrets[0], [])


def test_portal_of_takes_an_active_one_first(pushed):
    mine = {"metadata": {"corkage_app": APP}}
    off, on, other = mine | {"active": False}, mine | {"active": True}, {"metadata": {}, "active": True}

    assert portal_of(APP, (other, off, on)) is on
    assert portal_of(APP, (other,)) is None
