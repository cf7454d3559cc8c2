"""A team of five with an add-on, through HTTP and the simulator's clock, in Bottle and in Flask."""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from harness import DAY, WEBHOOK_SECRET, started, until
from host_browser import Browser

pytestmark = pytest.mark.slow

HOSTS = Path(__file__).parent / "hosts" / "team"
PLANS = """
[team]
name = "Team"
prices = ["team_monthly"]
seats = { minimum = 2, maximum = 50 }

[storage]
name = "Storage"
prices = ["storage_monthly"]
adds_to = ["team"]
seats = { minimum = 1, maximum = 20 }
limits = { gb = 100 }
"""


@pytest.fixture(params=["bottle_team", "flask_team"])
def browser(request, environ, tmp_path, simulator):
    (tmp_path / "plans.toml").write_text(PLANS)
    simulator.add_price("team_monthly", 1_000)
    simulator.add_price("storage_monthly", 200)
    found_in = os.pathsep.join([str(HOSTS), environ["PYTHONPATH"]])
    environ = environ | {"FRONTEND_URL": "http://notes.example", "PYTHONPATH": found_in}
    environ |= {"BILLING_AUTH_SECRET": "", "BILLING_POLL_SECONDS": "0"}
    served = ["--listen", "127.0.0.1:0", f"{request.param}:app"]
    with started(served, environ, tmp_path, "http://127.0.0.1:", module="waitress") as (_, said):
        url = re.search(r"http://127\.0\.0\.1:\d+", said[-1])[0]
        simulator.add_webhook_endpoint(f"{url}/billing/webhook", secret=WEBHOOK_SECRET)
        yield Browser(url)


def buy(browser, simulator, plan, quantity):
    bought = simulator.buy(browser.led_to("/billing/checkout", plan=plan, quantity=quantity))
    back = urlsplit(bought["success_url"].replace("{CHECKOUT_SESSION_ID}", bought["id"]))
    browser.get(f"{back.path}?{back.query}")
    return bought["subscription"]


def seats(browser, number, when="now"):
    answer = browser.post("/seats", {"seats": number, "when": when}, headers={"Accept": "application/json"})
    return answer.status_code, answer.json()


def as_json(browser, path):
    return browser.get(path, Accept="application/json").json()


def totals(simulator, subscription):
    found = [
        each["total"]
        for each in reversed(simulator.world.all("invoice"))
        if each["parent"]["subscription_details"]["subscription"] == subscription
    ]
    return [total for total in found if total]


def test_a_team_of_five_with_an_addon_grows_shrinks_and_leaves(browser, simulator):
    browser.sign_in("acme")
    team = buy(browser, simulator, "team", 5)
    storage = buy(browser, simulator, "storage", 2)
    assert as_json(browser, "/team") == {"seats": 5, "gb": 200}

    shown = as_json(browser, "/price-of-seats?seats=6")
    assert seats(browser, 6) == seats(browser, 6) == (200, {"seats": 6})
    assert (shown["charged_now"], shown["currency"]) == (0, "usd")
    assert as_json(browser, "/team") == {"seats": 6, "gb": 200}
    status, refused = seats(browser, 51)
    assert (status, refused["error"]["code"]) == (400, "invalid_quantity")

    assert seats(browser, 4, "period_end") == (200, {"seats": 6})
    simulator.advance(32 * DAY)
    until(lambda: as_json(browser, "/team") == {"seats": 4, "gb": 200})
    first, second = totals(simulator, team)
    assert (first, second - 4_000) == (5_000, shown["next_amount"] - 6_000)
    assert totals(simulator, storage) == [400, 400]

    assert browser.post("/quit", {}).json() == {"reason": "canceling"}
    assert as_json(browser, "/team") == {"seats": 4, "gb": 200}
    simulator.advance(32 * DAY)
    browser.is_told("ended")
    until(lambda: simulator.world.get("subscription", storage)["cancel_at_period_end"])
    until(lambda: "You have no plan that this adds to. It ends on" in browser.get("/billing/account").text)
    assert browser.get("/team", Accept="application/json").status_code == 402

    simulator.advance(32 * DAY)
    until(lambda: "You have no plan that this adds to" not in browser.get("/billing/account").text)
    assert {each["status"] for each in simulator.world.all("subscription")} == {"canceled"}
    assert totals(simulator, team) == [first, second]
    assert totals(simulator, storage) == [400, 400, 400]
    assert len(simulator.world.all("subscription")) == 2
