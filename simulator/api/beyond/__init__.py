"""Stripe's other products and older ways, as far as its command line's triggers use them."""

from ...http.route import Route
from . import cash_balances, connect, identity, reports, sources

ROUTES: tuple[Route, ...] = (
    *cash_balances.ROUTES,
    *connect.ROUTES,
    *identity.ROUTES,
    *reports.ROUTES,
    *sources.ROUTES,
)
