"""Customers of another integration: at Stripe, and without any mark of ours."""

from harness import Shop

from corkage.models import Customer, NoticeRow
from corkage.moving.customers import Move, carry_out, look, read_map


def stranger(shop: Shop, email: str | None = None, price: str | None = None, **params: object) -> str:
    """A customer with a subscription, as another integration made both."""
    customer = shop.customer(None, **({"email": email} if email else {}))
    shop.subscribe(customer, price, user=None, **params)
    return customer


def fill(simulator: object, customer: str, subscription: str, count: int) -> list[str]:
    """Copy a subscription and its customer, without metadata; return the customers."""
    world = simulator.world  # type: ignore[attr-defined]
    for number in range(count):
        ids = {"id": f"cus_{number:04}", "metadata": {}, "email": f"user{number}@example.com"}
        world.add("customer", world.get("customer", customer) | ids)
        held = world.get("subscription", subscription) | {"metadata": {}}
        world.add("subscription", held | {"id": f"sub_{number:04}", "customer": ids["id"]})
    return [f"cus_{number:04}" for number in range(count)]


def map_of(pairs: dict[str, str]) -> bytes:
    return "".join(f"{user},{customer}\n" for user, customer in pairs.items()).encode()


def move_in(app: object, pairs: dict[str, str], now: float, *, force: bool = False, writes: bool = True) -> Move:
    """Move these users in. Nothing is wrong with their customers."""
    converger = app.billing.service.worker.converger  # type: ignore[attr-defined]
    move = look(converger, read_map(map_of(pairs)).entries, writes=writes, force=force)
    assert move.problems == []
    carry_out(move, now)
    return move


def owners() -> dict[str, str | None]:
    return {row.id: row.user_id for row in Customer.select()}


def notices() -> list[tuple[str, str]]:
    return [(row.user_id, row.kind) for row in NoticeRow.select().order_by(NoticeRow.id)]
