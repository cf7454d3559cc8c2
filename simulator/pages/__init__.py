"""The hosted pages, where Stripe's would be: each plainly marked as a simulation, none in need of a script."""

import functools
import time
from pathlib import Path
from typing import Any

import bottle

from ..cards import BY_NUMBER
from ..errors import ApiError
from ..resources.payment_methods import make
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


def see_other(url: str) -> bottle.HTTPResponse:
    return bottle.HTTPResponse(status=303, headers={"Location": url})


def card_fields(error: str | None = None) -> str:
    """The inputs for a card. What was typed is not sent back: it could be a real card's."""
    return str(template("card_fields").render(error=error))


def typed_card(world: World) -> Object:
    """Make a payment method of the card in the submitted form.

    Errors  ApiError with a sentence for the visitor
    """
    form = bottle.request.forms
    number = "".join(form.get("number", "").split())
    if not number.isdecimal() or not _is_luhn(number):
        raise _refused("Your card number is invalid.", "incorrect_number")
    if number not in BY_NUMBER:
        raise _refused("The simulation takes Stripe's published test cards only.", "test_mode_live_card")
    if not _is_to_come(form.get("expiry", ""), world.now):
        raise _refused("Your card's expiration date is in the past, or not of the form MM/YY.", "invalid_expiry_year")
    if not form.get("cvc", "").isdecimal() or len(form.get("cvc", "")) not in (3, 4):
        raise _refused("Your card's security code is incomplete.", "incomplete_cvc")
    return make(world, BY_NUMBER[number], {})


def money(amount: int, currency: str) -> str:
    """Write an amount of minor units as people read it."""
    if currency in ZERO_DECIMAL:
        return f"{currency.upper()} {amount:,}"
    return f"{'$' if currency == 'usd' else currency.upper() + ' '}{amount / 100:,.2f}"


def price_in_words(price: Object, quantity: int = 1) -> str:
    recurring = price["recurring"]
    every = ""
    if recurring:
        count = recurring["interval_count"]
        every = f" per {recurring['interval']}" if count == 1 else f" every {count} {recurring['interval']}s"
    return money(price["unit_amount"] * quantity, price["currency"]) + every


def date(moment: int) -> str:
    return time.strftime("%d %B %Y", time.gmtime(moment)).lstrip("0")


def _refused(sentence: str, code: str) -> ApiError:
    return ApiError(402, sentence, code=code, kind="card_error")


def _is_luhn(number: str) -> bool:
    digits = [int(digit) for digit in reversed(number)]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return len(digits) >= 12 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_to_come(expiry: str, now: int) -> bool:
    month, _, year = expiry.replace(" ", "").partition("/")
    if not (month.isdecimal() and year.isdecimal() and 1 <= int(month) <= 12 and len(year) in (2, 4)):
        return False
    today = time.gmtime(now)
    return (int(year) % 100 + 2000, int(month)) >= (today.tm_year, today.tm_mon)
