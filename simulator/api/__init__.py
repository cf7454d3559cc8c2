"""Stripe's API, one file per resource, and the table of all routes."""

from ..http.route import Route
from . import (
    beyond,
    checkout_sessions,
    coupons,
    customers,
    event_destinations,
    events,
    invoiceitems,
    invoices,
    invoicing,
    payment_methods,
    payments,
    portal,
    prices,
    products,
    reading,
    subscription_schedules,
    subscriptions,
    test_clocks,
    thin_events,
    webhook_endpoints,
)
from .checkout import payment_links
from .entitlements import active, features
from .pricing import meter_events, meters, plans
from .subscribing import items as subscription_items
from .subscribing import previews
from .tax import ids as tax_ids
from .tax import rates as tax_rates

ROUTES: tuple[Route, ...] = (
    *beyond.ROUTES,
    *active.ROUTES,
    *checkout_sessions.ROUTES,
    *coupons.ROUTES,
    *customers.ROUTES,
    *event_destinations.ROUTES,
    *events.ROUTES,
    *features.ROUTES,
    *invoiceitems.ROUTES,
    *invoices.ROUTES,
    *invoicing.ROUTES,
    *meter_events.ROUTES,
    *meters.ROUTES,
    *payment_links.ROUTES,
    *payment_methods.ROUTES,
    *plans.ROUTES,
    *payments.ROUTES,
    *portal.ROUTES,
    *previews.ROUTES,
    *prices.ROUTES,
    *products.ROUTES,
    *reading.ROUTES,
    *subscription_items.ROUTES,
    *subscription_schedules.ROUTES,
    *subscriptions.ROUTES,
    *tax_ids.ROUTES,
    *tax_rates.ROUTES,
    *test_clocks.ROUTES,
    *thin_events.ROUTES,
    *webhook_endpoints.ROUTES,
)
