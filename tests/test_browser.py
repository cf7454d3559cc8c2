"""The demo in a real browser: bought, declined, changed, canceled, undone, with a new card, and let out."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.slow


class Demo(NamedTuple):
    home: str
    control: str
    operator: str
    operator_token: str


def start_demo(folder):
    """Start the demo at a free port; at another, should somebody have been quicker to take it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("STRIPE_", "BILLING_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "corkage.cli", "demo", "--port", str(port)],
        cwd=folder,
        env=environ | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = process.stdout.readline()
    if f"Cannot listen on 127.0.0.1:{port}" in said:
        process.communicate()
        return start_demo(folder)
    assert f"Open http://127.0.0.1:{port} " in said
    control = process.stdout.readline().removeprefix("Stripe's side, with its clock: ").strip()
    printed = re.fullmatch(r"The operator's page: (\S+) \(token: (\S+)\)\n", process.stdout.readline())
    return process, Demo(f"http://127.0.0.1:{port}", control, *printed.groups())


@pytest.fixture
def demo(tmp_path):
    """The demo as a user starts it: with no configuration at all."""
    process, served = start_demo(tmp_path)
    yield served
    process.send_signal(signal.SIGINT)
    try:
        said = process.communicate(timeout=60)[0]
    finally:
        process.kill()  # a shell's background job ignores SIGINT, and so does what it starts: leave nothing running
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


class Visitor:
    """Somebody at the demo, who looks before clicking."""

    def __init__(self, page, home):
        self.page, self.home, self.shots = page, home, 0

    def shot(self, name):
        """Keep a picture where SCREENSHOTS names a folder."""
        if folder := os.environ.get("SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    def click(self, name, role="button"):
        self.page.get_by_role(role, name=name, exact=True).first.click()

    def type_card(self, number):
        self.page.get_by_label("Card number").fill(number)
        self.page.get_by_label("Expiry (MM/YY)").fill("12/40")
        self.page.get_by_label("CVC").fill("123")

    def sees(self, text):
        self.page.get_by_text(text).first.wait_for(timeout=30_000)

    def has_access(self, allowed, plan, reason):
        """Go home, and look again for as long as a webhook may take."""
        deadline = time.monotonic() + 30
        while True:
            self.page.goto(self.home)
            seen = tuple(self.page.locator(f"#{name}").inner_text() for name in ("allowed", "plan", "reason"))
            if seen == (allowed, plan, reason):
                return
            assert time.monotonic() < deadline, seen
            time.sleep(0.1)


@pytest.fixture
def visitor(browser, demo):
    context = browser.new_context(viewport={"width": 900, "height": 760})
    context.set_default_timeout(30_000)
    yield Visitor(context.new_page(), demo.home)
    context.close()


def sign_in(visitor, name="ann"):
    visitor.page.goto(visitor.home)
    visitor.page.get_by_label("Any name will do").fill(name)
    visitor.click("Sign in")
    visitor.sees(f"{name}'s notes")


def test_a_subscription_is_bought_changed_and_canceled_by_clicks(visitor):
    page = visitor.page
    sign_in(visitor)
    visitor.has_access("No", "free", "no_subscription")
    visitor.shot("1-free")

    visitor.click("Get Pro")
    visitor.sees("Simulation, not Stripe.")
    visitor.shot("2-checkout")
    visitor.type_card("4000 0000 0000 0002")
    visitor.click("Subscribe")
    visitor.sees("Your card was declined.")
    visitor.shot("3-declined")
    visitor.type_card("4242 4242 4242 4242")
    visitor.click("Subscribe")
    page.wait_for_url(f"{visitor.home}/")
    assert page.locator("#allowed").inner_text() == "Yes"
    assert page.locator("#plan").inner_text() == "pro"
    visitor.shot("4-pro")
    page.get_by_label("New note").fill("Buy corks")
    visitor.click("Add")
    visitor.sees("Buy corks")
    assert page.request.get(f"{visitor.home}/export").text() == "Buy corks"

    visitor.click("Change to Team")
    visitor.sees("Change plan")
    visitor.shot("5-change")
    visitor.click("Confirm")
    page.wait_for_url(f"{visitor.home}/")
    visitor.has_access("Yes", "team", "active")

    visitor.click("Manage billing")
    visitor.shot("6-portal")
    visitor.click("Cancel plan", "link")
    visitor.shot("7-cancel")
    visitor.click("Cancel at period end")
    visitor.sees("Ends on")
    visitor.has_access("Yes", "team", "canceling")

    visitor.click("Manage billing")
    visitor.click("Don't cancel")
    visitor.sees("Renews on")
    visitor.has_access("Yes", "team", "active")

    visitor.click("Manage billing")
    visitor.click("Change card", "link")
    visitor.type_card("4000 0000 0000 0002")
    visitor.click("Save card")
    visitor.sees("Your card was declined.")
    visitor.type_card("5555 5555 5555 4444")
    visitor.click("Save card")
    visitor.sees("Mastercard ending in 4444")

    visitor.click("Cancel plan", "link")
    visitor.click("Cancel now")
    visitor.sees("Ended.")
    visitor.has_access("No", "team", "ended")
    assert page.request.get(f"{visitor.home}/export").status == 402


def test_a_purchase_works_by_keyboard_without_scripts(browser, demo):
    context = browser.new_context(java_script_enabled=False)
    context.set_default_timeout(30_000)
    page = context.new_page()
    visitor = Visitor(page, demo.home)
    sign_in(visitor, "bob")
    page.get_by_role("button", name="Get Team").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Card number").focus()
    for text in ("4242424242424242", "12/40", "123"):
        page.keyboard.type(text)
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{demo.home}/")

    assert page.locator("#plan").inner_text() == "team"
    context.close()


def test_leaving_checkout_returns_to_the_product_and_buys_nothing(visitor):
    sign_in(visitor)
    visitor.click("Get Pro")
    visitor.click("Back", "link")

    visitor.page.wait_for_url(f"{visitor.home}/")
    visitor.has_access("No", "free", "no_subscription")


def test_managing_billing_before_any_purchase_shows_a_page(visitor):
    sign_in(visitor)
    visitor.click("Manage billing")

    visitor.sees("There is nothing to manage yet")
    visitor.shot("8-nothing-yet")
    visitor.click("Back to Notes", "link")
    visitor.page.wait_for_url(f"{visitor.home}/")


@pytest.mark.parametrize("width", [320, 768])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_scrolls_sideways_with_a_long_name(browser, demo, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 700}, color_scheme=scheme)
    context.set_default_timeout(30_000)
    visitor = Visitor(context.new_page(), demo.home)
    sign_in(visitor, "<script>alert(1)</script>" + "x" * 15)

    def fits():
        return visitor.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    assert fits()
    visitor.click("Get Pro")
    visitor.sees("Simulation, not Stripe.")
    visitor.shot(f"9-checkout-{width}-{scheme}")
    assert fits()
    visitor.type_card("4242 4242 4242 4242")
    visitor.click("Subscribe")
    visitor.page.wait_for_url(f"{visitor.home}/")
    visitor.click("Manage billing")
    visitor.sees("Simulation, not Stripe.")
    visitor.shot(f"10-portal-{width}-{scheme}")
    assert fits()
    visitor.page.goto(demo.control)
    visitor.sees("Time at Stripe")
    assert fits()
    context.close()


def test_the_demo_shows_a_failed_renewal_to_visitor_and_operator(visitor, demo):
    page = visitor.page
    sign_in(visitor)
    visitor.click("Get Pro")
    visitor.type_card("4242 4242 4242 4242")
    visitor.click("Subscribe")
    visitor.has_access("Yes", "pro", "active")
    visitor.click("Manage billing")
    visitor.click("Change card", "link")
    visitor.type_card("4000 0000 0000 0341")
    visitor.click("Save card")
    visitor.sees("Visa ending in 0341")

    page.goto(demo.control)
    page.get_by_role("button", name="To the next renewal").focus()
    page.keyboard.press("Enter")
    visitor.sees("past_due")
    visitor.shot("11-control")
    visitor.has_access("Yes", "pro", "grace")

    page.goto(demo.control)
    page.get_by_role("button", name="+1 month").focus()
    page.keyboard.press("Enter")
    page.get_by_role("cell", name="canceled").wait_for()
    visitor.has_access("No", "pro", "ended")

    page.goto(demo.operator)
    page.get_by_label("Operator token").fill(demo.operator_token)
    page.keyboard.press("Enter")
    page.locator(".lines a").press("Enter")
    visitor.sees("Canceled, never begun, or a grant that is over")
    visitor.sees("access_revoked")
