"""Discounts: coupons redeemed, applied to amounts, and expired."""

from collections.abc import Sequence

from ..clock import add_interval
from ..errors import ApiError, invalid
from ..world import Object, World


def create_discount(world: World, coupon: Object, promotion_code: Object | None = None, **owner: str) -> Object:
    """Redeem a coupon: create its discount.

    Shape   owner: the ids it belongs to: `customer`, `subscription`, `checkout_session`
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
            deactivate(world, redeemed["id"])
    return world.add("discount", discount)


def deactivate(world: World, offer_id: str, _moment: int = 0) -> None:
    """Deactivate a coupon or promotion code that is used up or expired."""
    coupon, code = world.find("coupon", offer_id), world.find("promotion_code", offer_id)
    if coupon:
        coupon["valid"] = False
    if code:
        code["active"] = False


def check_redeemable(
    world: World, coupon: Object, promotion_code: Object | None = None, customer_id: str | None = None
) -> None:
    """Raise ApiError if the coupon or code is used up, expired, inactive, or not for this customer."""
    if promotion_code:
        _check_customer(world, promotion_code, customer_id)
    for each in filter(None, (coupon, promotion_code)):
        is_used_up = each["max_redemptions"] is not None and each["times_redeemed"] >= each["max_redemptions"]
        ends = each.get("redeem_by") or each.get("expires_at")
        is_on = each.get("active", True) and each.get("valid", True)
        if is_used_up or not is_on or (ends and ends <= world.now):
            words = each["object"].replace("_", " ")
            code = "coupon_expired" if each is coupon else None
            raise invalid(f"This {words} is expired, inactive or was redeemed too often.", "discounts", code)


def _check_customer(world: World, promotion_code: Object, customer_id: str | None) -> None:
    """A first-time code is refused after any invoice, even an unpaid one: reported of Stripe in stripe-node #2349."""
    if promotion_code["customer"] not in (None, customer_id):
        raise invalid("This promotion code is for another customer.", "discounts")
    is_first_time = promotion_code["restrictions"]["first_time_transaction"]
    if is_first_time and customer_id and world.where("invoice", customer=customer_id):
        raise invalid(
            "This promotion code cannot be redeemed because the associated customer has prior transactions.",
            "discounts",
        )


def check_minimum(promotion_code: Object | None, amount: int) -> None:
    """Raise ApiError if the amount is below the promotion code's minimum."""
    minimum = promotion_code and promotion_code["restrictions"]["minimum_amount"]
    if minimum and amount < minimum:
        raise invalid("This promotion code needs a larger amount.", "discounts")


def find_coupon(world: World, given: Object, param: str = "discounts") -> tuple[Object, Object | None]:
    """Return the coupon that a parameter names, and the promotion code if it names one."""
    if "promotion_code" in given:
        code = world.get("promotion_code", given["promotion_code"], param)
        return world.get("coupon", code["promotion"]["coupon"], param), code
    if "coupon" in given:
        return world.get("coupon", given["coupon"], param), None
    raise ApiError(400, "Name a coupon or a promotion code.", param=param)


def find_code(world: World, code: str) -> Object | None:
    """Return the active promotion code that a visitor typed, in any case, or None."""
    return next((each for each in world.where("promotion_code", active=True) if each["code"] == code.upper()), None)


def coupon_of(world: World, discount_id: str) -> Object:
    return world.get("coupon", world.get("discount", discount_id)["source"]["coupon"])


def amounts_off(coupon: Object, amounts: Sequence[int]) -> list[int]:
    """Return what a coupon takes off each amount, in minor units, never more than the amount."""
    if coupon["percent_off"] is not None:
        return [round(max(amount, 0) * coupon["percent_off"] / 100) for amount in amounts]
    left, taken = coupon["amount_off"], []
    for amount in amounts:
        taken.append(min(left, max(amount, 0)))
        left -= taken[-1]
    return taken


def in_force(world: World, customer: Object, subscription: Object | None) -> list[str]:
    """Remove expired discounts, and return the subscription's; the customer's if the subscription has none."""
    if subscription and subscription["discounts"]:
        subscription["discounts"] = [each for each in subscription["discounts"] if not _has_ended(world, each)]
    if subscription and subscription["discounts"]:
        return list(subscription["discounts"])
    own = customer.get("discount")
    if own and _has_ended(world, own["id"]):
        drop_from_customer(world, customer)
    return [own["id"]] if own and customer["discount"] else []


def remove_used(world: World, customer: Object, subscription: Object | None, used: Sequence[str]) -> None:
    """Remove `once` discounts, after an invoice has used them."""
    spent = [each for each in used if coupon_of(world, each)["duration"] == "once"]
    if subscription and spent:
        subscription["discounts"] = [each for each in subscription["discounts"] if each not in spent]
    if customer.get("discount") and customer["discount"]["id"] in spent:
        drop_from_customer(world, customer)


def grant_to_customer(world: World, customer: Object, given: Object) -> None:
    """Give a customer a discount, in place of the one it has.

    Errors  ApiError when the coupon cannot be redeemed
    """
    param = "coupon" if "coupon" in given else "promotion_code"
    before, coupon = customer["discount"], find_coupon(world, given, param)
    granted = create_discount(world, *coupon, customer=customer["id"])
    customer["discount"] = granted
    if before:
        previous = {name: value for name, value in before.items() if granted[name] != value}
        world.emit("customer.discount.updated", granted, previous)
    else:
        world.emit("customer.discount.created", granted)


def drop_from_customer(world: World, customer: Object) -> None:
    """Take a customer's discount away."""
    dropped, customer["discount"] = customer["discount"], None
    world.emit("customer.discount.deleted", dropped)


def _has_ended(world: World, discount_id: str) -> bool:
    end = world.get("discount", discount_id)["end"]
    return end is not None and end <= world.now
