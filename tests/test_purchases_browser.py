"""Purchases in Chromium, over our pages and Stripe's: code, tax and seats, a debt, a trial, refusals in words."""

import time
from dataclasses import replace

import pytest
from harness import DAY, WEBHOOK_SECRET
from looking import INSTALL_AXE, Looker, read_axe
from pages_host import PRO, TEAM, hosted
from programs import missing

from corkage import Identity

pytestmark = pytest.mark.slow

WIDTHS, SCHEMES = (390, 1280), ("light", "dark")
SEATS = replace(TEAM, seats=(1, 50))
TRIAL = replace(PRO, trial_card=False, trial_then="pause")
WITHOUT_TRIAL = replace(PRO, trial_days=0)
SELLING = {"promotion_codes": True, "tax": True}
WITH_WEBHOOKS = {"worker": "inline", "webhook_secrets": (WEBHOOK_SECRET,)}
DECLINED = "pm_card_chargeCustomerFail"
ARABIC = """
msgid ""
msgstr "Content-Type: text/plain; charset=utf-8\\n"

msgid "How many"
msgstr "كم عددها"

msgid "Subscribe"
msgstr "اشترك"
"""


@pytest.fixture
def host(tmp_path):
    """Return a function that serves the product with these plans and settings."""
    opened = []

    def serve(*plans, **settings):
        served = hosted(tmp_path, plans, now=int(time.time()), **settings)
        opened.append(served)
        return served.__enter__()

    yield serve
    for each in opened:
        each.__exit__(None, None, None)


class Visitor(Looker):
    """A visitor who clicks, looks at each page of ours, and pays at Stripe."""

    width = 0

    def arrive(self, path, user="ann"):
        self.sign_in(user)
        self.open(path, with_axe=False)

    def looks(self, shot):
        """Look at the page that is there now, light and dark."""
        self.begin()
        for scheme in SCHEMES:
            self.look(self.width, scheme, shot)

    def looks_at_stripe(self, shot):
        self.begin(with_axe=False)
        self.look(self.width, "light", shot)

    def press(self, name):
        named = {"name": name, "exact": True}
        self.page.get_by_role("button", **named).or_(self.page.get_by_role("link", **named)).first.click()

    def sees(self, text):
        self.page.get_by_text(text).first.wait_for()

    def fill(self, **fields):
        for name, value in fields.items():
            self.page.locator(f"[name={name}]").fill(value)

    def type_card(self):
        self.fill(number="4242 4242 4242 4242", expiry="12/40", cvc="123")

    def fact(self, label):
        """Return the figure that the account page has for a label."""
        row = self.page.locator("dl div").filter(has=self.page.get_by_text(label, exact=True))
        return row.locator("dd").inner_text()

    def is_let_in(self):
        answer = self.page.request.get(f"{self.url}/paid")
        return (answer.status, answer.text()) == (200, "paid for")


@pytest.fixture(params=WIDTHS)
def visit(request, browser):
    """Return a function that opens a browser of this width for a visitor of a host."""
    axe = read_axe() or missing(INSTALL_AXE)
    context = browser.new_context(viewport={"width": request.param, "height": 800})
    context.set_default_timeout(20_000)

    def come(host):
        visitor = Visitor(context.new_page(), host.url, axe)
        visitor.width = request.param
        return visitor

    yield come
    context.close()


def make_code(host, code, percent=20):
    v1 = host.shop.client.v1
    coupon = v1.coupons.create(params={"percent_off": percent, "duration": "forever"}).id
    promotion = {"type": "coupon", "coupon": coupon}
    return v1.promotion_codes.create(params={"promotion": promotion, "code": code}).id


def subscribe(host, price, user="ann", **params):
    """Subscribe as happened before the test, and return the customer."""
    customer = host.shop.customer(user, email=f"{user}@example.com")
    host.shop.subscribe(customer, host.prices[price], user, **params)
    host.converge()
    return customer


