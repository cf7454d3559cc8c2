"""Which plan a Stripe price belongs to: plans.toml, resolved against Stripe and stored."""

import json
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .. import storage
from ..errors import ConfigError, UnknownPlan
from ..models import Price
from ..plans import Plan
from .best import summarize_users_of_prices

if TYPE_CHECKING:
    from .gateway import Gateway
    from .states import ItemState, PriceState

DAY_SECONDS = 86_400

log = logging.getLogger("corkage.prices")


class Catalogue:
    """The plans of plans.toml, and the prices that stand for them.

    A price once understood stays understood: Stripe being down does not stop a start, and subscribers keep their plan
    when its lookup key moves on to a new price.
    """

    def __init__(self, plans: Iterable[Plan]) -> None:
        self.plans = {plan.key: plan for plan in plans}
        self._named = {name: plan for plan in self.plans.values() for name in (*plan.prices, *plan.retired)}

    def apply_plans(self, now: float) -> None:
        """Update the stored prices to what plans.toml says now, without asking Stripe."""
        with storage.writing():
            changed = [row.id for row in Price.select() if self._store(row, self._plan_of(row))]
            summarize_users_of_prices(changed, now)

    def refresh(self, gateway: "Gateway", now: float) -> None:
        """Ask Stripe which prices the plans' lookup keys and ids stand for, and remember it.

        Errors  ConfigError when one price turns out to stand for two plans; StripeError as the gateway's
        """
        found = self._resolve(gateway)
        with storage.writing():
            Price.update(sold=False).execute()
            for name, price in found.items():
                self.store_price(price)
                if name in self._named[name].prices:
                    Price.update(sold=True).where(Price.id == price.id).execute()
            changed = [row.id for row in Price.select() if self._store(row, self._plan_of(row))]
            summarize_users_of_prices(changed, now)

    def store_price(self, price: "PriceState") -> None:
        """Store a price and its plan. To be called inside a writing transaction."""
        row = Price.get_or_none(Price.id == price.id) or Price(id=price.id)
        is_new = row.product_id is None
        row.product_id = price.product_id
        row.lookup_key = price.lookup_key
        row.unit_amount, row.currency = price.unit_amount, price.currency
        row.interval, row.interval_count = price.interval, price.interval_count
        row.save(force_insert=is_new)
        self._store(row, self._plan_of(row))

    def sold(self) -> tuple[Price, ...]:
        """List the remembered prices that are sold."""
        return tuple(Price.select().where(Price.sold))

    def lacks_prices(self) -> bool:
        """Return whether a plan lists a price that is unknown yet, or that Stripe no longer has."""
        known = {name for price in self.sold() for name in (price.id, price.lookup_key)}
        return any(name not in known for plan in self.plans.values() for name in plan.prices)

    def sold_price(self, offer: str, gateway: "Gateway", now: float) -> Price:
        """Find the price to sell: a plan's default, or "plan:price" for another that the plan lists.

        Errors  UnknownPlan when it is not sold; StripeError as the gateway's, when Stripe had to be asked
        """
        key, _, name = offer.partition(":")
        plan = self.plans.get(key)
        if plan is None or (name and name not in plan.prices):
            raise UnknownPlan(f"{offer!r} is not on offer")
        named = name or plan.prices[0]  # by its name: prices of an earlier plans.toml are not on offer
        wanted = (Price.plan == key, Price.sold, (Price.id == named) | (Price.lookup_key == named))
        found = Price.get_or_none(*wanted)
        if found is None:
            self.refresh(gateway, now)
            found = Price.get_or_none(*wanted)
        if found is None:
            raise UnknownPlan(f"{offer!r} is on offer, and Stripe has no active price for it")
        return found

    def deciding_item(self, items: "tuple[ItemState, ...]") -> "ItemState | None":
        """Return the item that decides: the first one with a plan's price, else the first.

        The items' prices must have been stored.
        """
        with_plan = Price.select(Price.id).where(
            Price.id.in_([item.price.id for item in items]), Price.plan.is_null(False)
        )
        planned = set(storage.column(with_plan))
        return next((item for item in items if item.price.id in planned), items[0] if items else None)

    def _resolve(self, gateway: "Gateway") -> "dict[str, PriceState]":
        names = list(self._named)
        keys = [name for name in names if not name.startswith("price_")]
        found = {price.lookup_key: price for price in gateway.prices_by_lookup_key(keys) if price.lookup_key}
        found |= {name: price for name in names if name.startswith("price_") and (price := gateway.price(name))}
        self._report(found)
        return found

    def _report(self, found: "dict[str, PriceState]") -> None:
        for name, plan in self._named.items():
            if name not in found and name in plan.prices:
                log.warning(
                    "plan %s cannot be sold at %s: Stripe has no active price of that key or id", plan.key, name
                )
        meanings: dict[str, set[str]] = {}
        for name, price in found.items():
            meanings.setdefault(price.id, set()).add(self._named[name].key)
        problems = [
            f"plans.toml: the price {price_id} stands in the plans {' and '.join(sorted(keys))}; one price, one plan"
            for price_id, keys in meanings.items()
            if len(keys) > 1
        ]
        if problems:
            raise ConfigError(problems)

    def _plan_of(self, row: Price) -> str | None:
        named = self._named.get(row.id) or (self._named.get(row.lookup_key) if row.lookup_key else None)
        return named.key if named else row.plan or self._only_plan_of_product(row.product_id)

    def _only_plan_of_product(self, product_id: str) -> str | None:
        """An unnamed price of a product is that product's plan, unless the product serves several plans."""
        query = Price.select(Price.plan).where(Price.product_id == product_id, Price.plan.is_null(False)).distinct()
        plans: list[str] = storage.column(query)
        return plans[0] if len(plans) == 1 else None

    def _store(self, row: Price, plan_key: str | None) -> bool:
        """Store what the plan gives beside its price; return whether that changed anything."""
        said: dict[str, object] = {"plan": plan_key}
        if plan := self.plans.get(plan_key or ""):
            said |= {
                "features": json.dumps(plan.features),
                "grace_seconds": plan.grace_days * DAY_SECONDS,
                "allow_pending": plan.pending == "allow",
            }
        if all(getattr(row, name) == value for name, value in said.items()):
            return False
        Price.update(said).where(Price.id == row.id).execute()
        return True
