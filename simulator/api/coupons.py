"""Coupons, and the promotion codes that redeem them."""

from typing import Any

from ..errors import already_exists, invalid, missing, missing_parameter
from ..http import form, lists
from ..http.form import boolean, choice, integer, metadata, nested, number, optional, text
from ..http.route import Route, retrieve_route
from ..world import Object, World
from .customers import get_customer

COUPONS, CODES = "/v1/coupons", "/v1/promotion_codes"


def create_coupon(world: World, params: dict[str, Any]) -> Object:
    if world.find("coupon", params.get("id")):
        raise already_exists("coupon")
    if not 0 < params.get("percent_off", 100) <= 100:
        raise invalid("This value must be more than 0 and at most 100.", "percent_off")
    if ("percent_off" in params) is ("amount_off" in params):
        raise invalid("You must pass one of `percent_off` and `amount_off`.", "percent_off")
    if "amount_off" in params and "currency" not in params:
        raise missing_parameter("currency")
    duration = params.get("duration", "once")
    if (duration == "repeating") is not ("duration_in_months" in params):
        raise invalid("`duration_in_months` belongs to duration=repeating, and to no other.", "duration_in_months")
    coupon = {
        "id": params.get("id") or world.new_token(8),
        "object": "coupon",
        "created": world.now,
        "duration": duration,
        "livemode": False,
        "metadata": form.merge_metadata({}, params.get("metadata")),
        "times_redeemed": 0,
        "valid": True,
    } | {
        name: params.get(name)
        for name in (
            "amount_off",
            "currency",
            "duration_in_months",
            "max_redemptions",
            "name",
            "percent_off",
            "redeem_by",
        )
    }
    world.add("coupon", coupon)
    if coupon["redeem_by"]:
        world.clock.schedule(coupon["redeem_by"], "end_offer", coupon["id"])
    world.emit("coupon.created", coupon)
    return coupon


def retrieve_coupon(world: World, _params: dict[str, Any], coupon_id: str) -> Object:
    return _get_coupon(world, coupon_id)


def update_coupon(world: World, params: dict[str, Any], coupon_id: str) -> Object:
    coupon = _get_coupon(world, coupon_id)
    with world.changing(coupon, "coupon.updated"):
        coupon["metadata"] = form.merge_metadata(coupon["metadata"], params.get("metadata"))
        coupon["name"] = params.get("name", coupon["name"])
    return coupon


def delete_coupon(world: World, _params: dict[str, Any], coupon_id: str) -> Object:
    """Delete a coupon for new customers; discounts already redeemed stay."""
    coupon = _get_coupon(world, coupon_id)
    coupon["valid"] = False
    world.hidden.setdefault(coupon_id, {})["is_deleted"] = True
    world.emit("coupon.deleted", coupon)
    return {"id": coupon_id, "object": "coupon", "deleted": True}


def list_coupons(world: World, params: dict[str, Any]) -> Object:
    found = [each for each in world.all("coupon") if not _is_deleted(world, each["id"])]
    return lists.page(found, params, COUPONS)


def _is_deleted(world: World, coupon_id: str) -> bool:
    return "is_deleted" in world.hidden.get(coupon_id, {})


def _get_coupon(world: World, coupon_id: str, param: str = "id") -> Object:
    """Return a coupon, unless it was deleted. Deleted coupons are kept for the discounts that refer to them."""
    if _is_deleted(world, coupon_id):
        raise missing("coupon", coupon_id, param)
    return world.get("coupon", coupon_id, param)


def create_code(world: World, params: dict[str, Any]) -> Object:
    # The official CLI still sends `coupon`, the parameter's name before API version 2025-09-30.clover.
    coupon_id = params.get("promotion", {}).get("coupon") or params.get("coupon")
    if coupon_id is None:
        raise missing_parameter("promotion[coupon]")
    coupon = _get_coupon(world, coupon_id, "promotion[coupon]")
    restrictions = params.get("restrictions", {})
    if ("minimum_amount" in restrictions) is not ("minimum_amount_currency" in restrictions):
        raise missing_parameter("restrictions[minimum_amount_currency]")
    if params.get("customer"):
        get_customer(world, params["customer"])
    code = params.get("code") or world.new_token(8)
    if any(each["code"] == code.upper() for each in world.where("promotion_code", active=True)):
        raise invalid("An active promotion code with this code already exists.", "code")
    promotion_code = {
        "id": world.new_id("promotion_code"),
        "object": "promotion_code",
        "active": params.get("active", True),
        "code": code.upper(),
        "created": world.now,
        "customer": params.get("customer"),
        "customer_account": None,
        "expires_at": params.get("expires_at"),
        "livemode": False,
        "max_redemptions": params.get("max_redemptions"),
        "metadata": form.merge_metadata({}, params.get("metadata")),
        "promotion": {"coupon": coupon["id"], "type": "coupon"},
        "restrictions": {"first_time_transaction": False, "minimum_amount": None, "minimum_amount_currency": None}
        | restrictions,
        "times_redeemed": 0,
    }
    world.add("promotion_code", promotion_code)
    if promotion_code["expires_at"]:
        world.clock.schedule(promotion_code["expires_at"], "end_offer", promotion_code["id"])
    world.emit("promotion_code.created", promotion_code)
    return promotion_code


def update_code(world: World, params: dict[str, Any], code_id: str) -> Object:
    code = world.get("promotion_code", code_id)
    with world.changing(code, "promotion_code.updated"):
        code["active"] = params.get("active", code["active"])
        code["metadata"] = form.merge_metadata(code["metadata"], params.get("metadata"))
    return code


def list_codes(world: World, params: dict[str, Any]) -> Object:
    fields = {name: params[name] for name in ("active", "customer") if name in params}
    found = world.where("promotion_code", **fields)
    if "code" in params:
        found = [each for each in found if each["code"] == params["code"].upper()]
    if "coupon" in params:
        found = [each for each in found if each["promotion"]["coupon"] == params["coupon"]]
    return lists.page(found, params, CODES)


ROUTES = (
    Route(
        "POST",
        COUPONS,
        create_coupon,
        {
            "amount_off": integer,
            "currency": text,
            "duration": choice("forever", "once", "repeating"),
            "duration_in_months": integer,
            "id": text,
            "max_redemptions": integer,
            "metadata": metadata,
            "name": text,
            "percent_off": number,
            "redeem_by": integer,
        },
    ),
    Route("GET", f"{COUPONS}/<id>", retrieve_coupon),
    Route("POST", f"{COUPONS}/<id>", update_coupon, {"metadata": metadata, "name": text}),
    Route("DELETE", f"{COUPONS}/<id>", delete_coupon),
    Route("GET", COUPONS, list_coupons, form.LIST | {"created": form.created}),
    Route(
        "POST",
        CODES,
        create_code,
        {
            "active": boolean,
            "code": text,
            "coupon": text,
            "customer": optional(text),
            "expires_at": integer,
            "max_redemptions": integer,
            "metadata": metadata,
            "promotion": nested({"coupon": text, "type": choice("coupon")}),
            "restrictions": nested(
                {"first_time_transaction": boolean, "minimum_amount": integer, "minimum_amount_currency": text}
            ),
        },
    ),
    retrieve_route("promotion_code", CODES),
    Route("POST", f"{CODES}/<id>", update_code, {"active": boolean, "metadata": metadata}),
    Route(
        "GET",
        CODES,
        list_codes,
        form.LIST | {"active": boolean, "code": text, "coupon": text, "created": form.created, "customer": text},
    ),
)
