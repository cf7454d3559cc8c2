"""Products that count calls and have Stripe bill them: in Bottle, in Flask, and in Node beside a Corkage of its own."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import bottle
import requests
from flask import Flask, request
from harness import AUTH_SECRET, running, serving
from programs import missing
from repository import block
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from corkage import Billing, Config, Identity

Call = Callable[[str, int, str], dict[str, Any]]
"""Has a user make so many calls, under a key; returns what the product was answered."""

NODE_PRODUCT = """
import { createServer } from "node:http";
const server = createServer(async (request, response) => {
  const asked = new URL(request.url, "http://product").searchParams;
  const used = await use({ id: asked.get("user") }, "calls", Number(asked.get("amount")), asked.get("key"));
  response.end(JSON.stringify(used));
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
"""


def _signed_in(environ: dict[str, Any]) -> Identity | None:
    user = bottle.BaseRequest(environ).get_cookie("user")
    return Identity(user) if user else None


def _in_bottle(billing: Billing) -> Any:
    app = bottle.Bottle()
    app.install(billing)

    @app.post("/call")
    def call() -> dict[str, Any]:
        asked = bottle.request.query
        return dict(billing.use(asked["user"], "calls", int(asked["amount"]), asked["key"])._asdict())

    return app


def _in_flask(billing: Billing) -> Any:
    app = Flask(__name__)

    @app.post("/call")
    def call() -> dict[str, Any]:
        asked = request.args
        return dict(billing.use(asked["user"], "calls", int(asked["amount"]), asked["key"])._asdict())

    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/billing": billing.wsgi})  # type: ignore[method-assign]  # as Flask's documents do
    return app


def _calling(url: str) -> Call:
    def call(user: str, amount: int, key: str) -> dict[str, Any]:
        answer = requests.post(url, params={"user": user, "amount": amount, "key": key}, timeout=30)
        assert answer.ok, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return call


@contextmanager
def embedded(make: Callable[[Billing], Any], config: Config) -> Iterator[tuple[Billing, str, Call]]:
    billing = Billing(config, authenticate=_signed_in)
    try:
        with serving(make(billing)) as url:
            yield billing, f"{url}/billing", _calling(f"{url}/call")
    finally:
        billing.close()


@contextmanager
def beside(config: Config, folder: Path) -> Iterator[tuple[Billing, str, Call]]:
    """Serve Corkage, and a product in Node that follows the documents."""
    node = os.environ.get("NODE") or shutil.which("node") or missing("install Node 22.13 and name it in NODE")
    recipes = block("docs/sidecar.md", "token-node") + block("docs/sidecar.md", "use-node")
    (folder / "product.mjs").write_text(recipes + NODE_PRODUCT)
    with running(config) as app:
        environ = {"BILLING_AUTH_SECRET": AUTH_SECRET, "CORKAGE_URL": app.url}
        command = [node, "product.mjs"]
        with subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, text=True) as product:
            try:
                yield app.billing, app.url, _calling(f"http://127.0.0.1:{_port(product)}/call")
            finally:
                product.kill()


def _port(product: "subprocess.Popen[str]") -> int:
    assert product.stdout
    found = re.fullmatch(r"(\d+)\n", product.stdout.readline())
    assert found
    return int(found[1])


@contextmanager
def host(kind: str, config: Config, folder: Path) -> Iterator[tuple[Billing, str, Call]]:
    """Serve a product of this kind: its Billing, where the routes are, and how its users make calls."""
    kept = replace(config, auth_secrets=()) if kind != "node" else config
    make = {"bottle": _in_bottle, "flask": _in_flask}.get(kind)
    with embedded(make, kept) if make else beside(kept, folder) as served:
        yield served
