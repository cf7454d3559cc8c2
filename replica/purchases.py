"""What a customer bought once, and the credit of packs, as rows. Each is stored once, however often it is fetched."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .. import storage
from ..gateway.states import PurchaseState
from ..models import Credit, Customer, Price, Purchase
from ..plans import Plan
from .prices import Catalogue

_COLUMNS = "id price_id customer_id quantity created ours amount currency payment_intent".split()
_KEY = 2  # columns
_READ = f"SELECT {', '.join(_COLUMNS)} FROM corkage_purchase WHERE customer_id = ?"  # noqa: S608 -- our own column names
_STORE = f"""
INSERT INTO corkage_purchase ({", ".join(_COLUMNS)}) VALUES ({", ".join("?" * len(_COLUMNS))})
ON CONFLICT (id, price_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[_KEY:])}
"""  # noqa: S608 -- our own column names; the values are bound

Fetched = Sequence[PurchaseState]


def store(customer_id: str, found: Fetched, app: str, user_id: str | None, catalogue: Catalogue, now: float) -> None:
    """Store what the customer bought once, and what new packs give. To be called inside a writing transaction.

    Shape   user_id: the customer's user; None where it has none: then it is fetched again when it gets one
    """
    for each in found:
        catalogue.store_price(each.price, each.sold)
    before = set(storage.rows(_READ, (customer_id,)))
    rows = [_row(each, customer_id, app, user_id) for each in _of_this_product(found, app)]
    storage.execute_many(_STORE, [row for row in rows if row not in before])
    if user_id is not None:
        _store_credit(customer_id, user_id, catalogue.plans)
        _move_credit(customer_id, user_id)
        Customer.update(purchases_at=int(now)).where(Customer.id == customer_id).execute()


def _of_this_product(found: Fetched, app: str) -> list[PurchaseState]:
    """Return what was bought in sessions of ours, or with something that stands for a plan."""
    ids = {each.price.id for each in found}
    planned = set(storage.column(Price.select(Price.id).where(Price.id.in_(ids), Price.plan.is_null(False))))
    sessions = {each.id for each in found if each.app == app or each.price.id in planned}
    return [each for each in found if each.id in sessions]


def _row(state: PurchaseState, customer_id: str, app: str, user_id: str | None) -> tuple[object, ...]:
    ours = state.app == app and state.user_id is not None and state.user_id == user_id
    facts = (state.quantity, state.created, ours, state.amount, state.currency, state.payment_intent)
    return (state.id, state.price.id, customer_id, *facts)


def _store_credit(customer_id: str, user_id: str, plans: Mapping[str, Plan]) -> None:
    """Store what packs give that gave nothing yet."""
    packs = [key for key, plan in plans.items() if plan.adds]
    if not packs:
        return
    bought: Any = (
        Purchase.select(Purchase.id, Purchase.price_id, Purchase.quantity, Price.plan)
        .join(Price, on=(Price.id == Purchase.price_id))
        .where(Purchase.customer == customer_id, Price.plan.in_(packs))
    )
    found = list(bought.tuples())
    ids = [purchase_id for purchase_id, *_ in found]
    known = set(Credit.select(Credit.purchase_id, Credit.price_id).where(Credit.purchase_id.in_(ids)).tuples())
    for purchase_id, price_id, quantity, plan in found:
        if (purchase_id, price_id) not in known:
            _give((purchase_id, price_id), user_id, plans[plan].adds.items(), quantity or 1)


def _move_credit(customer_id: str, user_id: str) -> None:
    """Store who has the credit, where the customer came to another user: that of packs no longer on offer as well."""
    ids = Purchase.select(Purchase.id).where(Purchase.customer == customer_id)
    Credit.update(user=user_id).where(Credit.purchase_id.in_(ids), Credit.user != user_id).execute()


def _give(purchase: tuple[str, str], user_id: str, adds: Iterable[tuple[str, int]], times: int) -> None:
    key = dict(zip(("purchase_id", "price_id"), purchase, strict=True))
    rows = [key | {"name": name, "user": user_id, "amount": n * times, "left": n * times} for name, n in adds]
    Credit.insert_many(rows).on_conflict_ignore().execute()
