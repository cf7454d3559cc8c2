"""A customer's discount, which is on the invoices of subscriptions without one of their own."""

import pytest
import stripe

pytestmark = pytest.mark.slow


@pytest.fixture
def v1(shop):
    return shop.client.v1


def coupon(v1, percent=50, **params):
    return v1.coupons.create(params={"percent_off": percent, "duration": "forever"} | params).id


def totals(v1, customer):
    return [each.total for each in v1.invoices.list(params={"customer": customer}).data]


def test_a_customers_discount_is_on_every_invoice(simulator, shop, v1):
    customer = shop.customer(coupon=coupon(v1))
    shop.subscribe(customer)
    simulator.advance_to("renewal")

    assert totals(v1, customer) == [450, 450]
    assert v1.customers.retrieve(customer).discount.source.coupon
    assert shop.event("customer.discount.created").data.object.customer == customer


def test_a_subscriptions_own_discount_comes_first(shop, v1):
    customer = shop.customer(coupon=coupon(v1))

    shop.subscribe(customer, discounts=[{"coupon": coupon(v1, 10)}])

    assert totals(v1, customer) == [810]


def test_a_discount_for_once_is_on_one_invoice(simulator, shop, v1):
    customer = shop.customer(coupon=coupon(v1, duration="once"))
    shop.subscribe(customer)
    simulator.advance_to("renewal")

    assert totals(v1, customer) == [900, 450]
    assert v1.customers.retrieve(customer).discount is None
    assert shop.event("customer.discount.deleted").data.object.customer == customer


def test_a_discount_is_exchanged_and_deleted(simulator, shop, v1):
    first, second = coupon(v1), coupon(v1, 10)
    customer = shop.customer(coupon=first)

    v1.customers.update(customer, params={"coupon": second})
    deleted = v1.customers.delete_discount(customer)

    changed = shop.event("customer.discount.updated").data
    assert (changed.object.source.coupon, changed.previous_attributes.source.coupon) == (second, first)
    assert deleted.deleted
    with pytest.raises(stripe.InvalidRequestError):
        v1.customers.delete_discount(customer)
    shop.subscribe(customer)
    assert totals(v1, customer) == [900]


def test_100_percent_off_a_customer_needs_no_card(shop, v1):
    customer = v1.customers.create(params={"coupon": coupon(v1, 100)}).id

    started = v1.subscriptions.create(params={"customer": customer, "items": [{"price": shop.price}]})

    assert started.status == "active"


def test_a_spent_coupon_makes_no_customer(shop, v1):
    spent = coupon(v1, max_redemptions=1)
    shop.customer(coupon=spent)

    with pytest.raises(stripe.InvalidRequestError) as caught:
        v1.customers.create(params={"coupon": spent, "email": "z@x.example"})

    assert caught.value.code == "coupon_expired"
    assert v1.customers.list(params={"email": "z@x.example"}).data == []


def test_a_subscriptions_discounts_are_deleted(simulator, shop, v1):
    customer = shop.customer()
    subscription = shop.subscribe(customer, discounts=[{"coupon": coupon(v1, 10)}])

    deleted = v1.subscriptions.delete_discount(subscription)
    simulator.advance_to("renewal")

    assert (deleted.deleted, deleted.subscription) == (True, subscription)
    assert totals(v1, customer) == [900, 810]
    assert shop.event("customer.discount.deleted").data.object.id == deleted.id
    with pytest.raises(stripe.InvalidRequestError):
        v1.subscriptions.delete_discount(subscription)
