"""Checkout's orders: one-time prices beside recurring ones, quantities, optional items, tax, addresses, questions."""

import pytest
import requests
import stripe

from corkage.simulator import visitor

pytestmark = pytest.mark.slow

BERLIN = {"country": "de", "line1": "Weinstr. 1", "city": "Berlin", "postal_code": "10115", "name": "Ann"}


@pytest.fixture
def v1(shop):
    return shop.client.v1


@pytest.fixture
def setup_fee(v1):
    asked = {"currency": "usd", "unit_amount": 2500, "product_data": {"name": "Set-up"}}
    return v1.prices.create(params=asked).id


@pytest.fixture
def checkout(v1, shop):
    def create(*items, **params):
        items = list(items) or [{"price": shop.price, "quantity": 1}]
        asked = {"mode": "subscription", "success_url": "https://x.example", "line_items": items}
        return v1.checkout.sessions.create(params=asked | params)

    return create


def latest_invoice(v1, bought):
    return v1.invoices.retrieve(bought["invoice"])


@pytest.mark.parametrize(("trial", "total"), [({}, 3400), ({"subscription_data": {"trial_period_days": 7}}, 2500)])
def test_a_one_time_price_is_on_the_first_invoice_only(simulator, shop, v1, checkout, setup_fee, trial, total):
    session = checkout({"price": setup_fee, "quantity": 1}, {"price": shop.price, "quantity": 1}, **trial)

    bought = simulator.buy(session.url)

    subscription = v1.subscriptions.retrieve(bought["subscription"])
    assert [item.price.id for item in subscription["items"].data] == [shop.price]
    assert (bought["amount_total"], latest_invoice(v1, bought).amount_paid) == (total, total)
    simulator.advance_to("renewal")
    renewal = v1.invoices.list(params={"subscription": subscription.id}).data[0]
    assert (renewal.amount_paid, len(renewal.lines.data)) == (900, 1)


def test_the_visitor_chooses_quantities_and_optional_items(simulator, shop, v1, checkout, setup_fee):
    adjustable = {"enabled": True, "minimum": 1, "maximum": 5}
    session = checkout(
        {"price": shop.price, "quantity": 1, "adjustable_quantity": adjustable},
        optional_items=[{"price": setup_fee, "quantity": 1}],
    )

    bought = simulator.buy(session.url, details={"quantity_0": "3", "optional_0": "1"})

    assert (session.amount_total, bought["amount_total"]) == (900, 3 * 900 + 2500)
    assert v1.subscriptions.retrieve(bought["subscription"])["items"].data[0].quantity == 3
    lines = v1.checkout.sessions.line_items.list(session.id).data
    assert [(line.quantity, line.amount_total) for line in lines] == [(3, 2700), (1, 2500)]
    assert latest_invoice(v1, bought).amount_paid == 5200
    assert v1.checkout.sessions.retrieve(session.id).optional_items[0].price == setup_fee


@pytest.mark.parametrize(
    "details", [{"quantity_0": "6"}, {"quantity_0": "0"}, {"quantity_0": "x"}, {"optional_0": "2"}]
)
def test_a_quantity_out_of_bounds_is_refused_on_the_page(simulator, shop, v1, checkout, setup_fee, details):
    adjustable = {"enabled": True, "minimum": 1, "maximum": 5}
    session = checkout(
        {"price": shop.price, "quantity": 1, "adjustable_quantity": adjustable},
        optional_items=[{"price": setup_fee, "quantity": 1}],
    )

    with pytest.raises(visitor.Refused, match="Please choose a quantity from"):
        simulator.buy(session.url, details=details)

    assert v1.checkout.sessions.retrieve(session.id).amount_total == 900
    assert v1.subscriptions.list().data == []


def test_a_quantity_that_is_not_adjustable_stays(simulator, v1, checkout):
    session = checkout()

    with pytest.raises(visitor.Refused, match="from 1 to 1"):
        simulator.buy(session.url, details={"quantity_0": "2"})

    assert v1.checkout.sessions.retrieve(session.id).status == "open"


def test_price_data_makes_a_price_that_is_not_for_sale(simulator, v1, checkout):
    data = {
        "currency": "eur",
        "unit_amount": 700,
        "recurring": {"interval": "year"},
        "product_data": {"name": "Cellar"},
    }
    session = checkout({"price_data": data, "quantity": 2})

    bought = simulator.buy(session.url)

    sold = v1.subscriptions.retrieve(bought["subscription"])["items"].data[0].price.id
    price = v1.prices.retrieve(sold)
    assert (price.active, price.unit_amount, price.recurring.interval) == (False, 700, "year")
    assert (bought["amount_total"], bought["currency"]) == (1400, "eur")
    assert v1.products.retrieve(price.product).name == "Cellar"


