"""Parameters of older API versions, in the words of the newest.

Only what clients of those versions send most: other parameters that a version dropped are refused as unknown.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import invalid
from ..versions import BASIL, CLOVER, DAHLIA, UI_MODES

Params = dict[str, Any]
Step = Mapping[tuple[str, str], Callable[[Params], Params]]
"""By method and path: a function that returns the parameters as the next release has them."""

CLASSIC = {"billing_mode": {"type": "classic"}}


def modernized(method: str, path: str, params: Params, version: str) -> Params:
    """Return the parameters of a request in this API version as the newest version has them."""
    for since, step in STEPS:
        newer = step.get((method, path)) if version < since else None
        params = newer(params) if newer else params
    return params


def _coupon_to_discounts(params: Params) -> Params:
    """`coupon` and `promotion_code` became `discounts` in basil. An empty value takes the discount away."""
    given = {name: params[name] for name in ("coupon", "promotion_code") if name in params}
    if not given:
        return params
    if "discounts" in params or len(given) > 1:
        raise invalid("You may only specify one of these parameters: coupon, promotion_code, discounts.", "discounts")
    kept = {name: value for name, value in params.items() if name not in given}
    return kept | {"discounts": [given] if all(given.values()) else ""}


def _price_to_pricing(params: Params) -> Params:
    """An invoice item's `price` moved into `pricing` in basil."""
    if "price" not in params:
        return params
    kept = {name: value for name, value in params.items() if name != "price"}
    return kept | {"pricing": {"price": params["price"]}}


def _coupon_to_promotion(params: Params) -> Params:
    """A promotion code's `coupon` moved into `promotion` in clover."""
    if "coupon" not in params:
        return params
    kept = {name: value for name, value in params.items() if name != "coupon"}
    return kept | {"promotion": {"type": "coupon", "coupon": params["coupon"]}}


def _billed_classic(params: Params) -> Params:
    """Before clover, a new subscription was billed in the classic mode unless the request said otherwise."""
    return CLASSIC | params


def _session_before_clover(params: Params) -> Params:
    data = params.get("subscription_data", {})
    if params.get("mode") != "subscription" or not isinstance(data, dict):
        return params
    return params | {"subscription_data": CLASSIC | data}


def _session_before_dahlia(params: Params) -> Params:
    newest = {older: newer for newer, older in UI_MODES.items()}
    mode = params.get("ui_mode")
    if mode in UI_MODES and mode not in newest:
        raise invalid(f"Invalid ui_mode: {mode}. API version {DAHLIA} introduced it.", "ui_mode")
    return params | {"ui_mode": newest[mode]} if mode in newest else params


SUBSCRIPTIONS, SESSIONS = "/v1/subscriptions", "/v1/checkout/sessions"
STEPS: tuple[tuple[str, Step], ...] = (
    (
        BASIL,
        {
            ("POST", SUBSCRIPTIONS): _coupon_to_discounts,
            ("POST", f"{SUBSCRIPTIONS}/<id>"): _coupon_to_discounts,
            ("POST", "/v1/invoiceitems"): _price_to_pricing,
        },
    ),
    (
        CLOVER,
        {
            ("POST", SUBSCRIPTIONS): _billed_classic,
            ("POST", SESSIONS): _session_before_clover,
            ("POST", "/v1/promotion_codes"): _coupon_to_promotion,
        },
    ),
    (DAHLIA, {("POST", SESSIONS): _session_before_dahlia}),
)
"""By the version that introduced the newer parameters, oldest first."""
