"""The permissions of a restricted key: each that our calls need, tried by a call that changes nothing."""

import functools
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import urlencode

from ...config import Config
from ...gateway.gateway import Gateway
from .check import Check, Examination, Seen, ok, wrong

NOWHERE = "corkage_doctor"  # the end of ids that exist nowhere: Stripe looks at the permission first


class Permission(NamedTuple):
    """A permission as Stripe's Dashboard names it, and the call that shows whether the key has it."""

    name: str
    level: str
    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.name}: {self.level}"


def _reads(name: str, path: str) -> Permission:
    return Permission(name, "Read", "get", f"/v1/{path}?limit=1")


def _writes(name: str, path: str) -> Permission:
    return Permission(name, "Write", "post", f"/v1/{path}")


ALWAYS = (
    _writes("Customers", f"customers/cus_{NOWHERE}"),
    _writes("Checkout Sessions", f"checkout/sessions/cs_test_{NOWHERE}/expire"),
    _writes("Customer portal", "billing_portal/sessions"),  # of no customer
    _writes("Subscriptions", f"subscriptions/sub_{NOWHERE}"),
    _writes("Invoices", f"invoices/in_{NOWHERE}/finalize"),
    _reads("Prices", "prices"),
    _reads("Products", "products"),
    _reads("Events", "events"),
    _reads("Charges and Refunds", "refunds"),
    _reads("Disputes", "disputes"),
)
TO_SET_UP = (("Products", "Write"), ("Prices", "Write"), ("Webhook Endpoints", "Write"), ("Billing Meters", "Write"))
"""What `corkage init` and `corkage push` need beside that: the names and levels of permissions."""
CODES = (_reads("Promotion Codes", "promotion_codes"),)
METERS = (_reads("Billing Meters", "billing/meters"),)


IDS = {
    "Billing Meters": "billing_meter",
    "Charges and Refunds": "charge",
    "Checkout Sessions": "checkout_session",
    "Customer portal": "customer_portal",
    "Customers": "customer",
    "Disputes": "dispute",
    "Events": "event",
    "Invoices": "invoice",
    "Prices": "plan",  # their older name
    "Products": "product",
    "Promotion Codes": "promotion_code",
    "Subscriptions": "subscription",
    "Webhook Endpoints": "webhook",
}
"""What Stripe calls the permissions in its errors and in links, between "rak_" and the level."""


def link_to_key(livemode: bool, permissions: Iterable[tuple[str, str]]) -> str:
    """Return the address of the Dashboard's form for a restricted key, which has these permissions ticked.

    The form is Stripe's, and documented nowhere: compare it with the list.
    """
    ids = [f"rak_{IDS[name]}_{level.lower()}" for name, level in permissions]
    query = urlencode([("name", "Corkage"), *(("permissions[]", each) for each in ids)], safe="[]")
    return f"https://dashboard.stripe.com/{'' if livemode else 'test/'}apikeys/create?{query}"


def missing(gateway: Gateway, config: Config) -> list[Permission]:
    """Return the permissions that the key needs and lacks. A secret key has them all, and is not asked about.

    Errors  StripeError as the gateway's
    """
    if not config.stripe_secret_key.startswith("rk_"):
        return []
    wanted = needed(config)
    tries = [functools.partial(gateway.is_permitted, each.method, each.path) for each in wanted]
    return [each for each, is_there in zip(wanted, gateway.side_by_side(*tries), strict=True) if not is_there]


def needed(config: Config) -> tuple[Permission, ...]:
    """Return the permissions that this configuration needs."""
    meters = METERS if any(plan.meters for plan in config.plans) else ()
    return (*ALWAYS, *(CODES if config.promotion_codes else ()), *meters)


def _look(examination: Examination) -> Iterator[Seen]:
    if not examination.config.stripe_secret_key.startswith("rk_"):
        yield ok("a secret key may do everything; a restricted one may do less harm where it is stolen")
        return
    lacking = examination.at_stripe["missing"]
    if lacking:
        yield wrong(
            f"the key lacks {len(lacking)} of the permissions that it needs: {', '.join(map(str, lacking))}",
            "give the restricted key these permissions in Stripe's Dashboard, Developers, API keys",
        )


CHECKS = (
    Check(
        "permissions",
        "a restricted key: each permission that our calls need, tried by a call that changes nothing",
        "the restricted key has every permission that it needs",
        _look,
    ),
)
