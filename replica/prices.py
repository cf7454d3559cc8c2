"""The catalogue: which plan a Stripe price belongs to, by plans.toml and by what Stripe says."""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .. import storage
from ..errors import ConfigError, PriceRefused, UnknownPlan
from ..logs.facts import logger
from ..models import Price
from ..plans import Plan
from .timelines import Timelines

if TYPE_CHECKING:
    from ..gateway.gateway import Gateway
    from ..gateway.states import PriceState

log = logger("corkage.prices")


class Catalogue:
    """The plans of plans.toml, with their prices.

    A price that was fetched once stays known. So Corkage starts while Stripe is down, and subscribers keep their plan
    when its lookup key moves to a new price.
    """

    def __init__(self, plans: Iterable[Plan], app: str) -> None:
        self.plans = {plan.key: plan for plan in plans}
        self.timelines = Timelines(tuple(self.plans.values()))
        self._app = app
        self._is_fetched = False
        self._stored = 0  # how often a price was stored
        self._sold_once: tuple[int, bool] | None = None  # what sells_once() read, after so many
        self.named = {name: plan for plan in self.plans.values() for name in (*plan.prices, *plan.retired)}

    def apply_plans(self, *, claims: bool) -> None:
        """Bring the stored prices to what plans.toml says now, without a call to Stripe, where this process may.

        Shape   claims: make these plans those of the database, as Timelines.claim() does
        """
        with storage.writing():
            if self.timelines.claim(claims=claims):
                self._store_plans()

    def refresh(self, gateway: "Gateway") -> None:
        """Fetch the prices that plans.toml names by lookup key or id, and store them.

        Errors  ConfigError when one price belongs to two plans; Outdated; StripeError as the gateway's
        """
        found = self.fetch_named(gateway)
        self._is_fetched = True
        with storage.writing():
            self.timelines.refuse_if_outdated()
            Price.update(sold=False, trouble=None).execute()
            for name, price in found.items():
                self.store_price(price)
                if name in self.named[name].prices:
                    trouble = trouble_of(price, self.named[name])
                    Price.update(sold=trouble is None, trouble=trouble).where(Price.id == price.id).execute()
            self._store_plans()
        self._stored += 1  # after the commit: who reads before it sees the prices of before

    def store_price(
        self,
        price: "PriceState",
        sold: tuple[str, str] | None = None,
        known: Mapping[str, object] | None = None,
    ) -> None:
        """Store a price with its plan, where its row says anything else. To be called inside a writing transaction.

        Shape   sold: a price and the plan that it stood for at a sale;
                known: the row as it was read before the fetch: what was so then is not read again
        """
        facts = self._facts(price)
        if known is not None and known["plan"] is not None and facts.items() <= known.items():
            return
        found = Price.get_or_none(Price.id == price.id)
        row = found or Price(id=price.id)
        before = dict(row.__data__)
        if price.lookup_key is not None and price.lookup_key != row.lookup_key:  # it may have moved from another price
            Price.update(lookup_key=None).where(Price.lookup_key == price.lookup_key).execute()
        for name, value in facts.items():
            setattr(row, name, value)
        row.plan = self._plan_of(row, sold)
        if row.__data__ != before:
            row.save(force_insert=found is None)
            self._stored += 1

    def _facts(self, price: "PriceState") -> dict[str, object]:
        """Return the columns in which Stripe's word counts."""
        named = "product_id lookup_key unit_amount currency interval interval_count".split()
        facts = {name: getattr(price, name) for name in named} | {"metered": price.is_metered}
        if price.amounts is not None:
            facts["amounts"] = json.dumps(dict(price.amounts))
        if price.plan is not None and price.app in (None, self._app):
            facts["plan_at_stripe"] = price.plan
        return facts

    def is_named(self, row: "Price | PriceState") -> bool:
        """Return whether plans.toml names this price, by its id or by its lookup key."""
        return row.id in self.named or row.lookup_key in self.named

    def unknown(self, price_ids: Iterable[str]) -> list[str]:
        """Return those of these prices that are not stored yet."""
        wanted = sorted(set(price_ids))
        known: set[str] = set()
        for piece in storage.pieces(wanted):
            known.update(storage.column(Price.select(Price.id).where(Price.id.in_(piece))))
        return [each for each in wanted if each not in known]

    def lacks_amount(self, price: "PriceState", currency: str) -> bool:
        """Return whether Stripe was not asked yet what the price costs in this currency."""
        if price.currency == currency:
            return False
        row = Price.get_or_none(Price.id == price.id)
        return row is None or row.amounts is None

    def sold(self) -> tuple[Price, ...]:
        """Return the stored prices that are sold."""
        return tuple(Price.select().where(Price.sold).order_by(Price.id))

    def sells_once(self, *, afresh: bool = False) -> bool:
        """Return whether a plan has, or had, a price that is paid once; True while it is not known of a price.

        Shape   afresh: read it now; what is remembered may be older than what another process has stored
        """
        if any(plan.adds or plan.lasts_days for plan in self.plans.values()):
            return True
        stored = self._stored
        if afresh or self._sold_once is None or self._sold_once[0] != stored:
            once = Price.select().where(Price.plan.is_null(False), Price.interval.is_null())
            self._sold_once = stored, bool(once.exists() or self.lacks_prices())
        return self._sold_once[1]

    def lacks_prices(self) -> bool:
        """Return whether plans.toml sells a price of which it is not stored whether it can be sold."""
        is_known = Price.sold | Price.trouble.is_null(False)
        known = {name for price in Price.select().where(is_known) for name in (price.id, price.lookup_key)}
        return any(name not in known for plan in self.plans.values() for name in plan.prices)

    def sold_price(self, offer: str, gateway: "Gateway") -> Price:
        """Return the price to sell for "plan", its default, or for "plan:price", another price of the plan.

        Errors  UnknownPlan when it is not sold; PriceRefused when it cannot be, any more;
                StripeError as the gateway's, when the price is not stored yet
        """
        key, _, name = offer.partition(":")
        plan = self.plans.get(key)
        if plan is None or not plan.prices or (name and name not in plan.prices):
            raise UnknownPlan(f"{offer!r} is not on offer")
        named = name or plan.prices[0]  # a price that only an earlier plans.toml named is not on offer
        wanted = (Price.plan == key, (Price.id == named) | (Price.lookup_key == named))
        by_id = Price.select().where(*wanted).order_by(Price.id)
        found: Price | None = by_id.where(Price.sold).first()
        if found is None:
            self.refresh(gateway)
            found = by_id.where(Price.sold | Price.trouble.is_null(False)).first()
        if found is None:
            raise UnknownPlan(f"{offer!r} is on offer, and Stripe has no price for it")
        if found.trouble:
            raise PriceRefused(f"{offer!r} is on offer, and cannot be sold at {named}: {found.trouble}")
        return found

    def unsold(self) -> set[str]:
        """Return the names of prices that plans.toml sells and that cannot be sold, as far as Stripe was asked."""
        rows = list(Price.select().order_by(Price.id))
        by_name = {row.id: row for row in rows} | {row.lookup_key: row for row in rows if row.lookup_key}
        names = [name for plan in self.plans.values() for name in plan.prices]
        return {name for name in names if (by_name[name].trouble if name in by_name else self._is_fetched)}

    def troubles(self, found: "Mapping[str, PriceState]") -> list[tuple[str, str, str]]:
        """Return the prices that plans.toml sells and that cannot be sold: the plan, the name, and why.

        Shape   found: what fetch_named() returned
        """
        named = [(plan.key, name) for plan in self.plans.values() for name in plan.prices]
        troubles = [(key, name, trouble_of(found.get(name), self.plans[key])) for key, name in named]
        return [(key, name, trouble) for key, name, trouble in troubles if trouble]

    def fetch_named(self, gateway: "Gateway") -> "dict[str, PriceState]":
        """Fetch the prices that plans.toml names, by their lookup keys, and what no key finds by id: both may look like
        anything. Nothing is stored.

        Errors  as refresh()
        """
        found = {
            price.lookup_key: price for price in gateway.prices_by_lookup_key(list(self.named)) if price.lookup_key
        }
        left = [name for name in self.named if name not in found]
        found |= {name: price for name in left if (price := gateway.price(name)) is not None}
        self._report(found)
        return found

    def _report(self, found: "dict[str, PriceState]") -> None:
        for name, plan in self.named.items():
            trouble = trouble_of(found.get(name), plan)
            if trouble and name in plan.prices:
                log.warning("plan %s cannot be sold at %s: %s", plan.key, name, trouble)
        plans_of: dict[str, set[str]] = {}
        for name, price in found.items():
            plans_of.setdefault(price.id, set()).add(self.named[name].key)
        problems = [
            f"plans.toml: the plans {' and '.join(sorted(keys))} both name the price {price_id}; a price has one plan"
            for price_id, keys in plans_of.items()
            if len(keys) > 1
        ]
        if problems:
            raise ConfigError(problems)

    def _store_plans(self) -> None:
        """Store the plan of each price anew; who holds one whose plan is another now gets a new timeline."""
        changed = []
        for row in Price.select():
            plan = self._plan_of(row, None)
            if plan != row.plan:
                Price.update(plan=plan).where(Price.id == row.id).execute()
                changed.append(row.id)
        self.timelines.mark_holders(changed)

    def _plan_of(self, row: Price, sold: tuple[str, str] | None) -> str | None:
        """Return the plan of a price: what plans.toml names, then what Stripe says, then what it was before."""
        named = self.named.get(row.id) or (self.named.get(row.lookup_key) if row.lookup_key else None)
        if named is not None:
            return named.key
        known = self.timelines.plans
        guesses = (
            row.plan_at_stripe,
            row.plan,
            sold[1] if sold and sold[0] == row.id else None,
            self._only_plan_of_product(row.product_id),
        )
        return next((plan for plan in guesses if plan in known), None)

    def _only_plan_of_product(self, product_id: str) -> str | None:
        """Return the plan of the product's other prices, if they all have the same one."""
        query = Price.select(Price.plan).where(Price.product_id == product_id, Price.plan.is_null(False)).distinct()
        plans: list[str] = storage.column(query)
        return plans[0] if len(plans) == 1 else None


def trouble_of(price: "PriceState | None", plan: Plan) -> str | None:
    """Return why a price cannot be sold as the plan; None when it can."""
    if price is None:
        return "Stripe has no price of that key or id"
    if not price.is_active:
        return "the price is archived"
    if not price.has_active_product:
        return f"its product {price.product_id} is archived"
    if plan.adds and price.interval:
        return f"it is paid every {price.interval}, and a pack is paid once"
    if plan.meters and not price.interval:
        return "it is paid once, and what the plan meters is billed to a subscription"
    return None
