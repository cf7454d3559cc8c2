"""Subscription schedules: a subscription's prices change at scheduled times."""

from ..clock import DAY
from ..world import Object, World
from . import periods

NOTICE_SECONDS = 7 * DAY


def schedule_phases(world: World, schedule: Object) -> None:
    """Schedule every phase and the end of a new schedule."""
    for phase in schedule["phases"]:
        world.clock.schedule(phase["start_date"], "begin_phase", schedule["id"])
    end = _end_of(schedule)
    if end - NOTICE_SECONDS >= world.now:
        world.clock.schedule(end - NOTICE_SECONDS, "tell_of_schedule_end", schedule["id"])
    world.clock.schedule(end, "complete_schedule", schedule["id"])


def announce_end(world: World, schedule_id: str, moment: int) -> None:
    schedule = world.find("subscription_schedule", schedule_id)
    if schedule and schedule["status"] == "active" and _end_of(schedule) - NOTICE_SECONDS == moment:
        world.emit("subscription_schedule.expiring", schedule)


def complete(world: World, schedule_id: str, moment: int) -> None:
    """Complete a schedule; its end behavior decides whether the subscription continues."""
    schedule = world.find("subscription_schedule", schedule_id)
    if schedule is None or schedule["status"] != "active" or _end_of(schedule) != moment:
        return
    subscription = world.get("subscription", schedule["subscription"])
    subscription["schedule"] = None
    schedule |= {"status": "completed", "completed_at": moment, "current_phase": None}
    if schedule["end_behavior"] == "cancel" and subscription["status"] not in periods.ENDED:
        periods.cancel(world, subscription)
    world.emit("subscription_schedule.completed", schedule)


def _end_of(schedule: Object) -> int:
    return int(schedule["phases"][-1]["end_date"])


def cancel(world: World, schedule: Object) -> None:
    """Cancel a schedule, when its subscription has ended or was never created."""
    schedule |= {"status": "canceled", "canceled_at": world.now, "current_phase": None}
    world.emit("subscription_schedule.canceled", schedule)


def release(world: World, schedule: Object, *, keeps_end: bool = False) -> None:
    """Detach the subscription from the schedule; its cancel date is dropped unless keeps_end."""
    schedule |= {"status": "released", "released_at": world.now, "current_phase": None}
    schedule |= {"released_subscription": schedule["subscription"], "subscription": None}
    subscription = world.find("subscription", schedule["released_subscription"])
    if subscription:
        with world.changing(subscription, periods.UPDATED):
            subscription["schedule"] = None
            if not keeps_end:
                subscription["cancel_at"] = None
    world.emit("subscription_schedule.released", schedule)
