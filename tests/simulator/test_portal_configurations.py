"""Configurations of the portal: what Stripe refuses of them, and what the portal does by them."""

import pytest
import stripe


@pytest.fixture
def sold(client):
    """A product with a price for a month and one for a year."""
    product = client.v1.products.create(params={"name": "Pro"}).id

    def price(amount, interval, **more):
        recurring = {"interval": interval}
        params = {"product": product, "currency": "usd", "unit_amount": amount, "recurring": recurring} | more
        return client.v1.prices.create(params=params).id

    return product, price(900, "month"), price(9000, "year"), price


def update(product, prices, **more):
    listed = [{"product": product, "prices": prices}]
    return {"subscription_update": {"enabled": True, "default_allowed_updates": ["price"], "products": listed} | more}


def make(client, features):
    return client.v1.billing_portal.configurations.create(params={"features": features})


def test_products_are_shown_only_when_they_are_expanded(client, sold):
    product, monthly, yearly, _ = sold
    made = make(client, update(product, [monthly, yearly]))

    path = "features.subscription_update.products"
    expanded = client.v1.billing_portal.configurations.retrieve(made.id, params={"expand": [path]})

    assert "products" not in made.features.subscription_update.to_dict()
    (shown,) = expanded.to_dict()["features"]["subscription_update"]["products"]
    assert (shown["product"], shown["prices"]) == (product, [monthly, yearly])
    assert shown["adjustable_quantity"]["enabled"] is True  # what is not said may be adjusted


def test_changes_without_products_or_what_cannot_be_sold_are_refused(client, sold):
    product, monthly, yearly, price = sold
    again = price(800, "month")
    archived = price(700, "week")
    client.v1.prices.update(archived, params={"active": False})

    for features, said in (
        ({"subscription_update": {"enabled": True, "default_allowed_updates": ["price"]}}, "products"),
        (update(product, [monthly, again]), "must be unique"),
        (update(product, [archived]), "is not an active recurring price"),
        (update(product, [yearly], default_allowed_updates=""), "default_allowed_updates"),
        (update("prod_nowhere", [yearly]), "No such product"),
    ):
        with pytest.raises(stripe.InvalidRequestError, match=said):
            make(client, features)


def test_more_than_ten_products_are_refused(client):
    products = []
    for number in range(11):
        product = client.v1.products.create(params={"name": f"P{number}"}).id
        params = {"product": product, "currency": "usd", "unit_amount": 1, "recurring": {"interval": "month"}}
        products.append({"product": product, "prices": [client.v1.prices.create(params=params).id]})

    feature = {"enabled": True, "default_allowed_updates": ["price"], "products": products}
    with pytest.raises(stripe.InvalidRequestError, match="at most 10"):
        make(client, {"subscription_update": feature})


@pytest.mark.parametrize(("quantity", "is_taken"), [(1, False), (2, True), (5, True), (6, False)])
def test_a_quantity_is_confirmed_within_the_limits_of_its_product(client, sold, quantity, is_taken):
    product, monthly, _, _ = sold
    limits = {"enabled": True, "minimum": 2, "maximum": 5}
    listed = [{"product": product, "prices": [monthly], "adjustable_quantity": limits}]
    features = update(product, [], products=listed, default_allowed_updates=["quantity"])
    made = make(client, features)
    customer, subscription = subscribed(client, monthly, quantity=3)
    item = subscription["items"].data[0].id
    confirm = {"subscription": subscription.id, "items": [{"id": item, "price": monthly, "quantity": quantity}]}
    params = {
        "customer": customer, "configuration": made.id,
        "flow_data": {"type": "subscription_update_confirm", "subscription_update_confirm": confirm},
    }  # fmt: skip

    if is_taken:
        assert client.v1.billing_portal.sessions.create(params=params).url
    else:
        with pytest.raises(stripe.InvalidRequestError, match="limits"):
            client.v1.billing_portal.sessions.create(params=params)


def subscribed(client, price, quantity=1):
    card = {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    customer = client.v1.customers.create(params=card).id
    items = [{"price": price, "quantity": quantity}]
    return customer, client.v1.subscriptions.create(params={"customer": customer, "items": items})


def test_a_configuration_that_is_not_active_opens_no_session(client, sold):
    product, monthly, yearly, _ = sold
    made = make(client, update(product, [monthly, yearly]))
    customer, _ = subscribed(client, monthly)
    client.v1.billing_portal.configurations.update(made.id, params={"active": False})

    with pytest.raises(stripe.InvalidRequestError) as caught:
        client.v1.billing_portal.sessions.create(params={"customer": customer, "configuration": made.id})
    assert caught.value.param == "configuration"
