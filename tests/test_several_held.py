"""The pages for who may hold several things: groups, add-ons, a free plan and one that is only granted. Over HTTP."""

import re
from dataclasses import replace

import pytest
import requests
from buying import bearer, click, token, url_of
from harness import running

from corkage.models import Customer
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


def look(app, path, user=None):
    asked = {"Accept": "text/html", "Accept-Language": "en"} | (bearer(token(user)) if user else {})
    return requests.get(f"{app.url}{path}", headers=asked, timeout=30).text


def cards(app, user=None):
    """Each plan on the page with what stands on its card: whether it is the visitor's, and the button."""
    found = {}
    for card in look(app, "/pricing", user).split('<section class="card plan')[1:]:
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


def account(app, user="ann"):
    """Each card of the account page: its name, its text after that, and the fields that each of its buttons posts."""
    found = []
    for part in look(app, "/account", user).split('<section class="card standing')[1:]:
        card = part.split("</section>")[0]
        text = " ".join(re.sub(r"<[^>]+>", " ", card.split("</h2>")[1]).split())
        forms = re.findall(r'name="(flow|subscription|plan)" value="([^"]*)"', card)
        found.append((re.search(r"<h2[^>]*>(.*?)</h2>", card)[1], text, forms))
    return found


def test_the_account_has_a_card_for_each_subscription_with_its_own_buttons(app, shop):
    customer, other = shop.customer(), shop.customer()
    pro = shop.subscribe(customer)
    course = shop.subscribe(other, price=price_of(shop, "course_monthly"))
    shop.client.v1.subscriptions.update(course, params={"cancel_at_period_end": True})
    app.converge(customer)
    app.converge(other)

    page = account(app)

    assert [name for name, _, _ in page] == ["Course", "Pro"]
    (_, canceled, keep), (_, renews, change) = page
    assert canceled.startswith("Your plan is canceled and ends on")
    assert "Price $3 per month" in canceled
    assert "Lessons" in canceled
    assert "Exports" not in canceled
    assert keep == [("flow", ""), ("subscription", course), ("flow", "payment_method_update"), ("subscription", course)]
    assert renews.startswith("Your plan renews on")
    assert ("flow", "subscription_cancel") in change
    assert {value for name, value in change if name == "subscription"} == {pro}
    assert ">Your plans<" in look(app, "/account", "ann")


def test_invoices_are_those_of_all_the_users_customers(app, shop, simulator):
    customer, other = shop.customer(), shop.customer()
    shop.subscribe(customer)
    shop.subscribe(other, price=price_of(shop, "course_monthly"))
    app.converge(customer)
    app.converge(other)

    page = look(app, "/account", "ann")

    assert sorted(re.findall(r'<span class="sum">([^<]+)<', page)) == ["$3.00", "$9.00"]

    Customer.update(missing_at=1).where(Customer.id == other).execute()
    simulator.requests.clear()
    assert re.findall(r'<span class="sum">([^<]+)<', look(app, "/account", "ann")) == ["$9.00"]
    assert len(simulator.requests) == 1


def test_items_of_one_subscription_share_a_card(app, shop):
    customer = shop.customer()
    items = [{"price": shop.price}, {"price": price_of(shop, "seats_monthly"), "quantity": 3}]
    shop.subscribe(customer, items=items)
    app.converge(customer)

    ((name, text, _),) = account(app)

    assert name == "Pro"
    assert "Pro $9 per month Seats 3 x $3 per month Next payment" in text


def test_a_grant_beside_a_subscription_has_a_card_without_buttons(app, shop):
    customer = shop.customer()
    shop.subscribe(customer)
    app.converge(customer)
    app.billing.grant("ann", "staff")

    assert account(app)[1] == ("Staff", "This plan was given to you. There is nothing to pay. Exports", [])


def test_a_grant_alone_leads_to_the_plans(app):
    app.billing.grant("bob", "staff")

    ((name, text, forms),) = account(app, "bob")

    assert (name, forms) == ("Staff", [])
    assert text == "This plan was given to you. There is nothing to pay. Exports See plans"


def test_an_addon_without_its_plan_says_so(app, shop):
    customer = shop.customer()
    shop.subscribe(customer, price=price_of(shop, "seats_monthly"))
    app.converge(customer)

    ((name, text, _),) = account(app)

    assert name == "Seats"
    assert text.startswith("You have an add-on, but no plan that it adds to. Choose a plan to use it.")


def test_the_buyer_of_an_addon_whose_plan_has_ended_does_not_wait_for_access(app, shop, simulator):
    customer = shop.customer()
    plan = shop.subscribe(customer)
    app.converge(customer)
    url = url_of(click(app, body={"plan": "seats"}))
    shop.client.v1.subscriptions.cancel(plan)
    session = simulator.buy(url)

    asked = {"Accept": "text/html"} | bearer(token("ann"))
    address = f"{app.url}/return?session_id={session['id']}"
    answer = requests.get(address, headers=asked, allow_redirects=False, timeout=30)

    assert app.billing.access("ann").reason == "ended"
    assert (answer.status_code, answer.headers["Location"]) == (303, "https://app.example.com")


def test_what_ended_has_no_card_beside_what_goes_on(app, shop):
    customer = shop.customer()
    ended = shop.subscribe(customer, price=price_of(shop, "course_monthly"))
    shop.client.v1.subscriptions.cancel(ended)
    shop.subscribe(customer)
    app.converge(customer)

    assert [name for name, _, _ in account(app)] == ["Pro"]
