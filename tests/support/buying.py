"""A visitor's clicks: at Corkage as a program or a form of our pages, and at Stripe's hosted pages."""

import time
from typing import Any

import requests
from harness import AUTH_SECRET, App

from corkage.identity import mint_token

CARD = {"number": "4242 4242 4242 4242", "expiry": "12/40", "cvc": "123"}


def token(user: str = "ann", email: str | None = None) -> str:
    return mint_token(AUTH_SECRET, user, email=email, now=time.time(), lifetime_seconds=600)


def bearer(minted: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {minted}"}


def click(
    app: App, path: str = "/checkout", user: str = "ann", body: Any = None, email: str | None = None, **headers: str
) -> requests.Response:
    """Post what a button of the product posts; a checkout is of plan pro unless the body says otherwise."""
    sent = bearer(token(user, email or f"{user}@example.com")) | headers
    body = {"plan": "pro"} if body is None and path == "/checkout" else body
    return requests.post(f"{app.url}{path}", data=body, headers=sent, allow_redirects=False, timeout=30)


def submit(app: App, path: str, user: str = "ann", **fields: str) -> requests.Response:
    """Submit a form of our own pages, as a browser does."""
    headers = bearer(token(user)) | {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
    return requests.post(f"{app.url}{path}", fields, headers=headers, allow_redirects=False, timeout=30)


def url_of(response: requests.Response) -> str:
    """Return the address that a click leads to."""
    assert response.status_code == 200, response.text
    return str(response.json()["url"])


def pay(url: str, card: dict[str, str] = CARD) -> requests.Response:
    """Fill in the card form of the hosted page."""
    return requests.post(url, data=card, allow_redirects=False, timeout=30)
