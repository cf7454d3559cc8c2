"""Add-ons that lost the plan that they add to: they give nothing, and are canceled for the end of their period."""

from ..access import Plans, lonely_addons
from .timelines import holdings_of


def is_lonely(user_id: str, subscription_id: str, plans: Plans, now: float) -> bool:
    """Return whether a subscription is to add-ons, to plans of which the user has none."""
    return subscription_id in lonely_addons(holdings_of([user_id])[user_id].holdings, plans, now)
