"""Currencies' minor units, as Stripe counts them: not always as ISO 4217 or CLDR do.

Source  docs.stripe.com/currencies
"""

from decimal import Decimal

ZERO_DECIMAL = frozenset("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF".split())
THREE_DECIMAL = frozenset("BHD JOD KWD OMR TND".split())


def decimals(currency: str) -> int:
    """Return how many decimals amounts of a currency have at Stripe. Takes its code in any case."""
    code = currency.upper()
    return 0 if code in ZERO_DECIMAL else 3 if code in THREE_DECIMAL else 2


def in_major_units(amount: int, currency: str) -> Decimal:
    """Return an amount in minor units as people write it, with the currency's decimals."""
    return Decimal(amount).scaleb(-decimals(currency))