def test_automatic_tax_asks_for_an_address_and_taxes_the_invoices(simulator, v1, checkout):
    session = checkout(automatic_tax={"enabled": True})
    before = (session.automatic_tax.status, session.amount_total)

    with pytest.raises(visitor.Refused, match="billing address"):
        simulator.buy(session.url)
    bought = simulator.buy(session.url, details=BERLIN)

    assert before == ("requires_location_inputs", 900)
    assert (bought["automatic_tax"]["status"], bought["amount_total"]) == ("complete", 1071)
    assert bought["total_details"]["amount_tax"] == 171
    assert bought["customer_details"]["address"]["country"] == "DE"
    assert v1.customers.retrieve(bought["customer"]).address.city == "Berlin"
    assert latest_invoice(v1, bought).total == 1071
    simulator.advance_to("renewal")
    assert v1.invoices.list(params={"subscription": bought["subscription"]}).data[0].amount_paid == 1071


def test_a_company_enters_its_tax_id_and_owes_the_tax_itself(simulator, v1, checkout):
    session = checkout(automatic_tax={"enabled": True}, tax_id_collection={"enabled": True})

    bought = simulator.buy(session.url, details=BERLIN | {"tax_id_type": "eu_vat", "tax_id": "DE 123456789"})

    assert bought["amount_total"] == 900
    assert bought["customer_details"]["tax_ids"] == [{"type": "eu_vat", "value": "DE123456789"}]
    assert [each.value for each in v1.customers.tax_ids.list(bought["customer"]).data] == ["DE123456789"]
    invoice = latest_invoice(v1, bought)
    assert (invoice.total, invoice.total_taxes[0].taxability_reason) == (900, "reverse_charge")
    assert invoice.customer_tax_ids[0].value == "DE123456789"


@pytest.mark.parametrize(("update", "city"), [({"address": "auto"}, "Berlin"), ({"address": "never"}, None)])
def test_an_existing_customers_address_changes_only_when_asked(simulator, shop, v1, checkout, update, city):
    customer = shop.customer()
    session = checkout(customer=customer, billing_address_collection="required", customer_update=update)

    bought = simulator.buy(session.url, details=BERLIN)

    address = v1.customers.retrieve(customer).address
    assert (address and address.city) == city
    assert bought["customer_details"]["address"]["city"] == "Berlin"


def test_tax_rates_of_items_are_in_the_session_and_the_invoice(simulator, shop, v1, checkout, setup_fee):
    rate = v1.tax_rates.create(params={"display_name": "VAT", "percentage": 20, "inclusive": False}).id
    items = [{"price": each, "quantity": 1, "tax_rates": [rate]} for each in (shop.price, setup_fee)]

    bought = simulator.buy(checkout(*items).url)

    assert (bought["amount_total"], latest_invoice(v1, bought).total) == (4080, 4080)
    assert latest_invoice(v1, bought).total_taxes[0].amount == 680


def test_a_one_time_payment_is_taxed_too(simulator, checkout, setup_fee):
    session = checkout({"price": setup_fee, "quantity": 1}, mode="payment", automatic_tax={"enabled": True})

    bought = simulator.buy(session.url, details={"country": "GB"})

    assert (bought["amount_subtotal"], bought["amount_total"]) == (2500, 3000)


def test_custom_fields_are_asked_and_shown_in_the_session(simulator, v1, checkout):
    options = [{"label": "Red", "value": "red"}, {"label": "White", "value": "white"}]
    fields = [
        {"key": "cellar", "label": {"type": "custom", "custom": "Cellar"}, "type": "text"},
        {"key": "year", "label": {"type": "custom", "custom": "Year"}, "type": "numeric", "optional": True},
        {
            "key": "wine", "label": {"type": "custom", "custom": "Wine"}, "type": "dropdown",
            "dropdown": {"options": options}, "optional": True,
        },
    ]  # fmt: skip
    session = checkout(custom_fields=fields, custom_text={"submit": {"message": "Cheers!"}})

    assert "Cheers!" in requests.get(session.url, timeout=30).text
    for details, message in (({}, "fill in Cellar"), ({"field_year": "old"}, "Year must be a number")):
        with pytest.raises(visitor.Refused, match=message):
            simulator.buy(session.url, details=details)
    with pytest.raises(visitor.Refused, match="choose Wine"):
        simulator.buy(session.url, details={"field_cellar": "North", "field_wine": "green"})
    bought = simulator.buy(session.url, details={"field_cellar": "North", "field_wine": "red"})

    assert [each[each["type"]]["value"] for each in bought["custom_fields"]] == ["North", None, "red"]


