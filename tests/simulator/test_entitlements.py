"""Entitlements: features of products, and what customers are entitled to."""

import pytest
import stripe
from harness import open_shop, sdk

from corkage.simulator import Simulator

pytestmark = pytest.mark.slow

SUMMARY = "entitlements.active_entitlement_summary.updated"


def feature(v1, key):
    return v1.entitlements.features.create(params={"lookup_key": key, "name": key.title()}).id


def attach(v1, price, *keys):
    product = v1.prices.retrieve(price).product
    return [v1.products.features.create(product, params={"entitlement_feature": feature(v1, key)}).id for key in keys]


def keys_of(v1, customer):
    found = v1.entitlements.active_entitlements.list(params={"customer": customer, "limit": 100})
    return [each.lookup_key for each in found.data]


def test_a_subscription_grants_its_products_features_until_it_ends(shop):
    v1, customer = shop.client.v1, shop.customer()
    attach(v1, shop.price, "exports", "api")
    attach(v1, shop.other_price, "chat")

    subscription = shop.subscribe(customer)
    granted = keys_of(v1, customer)
    v1.subscriptions.cancel(subscription)

    assert granted == ["exports", "api"]
    assert keys_of(v1, customer) == []
    told = [each.data.object for each in v1.events.list(params={"type": SUMMARY}).data]
    assert [[each.lookup_key for each in summary.entitlements.data] for summary in told] == [[], ["exports", "api"]]
    assert {summary.customer for summary in told} == {customer}


def test_two_subscriptions_to_one_product_grant_once_and_the_second_keeps_it(shop):
    v1, customer = shop.client.v1, shop.customer()
    attach(v1, shop.price, "exports")
    first, second = shop.subscribe(customer), shop.subscribe(customer)
    (entitlement,) = v1.entitlements.active_entitlements.list(params={"customer": customer}).data

    v1.subscriptions.cancel(first)

    assert v1.entitlements.active_entitlements.retrieve(entitlement.id).lookup_key == "exports"
    assert len(v1.events.list(params={"type": SUMMARY}).data) == 1
    v1.subscriptions.cancel(second)
    with pytest.raises(stripe.InvalidRequestError):
        v1.entitlements.active_entitlements.retrieve(entitlement.id)


def test_a_summary_holds_ten_entitlements_and_the_list_all(shop):
    v1, customer = shop.client.v1, shop.customer()
    attach(v1, shop.price, *(f"feature-{number}" for number in range(12)))

    shop.subscribe(customer)

    summary = shop.event(SUMMARY).data.object
    assert (len(summary.entitlements.data), summary.entitlements.has_more) == (10, True)
    assert len(keys_of(v1, customer)) == 12


def test_a_change_of_plan_changes_the_entitlements(shop):
    v1, customer = shop.client.v1, shop.customer()
    attach(v1, shop.price, "exports")
    attach(v1, shop.other_price, "chat")
    subscription = v1.subscriptions.retrieve(shop.subscribe(customer))
    item = {"id": subscription["items"].data[0].id, "price": shop.other_price}

    v1.subscriptions.update(subscription.id, params={"items": [item]})

    assert keys_of(v1, customer) == ["chat"]


def test_an_incomplete_subscription_grants_nothing(shop):
    v1, customer = shop.client.v1, shop.customer(card="pm_card_chargeCustomerFail")
    attach(v1, shop.price, "exports")

    shop.subscribe(customer)

    assert keys_of(v1, customer) == []
    assert v1.events.list(params={"type": SUMMARY}).data == []


def test_features_are_listed_changed_archived_and_detached(shop):
    v1 = shop.client.v1
    product = v1.prices.retrieve(shop.price).product
    (link,) = attach(v1, shop.price, "exports")
    (found,) = v1.entitlements.features.list().data

    assert v1.products.features.retrieve(product, link).entitlement_feature.id == found.id
    with pytest.raises(stripe.InvalidRequestError):
        v1.products.features.create(product, params={"entitlement_feature": found.id})
    with pytest.raises(stripe.InvalidRequestError) as caught:
        feature(v1, "exports")
    assert caught.value.param == "lookup_key"
    assert v1.products.features.delete(product, link).deleted
    assert v1.products.features.list(product).data == []
    v1.entitlements.features.update(found.id, params={"active": False, "name": "All exports"})
    assert v1.entitlements.features.list().data == []
    assert [each.name for each in v1.entitlements.features.list(params={"archived": True}).data] == ["All exports"]
    assert v1.entitlements.features.list(params={"lookup_key": "exports"}).data == []


def test_entitlements_survive_a_restart(tmp_path):
    with Simulator(file=tmp_path / "state.json") as simulator:
        shop = open_shop(simulator, sdk(simulator))
        customer = shop.customer()
        attach(shop.client.v1, shop.price, "exports")
        subscription = shop.subscribe(customer)
    with Simulator(file=tmp_path / "state.json") as simulator:
        v1 = sdk(simulator).v1
        assert keys_of(v1, customer) == ["exports"]
        v1.subscriptions.cancel(subscription)
        assert keys_of(v1, customer) == []
