"""A world with objects of every kind that clients read."""

from typing import Any

import stripe

from corkage.simulator import Simulator


def fill(simulator: Simulator, client: stripe.StripeClient) -> None:
    """Create objects of every kind."""
    v1: Any = client.v1
    price = simulator.add_price("gold", 900)["id"]
    customer = _customer(v1, "ann@example.com")
    coupon = v1.coupons.create(params={"percent_off": 10, "duration": "forever"}).id
    v1.promotion_codes.create(params={"promotion": {"type": "coupon", "coupon": coupon}, "code": "CORKS"})
    items = [{"price": price}]
    v1.subscriptions.create(params={"customer": customer, "items": items, "discounts": [{"coupon": coupon}]})
    phases = [{"items": items, "duration": {"interval": "month", "interval_count": 2}}]
    v1.subscription_schedules.create(params={"customer": customer, "start_date": "now", "phases": phases})
    v1.invoice_items.create(params={"customer": customer, "amount": 250, "currency": "usd"})
    _sessions(simulator, v1, price)
    _money(v1, customer)
    _credit(v1, customer)
    _prices(v1, customer)
    _entitlements(v1, v1.prices.retrieve(price).product)
    v1.billing_portal.sessions.create(params={"customer": customer})
    v1.test_helpers.test_clocks.create(params={"frozen_time": simulator.world.now})
    v1.webhook_endpoints.create(params={"url": "http://127.0.0.1:9/", "enabled_events": ["invoiceitem.deleted"]})
    v1.customers.delete(_customer(v1, "bob@example.com"))
    simulator.advance(40 * 86_400)


def _customer(v1: Any, email: str) -> str:
    default = {"default_payment_method": "pm_card_visa"}
    params = {"email": email, "payment_method": "pm_card_visa", "invoice_settings": default}
    return str(v1.customers.create(params=params).id)


def _sessions(simulator: Simulator, v1: Any, price: str) -> None:
    """Create a Checkout Session that is open, and one that is paid."""
    params = {
        "mode": "subscription",
        "line_items": [{"price": price, "quantity": 1}],
        "success_url": "https://example.com/",
    }
    v1.checkout.sessions.create(params=params)
    simulator.buy(v1.checkout.sessions.create(params=params).url)


def _money(v1: Any, customer: str) -> None:
    """Create payments that are paid, refunded in part, disputed and warned of, and a SetupIntent."""
    pack = {"amount": 1000, "currency": "usd", "confirm": True, "customer": customer}
    for card in ("pm_card_visa", "pm_card_createDispute", "pm_card_createIssuerFraudRecord"):
        intent = v1.payment_intents.create(params=pack | {"payment_method": card})
        if card == "pm_card_visa":
            v1.refunds.create(params={"charge": intent.latest_charge, "amount": 400})
    v1.setup_intents.create(params={"customer": customer, "payment_method": "pm_card_visa", "confirm": True})


def _credit(v1: Any, customer: str) -> None:
    """Create a credit note for the customer's newest paid invoice."""
    paid = v1.invoices.list(params={"customer": customer, "status": "paid"}).data[0].id
    v1.credit_notes.create(params={"invoice": paid, "amount": 100, "credit_amount": 100})


def _prices(v1: Any, customer: str) -> None:
    """Create a metered price, a tiered one and a plan, and what is taxed."""
    product = v1.products.create(params={"name": "Calls"}).id
    meter = v1.billing.meters.create(
        params={"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
    )
    monthly = {"interval": "month"}
    shared = {"currency": "usd", "product": product}
    metered = {"unit_amount": 5, "recurring": monthly | {"usage_type": "metered", "meter": meter.id}}
    tiers = [{"up_to": 10, "unit_amount": 100}, {"up_to": "inf", "unit_amount": 50}]
    tiered = {"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": tiers, "recurring": monthly}
    for each in (metered, tiered):
        price = v1.prices.create(params=shared | each).id
        v1.subscriptions.create(params={"customer": customer, "items": [{"price": price}]})
    v1.plans.create(params=shared | monthly | {"amount": 700})
    v1.tax_rates.create(params={"display_name": "VAT", "percentage": 19, "inclusive": False})
    v1.customers.tax_ids.create(customer, params={"type": "eu_vat", "value": "DE123456789"})


def _entitlements(v1: Any, product: str) -> None:
    feature = v1.entitlements.features.create(params={"lookup_key": "exports", "name": "Exports"}).id
    v1.products.features.create(product, params={"entitlement_feature": feature})
