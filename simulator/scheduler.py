"""Runs the actions that are due, in order, as time passes or a clock is advanced."""

from .billing import periods
from .clock import HOUR, Clock, add_interval
from .errors import ApiError
from .world import Object, World


def catch_up(world: World) -> None:
    """Run what has become due, because the world's own clock may run with the wall clock."""
    for clock in list(world.clocks.values()):
        _run_due(world, clock, clock.now())
        world.get("test_helpers.test_clock", clock.id)["frozen_time"] = clock.now()


def advance(world: World, clock: Clock, target: int) -> Object:
    """Move a clock, and run everything due until then in order, each at its own time. Return the clock object, still
    "advancing", as Stripe does.

    Errors  ApiError when the target is not in the future
    """
    catch_up(world)
    shown = world.get("test_helpers.test_clock", clock.id)
    if target <= clock.now():
        raise ApiError(400, "The new frozen time must be after the current frozen time.", param="frozen_time")
    with world.on_clock(clock):
        shown |= {"status": "advancing", "status_details": {"advancing": {"target_frozen_time": target}}}
        world.emit("test_helpers.test_clock.advancing", shown)
        response = dict(shown)
        _run_due(world, clock, target)
        clock.advance_to(target)
        shown |= {"frozen_time": target, "status": "ready", "status_details": {}}
        world.emit("test_helpers.test_clock.ready", shown)
    return response


def target_time(world: World, clock: Clock, move: str) -> int:
    """Return the time of a named move: "day", "month", "renewal" or "trial_end". The last two are those of the next
    subscription, plus the hour until its invoice is charged.

    Errors  ApiError for another name, or without such a subscription
    """
    now = clock.now()
    if move in ("day", "month"):
        return add_interval(now, move, 1)
    if move not in ("renewal", "trial_end"):
        raise ApiError(400, "Moves are day, month, renewal and trial_end.", param="move")
    statuses = ("trialing",) if move == "trial_end" else ("active", "trialing", "past_due", "unpaid")
    live = [each for each in world.all("subscription") if each["status"] in statuses and each["test_clock"] == clock.id]
    ends = [end for end in (periods.period_of(each)[1] for each in live) if end > now]
    if not ends:
        raise ApiError(400, f"No subscription has an upcoming {move.replace('_', ' ')}.", param="move")
    return min(ends) + HOUR


def run_for_customer(world: World, customer_id: str, until: int) -> None:
    """Run what is due for one customer, in a rehearsal."""
    while due := world.clock.pop_due(until):
        if world.is_of_customer(due.object_id, customer_id):
            world.clock.advance_to(due.moment)
            world.actions[due.action](world, due.object_id, due.moment)


def _run_due(world: World, clock: Clock, until: int) -> None:
    with world.on_clock(clock):
        while due := clock.pop_due(until):
            clock.advance_to(due.moment)
            world.actions[due.action](world, due.object_id, due.moment)
