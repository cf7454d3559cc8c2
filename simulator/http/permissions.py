"""Permissions of restricted keys.

The names come from Stripe's own error messages, without their "rak_" prefix, for accounts, customers, subscriptions,
prices, Checkout and webhook endpoints. No message is public for the others; their names are derived from the path.
"""

from collections.abc import Collection

from ..errors import ApiError
from ..world import ACCOUNT_ID

NAMES = {
    "/v1/account": "accounts_kyc_basic",
    "/v1/billing_portal/": "customer_portal",
    "/v1/checkout/sessions": "checkout_session",
    "/v1/payment_pages": "checkout_session",
    "/v1/prices": "plan",
    "/v1/webhook_endpoints": "webhook",
}
"""Permissions that are not named after the path."""


def check_permission(key: str, may: Collection[str] | None, method: str, path: str) -> None:
    """Check a restricted key's permission. Secret keys, and all keys if `may` is None, are permitted everything.

    Errors  ApiError 403, which stripe-python raises as PermissionError
    """
    if may is None or not key.startswith("rk_"):
        return
    name = permission_for(path)
    wanted = f"{name}_read" if method == "GET" else f"{name}_write"
    if wanted in may or f"{name}_write" in may:
        return
    raise ApiError(
        403,
        f"The provided key 'rk_test_***{key[-4:]}' does not have the required permissions for this endpoint on account "
        f"'{ACCOUNT_ID}'. Having the 'rak_{wanted}' permission would allow this request to continue.",
        is_replayed=False,
    )


def permission_for(path: str) -> str:
    """Return the permission's name for a path: "customer" for /v1/customers/cus_1."""
    for begin, name in NAMES.items():
        if path.startswith(begin):
            return name
    return path.split("/")[2].removesuffix("s")
