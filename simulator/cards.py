"""Stripe's published test cards: what they are called, and what happens to them."""

from dataclasses import dataclass

from .errors import ApiError


@dataclass(frozen=True, slots=True)
class Card:
    """A test card. The decline code, where there is one, comes at `declines`: "attach" or "charge"."""

    number: str
    brand: str = "visa"
    declines: str | None = None
    decline_code: str = "generic_decline"
    code: str = "card_declined"
    sentence: str = "Your card was declined."

    def error(self) -> ApiError:
        return ApiError(402, self.sentence, code=self.code, kind="card_error", decline_code=self.decline_code)


CARDS = {
    "visa": Card("4242424242424242"),
    "mastercard": Card("5555555555554444", "mastercard"),
    "amex": Card("378282246310005", "amex"),
    "chargeDeclined": Card("4000000000000002", declines="attach"),
    "chargeDeclinedInsufficientFunds": Card(
        "4000000000009995",
        declines="attach",
        decline_code="insufficient_funds",
        sentence="Your card has insufficient funds.",
    ),
    "chargeDeclinedExpiredCard": Card(
        "4000000000000069",
        declines="attach",
        code="expired_card",
        decline_code="expired_card",
        sentence="Your card has expired.",
    ),
    "chargeCustomerFail": Card("4000000000000341", declines="charge"),
}
BY_NUMBER = {card.number: name for name, card in CARDS.items()}
