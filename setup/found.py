"""What is at Stripe for this product, as far as `corkage push` looks at it."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..config import Config
from ..sync.gateway import Gateway
from ..sync.states import MeterState, PriceState
from . import wanted

PRODUCTS_OF_PORTAL = "data.features.subscription_update.products"  # which Stripe leaves out otherwise
MOST_PRODUCTS = 1000  # of the account, among which those that are sold no more are looked for


class Found(NamedTuple):
    """What Stripe says, as its JSON has it where no other type is named.

    Shape   products: by id, those that are wanted; old: active ones of ours that plans.toml has no more;
            prices: by the names that plans.toml has for them; old_prices: active ones of our products, by their
            products' ids; portals and endpoints: those of the account
    """

    account: str | None
    products: Mapping[str, dict[str, Any]]
    old: tuple[dict[str, Any], ...]
    prices: Mapping[str, PriceState]
    old_prices: Mapping[str, tuple[str, ...]]
    meters: Mapping[str, MeterState]
    portals: tuple[dict[str, Any], ...]
    endpoints: tuple[dict[str, Any], ...]


def find(gateway: Gateway, config: Config) -> Found:
    """Fetch it; calls that do not need each other side by side.

    Errors  StripeError as the gateway's
    """
    products = wanted.products(config)
    ids = [each.id for each in products]
    account, listed, active, prices, meters, portals, endpoints = gateway.side_by_side(
        gateway.account_id,
        lambda: gateway.first("/v1/products", ids=ids) if ids else [],
        lambda: gateway.first("/v1/products", MOST_PRODUCTS, active=True),
        lambda: _prices(gateway, config),
        lambda: gateway.meters() if wanted.meters(config) else (),
        lambda: gateway.first("/v1/billing_portal/configurations", expand=[PRODUCTS_OF_PORTAL]),
        lambda: gateway.first("/v1/webhook_endpoints"),
    )
    ours = [each for each in active if (each["metadata"] or {}).get("corkage_app") == config.app]
    return Found(
        account,
        {each["id"]: each for each in listed},
        tuple(each for each in ours if each["id"] not in ids),
        prices,
        _old_prices(gateway, ids, prices),
        {each.event_name: each for each in meters},
        tuple(portals),
        tuple(endpoints),
    )


def _prices(gateway: Gateway, config: Config) -> dict[str, PriceState]:
    """Fetch what plans.toml names: by lookup key, and what no key finds by id."""
    names = [name for plan in config.plans for name in plan.prices]
    keys = {price.lookup_key for plan in config.plans for price in plan.wanted_prices}
    found = {each.lookup_key: each for each in gateway.prices_by_lookup_key(names) if each.lookup_key}
    for name in names:
        if name not in found and name not in keys and (price := gateway.price(name)):
            found[name] = price
    return found


def _old_prices(gateway: Gateway, ids: list[str], prices: Mapping[str, PriceState]) -> dict[str, tuple[str, ...]]:
    """Fetch the active prices of our products that plans.toml names no more."""
    present = {each.id for each in prices.values()}
    calls = [functools.partial(gateway.first, "/v1/prices", product=id_, active=True) for id_ in ids]
    lists = gateway.side_by_side(*calls) if calls else []
    old = (tuple(each["id"] for each in listed if each["id"] not in present) for listed in lists)
    return {id_: ids_ for id_, ids_ in zip(ids, old, strict=True) if ids_}
