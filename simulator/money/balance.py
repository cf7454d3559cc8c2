"""Balance transactions: what charges, refunds and disputes did to the account's balance."""

from ..world import Object, World

FEE_FIXED, FEE_PER_MILLE = 30, 29
"""Stripe's fee in the United States: 2.9 % and 30 cents. Taken in every currency."""

CATEGORIES = {
    "charge": "charge",
    "payment": "charge",
    "payout": "payout",
    "payout_cancel": "payout_reversal",
    "refund": "refund",
    "refund_failure": "refund_failure",
    "topup": "topup",
    "transfer": "transfer",
    "transfer_refund": "transfer_reversal",
}
"""The reporting category by type; an adjustment's is given."""


def book(world: World, kind: str, amount: int, source: Object, *, fee: int = 0, category: str | None = None) -> Object:
    """Add a balance transaction. It is available at once.

    Shape   amount: positive for money that comes in; fee: what Stripe keeps of it
    """
    currency = source["currency"]
    details = {"amount": fee, "application": None, "currency": currency, "description": "Stripe processing fees"}
    return world.add(
        "balance_transaction",
        {
            "id": world.new_id("balance_transaction"),
            "object": "balance_transaction",
            "amount": amount,
            "available_on": world.now,
            "balance_type": "payments",
            "created": world.now,
            "currency": currency,
            "description": source.get("description"),
            "exchange_rate": None,
            "fee": fee,
            "fee_details": [details | {"type": "stripe_fee"}] if fee else [],
            "net": amount - fee,
            "reporting_category": category or CATEGORIES[kind],
            "source": source["id"],
            "status": "available",
            "type": kind,
        },
    )


def of_account(world: World) -> Object:
    """Return the account's balance. All of it is available."""
    amounts: dict[str, int] = {}
    for each in world.all("balance_transaction"):
        amounts[each["currency"]] = amounts.get(each["currency"], 0) + each["net"]
    none = {"amount": 0, "source_types": {"card": 0}}
    available = [{"amount": net, "currency": name, "source_types": {"card": net}} for name, net in amounts.items()]
    return {
        "object": "balance",
        "available": available or [{"currency": "usd", **none}],
        "livemode": False,
        "pending": [{"currency": name, **none} for name in amounts or ("usd",)],
    }


def fee_for(amount: int) -> int:
    """Return Stripe's fee for a charge."""
    return min(amount, round(amount * FEE_PER_MILLE / 1000) + FEE_FIXED)
