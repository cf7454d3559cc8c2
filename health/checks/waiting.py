"""What waits or fails: events, notices, usage."""

from collections.abc import Iterator

from ...notices import outbox
from ...sync import inbox
from .. import metering
from ..spans import span
from .check import AGAIN, Check, Examination, Seen, unseen, wrong

PATIENCE_SECONDS = 300  # if events are pending for longer, no worker runs


def _events(examination: Examination) -> Iterator[Seen]:
    now = examination.now
    failing = inbox.backlog(now).failing
    if failing:
        oldest = inbox.in_state("failing", 1)[0]
        since = span(now - oldest.received_at)
        yield wrong(
            f"{failing} events fail, the oldest since {since}: {oldest.error}; `corkage events` lists them",
            "corkage events replay --failed",
        )
    waiting = [row for row in inbox.in_state("pending", 1) if row.next_attempt_at < now - PATIENCE_SECONDS]
    if waiting:
        yield wrong(
            f"events wait, the first has been due for {now - waiting[0].next_attempt_at:.0f} s: does a worker run?",
            "corkage work --once",
        )


def _notices(examination: Examination) -> Iterator[Seen]:
    now = examination.now
    backlog = outbox.backlog(now)
    if backlog.failing:
        yield wrong(
            f"{backlog.failing} notices are not delivered, `corkage notices` says why",
            "corkage notices resend --failing",
        )
    for row in outbox.waiting_since(now - PATIENCE_SECONDS):
        process = "a process that has the callbacks" if row.receiver == "callbacks" else "a worker"
        what = f"notices to {row.receiver} wait, the first has been due for {now - row.next_attempt_at:.0f} s"
        yield wrong(f"{what}: does {process} run?", "start it; `corkage notices` lists them")


def _usage(examination: Examination) -> Iterator[Seen]:
    worker = examination.worker
    for what, repair in metering.owed(examination.now):
        yield wrong(what, repair or "")
    if not any(plan.meters for plan in worker.catalogue.plans.values()):
        return
    _ = examination.at_stripe["account"]  # where that failed, Stripe is not asked again
    for what, repair in metering.compared(worker.gateway, worker.catalogue.plans.values(), examination.now):
        yield unseen(what) if repair == AGAIN else wrong(what, repair or "")


CHECKS = (
    Check(
        "events",
        "events that fail, since when and why, and those that wait for a worker for over five minutes",
        "none fails, none waits",
        _events,
    ),
    Check(
        "notices", "notices that are not delivered, or wait for over five minutes", "none fails, none waits", _notices
    ),
    Check(
        "usage",
        "usage that does not reach Stripe's meters, that Stripe could not count, or has counted otherwise",
        "nothing is owed to Stripe's meters",
        _usage,
    ),
)
