"""What a process or a thread may be asked to use, at a moment that the test chooses."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from corkage.billing_app import Billing
from corkage.plans import Plan
from corkage.selling import counting, usage

COUNTED = Plan(
    "free",
    "Free",
    free=True,
    limits={"exports": 3, "mails": 2, "projects": 5, "notes": 50},
    every={"exports": "month", "mails": "day", "projects": "never"},
)
PRO = Plan(
    "pro",
    "Pro",
    ("pro_monthly",),
    limits={"exports": 100, "calls": "unlimited"},
    every={"exports": "month"},
    meters={"calls": "api_calls"},
)
LARGE = Plan("large", "Large", ("large_yearly",), limits={"exports": "unlimited"}, every={"exports": "month"})
PACK = Plan("pack", "Pack", ("pack_10",), adds={"exports": 10, "coins": 5})
METERED = Plan("metered", "Metered", ("calls_metered",), limits={"calls": "unlimited"}, meters={"calls": "api_calls"})
PLANS = (COUNTED, PRO, LARGE, PACK, METERED)


def use_at(billing: Billing, now: float, user: str, name: str, amount: int = 1, key: str | None = None) -> Any:
    """Count a use as Billing.use does, at this moment."""
    return counting.use(user, billing.service.counters, name, amount, key, now)


def usage_at(billing: Billing, now: float, user: str, name: str) -> Any:
    return usage.usages(user, billing.service.counters, now)[name]


def spend(billing: Billing, uses: Sequence[tuple[Any, ...]], threads: int) -> list[Any]:
    """Count these uses in threads; return what became of each."""
    with ThreadPoolExecutor(threads) as pool:
        return [each.result() for each in [pool.submit(use_at, billing, *use) for use in uses]]


def forget(billing: Billing, user: str) -> None:
    billing.forget(user)


def open_meter(client: Any, event_name: str = "api_calls", **params: Any) -> str:
    """Make a meter at Stripe, and a price by it; return the id of the meter."""
    wanted = {"display_name": "Calls", "event_name": event_name, "default_aggregation": {"formula": "sum"}}
    meter: str = client.v1.billing.meters.create(params=wanted | params).id
    client.v1.prices.create(
        params={
            "product_data": {"name": "Calls"},
            "currency": "usd",
            "unit_amount": 2,
            "lookup_key": "calls_metered",
            "recurring": {"interval": "month", "usage_type": "metered", "meter": meter},
        }
    )
    return meter
