"""A visitor who fills in the hosted Checkout page over HTTP, for tests without a browser."""

import html
import http.client
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from .test_cards import BY_NUMBER, INSTRUMENTS, resolve_name

ANSWER_SECONDS = 30.0


class Refused(Exception):
    """The page refused the payment. The text is the page's message."""


class Response(NamedTuple):
    status: int
    text: str


def pay(url: str, card: str, details: Mapping[str, str] | None = None) -> None:
    """Pay on a hosted page, and confirm to the bank if it asks.

    Shape   card: a test card or account, by its number or its `pm_...` name;
            details: what the page asks before, such as `country`, `tax_id` or `quantity_0`
    Errors  Refused with the page's message; ValueError for a card that is not a test card
    """
    if details:
        _check(_post(f"{url}/details", dict(details)))
    response = _post(url, _fields(card))
    confirmation = re.search(r'name="method" value="([^"]+)"', response.text)
    if confirmation:
        response = _post(url, {"method": confirmation[1], "answer": "confirm"})
    _check(response)


def _check(response: Response) -> None:
    if response.status != 303:
        alert = re.search(r'role="alert">([^<]*)<', response.text)
        raise Refused(html.unescape(alert[1]) if alert else f"The page answered {response.status}.")


def _fields(card: str) -> dict[str, str]:
    number = card.replace(" ", "")
    name = resolve_name(card) or BY_NUMBER.get(number)
    if name is None:
        raise ValueError(f"{card!r} is not one of the test cards and accounts that the simulator knows")
    instrument = INSTRUMENTS[name]
    if instrument.type != "card":
        return {"account": instrument.number}
    return {"number": instrument.number, "expiry": "12/40", "cvc": "123"}


def _post(url: str, fields: dict[str, str]) -> Response:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("POST", parts.path, urlencode(fields), {"Content-Type": "application/x-www-form-urlencoded"})
        response = connection.getresponse()
        return Response(response.status, response.read().decode())
    finally:
        connection.close()
