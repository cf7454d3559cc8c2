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