def held(host):
    """Return the only subscription at Stripe."""
    (found,) = host.simulator.world.all("subscription")
    return found


def test_three_seats_are_bought_with_a_promotion_code_and_tax(host, visit):
    product = host(SEATS, WITHOUT_TRIAL, **SELLING)
    make_code(product, "SPRING20")
    visitor = visit(product)

    visitor.arrive("pricing?code=SPRING20")
    visitor.sees("The code SPRING20 is used when you choose a plan.")
    visitor.press("Yearly")
    visitor.sees("The code SPRING20 is used when you choose a plan.")
    visitor.press("Monthly")
    visitor.page.get_by_label("How many").fill("3")
    visitor.looks("seats-pricing")
    visitor.page.get_by_label("How many").press("Enter")
    visitor.sees("3 x team_monthly")
    visitor.fill(country="DE", postal_code="10115", line1="Unter den Linden 1", city="Berlin", name="Ann")
    visitor.press("Continue")
    visitor.sees("$17.40 off.")
    visitor.sees("Tax: $13.22.")
    visitor.sees("Due today: $82.82.")
    visitor.looks_at_stripe("seats-checkout")
    visitor.type_card()
    visitor.press("Subscribe")
    visitor.page.wait_for_url(f"{product.url}/")

    assert visitor.is_let_in()
    visitor.open("account")
    assert visitor.fact("Quantity") == "3"
    visitor.sees("$82.82")
    visitor.looks("seats-account")
    bought = held(product)
    assert [item["quantity"] for item in bought["items"]["data"]] == [3]
    assert bought["automatic_tax"]["enabled"]
    visitor.open("pricing", with_axe=False)
    assert visitor.page.get_by_label("How many").input_value() == "3"
    visitor.looks("seats-pricing-held")


def test_the_number_of_seats_is_typed_from_right_to_left_too(host, visit, tmp_path):
    views = tmp_path / "views"
    views.mkdir()
    (views / "ar.po").write_text(ARABIC, "utf-8")
    visitor = visit(host(SEATS, PRO, views=str(views)))

    visitor.arrive("pricing?lang=ar")
    visitor.looks("seats-pricing-ar")

    label, field = (visitor.page.locator(each).bounding_box() for each in (".seats label", ".seats input"))
    assert label["x"] > field["x"] + field["width"]
    buttons = [each.bounding_box() for each in visitor.page.locator(".act button").all()]
    assert visitor.width < 400 or len({each["y"] for each in buttons}) == 1


@pytest.mark.parametrize("click", ["Pay the invoice", "Change to Pro"])
def test_a_past_due_user_pays_the_open_invoice_and_is_let_in_again(host, visit, click):
    product = host(WITHOUT_TRIAL, TEAM, **WITH_WEBHOOKS)
    customer = subscribe(product, "team_monthly")
    product.simulator.add_webhook_endpoint(f"{product.url}/billing/webhook", secret=WEBHOOK_SECRET)
    product.simulator.use_card(customer, DECLINED)
    product.simulator.advance_to("renewal")
    product.simulator.settle()
    visitor = visit(product)

    visitor.arrive("../paid")
    visitor.sees("Your last payment failed. Update your payment method to get access again.")
    visitor.looks("past-due-refused")
    visitor.open("account", with_axe=False)
    visitor.looks("past-due-account")
    if click == "Change to Pro":
        visitor.open("pricing", with_axe=False)
        visitor.looks("past-due-pricing")
        visitor.press(click)
    else:
        visitor.page.get_by_role("link", name=click).click()
    visitor.sees("Pay with card")
    visitor.looks_at_stripe("past-due-invoice")
    visitor.type_card()
    visitor.press("Pay $29.00")
    visitor.sees("paid, of")
    product.simulator.settle()

    assert visitor.is_let_in()
    visitor.open("account", with_axe=False)
    visitor.sees("Your plan renews on")
    visitor.looks("past-due-paid")
    assert held(product)["status"] == "active"


