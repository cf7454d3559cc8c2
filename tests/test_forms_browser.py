"""Forms that Turbo, htmx and fetch send, in a real browser, from a page with a strict Content-Security-Policy."""

import os
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import bottle
import pytest
from harness import AUTH_SECRET, serving
from programs import missing

from corkage import Billing
from corkage.identity import mint_token

pytestmark = pytest.mark.slow

INSTALL = "`npm install @hotwired/turbo@8 htmx.org@2` and name its node_modules in FRONT_END"
SCRIPTS = {"turbo": "@hotwired/turbo/dist/turbo.es2017-umd.js", "htmx": "htmx.org/dist/htmx.min.js"}
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' {0}; form-action 'self' {0} {1}"
ELSEWHERE = '<meta name="htmx-config" content=\'{"selfRequestsOnly": false, "withCredentials": true}\'>'
PAGE = """<!doctype html><html lang="en"><head><title>A product</title>{config}
<script src="/{script}.js" defer></script></head>
<body>{form}<p><a href="{billing}/pricing">Plans</a></p></body></html>"""
FIELDS = '<input type="hidden" name="plan" value="pro"><button>Go</button>'
FORMS = {
    "turbo": '<form method="post" action="{}">{}</form>',
    "turbo in a frame": '<turbo-frame id="plans"><form method="post" action="{}">{}</form></turbo-frame>',
    "turbo as multipart": '<form method="post" action="{}" enctype="multipart/form-data">{}</form>',
    "htmx": '<form hx-post="{}">{}</form>',
    "htmx boosted": '<div hx-boost="true"><form method="post" action="{}">{}</form></div>',
}
FETCH = """fetch('/billing/checkout', {method: 'POST', body: new URLSearchParams('plan=pro'),
headers: {Accept: 'text/html'}}).then((answer) => answer.json())"""


@pytest.fixture(scope="session")
def scripts():
    """The libraries' text, by name."""
    folder = Path(os.environ.get("FRONT_END", ""))
    if not os.environ.get("FRONT_END") or not all((folder / path).is_file() for path in SCRIPTS.values()):
        missing(INSTALL)
    return {name: (folder / path).read_text() for name, path in SCRIPTS.items()}


class Product:
    """A product whose pages hold a form, with billing below its own address or on another origin."""

    def __init__(self, config, scripts, served, *, is_elsewhere):
        self.scripts, self.is_elsewhere = scripts, is_elsewhere
        app, other = bottle.Bottle(), bottle.Bottle()
        app.route("/form/<form>/<path>", "GET", self.show)
        app.route("/sign-in/<user>", "GET", self.sign_in)
        app.route("/<name>.js", "GET", self.script)
        self.url, self.elsewhere = (served.enter_context(serving(each)) for each in (app, other))
        self.base = (self.elsewhere if is_elsewhere else self.url) + "/billing"
        self.billing = Billing(replace(config, frontend_urls=(self.url,), billing_url=self.base))
        served.callback(self.billing.close)
        (other if is_elsewhere else app).mount("/billing/", self.billing.wsgi)

    def sign_in(self, user):
        answer = bottle.HTTPResponse("Signed in")
        token = mint_token(AUTH_SECRET, user, now=time.time(), lifetime_seconds=300)
        answer.set_cookie("corkage", token, path="/", httponly=True, samesite="lax")
        return answer

    def script(self, name):
        return bottle.HTTPResponse(self.scripts[name], headers={"Content-Type": "text/javascript"})

    def show(self, form, path):
        page = PAGE.format(
            config=ELSEWHERE if self.is_elsewhere else "",
            script=form.split()[0],
            form=FORMS[form].format(f"{self.base}/{path}", FIELDS),
            billing=self.base,
        )
        where = (self.elsewhere, self.billing.config.stripe_api_base) if self.is_elsewhere else ("", "")
        return bottle.HTTPResponse(page, headers={"Content-Security-Policy": POLICY.format(*where)})


@pytest.fixture
def product(config, shop, scripts, request):
    with ExitStack() as served:
        yield Product(config, scripts, served, is_elsewhere=getattr(request, "param", False))


@pytest.fixture
def page(browser, product):
    context = browser.new_context()
    context.set_default_timeout(15_000)
    opened = context.new_page()
    opened.goto(f"{product.url}/sign-in/ann")
    yield opened
    context.close()


def press(page, product, form, path):
    page.goto(f"{product.url}/form/{form}/{path}")
    page.wait_for_load_state("networkidle")
    page.get_by_role("button", name="Go").click()


def sees(page, text):
    page.get_by_text(text).first.wait_for()


@pytest.mark.parametrize("form", FORMS)
def test_a_form_that_a_library_sends_leads_to_checkout(page, product, form):
    press(page, product, form, "checkout")

    sees(page, "Simulation, not Stripe.")
    assert page.url.startswith(product.billing.config.stripe_api_base)


@pytest.mark.parametrize("form", FORMS)
def test_a_refusal_is_read_by_the_visitor(page, product, form, monkeypatch):
    monkeypatch.setattr("corkage.pacing.line.WAIT_SECONDS", 0.5)
    press(page, product, form, "portal")
    sees(page, "There is nothing to manage yet")
    assert page.url == f"{product.url}/billing/refused?code=no_billing_account"
    page.wait_for_function("getComputedStyle(document.querySelector('header')).display === 'flex'")  # it has its style
    page.go_back()
    assert page.get_by_role("button", name="Go").is_enabled()

    line = product.billing.service.line
    for _ in range(line.places):
        line._at_stripe.acquire()
    press(page, product, form, "checkout")
    sees(page, "Many people are paying at the moment.")
    page.context.clear_cookies()
    press(page, product, form, "checkout")
    sees(page, "Please sign in first.")
    assert page.get_by_role("link", name="Sign in").is_visible()


@pytest.mark.parametrize("product", [True], ids=["elsewhere"], indirect=True)
@pytest.mark.parametrize("form", ["turbo", "turbo in a frame", "htmx"])
def test_a_form_leads_to_checkout_from_another_origin_too(page, product, form):
    press(page, product, form, "checkout")
    sees(page, "Simulation, not Stripe.")

    page.context.clear_cookies()
    press(page, product, form, "portal")
    sees(page, "Please sign in first.")


def test_the_browsers_back_leads_from_stripe_to_the_page_of_the_click(page, product):
    press(page, product, "htmx", "checkout")
    sees(page, "Simulation, not Stripe.")

    page.go_back()
    assert page.url == f"{product.url}/form/htmx/checkout"


def test_fetch_reads_json_though_it_accepts_html(page, product):
    page.goto(f"{product.url}/form/htmx/checkout")

    assert page.evaluate(FETCH)["url"].startswith("http")
    page.context.clear_cookies()
    assert page.evaluate(FETCH)["error"]["code"] == "not_signed_in"


def test_turbo_loads_our_pages_whole(page, product):
    """Merged into the product's page, their links and their policy would not be theirs."""
    page.goto(f"{product.url}/form/turbo/checkout")
    page.wait_for_function("window.Turbo")
    page.get_by_role("link", name="Plans").click()
    page.get_by_role("button", name="Subscribe").wait_for()

    assert page.evaluate("window.Turbo") is None
    page.get_by_role("button", name="Subscribe").click()
    sees(page, "Simulation, not Stripe.")
