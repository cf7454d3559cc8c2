"""The replica: how old it is, whom it lacks, whether it differs from Stripe, and whose plans made the answers."""

import random
from collections.abc import Iterator
from typing import Any

from ... import storage
from ...errors import StripeError
from ...models import SYNCED, Customer, StripeEvent, Subscription, setting
from ...replica import timelines
from ...replica.prices import Catalogue
from ...sync import jobs
from ...sync.resync import ReportingConverger
from ..spans import span
from .at_stripe import MOST_PAYERS
from .check import AGAIN, Check, Examination, Seen, note, ok, unseen, wrong

SYNC = "corkage sync"
NEW_SECONDS = 600  # for which an event may be on its way
LATE_POLLS = 3  # that may fail before it is wrong
LATE_SECONDS = 3600.0


def _sync(examination: Examination) -> Iterator[Seen]:
    synced, polled = setting(SYNCED), jobs.position("poll")
    if synced is None and not polled:
        yield note(f"never: this database knows what came by webhooks, and nothing from before; {SYNC}")
        return
    every = examination.config.poll_seconds
    age = examination.now - polled
    if polled and every and age > max(LATE_SECONDS, LATE_POLLS * every):
        yield wrong(f"Stripe's events were last polled {span(age)} ago: does a worker run?", "corkage work --once")
    elif polled:
        yield ok(f"Stripe's events were last polled {span(age)} ago")
    else:
        yield ok(f"all of it was fetched {span(examination.now - float(synced or 0))} ago; polling is off")


def _payers(examination: Examination) -> Iterator[Seen]:
    """Look for subscriptions at Stripe that are not here: of our plans or marked as ours, and not from just now."""
    found: list[dict[str, Any]] = examination.at_stripe["payers"]
    catalogue, app = examination.worker.catalogue, examination.config.app
    before = examination.now - NEW_SECONDS
    ours = {each["id"]: each["customer"]["id"] for each in found if _is_ours(each, catalogue, app)}
    old = {each["id"] for each in found if each["created"] < before}
    known: set[str] = set()
    for piece in storage.pieces(list(ours)):
        known.update(storage.column(Subscription.select(Subscription.id).where(Subscription.id.in_(piece))))
    unknown = [each for each in ours if each in old and each not in known]
    customers = {ours[each] for each in unknown}
    more = f", of the {MOST_PAYERS} that were looked at" if len(found) > MOST_PAYERS else ""
    if unknown:
        yield wrong(f"{len(customers)} customers pay at Stripe, and nobody here knows them{more}", SYNC)
    elif more:
        yield ok(f"the newest {MOST_PAYERS} subscriptions at Stripe are all known")


def _is_ours(subscription: dict[str, Any], catalogue: Catalogue, app: str) -> bool:
    if subscription["customer"].get("deleted"):
        return False
    if subscription["metadata"].get("corkage_app") == app:
        return True
    prices = [each["price"] for each in subscription["items"]["data"]]
    return any(name in catalogue.named for price in prices for name in (price["id"], price["lookup_key"]))


def _answers(examination: Examination) -> Iterator[Seen]:
    if examination.worker.catalogue.timelines.is_outdated():
        yield wrong(
            "the answers are made by a process with another plans.toml or another version of Corkage than this one",
            "restart the server with this plans.toml, or run this command with the server's",
        )
    elif waiting := timelines.waiting():
        yield note(f"{waiting} users still have answers by an earlier plans.toml; the worker is replacing them")


def _stale(examination: Examination) -> Iterator[Seen]:
    """Answers whose period ended unheard, for longer than the worker takes to ask."""
    query = (
        "SELECT count(*) FROM corkage_answer WHERE starts_at <= ? AND ends_at > ? AND stale_at IS NOT NULL "
        "AND stale_at < ?"
    )
    now = int(examination.now)
    (count,) = storage.row(query, (now, now, now - LATE_SECONDS)) or (0,)
    if count:
        yield wrong(
            f"{count} users have a period that ended over an hour ago, and Stripe was not asked what comes next",
            "corkage work --once",
        )


def _drift(examination: Examination) -> Iterator[Seen]:
    """Compare some users' customers with Stripe, but not those with pending events, which other checks report."""
    worker = examination.worker
    chosen = _sample(_customers_without_pending_events(), examination.sample)
    reporting = ReportingConverger(worker.converger, writes=False)
    _ = examination.at_stripe["account"]  # where that failed, Stripe is not asked again
    try:
        worker.check_account()
        reporting.converge_all(chosen, examination.now)
    except StripeError as error:
        yield unseen(f"the comparison with Stripe failed: {error.code}: {error}", AGAIN)
    report = reporting.report
    for user_id, (before, after) in report.access.items():
        other = ", ".join(name for name in before._fields if getattr(before, name) != getattr(after, name))
        what = f"the replica says {before.reason}, Stripe says {after.reason}; different: {other}"
        yield wrong(f"user {user_id}: {what}", SYNC)
    differ = report.new + report.changed
    if differ and not report.access:
        yield wrong(f"{differ} subscriptions differ from Stripe; access is not affected", SYNC)
    for customer_id in report.missing:
        yield wrong(f"Stripe does not know {customer_id}", SYNC)
    for customer_id, reason in report.failed.items():
        yield wrong(f"{customer_id} cannot be compared with Stripe: {reason}", SYNC)


def _sample(customers: list[str], size: int) -> list[str]:
    return random.sample(customers, min(size, len(customers)))


def _customers_without_pending_events() -> list[str]:
    pending = StripeEvent.select(StripeEvent.customer_id).where(
        StripeEvent.applied_at.is_null(), StripeEvent.customer_id.is_null(False)
    )
    return storage.column(
        Customer.select(Customer.id).where(
            Customer.user.is_null(False),
            Customer.fetched_at.is_null(False),
            Customer.missing_at.is_null(),
            Customer.id.not_in(pending),
        )
    )


CHECKS = (
    Check("sync", "when Stripe was last polled, or all of it fetched", "", _sync),
    Check(
        "payers",
        f"the newest {MOST_PAYERS} subscriptions at Stripe that go on and are ours: whether each is known here",
        "everybody who pays at Stripe is known",
        _payers,
    ),
    Check(
        "answers",
        "whether the answers are made by this `plans.toml` and this version",
        "made by this plans.toml",
        _answers,
    ),
    Check(
        "stale", "periods that ended over an hour ago unheard", "Stripe was asked about every period that ended", _stale
    ),
    Check("drift", "a sample of users, compared with Stripe", "a sample of users is as Stripe has them", _drift),
)
