"""How Stripe differs from what is wanted, as steps. A pure function of both."""

from collections.abc import Iterator
from typing import Any

from ..config import Config
from ..pages.currencies import in_major_units
from ..plans import WantedPrice
from ..sync.endpoint import APP, SECRET, endpoint_events, endpoint_url, fingerprint
from ..sync.gateway import API_VERSION
from ..sync.states import PriceState
from . import wanted
from .found import Found
from .step import PLAN, STATE, Call, Step, is_changed_by_hand, normal, picked, state_of

BY_HAND = "it was changed at Stripe since the last push; --overwrite sets it back"
STAGES = ("meter", "product", "price", "portal", "endpoint", "old")
"""In the order in which they are done: the later need the earlier."""


def difference(config: Config, found: Found, *, overwrite: bool = False, archive: bool = False) -> list[Step]:
    """Return what is to be done at Stripe, and what is refused.

    Shape   overwrite: set back what was changed there by hand; archive: what is sold no more
    """
    steps = [
        *_meters(config, found),
        *_products(config, found, overwrite=overwrite),
        *_prices(config, found, overwrite=overwrite),
        *_portal(config, found, overwrite=overwrite),
        *endpoint_steps(config, found.endpoints, overwrite=overwrite),
        *(_old(found) if archive else ()),
    ]
    return sorted(steps, key=lambda step: STAGES.index(step.stage))


def _meters(config: Config, found: Found) -> Iterator[Step]:
    for event, name in sorted(wanted.meters(config).items()):
        if event not in found.meters:
            params = {"display_name": name, "event_name": event, "default_aggregation": {"formula": "sum"}}
            yield Step("meter", event, f"make: counts {name}", (Call("post", "/v1/billing/meters", params),))


def _products(config: Config, found: Found, *, overwrite: bool) -> Iterator[Step]:
    for product in wanted.products(config):
        fields = {"description": ""} | product.fields
        marks = {APP: config.app, PLAN: product.plan, STATE: state_of(fields)}
        present = found.products.get(product.id)
        if present is None:
            params = {"id": product.id, "metadata": marks} | product.fields
            yield Step("product", product.plan, f"make: {fields['name']}", (Call("post", "/v1/products", params),))
        elif normal(now := picked(present, fields)) != normal(fields):
            is_refused = is_changed_by_hand(present["metadata"], now) and not overwrite
            call = Call("post", f"/v1/products/{product.id}", fields | {"metadata": marks})
            what = f"change: {_changed(now, fields)}"
            yield Step("product", product.plan, what, (call,), BY_HAND if is_refused else "")


def _changed(now: dict[str, Any], fields: dict[str, Any]) -> str:
    return ", ".join(name for name, value in fields.items() if (now[name] or "") != (value or ""))


def _prices(config: Config, found: Found, *, overwrite: bool) -> Iterator[Step]:
    for product in wanted.products(config):
        for price in product.prices:
            yield from _price(config, found, product, price, overwrite=overwrite)
    named = [name for plan in config.plans for name in plan.prices]
    made = {price.lookup_key for product in wanted.products(config) for price in product.prices}
    for name in named:
        if name not in made and name not in found.prices:
            why = "Stripe has no price of this key or id, and plans.toml gives no amount to make one with"
            yield Step("price", name, "sell", refused=why)


def _price(
    config: Config, found: Found, product: wanted.WantedProduct, price: WantedPrice, *, overwrite: bool
) -> Iterator[Step]:
    present, key = found.prices.get(price.lookup_key), price.lookup_key
    if present is None:
        yield Step("price", key, f"make: {_words(price)}", (_make(config, found, product, price, None),))
        return
    if why := _why_not_ours(config, product.plan, present):
        yield Step("price", key, "sell", refused=why)
    elif why := _why_another(price, present):
        yield Step("price", key, "change", refused=f"{why}: a lookup key keeps both; write another key")
    elif present.unit_amount != price.unit_amount or _has_other_amounts(price, present):
        what = f"change: {_amount(present.unit_amount, price.currency)} -> {_words(price)}"
        yield Step("price", key, what, (_make(config, found, product, price, present),), subscribed=present.id)
    else:
        yield from _mended(price, present, overwrite=overwrite)


def _words(price: WantedPrice) -> str:
    every = f"each {price.interval_count} {price.interval}s" if price.interval_count > 1 else f"a {price.interval}"
    return f"{_amount(price.unit_amount, price.currency)} {every if price.interval else 'once'}"


def _amount(amount: int | None, currency: str) -> str:
    return "?" if amount is None else f"{in_major_units(amount, currency):,f} {currency.upper()}"


