"""Taxes: by tax rates, and automatic from the table of rates."""

import pytest
import stripe
from harness import DAY

pytestmark = pytest.mark.slow

BERLIN = {"country": "DE", "line1": "Weinstr. 1", "city": "Berlin", "postal_code": "10115"}


def invoice_of(v1, subscription):
    return v1.invoices.retrieve(v1.subscriptions.retrieve(subscription).latest_invoice)


@pytest.mark.parametrize(("inclusive", "total", "tax"), [(False, 1071, 171), (True, 900, 144)])
def test_tax_rates_are_added_to_invoices_or_part_of_them(simulator, shop, inclusive, total, tax):
    v1 = shop.client.v1
    rate = v1.tax_rates.create(params={"display_name": "VAT", "percentage": 19, "inclusive": inclusive})

    subscription = shop.subscribe(shop.customer(), default_tax_rates=[rate.id])
    simulator.advance(31 * DAY + 7200)

    for invoice in v1.invoices.list(params={"subscription": subscription}).data:
        assert (invoice.total, invoice.amount_paid, invoice.subtotal) == (total, total, 900)
        assert invoice.total_excluding_tax == total - tax
        (only,) = invoice.total_taxes
        assert (only.amount, only.taxable_amount) == (tax, 900 if not inclusive else 900 - tax)
        assert only.tax_rate_details.tax_rate == rate.id
        assert invoice.lines.data[0].taxes[0].amount == tax


@pytest.mark.parametrize(
    ("customer", "total", "reason"),
    [
        ({"address": BERLIN}, 1071, "standard_rated"),
        ({"address": {"country": "US", "state": "NY", "postal_code": "10001"}}, 980, "standard_rated"),
        ({"address": BERLIN, "tax_exempt": "exempt"}, 900, "customer_exempt"),
        ({"address": BERLIN, "tax_exempt": "reverse"}, 900, "reverse_charge"),
        ({"address": BERLIN, "tax_id_data": [{"type": "eu_vat", "value": "DE123456789"}]}, 900, "reverse_charge"),
        ({"address": {"country": "BR"}}, 900, None),
        ({}, 900, None),
    ],
)
def test_automatic_tax_follows_the_customers_address(shop, customer, total, reason):
    subscription = shop.subscribe(shop.customer(**customer), automatic_tax={"enabled": True})

    invoice = invoice_of(shop.client.v1, subscription)

    assert invoice.total == total
    assert [each.taxability_reason for each in invoice.total_taxes] == ([reason] if reason else [])
    assert invoice.automatic_tax.status == ("complete" if customer else "requires_location_inputs")


def test_tax_is_on_what_a_discount_leaves(shop):
    v1 = shop.client.v1
    half = v1.coupons.create(params={"percent_off": 50, "duration": "forever"}).id
    customer = shop.customer(address=BERLIN)

    subscription = shop.subscribe(customer, automatic_tax={"enabled": True}, discounts=[{"coupon": half}])

    invoice = invoice_of(v1, subscription)
    assert (invoice.subtotal, invoice.total_excluding_tax, invoice.total) == (900, 450, 536)


def test_an_invoice_without_tax_names_none(shop):
    invoice = invoice_of(shop.client.v1, shop.subscribe(shop.customer(address=BERLIN)))

    assert (invoice.total, invoice.total_taxes, invoice.automatic_tax.enabled) == (900, [], False)


def test_tax_rates_are_changed_listed_and_archived(shop):
    v1 = shop.client.v1
    asked = {"display_name": "VAT", "percentage": 19.5, "inclusive": False, "country": "DE", "tax_type": "vat"}
    rate = v1.tax_rates.create(params=asked).id
    v1.tax_rates.create(params=asked | {"inclusive": True})

    changed = v1.tax_rates.update(rate, params={"active": False, "description": "Old"})

    assert (changed.active, changed.description, changed.percentage) == (False, "Old", 19.5)
    assert [each.id for each in v1.tax_rates.list(params={"active": False}).data] == [rate]
    assert len(v1.tax_rates.list(params={"inclusive": True}).data) == 1
    assert shop.event("tax_rate.updated").data.object.id == rate
    with pytest.raises(stripe.InvalidRequestError) as caught:
        v1.tax_rates.create(params=asked | {"percentage": 101})
    assert caught.value.param == "percentage"


def test_tax_ids_of_a_customer_are_added_listed_and_deleted(shop):
    v1, customer, other = shop.client.v1, shop.customer(), shop.customer("bob")

    made = v1.customers.tax_ids.create(customer, params={"type": "eu_vat", "value": "DE123456789"})

    assert (made.country, made.verification.status, made.customer) == ("DE", "verified", customer)
    assert [each.id for each in v1.customers.tax_ids.list(customer).data] == [made.id]
    assert v1.customers.tax_ids.list(other).data == []
    with pytest.raises(stripe.InvalidRequestError) as caught:
        v1.customers.tax_ids.retrieve(other, made.id)
    assert caught.value.code == "resource_missing"
    assert v1.customers.tax_ids.delete(customer, made.id).deleted
    assert v1.customers.tax_ids.list(customer).data == []
    assert shop.event("customer.tax_id.deleted").data.object.id == made.id


def test_a_malformed_tax_id_is_refused_and_leaves_nothing(shop):
    v1 = shop.client.v1

    for call in (
        lambda: v1.customers.tax_ids.create(shop.customer(), params={"type": "eu_vat", "value": "123"}),
        lambda: v1.customers.create(
            params={"tax_id_data": [{"type": "gb_vat", "value": "GB1"}], "email": "z@x.example"}
        ),
    ):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            call()
        assert caught.value.code == "tax_id_invalid"
    assert v1.customers.list(params={"email": "z@x.example"}).data == []


def test_older_versions_show_tax_in_their_fields(simulator, shop, receiver):
    simulator.add_webhook_endpoint(receiver.url, ("invoice.paid",), api_version="2024-09-30.acacia")
    shop.subscribe(shop.customer(address=BERLIN), automatic_tax={"enabled": True})
    simulator.settle()

    (event,) = receiver.events
    invoice = event["data"]["object"]
    assert invoice["tax"] == 171
    assert invoice["total_tax_amounts"][0]["amount"] == 171
    assert invoice["lines"]["data"][0]["tax_amounts"][0]["inclusive"] is False


def test_a_preview_has_the_tax_and_discount_of_the_invoice_that_follows(simulator, shop):
    v1 = shop.client.v1
    half = v1.coupons.create(params={"percent_off": 50, "duration": "forever"}).id
    customer = shop.customer(address=BERLIN, coupon=half, tax_id_data=[{"type": "us_ein", "value": "12-3456789"}])
    subscription = shop.subscribe(customer, automatic_tax={"enabled": True})
    events = len(simulator.world.all("event"))

    preview = v1.invoices.create_preview(params={"customer": customer, "subscription": subscription})
    unchanged = len(simulator.world.all("event")) == events
    simulator.advance_to("renewal")

    invoice = invoice_of(v1, subscription)
    assert (preview.total, preview.total_taxes[0].amount) == (invoice.total, invoice.total_taxes[0].amount) == (536, 86)
    assert unchanged
