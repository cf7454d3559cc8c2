"""Credit notes and customers' balances."""

from ...http.route import Route
from . import credit_notes, customer_balance

ROUTES: tuple[Route, ...] = (*credit_notes.ROUTES, *customer_balance.ROUTES)