def test_a_trial_without_a_card_that_is_paused_goes_on_when_a_card_is_given(host, visit):
    product = host(TRIAL, TEAM)
    visitor = visit(product)

    visitor.arrive("pricing")
    visitor.press("Start free trial")
    visitor.looks_at_stripe("trial-checkout")
    visitor.press("Start trial without a card")
    visitor.page.wait_for_url(f"{product.url}/")
    assert visitor.is_let_in()
    visitor.open("account", with_axe=False)
    visitor.sees("Your free trial ends on")
    visitor.looks("trial-account")

    product.simulator.advance(15 * DAY)
    product.converge()
    assert held(product)["status"] == "paused"
    assert not visitor.is_let_in()
    visitor.open("account", with_axe=False)
    visitor.sees("Your plan is paused. Add a payment method to go on.")
    visitor.looks("trial-paused")
    visitor.press("Update payment method")
    visitor.sees("Change card")
    visitor.type_card()
    visitor.press("Save card")

    visitor.page.wait_for_url(f"{product.url}/billing/account?from=portal")
    visitor.sees("Your plan renews on")
    visitor.looks("trial-resumed")
    assert visitor.is_let_in()
    assert held(product)["status"] == "active"


def test_a_dead_promotion_code_is_said_before_checkout(host, visit):
    product = host(WITHOUT_TRIAL, TEAM, **SELLING)
    dead = make_code(product, "GONE")
    product.shop.client.v1.promotion_codes.update(dead, params={"active": False})
    visitor = visit(product)

    visitor.arrive("pricing?code=GONE")
    visitor.press("Subscribe")
    visitor.sees("The code GONE is not valid for this. Without another one, you pay the full price.")
    visitor.looks("code-unknown")
    visitor.press("Continue")

    visitor.sees("Promotion code")
    visitor.looks_at_stripe("code-checkout")
    assert product.simulator.world.all("subscription") == []


def test_a_subscriber_who_cancels_is_told_how_to_get_another_plan(host, visit):
    product = host(WITHOUT_TRIAL, TEAM)
    subscribe(product, "team_monthly", cancel_at_period_end=True)
    visitor = visit(product)

    visitor.arrive("pricing")
    visitor.looks("canceling-pricing")
    visitor.press("Change to Pro")
    visitor.sees("Your plan is canceled. If you keep it, on the next page, you can change it afterwards.")
    visitor.looks("canceling-told")
    visitor.press("Continue")
    visitor.sees("Your billing")
    visitor.looks_at_stripe("canceling-portal")
    visitor.press("Don't cancel")
    visitor.press("Return to the product")

    visitor.page.wait_for_url(f"{product.url}/billing/account?from=portal")
    visitor.sees("Your plan renews on")
    visitor.looks("canceling-kept")
    visitor.press("Plans")
    visitor.press("Change to Pro")
    visitor.press("Confirm")
    visitor.page.get_by_role("heading", name="Pro").wait_for()


def test_a_member_sees_no_price_no_invoice_and_no_button(host, visit):
    def member(_environ):
        return Identity("ann", payer="org_1", may_buy=False)

    product = host(SEATS, PRO, authenticate=member, payer_prefix="org_")
    subscribe(product, "team_monthly", "org_1")
    visitor = visit(product)

    assert visitor.is_let_in()
    for path, heading in (("account", "Team"), ("pricing?code=SPRING20", "Plans")):
        visitor.arrive(path)
        visitor.page.get_by_role("heading", name=heading).wait_for()
        shown = visitor.page.locator("main").inner_text()
        assert [word for word in ("$", "Save", "SPRING20", "Invoices", "days free", "price") if word in shown] == []
        assert visitor.page.locator("main :is(button, input, .button, .switch)").all() == []
        visitor.looks(f"member-{path.partition('?')[0]}")
