"""The documented React component in a real browser, on another origin than Corkage's, with cookies and with tokens."""

import json
import os
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import bottle
import pytest
from harness import AUTH_SECRET, stop
from moving_in import stranger
from playwright.sync_api import expect
from waitress.server import create_server

import corkage
from corkage import Billing
from corkage.errors import MaybeSubscribed
from corkage.identity import mint_token
from corkage.models import CheckoutAttempt, User
from corkage.sync.resync import resync

pytestmark = pytest.mark.slow

DOCS = Path(corkage.__file__).parent / "docs"
INSTALL = "`npm install react@19 react-dom@19 esbuild@0.25` and name its node_modules in FRONT_END"
PAGE = '<!doctype html><title>A product</title><div id="root"></div><script src="/bundle.js"></script>'
ENTRY = """
import { createRoot } from "react-dom/client";
import Pricing from "PRICING";
createRoot(document.getElementById("root")).render(<Pricing {...PROPS} />);
"""
FORM = (
    '<!doctype html><form method="post" action="{}/checkout"><input name="plan" value="pro"><button>Win</button></form>'
)
PLANS = [{"key": "pro", "name": "Pro", "offers": [{"plan": "pro", "label": "$9 a month"}]}]


@pytest.fixture(scope="session")
def tools():
    """Where React and esbuild are."""
    found = os.environ.get("FRONT_END")
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(INSTALL)
    return Path(found)


@contextmanager
def listening(app):
    """Serve an app on a free port, and give that."""
    server = create_server(app, host="127.0.0.1", port=0, threads=4)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield server.effective_port
    stop(server, thread)


def bundle(tools, folder, props):
    """Build the component as a product would, from the file in the docs."""
    source = ENTRY.replace("PRICING", str(DOCS / "react/Pricing.jsx")).replace("PROPS", json.dumps(props))
    (folder / "entry.jsx").write_text(source)
    options = ("--bundle", "--jsx=automatic", "--outfile=bundle.js", "--log-level=warning", "--minify")
    command, environ = [tools / ".bin/esbuild", "entry.jsx", *options], os.environ | {"NODE_PATH": str(tools)}
    subprocess.run(command, cwd=folder, env=environ, check=True, timeout=60)
    return (folder / "bundle.js").read_text()


class Product:
    """A product's pages; the test chooses the signed-in user."""

    def __init__(self):
        self.app, self.user, self.script, self.form = bottle.Bottle(), "ann", "", ""
        self.email = None
        self.app.route("/", "GET", lambda: PAGE)
        self.app.route("/win", "GET", lambda: self.form)
        self.app.route("/bundle.js", "GET", lambda: bottle.HTTPResponse(self.script, Content_Type="text/javascript"))
        self.app.route("/token", "GET", self.give_token)
        self.app.route("/sign-in", "GET", self.sign_in)

    def token(self):
        return mint_token(AUTH_SECRET, self.user, email=self.email, now=time.time(), lifetime_seconds=300)

    def give_token(self):
        return {"token": self.token()} if self.user else bottle.HTTPResponse({"error": {}}, 401)

    def sign_in(self):
        answer = bottle.HTTPResponse(PAGE)
        answer.set_cookie("corkage", self.token(), path="/", httponly=True, samesite="lax")
        return answer


@pytest.fixture
def product(config, shop):
    """A product on one origin, with Corkage on another: same site where it is 127.0.0.1, another site as localhost."""
    made, billing_app = Product(), bottle.Bottle()
    with listening(made.app) as made.port, listening(billing_app) as port:
        made.billing_url = f"http://127.0.0.1:{port}/billing"
        pages = tuple(f"http://{host}:{made.port}" for host in ("127.0.0.1", "localhost"))
        made.billing = Billing(replace(config, frontend_urls=pages, billing_url=made.billing_url))
        billing_app.mount("/billing/", made.billing.wsgi)
        yield made
    made.billing.close()


@pytest.fixture
def page(browser):
    context = browser.new_context()
    context.set_default_timeout(30_000)
    opened = context.new_page()
    yield opened
    context.close()


def sees(page, text):
    page.get_by_text(text).first.wait_for()


def buy(page):
    page.get_by_role("button", name="$9 a month").click()
    for label, text in (("Card number", "4242424242424242"), ("Expiry (MM/YY)", "12/40"), ("CVC", "123")):
        page.get_by_label(label).fill(text)
    page.get_by_role("button", name="Subscribe", exact=True).click()


