"""What a restricted key may do.

Names are those in Stripe's own messages, without their "rak_", as far as such messages are public (the account's,
customers', subscriptions', prices', Checkout's, webhook endpoints'); the others are made of the path in the same way.
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
"""Where the name is not the resource's own."""


def check_permission(key: str, may: Collection[str] | None, method: str, path: str) -> None:
    """Refuse what a restricted key may not; a secret key may everything, and so may any while nothing is said.

    Errors  ApiError 403, which stripe-python raises as its PermissionError
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
        is_kept=False,
    )


def permission_for(path: str) -> str:
    """Return the name of what has to be permitted for this path: "customer", for /v1/customers/cus_1."""
    for begin, name in NAMES.items():
        if path.startswith(begin):
            return name
    return path.split("/")[2].removesuffix("s")
