"""How the configuration of Stripe's customer portal differs from what is sold, as a step."""

from collections.abc import Iterator
from typing import Any

from ..amounts import WantedPrice
from ..config import Config
from ..sync.endpoint import APP, fingerprint
from . import wanted
from .found import PORTALS, Found
from .prices import id_after
from .step import BY_HAND, STATE, Call, Step, is_changed_by_hand, normal, picked, state_of


def portal_steps(config: Config, found: Found, *, overwrite: bool) -> Iterator[Step]:
    """Return what is to be done about the configuration that push makes, never about the account's own."""
    if not any(plan.prices for plan in config.plans):
        return
    offered = list(_offered(config, found, overwrite=overwrite))
    features = wanted.portal_features(offered, codes=config.promotion_codes)
    params = {
        "features": features,
        "metadata": {APP: config.app, STATE: state_of(features)},
        "name": config.app[: wanted.LONGEST_NAME],
    }
    present = portal_of(config.app, found.portals)
    what = _offers(config, offered)
    if present is None:
        call = Call("post", PORTALS, params, f"corkage-push-{fingerprint(params)}")
        yield Step("portal", "", f"make: {what}", (call,))
        return
    now = _present(present["features"], features)
    if normal(now) != normal(features) or not present["active"]:
        is_by_hand = is_changed_by_hand(present["metadata"], now) or not present["active"]
        call = Call("post", f"{PORTALS}/{present['id']}", params | {"active": True})
        yield Step("portal", "", f"change: {what}", (call,), BY_HAND if is_by_hand and not overwrite else "")


def portal_of(app: str, portals: tuple[dict[str, Any], ...]) -> dict[str, Any] | None:
    """Return the configuration that push made, an active one first."""
    ours = [each for each in portals if (each["metadata"] or {}).get(APP) == app]
    return next(iter(sorted(ours, key=lambda each: not each["active"])), None)


def _present(found: dict[str, Any], features: dict[str, Any]) -> dict[str, Any]:
    """Return what a configuration holds now, of what push sets, in the same shape."""
    now: dict[str, Any] = picked(found, features)
    products = found["subscription_update"].get("products") or []
    now["subscription_update"]["products"] = [_present_product(each) for each in products]
    return now


def _present_product(found: dict[str, Any]) -> dict[str, Any]:
    seats = found.get("adjustable_quantity") or {"enabled": False}
    names = ("enabled", "minimum", "maximum") if seats["enabled"] else ("enabled",)
    return {
        "product": found["product"],
        "prices": found["prices"],
        "adjustable_quantity": {name: seats.get(name) for name in names},
    }


def _offered(config: Config, found: Found, *, overwrite: bool) -> Iterator[wanted.Offered]:
    """Return what the portal offers. Of a product it takes one price for each interval, and none that is metered."""
    made = {price.lookup_key: (product, price) for product in wanted.products(config) for price in product.prices}
    seen: set[tuple[str, ...]] = set()
    for plan, name in wanted.offered_plans(config):
        offered, every = _price(config, found, name, made.get(name), overwrite=overwrite)
        if offered and every and (offered.product_id, *every) not in seen:
            seen.add((offered.product_id, *every))
            yield offered._replace(seats=plan.seats)


def _price(
    config: Config,
    found: Found,
    name: str,
    made: tuple[wanted.WantedProduct, WantedPrice] | None,
    *,
    overwrite: bool,
) -> tuple[wanted.Offered | None, tuple[str, ...]]:
    """Return a price as it is after the push, with its interval; neither for what is not offered."""
    if made is not None:
        product, price = made
        id_ = id_after(config, found, product, price, overwrite=overwrite)
        every = (price.interval, str(price.interval_count))
        is_offered = bool(id_ and price.interval and not price.meter)
        return wanted.Offered(id_, product.id, None) if is_offered else None, every
    there = found.prices.get(name)
    if there is None or not there.interval or there.is_metered or not (there.is_active and there.has_active_product):
        return None, ()
    return wanted.Offered(there.id, there.product_id, None), (there.interval, str(there.interval_count))


def _offers(config: Config, offered: list[wanted.Offered]) -> str:
    if not offered:
        return "cards, invoices and cancellation"
    names = [name for _, name in wanted.offered_plans(config)]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} others" if len(names) > 3 else "")
    left_out = len({each.product_id for each in offered}) - wanted.MOST_PRODUCTS
    return f"offers {shown}" + (f"; {left_out} products left out, Stripe takes 10" if left_out > 0 else "")
