"""A product that is live and well, whose parts are broken one by one, and mended by what the doctor says."""

import json
import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests
import warm
from harness import APP, WEBHOOK_SECRET, App, Shop, running

from corkage.config import Config
from corkage.setup.env_file import store_settings
from corkage.simulator import Simulator

SETTINGS = ("BILLING_", "FRONTEND_", "STRIPE_")
INSTALL = "install the official Stripe CLI with `npm install @stripe/cli` and name it in STRIPE_CLI"


def free_port() -> int:
    """Return a port that nobody listens on at the moment."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Live:
    """A served Corkage with a webhook endpoint at Stripe, and the doctor beside it, as an operator has them."""

    app: App
    shop: Shop
    simulator: Simulator
    environ: dict[str, str]
    folder: Path
    endpoint: dict[str, Any]

    def run(self, *arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of Corkage's."""
        return warm.run(arguments, self.folder, self.environ | changes, seconds=120)

    def doctor(self, **changes: str) -> tuple[int, list[dict[str, Any]]]:
        """Run the doctor; return its exit code, and the lines of what is wrong or could not be looked at."""
        done = self.run("doctor", "--json", **changes)
        assert "Traceback" not in done.stderr, done.stderr
        said = json.loads(done.stdout)["checks"]
        return done.returncode, [each for each in said if each["mark"] in ("wrong", "not checked")]

    def is_well(self, **changes: str) -> None:
        """Assert that the doctor finds nothing, and neither does /health."""
        code, found = self.doctor(**changes)
        assert (code, found) == (0, []), found
        facts = self.health()
        assert (facts["status"], facts["problems"]) == ("ok", [])

    def names(self, check: str, **changes: str) -> dict[str, Any]:
        """Assert that the doctor names one thing that is wrong, in this check; return its line."""
        code, found = self.doctor(**changes)
        assert [(code, each["check"], each["mark"]) for each in found] == [(1, check, "wrong")], found
        return found[0]

    def health(self) -> Any:
        """Return what /health says; its status must agree with that."""
        answer = requests.get(f"{self.app.url}/health", timeout=30)
        facts = answer.json()
        assert (answer.status_code == 503) == bool(facts["problems"])
        return facts

    def mend(self, command: str) -> None:
        """Run the command that the doctor printed, and answer its question with yes."""
        for each in command.split(" && "):
            self._mend(each)

    def _mend(self, command: str) -> None:
        program, *rest = shlex.split(command)
        if program == "corkage":
            asks = rest[0] == "push" or rest[:2] == ["user", "cancel"]
            done = self.run(*rest, *(["--yes"] if asks else []))
        elif program == "stripe":
            done = self._run_stripe(rest)
        else:
            done = subprocess.run(command, shell=True, cwd=self.folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    def _run_stripe(self, rest: list[str]) -> "subprocess.CompletedProcess[str]":
        found = os.environ.get("STRIPE_CLI") or shutil.which("stripe")
        if found is None:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(INSTALL)
        command = [found, *rest, "--api-key", "sk_test_1234567890abcdef", "--api-base", self.simulator.url]
        environ = os.environ | {"STRIPE_CLI_TELEMETRY_OPTOUT": "1", "XDG_CONFIG_HOME": str(self.folder)}
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)

    def subscriber(self, user: str = "ann", **params: Any) -> tuple[str, str]:
        """Return the customer and the subscription of a user who has bought, and is known here."""
        customer = self.shop.customer(user)
        subscription = self.shop.subscribe(customer, user=user, **params)
        self.arrive()
        return customer, subscription

    def arrive(self) -> None:
        """Let all webhooks arrive, and apply them."""
        self.simulator.settle()
        self.app.work()


@contextmanager
def going_live(
    config: Config, environ: dict[str, str], shop: Shop, simulator: Simulator, folder: Path, **changes: Any
) -> Iterator[Live]:
    """Serve at a port that is known before, with an endpoint at Stripe that posts there."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    own = {"BILLING_URL": url, "BILLING_APP": APP, "BILLING_WORKER": "off", "BILLING_POLL_SECONDS": "0"}
    settings = {name: value for name, value in environ.items() if name.startswith(SETTINGS)} | own
    environ = {name: value for name, value in environ.items() if name not in settings}
    store_settings(folder / ".env", settings)
    endpoint = simulator.add_webhook_endpoint(f"{url}/webhook", secret=WEBHOOK_SECRET)
    with running(replace(config, billing_url=url, **changes), port=port) as app:
        yield Live(app, shop, simulator, environ, folder, endpoint)
