"""How the prices at Stripe differ from those of plans.toml, as steps."""

from collections.abc import Iterator
from typing import Any

from ..amounts import WantedPrice
from ..config import Config
from ..pages.currencies import in_major_units
from ..replica.prices import trouble_of
from ..sync.endpoint import APP, fingerprint
from . import wanted
from .found import Found
from .step import ARCHIVED, BY_HAND, KEY, PLAN, STATE, Call, Step
from .wanted import WantedProduct

PATH = "/v1/prices"
NEW = "new:"  # begins what stands for the id of a price that is yet to be made


def price_steps(config: Config, found: Found, *, overwrite: bool) -> Iterator[Step]:
    """Return what is to be done about the prices with amounts, and what is wrong with the others, which stay as they
    are.
    """
    for product in wanted.products(config):
        for price in product.prices:
            yield from _step(config, found, product, price, overwrite=overwrite)
    for plan in config.plans:
        made = {price.lookup_key for price in plan.wanted_prices}
        for name in plan.prices:
            trouble = trouble_of(found.prices.get(name), plan) if name not in made else None
            if trouble:
                yield Step("price", name, "sell", refused=f"{trouble}; push makes and changes prices with amounts only")


def id_after(config: Config, found: Found, product: WantedProduct, price: WantedPrice, *, overwrite: bool) -> str:
    """Return the id of the price that has the lookup key after the steps; one that begins with NEW where it is yet to
    be made; empty where none is sold.
    """
    steps = list(_step(config, found, product, price, overwrite=overwrite))
    present = found.prices.get(price.lookup_key)
    if any(step.refused for step in steps) or not steps:
        is_sold = present is not None and present.is_active and present.product_id == product.id
        return present.id if present and is_sold else ""
    path = steps[0].calls[0].path
    return NEW + price.lookup_key if path == PATH else path.removeprefix(f"{PATH}/")


def old_steps(config: Config, found: Found) -> Iterator[Step]:
    """Archive what is sold no more: who subscribed to it goes on paying it."""
    named = _named(config)
    archived = {"active": False, "metadata": {STATE: ARCHIVED}}
    for prices in found.made.values():
        for price in prices:
            if price["active"] and not named & {price["id"], price["lookup_key"]}:
                call = Call("post", f"{PATH}/{price['id']}", archived)
                yield Step("old", price["id"], "archive the price", (call,), subscribed=price["id"])
    for product in found.old:
        call = Call("post", f"/v1/products/{product['id']}", archived)
        yield Step("old", product["metadata"].get(PLAN, product["id"]), "archive the product", (call,))


def _step(
    config: Config, found: Found, product: WantedProduct, price: WantedPrice, *, overwrite: bool
) -> Iterator[Step]:
    key, present = price.lookup_key, found.prices.get(price.lookup_key)
    made = found.made.get(product.id, ())
    holder = next((each for each in made if present and each["id"] == present.id), None)
    kept = next((each for each in made if _is_kept(config, found, each, price)), None)
    if present is None and kept is None:
        yield Step("price", key, f"make: {_words(price)}", (_make(config, found, product, price),))
    elif holder is None and kept is not None:
        what = f"give the key back to {kept['id']}" + (f" from {present.id}" if present else "")
        yield Step("price", key, what, (_move(kept["id"], price),), "" if overwrite else BY_HAND)
    elif present is not None and holder is None:
        yield Step("price", key, "sell", refused=_whose(config, present.id, present.app, present.plan))
    elif holder is not None and (why := _why_another(found, price, holder)):
        yield Step("price", key, "change", refused=f"{why}: a lookup key keeps both; write another key")
    elif holder is not None and not _has_amounts(price, holder, is_open=True):
        what = f"change: {_amount(holder['unit_amount'], price.currency)} -> {_words(price)}"
        call = _move(kept["id"], price) if kept else _make(config, found, product, price)
        yield Step("price", key, what, (call,), subscribed=holder["id"])
    elif holder is not None:
        yield from _mended(price, holder, overwrite=overwrite)


def _is_kept(config: Config, found: Found, made: dict[str, Any], price: WantedPrice) -> bool:
    """Return whether push made this price as it is wanted now, and it has lost the lookup key since."""
    had_key = (made["metadata"] or {}).get(KEY) == price.lookup_key != made["lookup_key"]
    is_free = made["lookup_key"] not in _named(config)
    is_same = not _why_another(found, price, made) and _has_amounts(price, made, is_open=False)
    return had_key and is_free and is_same