def _make(
    config: Config, found: Found, product: wanted.WantedProduct, price: WantedPrice, replaced: PriceState | None
) -> Call:
    params: dict[str, Any] = {
        "product": product.id,
        "lookup_key": price.lookup_key,
        "transfer_lookup_key": replaced is not None,
        "currency": price.currency,
        "unit_amount": price.unit_amount,
        "metadata": {APP: config.app, PLAN: product.plan},
    }
    if price.interval:
        params["recurring"] = {"interval": price.interval, "interval_count": price.interval_count}
    if price.meter:
        meter = found.meters.get(price.meter)
        params["recurring"] |= {"usage_type": "metered", "meter": meter.id if meter else "new"}
    if price.also:
        params["currency_options"] = {name: {"unit_amount": amount} for name, amount in price.also.items()}
    of = fingerprint([params, replaced.id if replaced else ""])
    return Call("post", "/v1/prices", params, f"corkage-push-{of}")


def _why_not_ours(config: Config, plan: str, present: PriceState) -> str:
    if present.app != config.app:
        return f"{present.id} has this lookup key, and push did not make it: write the key alone, without an amount"
    if present.plan != plan:
        return f"{present.id} has this lookup key, and stands for the plan {present.plan}: write another key"
    return ""


def _why_another(price: WantedPrice, present: PriceState) -> str:
    if present.currency != price.currency:
        return f"{present.id} is in {present.currency}, and plans.toml has {price.currency}"
    wanted_interval = (price.interval or None, price.interval_count if price.interval else None)
    if (present.interval, present.interval_count) != wanted_interval or present.is_metered != bool(price.meter):
        return f"{present.id} is paid {_every(present.interval)}, and plans.toml has {_every(price.interval)}"
    return ""


def _every(interval: str | None) -> str:
    return f"by the {interval}" if interval else "once"


def _has_other_amounts(price: WantedPrice, present: PriceState) -> bool:
    """Return whether an amount in another currency is another one: who pays it now must go on paying it."""
    amounts = present.amounts or {}
    return any(amounts.get(name, amount) != amount for name, amount in price.also.items())


def _mended(price: WantedPrice, present: PriceState, *, overwrite: bool) -> Iterator[Step]:
    path = f"/v1/prices/{present.id}"
    if added := {name: amount for name, amount in price.also.items() if name not in (present.amounts or {})}:
        params = {"currency_options": {name: {"unit_amount": amount} for name, amount in added.items()}}
        yield Step("price", price.lookup_key, f"add: {', '.join(added)}", (Call("post", path, params),))
    if not present.is_active:
        call, why = Call("post", path, {"active": True}), "it was archived at Stripe; --overwrite sells it again"
        yield Step("price", price.lookup_key, "sell again", (call,), "" if overwrite else why)


def _portal(config: Config, found: Found, *, overwrite: bool) -> Iterator[Step]:
    offered = list(_offered(config, found))
    if not any(plan.prices for plan in config.plans):
        return
    features = wanted.portal_features(offered, codes=config.promotion_codes)
    marks = {APP: config.app, STATE: state_of(features)}
    params = {"features": features, "metadata": marks, "name": config.app[:200]}
    present = portal_of(config, found.portals)
    if present is None:
        call = Call("post", "/v1/billing_portal/configurations", params, f"corkage-push-{fingerprint(params)}")
        yield Step("portal", "", f"make: {_offers(config, offered)}", (call,))
        return
    now = picked(present["features"], features)
    if normal(now) != normal(features) or not present["active"]:
        is_refused = is_changed_by_hand(present["metadata"], now) or not present["active"]
        call = Call("post", f"/v1/billing_portal/configurations/{present['id']}", params | {"active": True})
        yield Step(
            "portal",
            "",
            f"change: {_offers(config, offered)}",
            (call,),
            BY_HAND if is_refused and not overwrite else "",
        )


def portal_of(config: Config, portals: tuple[dict[str, Any], ...]) -> dict[str, Any] | None:
    """Return the configuration that push made, an active one first."""
    ours = [each for each in portals if (each["metadata"] or {}).get(APP) == config.app]
    return next(iter(sorted(ours, key=lambda each: not each["active"])), None)


def _offered(config: Config, found: Found) -> Iterator[wanted.Offered]:
    """Return what the portal offers. A price that is yet to be made has an id that tells it apart."""
    made = {price.lookup_key: (product, price) for product in wanted.products(config) for price in product.prices}
    for plan, name in wanted.offered_plans(config):
        present = found.prices.get(name)
        if name in made and (present is None or _is_replaced(*made[name], config, present)):
            if made[name][1].interval:
                yield wanted.Offered(f"new:{name}", made[name][0].id, plan.seats)
        elif present and present.interval and present.is_active and present.has_active_product:
            yield wanted.Offered(present.id, present.product_id, plan.seats)


