"""Valid input of each kind, from which tests make what is nearly valid."""

import base64
import hmac
import json
from typing import Any

from harness import AUTH_SECRET, Shop

from corkage.simulator import Simulator
from corkage.simulator.webhooks import thin

PLANS_FILE = """[pro]
name = "Pro"
prices = ["pro_monthly", { lookup_key = "yearly", unit_amount = 9000, currency = "usd", interval = "year" }]
features = ["exports"]
limits = { notes = 50, exports = { limit = 100, every = "month" } }
trial_days = 14
grace_days = 7
"""
ENV_FILE = """STRIPE_SECRET_KEY=sk_test_1
STRIPE_WEBHOOK_SECRET=whsec_1
FRONTEND_URL=https://app.example.com
BILLING_AUTH_SECRET="0123456789abcdef0123456789abcdef"
BILLING_POLL_SECONDS=300
BILLING_PLANS=plans.toml
"""
CUSTOMERS_FILE = b"user_id,customer_id\nann,cus_1\nbob,cus_2\n"
EMAILS_FILE = b"user_id,email\nann,ann@example.com\n"
GRANTS_FILE = b"user_id,plan,until\nann,pro,2027-01-01\nbob,pro,\n"

FORMS: dict[str, dict[str, Any]] = {
    "/checkout": {"plan": "pro", "quantity": 1, "code": "X", "from": "pages", "again": "yes"},
    "/portal": {"flow": "subscription_cancel", "subscription": "sub_1", "from": "pages"},
    "/use": {"name": "exports", "amount": 1, "key": "k"},
}
CLAIMS = {"sub": "ann", "aud": "corkage", "email": "a@example.com", "name": "Ann", "payer": "org_1", "may_buy": True}
HEADS = (
    {"alg": "HS256", "typ": "JWT"},
    {"alg": "HS256", "crit": ["b64"], "b64": False},
    {"alg": "none"},
    {"alg": "HS512"},
)


def every_event(shop: Shop, simulator: Simulator) -> list[dict[str, Any]]:
    """Return events of many kinds, as snapshots and thin."""
    customer = shop.customer("bob")
    subscription = shop.subscribe(customer, user="bob")
    shop.client.v1.subscriptions.update(subscription, params={"metadata": {"seen": "yes"}})
    shop.client.v1.customers.update(customer, params={"email": "bob@example.org"})
    shop.client.v1.subscriptions.cancel(subscription)
    found = simulator.world.all("event")
    full = [thin.full_event(each) for each in found if not thin.is_snapshot_only(each["type"])]
    copied: list[dict[str, Any]] = json.loads(
        json.dumps([each for each in found if not thin.is_thin_only(each["type"])] + full)
    )
    return copied


def minted_from(head: bytes, claims: bytes) -> bytes:
    """Return a token with our signature, whatever it holds."""
    parts = b".".join(base64.urlsafe_b64encode(each).rstrip(b"=") for each in (head, claims))
    signature = hmac.new(AUTH_SECRET.encode(), parts, "sha256").digest()
    return parts + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")


def is_let_in_rightly(access: dict[str, Any], head: dict[str, Any], claims: dict[str, Any], now: float) -> None:
    """Fail where GET /access answered of somebody else than the token names, or to a token that it must refuse."""
    payer = claims.get("payer")
    assert access["user_id"] == (payer if payer not in (None, "") else claims["sub"])
    assert payer in (None, "", claims["sub"]) or payer.startswith("org_")
    assert not claims["sub"].startswith("org_")
    assert head["alg"] == "HS256"
    assert claims["aud"] == "corkage" or (isinstance(claims["aud"], list) and "corkage" in claims["aud"])
    assert now - 120 < claims["exp"] < now + 86_400 + 120


def is_stripes_word(error: str | None) -> bool:
    """Return whether an event waits for what Stripe said, and not because of a bug of ours."""
    return error is not None and not error.startswith("bug")
