"""Real clients of Stripe, as their packages come, against the simulator. tests/clients/ pins them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from postgres import postgres
from programs import missing
from whole_world import fill

pytestmark = pytest.mark.slow

CLIENTS = Path(__file__).parent.parent / "clients"
PYTHON = [pin.removeprefix("stripe==") for pin in (CLIENTS / "stripe-python.txt").read_text().split()]
NODE = [
    name for name in json.loads((CLIENTS / "package.json").read_text())["dependencies"] if name.startswith("stripe-")
]
INSTALL = "install the real clients with `bin/clients FOLDER` and name the folder in STRIPE_CLIENTS"
INSTALL_NODE = "install Node (`npm install node@24` does) and name it in NODE"
DJSTRIPE = {
    "Account": (),
    "Coupon": ("coupon",),
    "PromotionCode": ("promotion_code",),
    "Invoice": ("invoice",),
    "InvoiceItem": ("invoiceitem",),
    "Subscription": ("subscription",),
    "SubscriptionSchedule": ("subscription_schedule",),
    "Session": ("checkout.session",),
    "Product": ("product",),
    "Customer": ("customer",),
    "Event": ("event",),
    "Price": ("price",),
    "PaymentMethod": ("payment_method",),
    "WebhookEndpoint": ("webhook_endpoint",),
    "BalanceTransaction": ("balance_transaction",),
    "Charge": ("charge",),
    "Dispute": ("dispute",),
    "EarlyFraudWarning": ("radar.early_fraud_warning",),
    "Feature": ("entitlements.feature",),
    "PaymentIntent": ("payment_intent",),
    "Refund": ("refund",),
    "SetupIntent": ("setup_intent",),
    "SubscriptionItem": (),
    "TaxRate": ("tax_rate",),
}
"""dj-stripe's models, and the kinds of objects that it must find for each. Left out: ActiveEntitlement, which it lists
without the customer that Stripe requires, and TaxId, which it lists with a parameter that Stripe does not have."""
BACKFILLED = {
    "charges": "charge",
    "checkout_sessions": "checkout.session",
    "credit_notes": "credit_note",
    "customers": "customer",
    "disputes": "dispute",
    "early_fraud_warnings": "radar.early_fraud_warning",
    "invoices": "invoice",
    "payment_intents": "payment_intent",
    "payment_methods": "payment_method",
    "prices": "price",
    "products": "product",
    "refunds": "refund",
    "setup_intents": "setup_intent",
    "subscription_schedules": "subscription_schedule",
    "subscriptions": "subscription",
}
"""The sync engine's tables, and the kind of the objects that it must find for each."""


@pytest.fixture(scope="session")
def clients():
    return Path(os.environ.get("STRIPE_CLIENTS") or missing(INSTALL))


@pytest.fixture(scope="session")
def node():
    return os.environ.get("NODE") or shutil.which("node") or missing(INSTALL_NODE)


def run(command, **environ):
    """Run a client and return what it printed, as JSON."""
    finished = subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, timeout=240)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def check_story(simulator, seen):
    """Assert that the story went as it does with the newest client, in the shape of the client's version."""
    version = seen.pop("version")
    is_acacia = version.endswith(".acacia")
    bought, canceled = simulator.world.all("subscription")
    assert seen == {
        "statuses": ["active", "paid", "complete", "canceled"],
        "period_is_on_the_subscription": [is_acacia, is_acacia],
        "period_ends": [canceled["items"]["data"][0]["current_period_end"]] * 2,
        "paid_subscription": bought["id"],
        "sent_to": "https://example.com/back",
        "ui_mode": "hosted" if version < "2026-03-25" else "hosted_page",
        "invoices": [[900, not is_acacia, is_acacia]] * 2,
        "event_versions": [version],
        "wrong_secret_is_refused": True,
    }
    assert {request.status for request in simulator.requests} == {200}
    assert {answer for each in simulator.deliveries.made for answer in each.answers} == {200}


@pytest.mark.parametrize("version", PYTHON)
def test_stripe_python_as_it_comes_plays_the_story(simulator, clients, version):
    library = clients / f"stripe-python-{version}"

    seen = run([sys.executable, CLIENTS / "story.py", simulator.url], PYTHONPATH=str(library))

    assert f'CURRENT = "{seen["version"]}"' in (library / "stripe/_api_version.py").read_text()
    check_story(simulator, seen)


@pytest.mark.parametrize("package", NODE)
def test_stripe_node_as_it_comes_plays_the_story(simulator, clients, node, package):
    modules = clients / "node/node_modules"

    seen = run([node, CLIENTS / "story.cjs", simulator.url, package], NODE_PATH=str(modules))

    assert f"'{seen['version']}'" in (modules / package / "cjs/apiVersion.js").read_text()
    check_story(simulator, seen)


def test_three_majors_or_more_of_each_library_are_pinned():
    assert [version.split(".")[0] for version in PYTHON] == ["12", "13", "14", "15", "16"]
    assert [f"stripe-{major}" for major in range(17, 23)] == NODE


def listed(simulator, kind):
    """Return the ids of a kind that Stripe lists: not deleted ones, and only payment methods that a customer has."""
    found = [each for each in simulator.world.all(kind) if not each.get("deleted")]
    if kind == "payment_method":
        found = [each for each in found if each["customer"] in listed(simulator, "customer")]
    return sorted(each["id"] for each in found)


def test_dj_stripe_syncs_a_world_with_every_kind_of_object(simulator, client, clients, tmp_path):
    fill(simulator, client)
    environ = os.environ | {
        "DATABASE": str(tmp_path / "django.sqlite3"),
        "DJANGO_SETTINGS_MODULE": "djstripe_product",
        "PYTHONPATH": os.pathsep.join(map(str, (clients / "peers", CLIENTS))),
        "STRIPE_API_BASE": simulator.url,
    }

    def django(*arguments):
        command = [sys.executable, "-m", "django", *arguments]
        finished = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    django("migrate", "-v0", "--run-syncdb")
    said = django("djstripe_sync_models", *DJSTRIPE)

    parts = re.split(r"^Syncing (\w+) for key .*$", said, flags=re.MULTILINE)[1:]
    synced = {model: set(re.findall(r"^  id=([^ ,]+)", rows, re.MULTILINE)) for model, rows in batched(parts)}
    for model, kinds in DJSTRIPE.items():
        expected = [each for kind in kinds for each in listed(simulator, kind)]
        assert expected or not kinds
        assert synced[model] >= set(expected), model


def test_supabases_sync_engine_backfills_a_world_with_every_kind_of_object(simulator, client, clients, node):
    fill(simulator, client)
    with postgres() as server:
        command = [node, CLIENTS / "backfill.cjs", simulator.url, server.url(user="postgres"), "all"]
        rows = run(command, NODE_PATH=str(clients / "node/node_modules"))

    for table, kind in BACKFILLED.items():
        assert rows[table] == listed(simulator, kind) != [], table


def batched(parts):
    return zip(parts[::2], parts[1::2], strict=True)
