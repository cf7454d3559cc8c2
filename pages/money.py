"""Amounts and intervals, in the visitor's language."""

import copy
from decimal import Decimal

from . import N_
from .words import Words

ZERO_DECIMAL = frozenset("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF".split())
THREE_DECIMAL = frozenset("BHD JOD KWD OMR TND".split())
ALWAYS_00 = frozenset(("ISK", "UGX"))  # sent with two decimals that must be 00, and written without

PER = {"day": N_("per day"), "week": N_("per week"), "month": N_("per month"), "year": N_("per year")}
EVERY = {
    "day": lambda words, count: words.ngettext("every %(count)d day", "every %(count)d days", count),
    "week": lambda words, count: words.ngettext("every %(count)d week", "every %(count)d weeks", count),
    "month": lambda words, count: words.ngettext("every %(count)d month", "every %(count)d months", count),
    "year": lambda words, count: words.ngettext("every %(count)d year", "every %(count)d years", count),
}


def money(words: Words, amount: int, currency: str, *, is_short: bool = False) -> str:
    """Return an amount in the visitor's language; short leaves out decimals that are all zero.

    Units   amount in Stripe's minor units of the currency, any case
    Source  docs.stripe.com/currencies: Stripe's decimals are not always those of ISO 4217 or CLDR
    """
    code = currency.upper()
    digits = 0 if code in ZERO_DECIMAL else 3 if code in THREE_DECIMAL else 2
    value = Decimal(amount).scaleb(-digits)
    if code in ALWAYS_00 or (is_short and value == value.to_integral_value()):
        digits = 0
    pattern = copy.copy(words.locale.currency_formats["standard"])
    pattern.frac_prec = (digits, digits)
    written: str = pattern.apply(value, words.locale, currency=code, currency_digits=False)
    return written


def period(words: Words, interval: str, count: int) -> str:
    """Return how often a price is paid: "per month", "every 3 months". Empty for an unknown interval."""
    if interval not in PER:
        return ""
    return words.gettext(PER[interval]) if count == 1 else EVERY[interval](words, count)
