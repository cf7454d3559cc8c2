"""A customer's balance: credit for, or debt on, the next invoices."""

from typing import Any

from ..world import Object, World


def book(world: World, customer: Object, amount: int, kind: str, **fields: Any) -> Object:
    """Change a customer's balance, with the transaction that says why. The caller emits customer.updated.

    Shape   amount: negative for credit, positive for debt
    """
    customer["balance"] += amount
    nothing: dict[str, Any] = dict.fromkeys(
        ("checkout_session", "credit_note", "customer_account", "description", "invoice")
    )
    return world.add(
        "customer_balance_transaction",
        nothing
        | {
            "id": world.new_id("customer_balance_transaction"),
            "object": "customer_balance_transaction",
            "amount": amount,
            "created": world.now,
            "currency": customer["currency"] or "usd",
            "customer": customer["id"],
            "ending_balance": customer["balance"],
            "livemode": False,
            "metadata": {},
            "type": kind,
        }
        | fields,
    )
