"""Billing: subscriptions, invoices, payments, discounts and prorations."""
