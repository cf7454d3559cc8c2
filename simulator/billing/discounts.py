"""What coupons take off."""

from collections.abc import Sequence

from ..clock import add_interval
from ..errors import ApiError, invalid
from ..world import Object, World


def grant(world: World, coupon: Object, promotion_code: Object | None = None, **owner: str) -> Object:
    """Give a customer what a coupon promises.

    Shape   owner: the ids it belongs to, as `customer`, `subscription`, `checkout_session`
    Errors  ApiError when the coupon can no longer be redeemed
    """
    check_redeemable(world, coupon, promotion_code, owner.get("customer"))
    end = None
    if coupon["duration"] == "repeating":
        end = add_interval(world.now, "month", coupon["duration_in_months"])
    discount = {
        "id": world.new_id("discount"),
        "object": "discount",
        "checkout_session": None,
        "customer": None,
        "customer_account": None,
        "end": end,
        "invoice": None,
        "invoice_item": None,
        "promotion_code": promotion_code["id"] if promotion_code else None,
        "source": {"coupon": coupon["id"], "type": "coupon"},
        "start": world.now,
        "subscription": None,
        "subscription_item": None,
    } | owner
    for redeemed in filter(None, (coupon, promotion_code)):
        redeemed["times_redeemed"] += 1
        if redeemed["times_redeemed"] == redeemed["max_redemptions"]:
            end_offer(world, redeemed["id"])
    return world.add("discount", discount)


def end_offer(world: World, offer_id: str, _moment: int = 0) -> None:
    """A coupon or a promotion code was redeemed as often, or is as old, as it may be."""
    coupon, code = world.find("coupon", offer_id), world.find("promotion_code", offer_id)
    if coupon:
        coupon["valid"] = False
    if code:
        code["active"] = False


def check_redeemable(
    world: World, coupon: Object, promotion_code: Object | None = None, customer_id: str | None = None
) -> None:
    """Refuse what was used up, ended, switched off, or is for another customer."""
    if promotion_code and promotion_code["customer"] not in (None, customer_id):
        raise invalid("This promotion code is for another customer.", "discounts")
    for each in filter(None, (coupon, promotion_code)):
        is_used_up = each["max_redemptions"] is not None and each["times_redeemed"] >= each["max_redemptions"]
        ends = each.get("redeem_by") or each.get("expires_at")
        is_on = each.get("active", True) and each.get("valid", True)
        if is_used_up or not is_on or (ends and ends <= world.now):
            raise invalid(f"The {each['object'].replace('_', ' ')} is expired or was redeemed too often.", "discounts")


def found(world: World, given: Object, param: str = "discounts") -> tuple[Object, Object | None]:
    """Find the coupon, and the promotion code where there is one, that a parameter names."""
    if "promotion_code" in given:
        code = world.get("promotion_code", given["promotion_code"], param)
        return world.get("coupon", code["promotion"]["coupon"], param), code
    if "coupon" in given:
        return world.get("coupon", given["coupon"], param), None
    raise ApiError(400, "Name a coupon or a promotion code.", param=param)


def code_named(world: World, code: str) -> Object | None:
    """Find the active promotion code that a visitor typed; case does not matter."""
    return next((each for each in world.where("promotion_code", active=True) if each["code"] == code.upper()), None)


def coupon_of(world: World, discount_id: str) -> Object:
    return world.get("coupon", world.get("discount", discount_id)["source"]["coupon"])


def off(coupon: Object, amounts: Sequence[int]) -> list[int]:
    """Tell what a coupon takes off each of these amounts: minor units, never more than there is."""
    if coupon["percent_off"] is not None:
        return [round(max(amount, 0) * coupon["percent_off"] / 100) for amount in amounts]
    left, taken = coupon["amount_off"], []
    for amount in amounts:
        taken.append(min(left, max(amount, 0)))
        left -= taken[-1]
    return taken


def in_force(world: World, subscription: Object) -> list[str]:
    """List the subscription's discounts that are not over, and forget those that are."""
    now = world.now
    ends = {each: world.get("discount", each)["end"] for each in subscription["discounts"]}
    subscription["discounts"] = [each for each, end in ends.items() if end is None or end > now]
    return list(subscription["discounts"])


def used(world: World, subscription: Object) -> None:
    """An invoice was made: what was to be taken off once is used up."""
    subscription["discounts"] = [
        each for each in subscription["discounts"] if coupon_of(world, each)["duration"] != "once"
    ]
