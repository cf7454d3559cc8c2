"""How Stripe differs from what is wanted, as steps. A pure function of both."""

from collections.abc import Iterator
from typing import Any

from ..config import Config
from ..sync.endpoint import APP
from . import wanted
from .endpoint import endpoint_steps
from .found import Found
from .portal import portal_steps
from .prices import old_steps, price_steps
from .step import BY_HAND, PLAN, STATE, Call, Step, is_changed_by_hand, normal, picked, state_of

STAGES = ("meter", "product", "price", "portal", "endpoint", "old")
"""In the order in which they are done: the later need the earlier."""


def difference(config: Config, found: Found, *, overwrite: bool = False, archive: bool = False) -> list[Step]:
    """Return what is to be done at Stripe, and what is refused.

    Shape   overwrite: set back what was changed there by hand; archive: what is sold no more
    """
    steps = [
        *_meters(config, found),
        *_products(config, found, overwrite=overwrite),
        *price_steps(config, found, overwrite=overwrite),
        *portal_steps(config, found, overwrite=overwrite),
        *endpoint_steps(config, found.endpoints, overwrite=overwrite),
        *(old_steps(config, found) if archive else ()),
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
            is_by_hand = is_changed_by_hand(present["metadata"], now) and not overwrite
            call = Call("post", f"/v1/products/{product.id}", fields | {"metadata": marks})
            what = f"change: {_changed(now, fields)}"
            yield Step("product", product.plan, what, (call,), BY_HAND if is_by_hand else "")


def _changed(now: dict[str, Any], fields: dict[str, Any]) -> str:
    return ", ".join(name for name, value in fields.items() if (now[name] or "") != (value or ""))
