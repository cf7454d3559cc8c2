"""What is only read: fields that come when they are expanded, and lists of parts."""

from ...http.expand import Include
from . import included, invoice_lines, session_items, tax_ids

INCLUDED: dict[tuple[str, str], Include] = {
    ("billing_portal.configuration", "products"): included.portal_products,
    ("charge", "refunds"): included.refunds,
    ("checkout.session", "breakdown"): session_items.breakdown,
    ("checkout.session", "line_items"): session_items.line_items,
    ("coupon", "applies_to"): included.applies_to,
    ("customer", "sources"): included.sources,
    ("customer", "subscriptions"): included.subscriptions,
    ("invoice", "confirmation_secret"): included.confirmation_secret,
    ("invoice", "payments"): included.payments,
    ("item", "discounts"): session_items.item_discounts,
    ("payment_link", "line_items"): session_items.line_items_of_link,
    ("plan", "tiers"): included.tiers,
    ("price", "currency_options"): included.currency_options,
    ("price", "tiers"): included.tiers,
}
"""By the object's type and the field's name, which may stand in a part of the object."""

ROUTES = (*invoice_lines.ROUTES, *session_items.ROUTES, *tax_ids.ROUTES)
