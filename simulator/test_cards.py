"""Stripe's published test cards and test bank accounts: their names, numbers, and outcomes of charges."""

from dataclasses import dataclass
from typing import Literal

from .errors import ApiError

Outcome = Literal["paid", "declined", "action", "pending"]
"""A charge's outcome. "action" waits for the customer's authentication, "pending" for the bank, for days."""

DeclineTime = Literal["attach", "charge", "later"]
"""When an instrument declines: when attached, when charged, or days after the charge."""


Sequel = Literal["available", "dispute", "fraud_warning", "inquiry", "not_received", "refund_fails", "refund_pending"]
"""What follows a charge, or its refund."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """A test card or test bank account. `authenticates`: whether the customer confirms to the bank "once", at setup, or
    "always", for each payment."""

    number: str
    brand: str = "visa"
    type: str = "card"
    declines: DeclineTime | None = None
    decline_code: str = "generic_decline"
    code: str = "card_declined"
    message: str = "Your card was declined."
    authenticates: Literal["once", "always"] | None = None
    sequel: Sequel | None = None

    def outcome(self, is_authenticated: bool) -> Outcome:
        """Return the outcome of a charge."""
        if self.declines in ("attach", "charge"):
            return "declined"
        if self.authenticates and not is_authenticated:
            return "action"
        return "paid" if self.type == "card" else "pending"

    def error(self) -> ApiError:
        return ApiError(402, self.message, code=self.code, kind="card_error", decline_code=self.decline_code)


def _declined(number: str, decline_code: str, message: str, code: str = "card_declined") -> Instrument:
    return Instrument(number, declines="attach", decline_code=decline_code, code=code, message=message)


def _bank(number: str, type_: str, declines: DeclineTime | None = None, message: str = "") -> Instrument:
    return Instrument(number, "bank", type_, declines, code="payment_method_provider_decline", message=message)


NO_ACCOUNT = "The bank account has been closed, or does not exist."

INSTRUMENTS = {
    "pm_card_visa": Instrument("4242424242424242"),
    "pm_card_visa_debit": Instrument("4000056655665556"),
    "pm_card_mastercard": Instrument("5555555555554444", "mastercard"),
    "pm_card_amex": Instrument("378282246310005", "amex"),
    "pm_card_visa_chargeDeclined": _declined("4000000000000002", "generic_decline", "Your card was declined."),
    "pm_card_visa_chargeDeclinedInsufficientFunds": _declined(
        "4000000000009995", "insufficient_funds", "Your card has insufficient funds."
    ),
    "pm_card_visa_chargeDeclinedLostCard": _declined("4000000000009987", "lost_card", "Your card was declined."),
    "pm_card_visa_chargeDeclinedStolenCard": _declined("4000000000009979", "stolen_card", "Your card was declined."),
    "pm_card_chargeDeclinedExpiredCard": _declined(
        "4000000000000069", "expired_card", "Your card has expired.", "expired_card"
    ),
    "pm_card_chargeDeclinedIncorrectCvc": _declined(
        "4000000000000127", "incorrect_cvc", "Your card's security code is incorrect.", "incorrect_cvc"
    ),
    "pm_card_chargeDeclinedProcessingError": _declined(
        "4000000000000119",
        "processing_error",
        "An error occurred while processing your card. Try again in a little bit.",
        "processing_error",
    ),
    "pm_card_chargeCustomerFail": Instrument("4000000000000341", declines="charge"),
    "pm_card_createDispute": Instrument("4000000000000259", sequel="dispute"),
    "pm_card_createDisputeProductNotReceived": Instrument("4000000000002685", sequel="not_received"),
    "pm_card_createDisputeInquiry": Instrument("4000000000001976", sequel="inquiry"),
    "pm_card_createIssuerFraudRecord": Instrument("4000000000005423", sequel="fraud_warning"),
    "pm_card_pendingRefund": Instrument("4000000000007726", sequel="refund_pending"),
    "pm_card_refundFail": Instrument("4000000000005126", sequel="refund_fails"),
    "pm_card_bypassPending": Instrument("4000000000000077", sequel="available"),
    "pm_card_threeDSecure2Required": Instrument("4000000000003220", authenticates="once"),
    "pm_card_authenticationRequiredOnSetup": Instrument("4000002500003155", authenticates="once"),
    "pm_card_authenticationRequired": Instrument("4000002760003184", authenticates="always"),
    "pm_usBankAccount_success": _bank("000123456789", "us_bank_account"),
    "pm_usBankAccount_noAccount": _bank("000111111116", "us_bank_account", "later", NO_ACCOUNT),
    "pm_usBankAccount_accountClosed": _bank("000111111113", "us_bank_account", "later", NO_ACCOUNT),
    "pm_usBankAccount_insufficientFunds": _bank(
        "000222222227", "us_bank_account", "later", "The bank account has insufficient funds."
    ),
    "AT611904300234573201": _bank("AT611904300234573201", "sepa_debit"),
    "AT321904300235473204": _bank("AT321904300235473204", "sepa_debit"),
    "AT861904300235473202": _bank("AT861904300235473202", "sepa_debit", "later", NO_ACCOUNT),
    "DE89370400440532013000": _bank("DE89370400440532013000", "sepa_debit"),
    "DE62370400440532013001": _bank("DE62370400440532013001", "sepa_debit", "later", NO_ACCOUNT),
    "IT40S0542811101000000123456": _bank("IT40S0542811101000000123456", "sepa_debit"),
    "IT60X0542811101000000123456": _bank("IT60X0542811101000000123456", "sepa_debit", "later", NO_ACCOUNT),
}
"""By their name in the API; bank accounts without one, by their number."""

SHORT_NAMES = {
    "pm_card_chargeDeclined": "pm_card_visa_chargeDeclined",
    "pm_card_chargeDeclinedInsufficientFunds": "pm_card_visa_chargeDeclinedInsufficientFunds",
}
BY_NUMBER = {instrument.number: name for name, instrument in INSTRUMENTS.items()}
DELAYED_TYPES = {"usd": "us_bank_account", "eur": "sepa_debit"}
"""The delayed payment method of each currency."""


def resolve_name(name: str) -> str | None:
    """Return the key in INSTRUMENTS for a `pm_...` or `tok_...` name; None for an unknown name."""
    name = name.replace("tok_", "pm_card_", 1) if name.startswith("tok_") else name
    name = SHORT_NAMES.get(name, name)
    return name if name in INSTRUMENTS and name.startswith("pm_") else None