def _named(config: Config) -> set[str]:
    return {name for plan in config.plans for name in (*plan.prices, *plan.retired)}


def _has_amounts(price: WantedPrice, made: dict[str, Any], *, is_open: bool) -> bool:
    """Return whether a price costs what is wanted. is_open: another currency may be yet to be added."""
    options = made.get("currency_options") or {}
    other = {name: options[name]["unit_amount"] for name in price.also if name in options}
    is_whole = is_open or other.keys() == price.also.keys()
    return made["unit_amount"] == price.unit_amount and is_whole and other.items() <= price.also.items()


def _whose(config: Config, id_: str, app: str | None, plan: str | None) -> str:
    if app != config.app:
        return f"{id_} has this lookup key, and push did not make it: write the key alone, without an amount"
    return f"{id_} has this lookup key, and stands for the plan {plan}: write another key"


def _why_another(found: Found, price: WantedPrice, made: dict[str, Any]) -> str:
    """Return in what a price differs that no price can change, and that its lookup key stands for."""
    if made["currency"] != price.currency:
        return f"{made['id']} is in {made['currency']}, and plans.toml has {price.currency}"
    recurring = made["recurring"] or {}
    meter = found.meters.get(price.meter)
    now = (recurring.get("interval") or "", recurring.get("interval_count") or 1, recurring.get("meter"))
    if now[:2] != (price.interval, price.interval_count):
        return f"{made['id']} is paid {_every(*now[:2])}, and plans.toml has {_every(*_interval(price))}"
    if now[2] != (meter.id if meter else None):
        return f"{made['id']} is billed by {now[2] or 'no meter'}, and plans.toml has {price.meter or 'no meter'}"
    return ""


def _interval(price: WantedPrice) -> tuple[str, int]:
    return price.interval, price.interval_count


def _every(interval: str, count: int) -> str:
    if not interval:
        return "once"
    return f"a {interval}" if count == 1 else f"every {count} {interval}s"


def _words(price: WantedPrice) -> str:
    also = "".join(f", {_amount(amount, name)}" for name, amount in price.also.items())
    return f"{_amount(price.unit_amount, price.currency)}{also} {_every(*_interval(price))}"


def _amount(amount: int | None, currency: str) -> str:
    return "?" if amount is None else f"{in_major_units(amount, currency):,f} {currency.upper()}"


def _move(id_: str, price: WantedPrice) -> Call:
    params = {"lookup_key": price.lookup_key, "transfer_lookup_key": True, "active": True, "metadata": {STATE: ""}}
    return Call("post", f"{PATH}/{id_}", params)


def _make(config: Config, found: Found, product: WantedProduct, price: WantedPrice) -> Call:
    params: dict[str, Any] = {
        "product": product.id,
        "lookup_key": price.lookup_key,
        "transfer_lookup_key": price.lookup_key in found.prices,
        "currency": price.currency,
        "unit_amount": price.unit_amount,
        "metadata": {APP: config.app, PLAN: product.plan, KEY: price.lookup_key},
    }
    if price.interval:
        params["recurring"] = {"interval": price.interval, "interval_count": price.interval_count}
    if price.meter:
        meter = found.meters.get(price.meter)
        params["recurring"] |= {"usage_type": "metered", "meter": meter.id if meter else "new"}
    if price.also:
        params["currency_options"] = _options(price.also)
    # Stripe answers a key that it has seen with what it answered then. What is there now is part of the key, so that
    # two pushes at a time make one price, and a later one makes another.
    there = sorted(each["id"] for each in found.made.get(product.id, ()))
    return Call("post", PATH, params, f"corkage-push-{fingerprint([params, there])}")


def _options(amounts: Any) -> dict[str, dict[str, int]]:
    return {name: {"unit_amount": amount} for name, amount in amounts.items()}


def _mended(price: WantedPrice, holder: dict[str, Any], *, overwrite: bool) -> Iterator[Step]:
    path, there = f"{PATH}/{holder['id']}", holder.get("currency_options") or {}
    if added := {name: amount for name, amount in price.also.items() if name not in there}:
        call = Call("post", path, {"currency_options": _options(added)})
        yield Step("price", price.lookup_key, f"add: {', '.join(added)}", (call,))
    if not holder["active"]:
        is_ours = (holder["metadata"] or {}).get(STATE) == ARCHIVED
        call = Call("post", path, {"active": True, "metadata": {STATE: ""}})
        yield Step("price", price.lookup_key, "sell again", (call,), "" if overwrite or is_ours else BY_HAND)
