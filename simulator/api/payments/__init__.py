"""Payments: PaymentIntents, charges, refunds, disputes, and the balance."""

from ...http.route import Route
from . import (
    balance_transactions,
    charges,
    disputes,
    early_fraud_warnings,
    invoice_payments,
    payment_intents,
    payouts,
    refunds,
    setup_intents,
)

ROUTES: tuple[Route, ...] = (
    *balance_transactions.ROUTES,
    *charges.ROUTES,
    *disputes.ROUTES,
    *early_fraud_warnings.ROUTES,
    *invoice_payments.ROUTES,
    *payment_intents.ROUTES,
    *payouts.ROUTES,
    *refunds.ROUTES,
    *setup_intents.ROUTES,
)
