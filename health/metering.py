"""What an operator should know of usage that Stripe bills: what is owed, what Stripe could not count, and its sums."""

import datetime
from collections.abc import Collection, Iterable, Iterator

from .. import storage
from ..errors import StripeError, UnknownCustomer
from ..gateway.gateway import Gateway
from ..gateway.states import MeterErrors, MeterState
from ..plans import Plan
from ..sync.jobs import DAY_SECONDS
from ..sync.meters import GIVE_UP_SECONDS, HOUR_SECONDS, MINUTE

SAMPLE = 20
PATIENCE_SECONDS = 300
LATELY_SECONDS = 30 * DAY_SECONDS
COUNTED_AFTER_SECONDS = HOUR_SECONDS  # Stripe adds usage up some minutes after it took it
NAMES = ("stripe_customer_id", "value")
REPAIRS = {
    "archived_meter": "stripe billing meters reactivate {meter}",
    "no_meter": "make the meter in Stripe's Dashboard, and bill what was used until then by hand",
}
BY_HAND = "stripe invoiceitems create --customer CUSTOMER --amount AMOUNT --currency CURRENCY, for what is missing"

_OWED = """
SELECT count(CASE WHEN error IS NOT NULL THEN 1 END), max(error), min(next_attempt_at), count(*)
FROM corkage_meter_event WHERE sent_at IS NULL AND lost_at IS NULL
"""
_LOST = """
SELECT name, customer_id, sum(amount) FROM corkage_meter_event
WHERE lost_at > ? GROUP BY name, customer_id ORDER BY name, customer_id
"""
_SENT = """
SELECT customer_id, event_name, min(used_at), max(used_at), sum(amount) FROM corkage_meter_event
WHERE sent_at < ? AND created_at > ? AND created_at < ?
GROUP BY customer_id, event_name ORDER BY max(created_at) DESC, customer_id LIMIT ?
"""
_OF = "SELECT user_id, customer_id FROM corkage_meter_event WHERE id IN ({marks}) ORDER BY id"

Findings = Iterator[tuple[str, str | None]]


def examine(gateway: Gateway, plans: Iterable[Plan], now: float) -> Findings:
    """Return what is wrong, each with the command that repairs it. Without meters that is nothing.

    Errors  DatabaseUnavailable
    """
    yield from owed(now)
    yield from compared(gateway, plans, now)


def compared(gateway: Gateway, plans: Iterable[Plan], now: float) -> Findings:
    """Return what Stripe's meters lack or have counted otherwise. Without meters in the plans Stripe is not asked."""
    names = {event: name for plan in plans for name, event in plan.meters.items()}
    if not names:
        return
    try:
        meters = gateway.meters()
        yield from _wrong(names, meters)
        yield from _uncounted(gateway.meter_errors(), {each.id for each in meters if each.event_name in names})
        yield from _sums(gateway, meters, now)
    except StripeError as error:
        yield f"usage cannot be compared with Stripe: {error.code}: {error}", "corkage doctor, again"


def owed(now: float) -> Findings:
    """Return what waits or fails to reach Stripe's meters, and what was given up."""
    ((failing, error, due_at, owed),) = storage.rows(_OWED)
    if failing:
        yield f"{failing} rows of usage fail to reach Stripe, and are tried again: {error}", "corkage work --once"
    elif owed and due_at < now - PATIENCE_SECONDS:
        what = f"{owed} rows of usage wait for Stripe, the first has been due for {now - due_at:.0f} s"
        yield f"{what}: does a worker run?", "corkage work --once"
    for name, customer_id, amount in storage.rows(_LOST, (int(now) - LATELY_SECONDS,)):
        days = GIVE_UP_SECONDS // DAY_SECONDS
        yield f"{amount} {name} of {customer_id} were not sent for {days} days, and will not be billed", BY_HAND


def _wrong(names: dict[str, str], meters: Iterable[MeterState]) -> Findings:
    known = {each.event_name: each for each in meters}
    for event, name in sorted(names.items()):
        meter = known.get(event)
        make = f'stripe billing meters create --display-name "{name}" --event-name {event}'
        make += ' -d "default_aggregation[formula]=sum"'
        if meter is None:
            yield f"Stripe has no active meter {event!r}: what is used of {name} is not billed", make
        elif meter.formula != "sum" or (meter.customer_key, meter.value_key) != NAMES:
            wanted = f"a sum of {NAMES[1]!r} by {NAMES[0]!r}"
            is_now = f"{meter.formula} of {meter.value_key!r} by {meter.customer_key!r}"
            yield f"the meter {event!r} is {is_now}; wanted {wanted}, else {name} is billed wrongly", make


def _uncounted(errors: Iterable[MeterErrors], ours: Collection[str]) -> Findings:
    """What Stripe said after it had taken the usage. Meters and events of other products are none of ours."""
    found: dict[tuple[str | None, str], tuple[int, str]] = {}
    for each in errors:
        marks = ", ".join("?" * len(each.samples))
        rows = storage.rows(_OF.format(marks=marks), each.samples) if each.samples else []
        if rows or each.meter_id in ours:
            count, of = found.get((each.meter_id, each.code), (0, ""))
            example = of or next((f", as of user {user} ({customer})" for user, customer in rows), "")
            found[each.meter_id, each.code] = count + each.errors, example
    for (meter, code), (count, example) in found.items():
        at = f"the meter {meter}" if meter else "no meter"
        what = f"Stripe could not count {count} events of usage at {at} in the last 30 days: {code}{example}"
        yield what, REPAIRS.get(code, BY_HAND).format(meter=meter)


def _sums(gateway: Gateway, meters: Iterable[MeterState], now: float) -> Findings:
    """Compare what was sent for some customers with what Stripe has counted of it."""
    ids, until = {each.event_name: each.id for each in meters}, int(now) - COUNTED_AFTER_SECONDS
    for customer_id, event, first, last, amount in storage.rows(_SENT, (until, until - LATELY_SECONDS, until, SAMPLE)):
        if event in ids:
            starts_at = first - first % MINUTE
            there = _counted(gateway, ids[event], customer_id, starts_at, last - last % MINUTE + MINUTE)
            if there not in (None, amount):
                sums = f"{amount} were sent since {_day(starts_at)}, and Stripe has counted {there:g}"
                yield f"{customer_id}: the sums at the meter {event!r} differ: {sums}", BY_HAND


def _counted(gateway: Gateway, meter: str, customer_id: str, starts_at: int, ends_at: int) -> float | None:
    try:
        return gateway.usage_of(meter, customer_id, starts_at, ends_at)
    except UnknownCustomer:  # of which another check says what there is to say
        return None


def _day(moment: int) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%d")
