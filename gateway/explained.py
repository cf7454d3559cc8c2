"""What Stripe's refusals mean: the error with its sentence for the visitor, and what the operator is to do."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import (
    AddressNeeded,
    CardRefused,
    CodeRefused,
    CurrencyRefused,
    PriceRefused,
    StripeNotSetUp,
    StripeRefused,
)

OF_PRICE = re.compile(r"(phases\[[0-9]+\]\[items\]|line_items|items)\[[0-9]+\]\[(price|quantity)\]")


class _Rule(NamedTuple):
    """A refusal that is known: how it is recognized, its error, and advice for the log."""

    is_it: Callable[[Any, str], bool]
    error: type[StripeRefused]
    advice: str


RULES = (
    _Rule(
        lambda error, _: error.http_status == 401,
        StripeNotSetUp,
        "STRIPE_SECRET_KEY is not a key that Stripe knows: copy it again from the Dashboard, Developers, API keys",
    ),
    _Rule(
        lambda error, _: error.http_status == 403,
        StripeNotSetUp,
        "give the restricted key this permission in Stripe's Dashboard, Developers, API keys",
    ),
    _Rule(lambda error, _: error.http_status == 402, CardRefused, "the visitor was told; there is nothing to do"),
    _Rule(
        lambda error, _: error.code == "customer_tax_location_invalid",
        AddressNeeded,
        "automatic tax needs the customer's address: the visitor was told, or add it in Stripe's Dashboard",
    ),
    _Rule(
        lambda _, text: "combine currencies" in text,
        CurrencyRefused,
        "a customer keeps its first currency: add that currency to the price (its currency_options)",
    ),
    _Rule(
        lambda _, text: "default configuration has not been created" in text,
        StripeNotSetUp,
        "open Stripe's Dashboard, Settings, Billing, Customer portal, and save its settings once",
    ),
    _Rule(
        lambda error, _: error.code == "product_inactive" or OF_PRICE.fullmatch(error.param or "") is not None,
        PriceRefused,
        "the prices are fetched anew; corkage doctor says which cannot be sold, and why",
    ),
    _Rule(
        lambda error, _: (error.param or "").startswith("discounts"),
        CodeRefused,
        "the visitor is led on without the code",
    ),
)
"""The first that fits counts. The texts of Stripe's messages are the only mark of some."""


def refusal_of(error: Any, reason: str) -> StripeRefused:
    """Return our error for one of Stripe's library, with the reason and the advice for the log."""
    text = str(error.user_message or error)
    for rule in RULES:
        if rule.is_it(error, text):
            return rule.error(f"{reason.rstrip('.')}. What to do: {rule.advice}")
    return StripeRefused(reason)
