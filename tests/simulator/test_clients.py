"""Real clients of Stripe, as their packages come, against the simulator. tests/clients/ pins them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from programs import missing

pytestmark = pytest.mark.slow

CLIENTS = Path(__file__).parent.parent / "clients"
PYTHON = [pin.removeprefix("stripe==") for pin in (CLIENTS / "stripe-python.txt").read_text().split()]
NODE = [
    name for name in json.loads((CLIENTS / "package.json").read_text())["dependencies"] if name.startswith("stripe-")
]
INSTALL = "install the real clients with `bin/clients FOLDER` and name the folder in STRIPE_CLIENTS"
INSTALL_NODE = "install Node (`npm install node@24` does) and name it in NODE"


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
