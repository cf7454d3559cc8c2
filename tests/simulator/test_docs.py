"""docs/simulator.md lists what the simulator supports, no more and no less."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import requests
from harness import open_shop, sdk

import corkage
from corkage.simulator import ApiFaults, Rules, Simulator, settings
from corkage.simulator.api import ROUTES
from corkage.simulator.test_cards import INSTRUMENTS
from corkage.simulator.webhooks.faults import DeliveryFaults

DOCUMENT = (Path(corkage.__file__).parent / "docs/simulator.md").read_text()


SEQUELS = {
    "available": "an event `balance.available`",
    "dispute": "disputed as `fraudulent`",
    "fraud_warning": "an early fraud warning",
    "inquiry": "an inquiry, which has the status `warning_needs_response`",
    "not_received": "disputed as `product_not_received`",
    "refund_fails": "its refund succeeds, and fails when the bank answers",
    "refund_pending": "its refund is pending until the bank answers",
}


def part(marker):
    """Return the text after a marker, up to an empty line."""
    return DOCUMENT.split(f"<!-- {marker} -->\n")[1].split("\n\n")[0]


def table(marker):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part(marker).splitlines()[2:]]


def outcome_of(instrument):
    """Return the outcome of a charge in the words of the document."""
    if instrument.type != "card":
        return f"pending for days, then {'failed' if instrument.declines else 'paid'}"
    if instrument.authenticates:
        always = instrument.authenticates == "always"
        when = "when the customer confirms each payment" if always else "once the customer has confirmed"
        return f"paid, {when} to the bank"
    how = {"attach": "declined when attached", "charge": "attached, then declined at each charge"}
    if instrument.declines:
        return f"{how[instrument.declines]}: `{instrument.decline_code}`"
    return f"paid, then {SEQUELS[instrument.sequel]}" if instrument.sequel else "paid"


def test_every_test_card_and_account_is_listed_with_its_outcome():
    listed = [(number, name.strip("`"), what) for number, name, what in table("instruments")]

    named = {name: name if name.startswith("pm_") else "" for name in INSTRUMENTS}
    assert listed == [(each.number, named[name], outcome_of(each)) for name, each in INSTRUMENTS.items()]


def test_every_supported_route_is_listed_and_no_other():
    cells = " ".join(routes for _, routes in table("routes"))
    listed = [
        (method, path) for methods, path in re.findall(r"`([A-Z ]+) (/\S+)`", cells) for method in methods.split()
    ]

    assert sorted(listed) == sorted((route.method, route.path) for route in ROUTES)


@pytest.mark.parametrize(
    ("marker", "kind"), [("rules", Rules), ("delivery-faults", DeliveryFaults), ("api-faults", ApiFaults)]
)
def test_every_rule_and_fault_is_listed_with_its_effect_and_no_other(marker, kind):
    listed = [(name.strip("`"), effect) for name, effect in table(marker)]

    assert listed == [(each.name, each.effect) for each in settings.fields_of(kind())]
    assert all(effect for _name, effect in listed)


def test_the_control_pages_commands_work():
    if shutil.which("curl") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("install curl")
    with Simulator() as simulator:
        shop = open_shop(simulator, sdk(simulator))
        shop.subscribe(shop.customer())
        commands = [line for line in DOCUMENT.splitlines() if line.startswith("curl")]
        for command in commands:
            run = subprocess.run(
                shlex.split(command.replace("http://127.0.0.1:12111", simulator.url)),
                capture_output=True,
                text=True,
                timeout=30,
            )
            assert "error" not in json.loads(run.stdout), command
        assert len(commands) == 5
        assert simulator.deliveries.faults.loss == 0.2
        assert simulator.rules.after_retries == "unpaid"
        assert shop.client.v1.events.list().data[0].type == "test_helpers.test_clock.ready"


@pytest.mark.parametrize(
    ("method", "path", "params"),
    [
        ("POST", "/v1/issuing/cards", {"currency": "usd", "type": "virtual"}),
        ("POST", "/v1/subscriptions", {"customer": "c", "items[0][price]": "p", "collection_method": "send_invoice"}),
        ("POST", "/v1/quotes", {}),
        ("POST", "/v1/customers", {"tax[ip_address]": "1.1.1.1"}),
        ("POST", "/v1/shipping_rates", {}),
        ("GET", "/v1/customers/search", {"query": "email:'a'"}),
        ("POST", "/v1/files", {}),
    ],
)
def test_every_unsupported_route_in_the_document_is_refused(simulator, method, path, params):
    where = {"params" if method == "GET" else "data": params}
    answer = requests.request(method, simulator.url + path, auth=(simulator.api_key, ""), timeout=30, **where)

    assert answer.status_code in (400, 404)
    assert "the simulator does not support it" in answer.json()["error"]["message"]
    assert simulator.world.all("event") == []


def test_every_page_that_the_document_names_exists(simulator):
    for path in ("/buy/x", "/c/pay/x", "/p/session/x", "/i/x"):
        answer = requests.get(simulator.url + path, timeout=30)
        assert (answer.status_code, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
