"""Stripe's API, one file for each resource."""

from ..route import Route
from . import account, customers, events, invoices, payment_methods, prices, products, subscriptions, webhook_endpoints

ROUTES: tuple[Route, ...] = (
    *account.ROUTES,
    *customers.ROUTES,
    *events.ROUTES,
    *invoices.ROUTES,
    *payment_methods.ROUTES,
    *prices.ROUTES,
    *products.ROUTES,
    *subscriptions.ROUTES,
    *webhook_endpoints.ROUTES,
)
