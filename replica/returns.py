"""Money that went back: refunds and disputes, and what they make of what was paid for.

A refund or a dispute is of a payment; several payments may have paid one invoice. It matters for what was last paid:
the last paid invoice above zero of a subscription, or a purchase.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from .. import storage
from ..gateway.states import PaidInvoice, PaymentState
from ..models import Purchase

REFUNDED, DISPUTED = "refunded", "disputed"
WITHOUT_EFFECT = ("failed", "canceled")  # of refunds: the money stays ours
WON = ("won", "prevented")  # of disputes, beside the mere questions, which begin with "warning_"

_COLUMNS = (
    "id kind status payment_intent invoice_id subscription_id purchase_id amount currency created customer_id".split()
)
_READ = f"SELECT {', '.join(_COLUMNS)} FROM corkage_refund WHERE customer_id = ?"  # noqa: S608 -- our own column names
_STORE = f"""
INSERT INTO corkage_refund ({", ".join(_COLUMNS)}) VALUES ({", ".join("?" * len(_COLUMNS))})
ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:])}
"""  # noqa: S608 -- our own column names; the values are bound
_PURCHASES = "SELECT id, price_id, payment_intent, amount, returned FROM corkage_purchase WHERE customer_id = ?"
_SET_RETURNED = "UPDATE corkage_purchase SET returned = ? WHERE id = ?"


class Return(NamedTuple):
    """A refund or a dispute, in the columns of its row."""

    id: str
    kind: str
    status: str
    payment_intent: str
    invoice_id: str | None
    subscription_id: str | None
    purchase_id: str | None
    amount: int
    currency: str
    created: int
    customer_id: str

    @property
    def takes_back(self) -> bool:
        """Whether it takes the money back, as it stands now. An unknown status of a dispute does."""
        if self.kind == "refund":
            return self.status not in WITHOUT_EFFECT
        return self.status not in WON and not self.status.startswith("warning_")


def of_customer(customer_id: str) -> tuple[Return, ...]:
    """Return the stored refunds and disputes of a customer's payments."""
    return tuple(Return(*row) for row in storage.rows(_READ, (customer_id,)))


def store(customer_id: str, before: Sequence[Return], fetched: Sequence[PaymentState]) -> tuple[Return, ...]:
    """Store what was fetched of payments; return all refunds and disputes of the customer's payments.

    To be called inside a writing transaction, after purchases were stored.
    """
    if not fetched:
        return tuple(before)
    bought = _purchases_by([each.payment_intent for each in fetched])
    found = {
        each.id: Return(
            each.id,
            each.kind,
            each.status,
            payment.payment_intent,
            payment.invoice_id,
            payment.subscription_id,
            bought.get(payment.payment_intent),
            each.amount,
            each.currency,
            each.created,
            customer_id,
        )
        for payment in fetched
        for each in payment.returns
    }
    storage.execute_many(_STORE, [tuple(each) for each in found.values() if each not in before])
    return (*(each for each in before if each.id not in found), *found.values())


def _purchases_by(intents: list[str]) -> dict[str, str]:
    """Return the purchases that these PaymentIntents paid."""
    found: Any = Purchase.select(Purchase.payment_intent, Purchase.id).where(Purchase.payment_intent.in_(intents))
    return dict(found.tuples())


def of_subscription(returns: Iterable[Return], last_paid: PaidInvoice | None) -> str | None:
    """Return what became of what was last paid for a subscription; see access.Holding.returned."""
    if last_paid is None:
        return None
    return _became([each for each in returns if each.invoice_id == last_paid.id], last_paid.amount)


def store_of_purchases(customer_id: str, returns: Sequence[Return]) -> None:
    """Store what became of each purchase of the customer. To be called inside a writing transaction."""
    sessions: dict[str, list[tuple[str | None, int, str | None]]] = {}
    for purchase_id, _, intent, amount, returned in storage.rows(_PURCHASES, (customer_id,)):
        sessions.setdefault(purchase_id, []).append((intent, amount, returned))
    changed = []
    for purchase_id, rows in sessions.items():
        intent = rows[0][0]
        of_payment = [each for each in returns if each.payment_intent == intent]
        became = _became(of_payment, sum(amount for _, amount, _ in rows))
        if any(returned != became for _, _, returned in rows):
            changed.append((became, purchase_id))
    storage.execute_many(_SET_RETURNED, changed)


def _became(returns: Sequence[Return], paid: int) -> str | None:
    taken = [each for each in returns if each.takes_back]
    refunded = sum(each.amount for each in taken if each.kind == "refund")
    words = [REFUNDED] if paid > 0 and refunded >= paid else []
    words += [DISPUTED] if any(each.kind == "dispute" for each in taken) else []
    return " ".join(words) or None
