"""What is bought once in the tests: plans, prices, and a buyer who pays on the hosted page."""

import json
from typing import Any

from buying import click, url_of
from harness import PRO, App, Shop

from corkage.plans import Plan
from corkage.simulator import visitor
from corkage.simulator.api.prices import create_price
from corkage.simulator.api.products import create_product

LIFETIME = Plan("lifetime", "Lifetime", ("lifetime_once",), features=("exports", "api"))
BETTER = Plan("better", "Better", ("better_monthly",), features=("exports", "api", "sso"))
DAYS = Plan("days", "Thirty days", ("thirty_days",), features=("exports",), lasts_days=30)
PACK = Plan("pack", "A hundred exports", ("pack_100",), adds={"exports": 100})
PLANS = (DAYS, PRO, LIFETIME, BETTER, PACK)
AMOUNTS = {"lifetime_once": 30_000, "thirty_days": 1_500, "pack_100": 500}
VISA = "4242424242424242"


def stock(shop: Shop) -> dict[str, str]:
    """Make the prices of the plans at Stripe, and return their ids by lookup key."""
    world = shop.simulator.world
    with world.lock:
        product = create_product(world, {"name": "Once"})["id"]
        common = {"product": product, "currency": "usd"}
        once = {
            key: str(create_price(world, common | {"unit_amount": amount, "lookup_key": key})["id"])
            for key, amount in AMOUNTS.items()
        }
        monthly = common | {"unit_amount": 2_900, "lookup_key": "better_monthly", "recurring": {"interval": "month"}}
        return once | {"better_monthly": str(create_price(world, monthly)["id"])}


def buy(app: App, plan: str, user: str = "ann", card: str = VISA, **body: Any) -> dict[str, Any]:
    """Click on a plan and pay; return the session as Stripe has it then."""
    url = url_of(click(app, user=user, body={"plan": plan} | body))
    visitor.pay(url, card)
    return session_of(app, url)


def session_of(app: App, url: str) -> dict[str, Any]:
    session, _ = app.billing.service.gateway._client.get(f"/v1/checkout/sessions/{url.rpartition('/')[2]}")
    return dict(session)


def hear(app: App, shop: Shop, now: float | None = None) -> None:
    """Deliver every event that there ever was, in any order, and apply them."""
    for event in shop.simulator.world.all("event"):
        app.deliver(json.dumps(event).encode())
    app.work(now)
