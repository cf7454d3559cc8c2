"""Payment links: each visitor gets a Checkout Session of its own."""

import pytest
import requests

pytestmark = pytest.mark.slow


@pytest.fixture
def v1(shop):
    return shop.client.v1


@pytest.fixture
def link(v1, shop):
    def create(**params):
        return v1.payment_links.create(params={"line_items": [{"price": shop.price, "quantity": 1}]} | params)

    return create


def visit(simulator, url):
    """Follow the link, and return the URL of the session that it opens, or the page's text."""
    answer = requests.get(url, allow_redirects=False, timeout=30)
    location = answer.headers.get("Location")
    return simulator.url + location if location else answer.text


def test_each_visitor_buys_in_a_session_of_its_own(simulator, v1, link):
    made = link(metadata={"campaign": "autumn"})

    first, second = visit(simulator, made.url), visit(simulator, made.url)
    bought = simulator.buy(first)

    assert first != second
    assert (bought["payment_link"], bought["mode"], bought["metadata"]) == (
        made.id,
        "subscription",
        {"campaign": "autumn"},
    )
    assert v1.subscriptions.retrieve(bought["subscription"]).status == "active"
    assert [each.status for each in v1.checkout.sessions.list().data] == ["open", "complete"]


@pytest.mark.parametrize(("reference", "kept"), [("user_7-a", "user_7-a"), ("ann@x.example", None), ("a b", None)])
def test_a_malformed_client_reference_id_is_dropped_silently(simulator, v1, link, reference, kept):
    query = requests.models.PreparedRequest()
    query.prepare_url(link().url, {"client_reference_id": reference, "prefilled_email": "ann@x.example"})

    visit(simulator, query.url)

    (session,) = v1.checkout.sessions.list().data
    assert (session.client_reference_id, session.customer_email) == (kept, "ann@x.example")


def test_a_link_for_one_time_prices_takes_a_payment(simulator, v1, link):
    once = v1.prices.create(params={"currency": "usd", "unit_amount": 700, "product_data": {"name": "Corkscrew"}}).id
    made = link(line_items=[{"price": once, "quantity": 2, "adjustable_quantity": {"enabled": True, "maximum": 3}}])

    bought = simulator.buy(visit(simulator, made.url), details={"quantity_0": "3"})

    assert (bought["mode"], bought["amount_total"], bought["subscription"]) == ("payment", 2100, None)
    assert [each.quantity for each in v1.payment_links.line_items.list(made.id).data] == [2]


def test_trial_tax_and_redirect_reach_the_session(simulator, v1, link):
    after = {"type": "redirect", "redirect": {"url": "https://x.example/done"}}
    made = link(after_completion=after, automatic_tax={"enabled": True}, subscription_data={"trial_period_days": 7})

    bought = simulator.buy(visit(simulator, made.url), details={"country": "FR"})

    assert (bought["success_url"], bought["automatic_tax"]["status"]) == ("https://x.example/done", "complete")
    assert v1.subscriptions.retrieve(bought["subscription"]).status == "trialing"


def test_an_archived_link_shows_its_message_and_opens_nothing(simulator, v1, shop, link):
    made = link()
    changed = v1.payment_links.update(made.id, params={"active": False, "inactive_message": "Sold out."})

    assert "Sold out." in visit(simulator, made.url)
    assert (changed.active, v1.payment_links.list(params={"active": True}).data) == (False, [])
    assert v1.checkout.sessions.list().data == []
    assert shop.event("payment_link.updated").data.previous_attributes.active is True


def test_a_link_with_a_limit_sells_no_more_than_that(simulator, v1, link):
    made = link(restrictions={"completed_sessions": {"limit": 1}})
    simulator.buy(visit(simulator, made.url))

    assert "no longer active" in visit(simulator, made.url)
    assert v1.payment_links.retrieve(made.id).restrictions.completed_sessions.count == 1
    assert len(v1.checkout.sessions.list().data) == 1