def test_a_discount_is_spread_over_all_lines(simulator, shop, v1, checkout, setup_fee):
    coupon = v1.coupons.create(params={"percent_off": 10, "duration": "once"}).id
    items = [{"price": each, "quantity": 1} for each in (shop.price, setup_fee)]
    session = checkout(*items, discounts=[{"coupon": coupon}])

    bought = simulator.buy(session.url)

    assert (session.total_details.amount_discount, bought["amount_total"]) == (340, 3060)
    assert latest_invoice(v1, bought).amount_paid == 3060


def test_a_declined_card_leaves_no_item_of_the_order_behind(simulator, shop, v1, checkout, setup_fee):
    session = checkout({"price": setup_fee, "quantity": 1}, {"price": shop.price, "quantity": 1})

    with pytest.raises(visitor.Refused, match="declined"):
        simulator.buy(session.url, "pm_card_visa_chargeDeclined")

    assert v1.invoice_items.list().data == []
    assert v1.subscriptions.list().data == []


@pytest.mark.parametrize(
    ("params", "code", "words"),
    [
        ({"customer": True, "automatic_tax": {"enabled": True}}, "customer_tax_location_invalid", "valid address"),
        ({"customer": True, "tax_id_collection": {"enabled": True}}, None, "updating business name"),
        ({"customer_update": {"address": "auto"}}, None, "can only be used with `customer`"),
        ({"line_items": [{"price": "ONCE", "quantity": 1}]}, None, "at least one recurring price"),
        (
            {"line_items": [{"price": "MONTHLY", "quantity": 1}, {"price": "EURO", "quantity": 1}]},
            None,
            "only supports `eur`",
        ),
        ({"line_items": [{"quantity": 1}]}, None, "one of `price` or `price_data`"),
        ({"line_items": [{"price": "MONTHLY", "quantity": 0}]}, None, "greater than or equal to 1"),
    ],
)
def test_orders_that_stripe_refuses_are_refused(shop, v1, checkout, setup_fee, params, code, words):
    euro = v1.prices.create(params={"currency": "eur", "unit_amount": 1, "product_data": {"name": "A"}}).id
    known = {"ONCE": setup_fee, "MONTHLY": shop.price, "EURO": euro}
    if "line_items" in params:
        items = [each | ({"price": known[each["price"]]} if "price" in each else {}) for each in params["line_items"]]
        params = {"line_items": items}
    if "customer" in params:
        params = params | {"customer": shop.customer()}

    with pytest.raises(stripe.InvalidRequestError) as caught:
        checkout(**params)

    assert (caught.value.code, words in str(caught.value)) == (code, True), caught.value
    assert v1.checkout.sessions.list().data == []


def test_a_code_that_the_visitor_cannot_redeem_leaves_the_order_as_it_was(simulator, shop, v1, checkout):
    coupon = v1.coupons.create(params={"percent_off": 10, "duration": "once"}).id
    promotion = {"promotion": {"type": "coupon", "coupon": coupon}, "restrictions": {"first_time_transaction": True}}
    v1.promotion_codes.create(params=promotion | {"code": "FIRST"})
    customer = shop.customer()
    shop.subscribe(customer)
    session = checkout(customer=customer, allow_promotion_codes=True)

    answer = requests.post(f"{session.url}/code", {"code": "first"}, timeout=30)
    bought = simulator.buy(session.url)

    assert (answer.status_code, "prior transactions" in answer.text) == (400, True)
    assert (bought["amount_total"], bought["discounts"]) == (900, [])


def test_checkout_sells_in_the_currency_that_is_asked_or_the_customers_own(simulator, shop, v1, checkout):
    asked = {"currency": "usd", "unit_amount": 1000, "currency_options": {"eur": {"unit_amount": 950}}}
    product = v1.prices.retrieve(shop.price).product
    price = v1.prices.create(params=asked | {"product": product, "recurring": {"interval": "month"}}).id
    item, customer = {"price": price, "quantity": 2}, shop.customer()

    session = checkout(item, customer=customer, currency="eur")
    page = requests.get(session.url, timeout=30).text
    bought = simulator.buy(session.url)
    second = checkout(item, customer=customer)

    assert (session.currency, session.amount_total, "EUR 19.00" in page) == ("eur", 1900, True)
    assert (bought["currency"], latest_invoice(v1, bought).currency) == ("eur", "eur")
    assert latest_invoice(v1, bought).total == 1900
    assert v1.checkout.sessions.line_items.list(session.id).data[0].currency == "eur"
    assert (second.currency, checkout(item).currency) == ("eur", "usd")
    for params in ({"customer": customer, "currency": "usd"}, {"currency": "gbp"}):
        with pytest.raises(stripe.InvalidRequestError):
            checkout(item, **params)