@pytest.mark.parametrize("way", ["cookie", "token"])
def test_the_component_sells_and_manages_from_another_origin(product, page, tools, tmp_path, way):
    host = {"cookie": "127.0.0.1", "token": "localhost"}[way]
    props = {"billingUrl": product.billing_url, "plans": PLANS, "signInUrl": "/sign-in"}
    product.script = bundle(tools, tmp_path, props | ({"tokenUrl": "/token"} if way == "token" else {}))
    product.user = None
    page.goto(f"http://{host}:{product.port}/")
    sees(page, "Sign in to subscribe")
    assert page.get_by_role("button", name="$9 a month").is_disabled()
    product.user = "ann"
    page.get_by_role("link", name="Sign in to subscribe").click()
    page.get_by_role("button", name="$9 a month").wait_for()
    assert not page.get_by_text("Manage billing").is_visible()

    buy(page)
    page.wait_for_url(f"http://{host}:{product.port}/")
    page.goto(f"http://{host}:{product.port}/")
    sees(page, "You are on pro.")
    sees(page, "Your plan")
    page.get_by_role("button", name="Manage billing").click()
    sees(page, "Cancel plan")
    page.go_back()
    expect(page.get_by_role("button", name="Manage billing")).to_be_enabled(timeout=30_000)

    assert product.billing.access("ann").allowed
    assert User.select().count() == 1


def test_an_error_is_shown_and_the_click_can_be_repeated(product, page, tools, tmp_path):
    gold = PLANS[0] | {"offers": [{"plan": "gold", "label": "$99 a month"}]}
    product.script = bundle(tools, tmp_path, {"billingUrl": product.billing_url, "plans": [gold]})
    page.goto(f"http://127.0.0.1:{product.port}/sign-in")

    page.get_by_role("button", name="$99 a month").click()

    assert page.get_by_role("alert").inner_text() == "There is no such plan. Please choose one of those on offer."
    expect(page.get_by_role("button", name="$99 a month")).to_be_enabled(timeout=30_000)


def test_who_may_pay_already_is_asked_by_the_page_and_goes_on_or_does_not(product, page, tools, tmp_path, shop):
    stranger(shop, "payer@example.com")
    resync(product.billing.service.worker.converger, time.time())
    product.script = bundle(tools, tmp_path, {"billingUrl": product.billing_url, "plans": PLANS})
    product.email = "ann@example.com"
    page.goto(f"http://127.0.0.1:{product.port}/sign-in")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="$9 a month").click()
    assert page.get_by_role("alert").inner_text() == MaybeSubscribed.sentence

    asked = []
    page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.accept()))
    buy(page)
    page.wait_for_url(f"http://127.0.0.1:{product.port}/")

    assert asked == [MaybeSubscribed.sentence]
    assert product.billing.access("ann").allowed


def test_a_page_can_read_retry_after(product, page):
    page.goto(f"http://127.0.0.1:{product.port}/sign-in")
    recipe = (DOCS / "react/billing.js").read_text().replace("export ", "")
    line = product.billing.service.line
    for _ in range(line.places):
        line._at_stripe.acquire()

    refused = page.evaluate(
        f"() => {{ {recipe}; return createBilling('{product.billing_url}').checkout('pro').catch((error) => "
        "[error.status, error.code, error.retryAfter, error.message]) }"
    )

    assert refused == [503, "busy", 2, "Many people are paying at the moment. Please try again shortly."]


def test_a_foreign_page_with_the_cookie_can_neither_read_nor_buy(product, page):
    """On the same host, so the browser sends the cookie: SameSite alone is no fence between ports or subdomains."""
    page.goto(f"http://127.0.0.1:{product.port}/sign-in")
    stranger = bottle.Bottle()
    stranger.route("/", "GET", lambda: FORM.format(product.billing_url))
    with listening(stranger) as port:
        page.goto(f"http://127.0.0.1:{port}/")
        read = f"fetch('{product.billing_url}/access', {{credentials: 'include'}}).then(() => 'read', () => 'blocked')"
        post = (
            f"fetch('{product.billing_url}/checkout', {{method: 'POST', credentials: 'include', body: 'plan=pro', "
            "headers: {'Content-Type': 'application/json'}}).then(() => 'read', () => 'blocked')"
        )
        assert page.evaluate(read) == page.evaluate(post) == "blocked"
        page.get_by_role("button", name="Win").click()
        sees(page, "did not come from our own pages")
    assert User.select().count() == CheckoutAttempt.select().count() == 0


def test_the_document_shows_the_component_exactly():
    shown = (DOCS / "frontend.md").read_text().split("<!-- fetch -->\n```js\n")[1].split("```\n")[0]

    assert shown == (DOCS / "react/billing.js").read_text()