def _is_replaced(product: wanted.WantedProduct, price: WantedPrice, config: Config, present: PriceState) -> bool:
    if _why_not_ours(config, product.plan, present) or _why_another(price, present):
        return False
    return present.unit_amount != price.unit_amount or _has_other_amounts(price, present)


def _offers(config: Config, offered: list[wanted.Offered]) -> str:
    if not offered:
        return "cards, invoices and cancellation"
    names = [name for _, name in wanted.offered_plans(config)]
    shown = ", ".join(names[:5]) + (" and others" if len(names) > 5 else "")
    left_out = len({each.product_id for each in offered}) > wanted.MOST_PRODUCTS
    return f"offers {shown}" + ("; Stripe's portal takes 10 products, others are left out" if left_out else "")


def endpoint_steps(config: Config, endpoints: tuple[dict[str, Any], ...], *, overwrite: bool) -> Iterator[Step]:
    """Return what is to be done about the webhook endpoint."""
    url = endpoint_url(config)
    if url is None:
        return
    ours = [each for each in endpoints if (each["metadata"] or {}).get(APP) == config.app]
    others = [each["id"] for each in endpoints if each["url"] == url and each not in ours]
    secrets = {fingerprint(each) for each in config.webhook_secrets}
    usable = [each for each in ours if _is_usable(each, secrets)]
    removed = tuple(Call("delete", f"/v1/webhook_endpoints/{each['id']}") for each in ours if each not in usable[:1])
    if usable:
        yield from _mended_endpoint(config, usable[0], url, overwrite=overwrite)
        if removed:
            yield Step("endpoint", url, f"delete {len(removed)} that push made and that is not needed", removed)
    elif others and not ours and not overwrite:
        why = f"{others[0]} posts there, and push did not make it: `corkage doctor` says whether it is as it should be"
        if not config.webhook_secrets:
            yield Step("endpoint", url, "make", refused=f"{why}; set its secret, or --overwrite makes one beside it")
    else:
        why_anew = "make anew, since its secret is not set here" if ours else "make"
        what = f"{why_anew}: {len(endpoint_events(config))} events in {API_VERSION}"
        yield Step("endpoint", url, what, (_make_endpoint(config, url), *removed), has_secret=True)


def _is_usable(endpoint: dict[str, Any], secrets: set[str]) -> bool:
    return endpoint["metadata"].get(SECRET) in secrets and endpoint["api_version"] == API_VERSION


def _make_endpoint(config: Config, url: str) -> Call:
    events = endpoint_events(config)
    params = {
        "url": url,
        "enabled_events": events,
        "api_version": API_VERSION,
        "description": f"Made by corkage push for {config.app}",
        "metadata": {APP: config.app, STATE: state_of([url, events])},
    }
    return Call("post", "/v1/webhook_endpoints", params)


def _mended_endpoint(config: Config, present: dict[str, Any], url: str, *, overwrite: bool) -> Iterator[Step]:
    events = endpoint_events(config)
    lacking = set(events) - set(present["enabled_events"])
    is_off = present["status"] != "enabled"
    if not lacking and present["url"] == url and not is_off:
        return
    now = [present["url"], present["enabled_events"]]
    is_moved = lacking or present["url"] != url
    is_refused = is_moved and is_changed_by_hand(present["metadata"], now) and not overwrite
    said = [f"{len(lacking)} events more" if lacking else "", f"from {present['url']}" if present["url"] != url else ""]
    what = ", ".join([*filter(None, said), *(["enabled again"] if is_off else [])])
    params: dict[str, Any] = {
        "url": url,
        "enabled_events": events,
        "disabled": False,
        "metadata": {STATE: state_of([url, events])},
    }
    call = Call("post", f"/v1/webhook_endpoints/{present['id']}", params)
    yield Step("endpoint", url, f"change: {what}", (call,), BY_HAND if is_refused else "")


def _old(found: Found) -> Iterator[Step]:
    """Archive what is sold no more: who subscribed to it goes on paying it."""
    for ids in found.old_prices.values():
        for id_ in ids:
            yield Step("old", id_, "archive", (Call("post", f"/v1/prices/{id_}", {"active": False}),), subscribed=id_)
    for product in found.old:
        call = Call("post", f"/v1/products/{product['id']}", {"active": False})
        yield Step("old", product["metadata"].get(PLAN, product["id"]), "archive the product", (call,))
