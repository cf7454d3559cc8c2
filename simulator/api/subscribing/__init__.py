"""Subscriptions in parts: their items, and previews of their invoices."""
