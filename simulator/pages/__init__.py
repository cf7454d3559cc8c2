"""The hosted pages. Every page says that it is a simulation; none needs JavaScript. This file: what they share."""

import functools
import time
from pathlib import Path
from typing import Any

import bottle

from ..api.payment_methods import create_method
from ..billing.pricing.amounts import round_half_up, unit_of
from ..errors import ApiError
from ..money.instruments import authenticate, expected_outcome
from ..test_cards import BY_NUMBER, INSTRUMENTS
from ..world import Object, World

FOLDER = Path(__file__).parent
ZERO_DECIMAL = frozenset(
    ("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf")
)


@functools.cache
def template(name: str) -> bottle.SimpleTemplate:
    return bottle.SimpleTemplate((FOLDER / f"{name}.html").read_text("utf-8"))


def page(title: str, name: str, status: int = 200, /, **values: Any) -> bottle.HTTPResponse:
    """Render a page in the common layout."""
    content = template(name).render(**values)
    body = template("layout").render(title=title, content=content)
    headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
    return bottle.HTTPResponse(body, status, headers)


def redirect(url: str) -> bottle.HTTPResponse:
    return bottle.HTTPResponse(status=303, headers={"Location": url})


def card_fields(error: str | None = None) -> str:
    """Return the inputs for a card, always empty: a number that was typed could be a real card's."""
    return str(template("card_fields").render(error=error))


class NeedsAuthentication(Exception):
    """The customer must confirm the payment to the bank. Holds the payment method's id."""


def submitted_method(world: World) -> str:
    """Return the id of the payment method in the submitted form: a card, a bank account, or one that the customer just
    confirmed to the bank.

    Errors  ApiError with a message for the visitor; NeedsAuthentication
    """
    form = bottle.request.forms
    if "answer" in form:
        if form["answer"] != "confirm":
            raise _card_error(
                "We are unable to authenticate your payment method. Please choose a different payment method and try "
                "again.",
                "payment_intent_authentication_failure",
            )
        method_id = str(world.get("payment_method", form.get("method", ""))["id"])
        authenticate(world, method_id)
        return method_id
    method = _typed_account(world) if "account" in form else _typed_card(world)
    if expected_outcome(world, method["id"]) == "action":
        raise NeedsAuthentication(method["id"])
    return str(method["id"])


def authentication_page(method_id: str, action: str = "") -> bottle.HTTPResponse:
    """Return the page on which the bank asks the customer to confirm."""
    return page("Confirm the payment", "authentication", 200, method=method_id, action=action)


def _typed_card(world: World) -> Object:
    form = bottle.request.forms
    number = "".join(form.get("number", "").split())
    if not number.isdecimal() or not _is_luhn(number):
        raise _card_error("Your card number is invalid.", "incorrect_number")
    if number not in BY_NUMBER:
        raise _card_error("The simulation accepts only Stripe's published test cards.", "test_mode_live_card")
    if not _is_future(form.get("expiry", ""), world.now):
        raise _card_error(
            "Your card's expiration date is in the past, or not of the form MM/YY.", "invalid_expiry_year"
        )
    if not form.get("cvc", "").isdecimal() or len(form.get("cvc", "")) not in (3, 4):
        raise _card_error("Your card's security code is incomplete.", "incomplete_cvc")
    return create_method(world, BY_NUMBER[number], {})


def _typed_account(world: World) -> Object:
    name = BY_NUMBER.get("".join(bottle.request.forms["account"].split()), "")
    if not name or INSTRUMENTS[name].type == "card":
        raise _card_error("The simulation accepts only Stripe's published test accounts.", "bank_account_unusable")
    return create_method(world, name, {})


def money(amount: int, currency: str) -> str:
    """Format an amount of minor units: $9.00, or JPY 900."""
    if currency in ZERO_DECIMAL:
        return f"{currency.upper()} {amount:,}"
    return f"{'$' if currency == 'usd' else currency.upper() + ' '}{amount / 100:,.2f}"


def format_price(price: Object, quantity: int = 1) -> str:
    recurring = price["recurring"]
    every = ""
    if recurring:
        count = recurring["interval_count"]
        every = f" per {recurring['interval']}" if count == 1 else f" every {count} {recurring['interval']}s"
    if price["unit_amount_decimal"] is None:
        return "Price by amount" + every
    amount = round_half_up(unit_of(price) * quantity)
    return money(amount, price["currency"]) + every


def date(moment: int) -> str:
    return time.strftime("%d %B %Y", time.gmtime(moment)).lstrip("0")


def _card_error(sentence: str, code: str) -> ApiError:
    return ApiError(402, sentence, code=code, kind="card_error")


def _is_luhn(number: str) -> bool:
    digits = [int(digit) for digit in reversed(number)]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return len(digits) >= 12 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_future(expiry: str, now: int) -> bool:
    month, _, year = expiry.replace(" ", "").partition("/")
    if not (month.isdecimal() and year.isdecimal() and 1 <= int(month) <= 12 and len(year) in (2, 4)):
        return False
    today = time.gmtime(now)
    return (int(year) % 100 + 2000, int(month)) >= (today.tm_year, today.tm_mon)
