"""Fields that an object has only when `expand[]` names them."""

from ...billing import periods
from ...billing.pricing.currencies import options_of
from ...http.lists import embedded
from ...money import invoice_payments
from ...world import Object, World


def sources(world: World, customer: Object) -> Object:
    """Return a customer's sources, the cards of the old API."""
    return embedded(world.where("card", customer=customer["id"]), f"/v1/customers/{customer['id']}/sources")


def subscriptions(world: World, customer: Object) -> Object:
    """Return a customer's subscriptions that have not ended."""
    found = world.where("subscription", customer=customer["id"])
    running = [each for each in found if each["status"] not in periods.ENDED]
    return embedded(running, f"/v1/customers/{customer['id']}/subscriptions")


def refunds(world: World, charge: Object) -> Object:
    """Return a charge's refunds, newest first."""
    return embedded(world.where("refund", charge=charge["id"]), f"/v1/charges/{charge['id']}/refunds")


def payments(world: World, invoice: Object) -> Object:
    """Return an invoice's payments."""
    return embedded(invoice_payments.payments_of(world, invoice), f"/v1/invoices/{invoice['id']}/payments")


def confirmation_secret(world: World, invoice: Object) -> Object | None:
    """Return what Stripe.js needs to pay an invoice."""
    intent = invoice_payments.intent_of(world, invoice)
    return intent and {"client_secret": intent["client_secret"], "type": "payment_intent"}


def applies_to(_world: World, _coupon: Object) -> None:
    """Every coupon of the simulator applies to all products."""


def currency_options(world: World, price: Object) -> Object:
    """Return what the price costs, by currency, its own among them."""
    names = ("custom_unit_amount", "tax_behavior", "unit_amount", "unit_amount_decimal")
    own: Object = {name: price[name] for name in names}
    found = tiers(world, price)
    return {price["currency"]: own | ({"tiers": found} if found else {})} | options_of(world, price)


def portal_products(world: World, configuration: Object) -> list[Object]:
    """Return the products between which a portal's customers may change."""
    found: list[Object] = world.hidden.get(configuration["id"], {}).get("products", [])
    return found


def tiers(world: World, price: Object) -> list[Object] | None:
    """Return a price's or a plan's tiers; without tiers, None."""
    found: list[Object] | None = world.hidden.get(price["id"], {}).get("tiers")
    return found
