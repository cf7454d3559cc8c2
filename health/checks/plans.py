"""Plans and prices: whether each is sold, and whether it is known what each price stands for."""

from collections.abc import Iterator

from peewee import fn

from ... import storage
from ...gateway.states import PriceState
from ...models import Customer, Price, Subscription, SubscriptionItem
from .check import Check, Examination, Seen, note, wrong
from .paying import paying, rows


def _unsold(examination: Examination) -> Iterator[Seen]:
    """Prices without a button on the pricing page."""
    found = examination.at_stripe["prices"]
    for plan, name, trouble in examination.worker.catalogue.troubles(found):
        what = f"plan {plan} cannot be sold at {name}, and shows no button for it: {trouble}"
        yield wrong(what, _repair(plan, found.get(name)))


def _repair(plan: str, price: PriceState | None) -> str:
    if price is not None and not price.is_active:
        return f"stripe prices update {price.id} -d active=true"
    if price is not None and not price.has_active_product:
        return f"stripe products update {price.product_id} -d active=true"
    return f"put it right in Stripe's Dashboard, or take it out of plans.toml, [{plan}] prices, and restart"


def _unnamed(_: Examination) -> Iterator[Seen]:
    query = paying(SubscriptionItem.price_id, fn.COUNT(Subscription.id)).where(
        Customer.user.is_null(False), Price.plan.is_null()
    )
    for price_id, count in rows(query.group_by(SubscriptionItem.price_id)):
        yield wrong(
            f"no plan names {price_id}, and {count} subscriptions of users have it: they get no features",
            f'name it in plans.toml (retired = ["{price_id}"] when it is no longer sold), and restart',
        )


def _remembered(examination: Examination) -> Iterator[Seen]:
    """Prices of which only this database knows the plan; and those that are so once their lookup key has moved."""
    catalogue = examination.worker.catalogue
    paid = paying(SubscriptionItem.price_id).where(Customer.user.is_null(False))
    found = list(Price.select().where(Price.plan.is_null(False), Price.plan_at_stripe.is_null(), Price.id.in_(paid)))
    for row in found:
        if not catalogue.is_named(row):
            yield wrong(
                f"{row.id} stands for {row.plan}, and only this database knows: plans.toml and Stripe do not say so",
                f'name it in plans.toml, under [{row.plan}]: retired = ["{row.id}"], and restart',
            )
    outside = storage.column(paid.where(~Subscription.ours))  # what was sold by us says its plan
    for row in found:
        if row.id in outside and row.lookup_key and row.id not in catalogue.named and catalogue.is_named(row):
            yield note(
                f'before you move the lookup key {row.lookup_key}: name its price under retired = ["{row.id}"], or run '
                f'stripe prices update {row.id} -d "metadata[corkage_plan]={row.plan}"'
            )


CHECKS = (
    Check(
        "prices",
        "every price that `plans.toml` sells: there, active, of an active product, fit for its plan",
        "every plan is sold, by an active price of an active product",
        _unsold,
    ),
    Check("unknown prices", "prices that users pay and no plan names", "every price that is paid has a plan", _unnamed),
    Check(
        "lost prices",
        "prices of which only the database knows the plan, and those that will be when their lookup key moves",
        "plans.toml or Stripe names the plan of every price that is paid",
        _remembered,
    ),
)
