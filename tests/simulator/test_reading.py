"""What is only read: fields that come when they are expanded, lists of parts, and plans."""

import pytest
import stripe


def session_with(shop, **params):
    items = [{"price": shop.price, "quantity": 3}]
    params |= {"mode": "subscription", "line_items": items, "success_url": "https://x"}
    return shop.client.v1.checkout.sessions.create(params=params)


def coupon_of(shop):
    return shop.client.v1.coupons.create(params={"percent_off": 10, "duration": "once"}).id


def test_a_sessions_line_items_come_when_they_are_expanded_or_listed(shop):
    session = session_with(shop, discounts=[{"coupon": coupon_of(shop)}], expand=["line_items"])
    v1 = shop.client.v1

    (item,) = session.line_items.data
    listed = v1.checkout.sessions.line_items.list(session.id)
    assert (item.object, item.price.id, item.quantity) == ("item", shop.price, 3)
    assert (item.amount_subtotal, item.amount_discount, item.amount_total) == (
        session.amount_subtotal,
        session.total_details.amount_discount,
        session.amount_total,
    )
    assert item.amount_discount > 0
    assert str(listed.data[0]) == str(item)
    assert "line_items" not in v1.checkout.sessions.retrieve(session.id)


def test_a_breakdown_of_discounts_is_refused_and_without_them_empty(shop):
    v1, path = shop.client.v1, {"expand": ["total_details.breakdown"]}
    plain = v1.checkout.sessions.retrieve(session_with(shop).id, params=path)
    discounted = session_with(shop, discounts=[{"coupon": coupon_of(shop)}]).id

    assert plain.total_details.breakdown.to_dict() == {"discounts": [], "taxes": []}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        v1.checkout.sessions.retrieve(discounted, params=path)
    assert refused.value.code == "simulator_not_played"


def test_a_customers_running_subscriptions_and_sources_come_when_they_are_expanded(shop):
    customer, v1 = shop.customer(), shop.client.v1
    ended = shop.subscribe(customer)
    v1.subscriptions.cancel(ended)
    running = shop.subscribe(customer)

    found = v1.customers.retrieve(customer, params={"expand": ["subscriptions", "sources"]})
    assert [each.id for each in found.subscriptions.data] == [running]
    assert found.sources.data == v1.customers.payment_sources.list(customer).data == []
    assert "subscriptions" not in v1.customers.retrieve(customer)


def test_the_lines_of_an_invoice_are_listed_in_pages(shop):
    customer, v1 = shop.customer(), shop.client.v1
    for amount in (100, 200, 300):
        v1.invoice_items.create(params={"customer": customer, "amount": amount, "currency": "usd"})
    params = {"customer": customer, "pending_invoice_items_behavior": "include"}
    invoice = v1.invoices.create(params=params)

    page = v1.invoices.line_items.list(invoice.id, params={"limit": 2})
    assert (len(page.data), page.has_more) == (2, True)
    assert [each.id for each in page.auto_paging_iter()] == [each.id for each in invoice.lines.data]


def test_recurring_prices_are_read_as_plans(shop):
    v1 = shop.client.v1
    product = v1.prices.retrieve(shop.price).product
    once = v1.prices.create(params={"product": product, "currency": "usd", "unit_amount": 5}).id

    plan = v1.plans.retrieve(shop.price)
    assert (plan.object, plan.amount, plan.interval) == ("plan", v1.prices.retrieve(shop.price).unit_amount, "month")
    assert shop.price in [each.id for each in v1.plans.list(params={"product": product}).data]
    assert once not in [each.id for each in v1.plans.list().data]
    with pytest.raises(stripe.InvalidRequestError, match="No such plan"):
        v1.plans.retrieve(once)


def test_the_account_has_no_connected_accounts(client):
    own = client.v1.accounts.retrieve_current().id

    assert client.v1.accounts.list().data == []
    assert client.v1.accounts.retrieve(own).id == own
    with pytest.raises(stripe.InvalidRequestError, match="No such account"):
        client.v1.accounts.retrieve("acct_of_somebody")


def test_tax_ids_are_listed_by_their_owner(shop):
    customer, v1 = shop.customer(), shop.client.v1
    made = v1.customers.tax_ids.create(customer, params={"type": "eu_vat", "value": "DE123456789"}).id

    owned = v1.tax_ids.list(params={"owner": {"type": "customer", "customer": customer}}).data
    assert [each.id for each in owned] == [made]
    assert v1.tax_ids.list().data == v1.tax_ids.list(params={"owner": {"type": "self"}}).data == []
    for owner in ({"type": "customer"}, {"type": "customer", "customer": "cus_x"}):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            v1.tax_ids.list(params={"owner": owner})
        assert refused.value.param == "owner[customer]"
