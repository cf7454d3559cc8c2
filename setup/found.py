"""What is at Stripe for this product, as far as `corkage push` looks at it."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..config import Config
from ..gateway.gateway import Gateway
from ..gateway.states import MeterState, PriceState
from . import wanted

PORTALS = "/v1/billing_portal/configurations"
PRODUCTS_OF_PORTAL = "data.features.subscription_update.products"  # which Stripe leaves out otherwise
MOST_PRODUCTS = 1000  # of the account, among which those that are sold no more are looked for
MOST_PRICES = 1000  # of a product


class Found(NamedTuple):
    """What Stripe says, as its JSON has it where no other type is named.

    Shape   products: by id, those that are wanted; old: active ones of ours of which plans.toml sells nothing;
            prices: by the names that plans.toml has for them; made: all prices of our products, archived ones too, by
            the products' ids; portals and endpoints: those of the account
    """

    account: str | None
    products: Mapping[str, dict[str, Any]]
    old: tuple[dict[str, Any], ...]
    prices: Mapping[str, PriceState]
    made: Mapping[str, tuple[dict[str, Any], ...]]
    meters: Mapping[str, MeterState]
    portals: tuple[dict[str, Any], ...]
    endpoints: tuple[dict[str, Any], ...]


def find(gateway: Gateway, config: Config) -> Found:
    """Fetch it; calls that do not need each other side by side.

    Errors  StripeError as the gateway's
    """
    ids = [each.id for each in wanted.products(config)]
    of_products = [
        functools.partial(gateway.first, "/v1/prices", MOST_PRICES, product=id_, expand=["data.currency_options"])
        for id_ in ids
    ]
    account, listed, active, prices, meters, portals, endpoints, *made = gateway.side_by_side(
        gateway.account_id,
        lambda: gateway.first("/v1/products", ids=ids) if ids else [],
        lambda: gateway.first("/v1/products", MOST_PRODUCTS, active=True),
        lambda: _prices(gateway, config),
        lambda: gateway.meters() if wanted.meters(config) else (),
        lambda: find_portals(gateway),
        lambda: gateway.first("/v1/webhook_endpoints"),
        *of_products,
    )
    ours = [each for each in active if (each["metadata"] or {}).get("corkage_app") == config.app]
    sold = {*ids, *(each.product_id for each in prices.values())}  # also by a key alone, without an amount
    return Found(
        account,
        {each["id"]: each for each in listed},
        tuple(each for each in ours if each["id"] not in sold),
        prices,
        {id_: tuple(found) for id_, found in zip(ids, made, strict=True)},
        {each.event_name: each for each in meters},
        portals,
        tuple(endpoints),
    )


def find_portals(gateway: Gateway) -> tuple[dict[str, Any], ...]:
    """Fetch the account's portal configurations, with the products between which each lets customers change.

    Errors  StripeError as the gateway's
    """
    return tuple(gateway.first(PORTALS, expand=[PRODUCTS_OF_PORTAL]))


def _prices(gateway: Gateway, config: Config) -> dict[str, PriceState]:
    """Fetch what plans.toml names: by lookup key, and what no key finds by id."""
    names = [name for plan in config.plans for name in plan.prices]
    keys = {price.lookup_key for plan in config.plans for price in plan.wanted_prices}
    found = {each.lookup_key: each for each in gateway.prices_by_lookup_key(names) if each.lookup_key}
    for name in names:
        if name not in found and name not in keys and (price := gateway.price(name)):
            found[name] = price
    return found
