"""From an empty folder to a sale: init, push, serve, a purchase in Chromium, and nothing left to mend."""

import os
import re
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import requests
from harness import DAY, until

from corkage.identity import mint_token
from corkage.simulator import Simulator

pytestmark = pytest.mark.slow


@pytest.fixture
def product(tmp_path):
    """An empty folder, a Stripe of its own that is reached by a port, and no setting in the environment."""
    with Simulator() as stripe:
        yield Product(tmp_path, stripe, free_port())


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Product:
    """What somebody does who starts with nothing."""

    def __init__(self, folder, stripe, port):
        self.folder, self.stripe, self.url = folder, stripe, f"http://127.0.0.1:{port}"
        self.port = port
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("BILLING_", "STRIPE_"))}
        self.environ = kept | {"PYTHONUNBUFFERED": "1"}

    def run(self, *arguments):
        return subprocess.run(
            [sys.executable, "-m", "corkage.cli", *arguments],
            cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    @contextmanager
    def served(self):
        process = subprocess.Popen(
            [sys.executable, "-m", "corkage.cli", "serve", "--port", str(self.port)],
            cwd=self.folder, env=self.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            until(self.is_up)
            yield
        finally:
            process.terminate()
            said = process.communicate(timeout=60)[1].decode()
        assert "Traceback" not in said, said

    def is_up(self):
        try:
            return requests.get(f"{self.url}/health", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def token(self, user="ann"):
        secret = re.search(r"^BILLING_AUTH_SECRET=(.+)$", (self.folder / ".env").read_text(), re.MULTILINE)[1]
        return mint_token(secret, user, now=time.time(), lifetime_seconds=DAY // 24)

    def access(self):
        headers = {"Authorization": f"Bearer {self.token()}"}
        return requests.get(f"{self.url}/access", headers=headers, timeout=30).json()


def test_an_empty_folder_becomes_a_live_sale(product, browser):
    started = product.run(
        "init", "--key", product.stripe.api_key, "--api-base", product.stripe.url, "--frontend-url", product.url,
        "--billing-url", product.url, "--yes",
    )  # fmt: skip
    assert started.returncode == 0, started.stderr
    assert product.run("push", "--dry-run").returncode == 2
    pushed = product.run("push", "--yes")
    assert pushed.returncode == 0, pushed.stderr

    with product.served():
        assert product.access()["allowed"] is False
        bought = requests.post(
            f"{product.url}/checkout", {"plan": "pro"}, allow_redirects=False, timeout=30,
            headers={"Authorization": f"Bearer {product.token()}"},
        )  # fmt: skip
        assert bought.status_code == 200, bought.text
        page = browser.new_page()
        page.goto(bought.json()["url"])
        page.get_by_text("Pro").first.wait_for()
        for label, text in (("Card number", "4242424242424242"), ("Expiry (MM/YY)", "12/40"), ("CVC", "123")):
            page.get_by_label(label).fill(text)
        page.get_by_role("button", name=re.compile("Subscribe|Pay")).first.click()
        page.wait_for_url(f"{product.url}/**")
        until(lambda: product.access()["allowed"])
        assert (product.access()["plan"], product.access()["reason"]) == ("pro", "active")

        dry = product.run("push", "--dry-run")
        assert dry.returncode == 0, dry.stdout
        seen = product.run("doctor")
        assert seen.returncode == 0, seen.stdout
