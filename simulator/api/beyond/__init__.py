"""Stripe's other products, as far as its command line's triggers use them."""

from ...http.route import Route
from . import connect, identity, reports

ROUTES: tuple[Route, ...] = (*connect.ROUTES, *identity.ROUTES, *reports.ROUTES)
