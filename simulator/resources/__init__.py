"""Stripe's API, one file for each resource."""

from ..route import Route
from . import (
    account,
    checkout_sessions,
    customers,
    events,
    invoices,
    payment_methods,
    portal,
    prices,
    products,
    subscriptions,
    webhook_endpoints,
)

ROUTES: tuple[Route, ...] = (
    *account.ROUTES,
    *checkout_sessions.ROUTES,
    *customers.ROUTES,
    *events.ROUTES,
    *invoices.ROUTES,
    *payment_methods.ROUTES,
    *portal.ROUTES,
    *prices.ROUTES,
    *products.ROUTES,
    *subscriptions.ROUTES,
    *webhook_endpoints.ROUTES,
)
