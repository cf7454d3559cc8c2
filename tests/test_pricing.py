"""The pricing page with several groups, add-ons, a free plan and one that is only granted: over HTTP."""

import re
from dataclasses import replace

import pytest
import requests
from buying import bearer, click, token, url_of
from harness import running

from corkage.plans import Plan

pytestmark = pytest.mark.slow

PLANS = (
    Plan("free", "Gratis", free=True, features=("read",)),
    Plan("pro", "Pro", ("pro_monthly",), features=("exports",), trial_days=14),
    Plan("staff", "Staff", granted_only=True, features=("exports",)),
    Plan("seats", "Seats", ("seats_monthly",), adds_to=("pro",), limits={"seats": 5}),
    Plan("course", "Course", ("course_monthly",), features=("lessons",), group="school"),
)


@pytest.fixture
def app(config, shop):
    product = shop.client.v1.products.create(params={"name": "Others"}).id
    for key in ("seats_monthly", "course_monthly"):
        price = {"product": product, "currency": "usd", "unit_amount": 300, "recurring": {"interval": "month"}}
        shop.client.v1.prices.create(params=price | {"lookup_key": key})
    with running(replace(config, plans=PLANS, billing_url="https://b.example")) as served:
        yield served


def price_of(shop, key):
    return shop.client.v1.prices.list(params={"lookup_keys": [key]}).data[0].id


def cards(app, user=None):
    """Each plan on the page with what stands on its card: whether it is the visitor's, and the button."""
    asked = {"Accept": "text/html", "Accept-Language": "en"} | (bearer(token(user)) if user else {})
    page = requests.get(f"{app.url}/pricing", headers=asked, timeout=30).text
    found = {}
    for card in page.split('<section class="card plan')[1:]:
        name = re.search(r"<h\d[^>]*>(.*?)</h\d>", card)[1]
        button = re.search(r'class="button[^>]*>(.*?)<', card)
        found[name] = ("badge held" in card, button[1] if button else None)
    return found


def test_a_stranger_sees_what_is_sold_alone_and_the_free_plan(app):
    assert cards(app) == {
        "Gratis": (False, None),
        "Pro": (False, "Start free trial"),
        "Course": (False, "Subscribe"),
    }


def test_the_free_plan_is_that_of_a_user_who_holds_nothing(app):
    assert cards(app, "ann")["Gratis"] == (True, None)


def test_each_group_has_a_button_of_its_own_and_addons_are_for_holders(app, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    app.converge(customer)

    assert cards(app, "ann") == {
        "Gratis": (False, None),
        "Pro": (True, "Manage plan"),
        "Seats": (False, "Subscribe"),
        "Course": (False, "Subscribe"),
    }


def test_every_plan_that_is_held_has_a_badge(app, shop):
    customer = shop.customer()
    items = [{"price": shop.price}, {"price": price_of(shop, "seats_monthly")}]
    shop.subscribe(customer, items=items)
    shop.subscribe(customer, price=price_of(shop, "course_monthly"))
    app.converge(customer)

    assert cards(app, "ann") == {
        "Gratis": (False, None),
        "Pro": (True, "Manage plan"),
        "Seats": (True, "Manage plan"),
        "Course": (True, "Manage plan"),
    }


def test_an_addon_that_is_an_item_already_is_not_sold_again(app, shop):
    customer = shop.customer()
    shop.subscribe(customer, items=[{"price": shop.price}, {"price": price_of(shop, "seats_monthly")}])
    app.converge(customer)

    assert "/p/session/" in url_of(click(app, body={"plan": "seats"}))
