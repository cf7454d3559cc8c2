"""The figures for Prometheus: those of this process since its start, and those of the database."""

from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ..gateway.watched import BOUNDS, Seen
from .requests import Answered
from .standing import Standing


class Process(NamedTuple):
    """What this process has counted since its start.

    Shape   accepted, refused, ignored: webhooks, the last two by reason; idle: see Standing
    """

    stripe: Seen
    accepted: int
    refused: dict[str, int]
    ignored: dict[str, int]
    idle: float | None
    requests: dict[Answered, int]


def written(
    process: Process, standing: Standing | None, problems: Sequence[str], warnings: Sequence[str]
) -> tuple[bytes, str]:
    """Return the figures as text, and its content type.

    Shape   standing: None where the database cannot be read
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        _Figures([*_of_process(process, problems, warnings), *(_of_database(standing) if standing else ())])
    )
    encode, kind = choose_encoder("")
    return encode(registry), kind


class _Figures(Collector):
    def __init__(self, figures: Iterable[Metric]) -> None:
        self._figures = list(figures)

    def collect(self) -> Iterator[Metric]:
        yield from self._figures


def _of_process(process: Process, problems: Sequence[str], warnings: Sequence[str]) -> Iterator[Metric]:
    yield InfoMetricFamily("corkage_build", "The version that runs.", {"version": _version()})
    yield _gauge("corkage_problems", "Problems of /health, for which it answers 503.", len(problems))
    yield _gauge("corkage_warnings", "Warnings of /health.", len(warnings))
    if process.idle is not None:
        about = "Seconds since the worker's thread last looked for work."
        yield _gauge("corkage_worker_idle_seconds", about, process.idle)
    yield CounterMetricFamily("corkage_webhooks_accepted", "Webhooks that were accepted.", process.accepted)
    refused = "Webhooks that were refused: for their signature, its age, or its header."
    yield _counter("corkage_webhooks_refused", refused, "reason", process.refused)
    ignored = "Webhooks that were accepted and change nothing."
    yield _counter("corkage_webhooks_ignored", ignored, "reason", process.ignored)
    yield from _of_stripe(process.stripe)
    yield _requests(process.requests)


def _of_stripe(seen: Seen) -> Iterator[Metric]:
    buckets, below = [], 0
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), seen.taken, strict=True):
        below += count
        buckets.append((bound, below))
    about = "How long calls to Stripe took, in seconds."
    yield HistogramMetricFamily("corkage_stripe_call_seconds", about, buckets=buckets, sum_value=seen.seconds)
    about = "Calls to Stripe that failed, by the status of the answer."
    yield _counter("corkage_stripe_errors", about, "status", seen.errors)
    if seen.answered_at:
        about = "When Stripe last answered, in Unix seconds."
        yield _gauge("corkage_stripe_answered_timestamp_seconds", about, seen.answered_at)
    if seen.ahead is not None:
        about = "By how much Stripe's clock is ahead of this machine's."
        yield _gauge("corkage_stripe_clock_ahead_seconds", about, seen.ahead)


def _requests(counted: dict[Answered, int]) -> Metric:
    about = "Requests that were answered, by route and status."
    family = CounterMetricFamily("corkage_http_requests", about, labels=Answered._fields)
    for answered, count in sorted(counted.items()):
        family.add_metric(answered, count)
    return family


def _of_database(standing: Standing) -> Iterator[Metric]:
    events, notices, room = standing.events, standing.notices, standing.room
    figures: list[tuple[str, str, float | None]] = [
        ("corkage_events_pending", "Events that are not applied yet.", events.backlog),
        ("corkage_events_failing", "Pending events that failed at least once.", events.failing),
        ("corkage_events_oldest_seconds", "The age of the oldest pending event.", events.oldest_pending_seconds),
        ("corkage_notices_pending", "Notices that are not delivered yet.", notices.pending),
        ("corkage_notices_failing", "Pending notices that failed at least once.", notices.failing),
        ("corkage_notices_oldest_seconds", "The age of the oldest pending notice.", notices.oldest_pending_seconds),
        (
            "corkage_polled_timestamp_seconds",
            "When Stripe was last polled, in Unix seconds.",
            standing.stored.polled_at or None,
        ),
        (
            "corkage_backup_timestamp_seconds",
            "When the file was last copied, in Unix seconds.",
            standing.stored.backup_at or None,
        ),
        (
            "corkage_endpoint_wrong",
            "1 where Stripe's webhook endpoint is not as it should be.",
            bool(standing.stored.endpoint),
        ),
        ("corkage_settings_differing", "Settings in which programs here differ.", len(standing.stored.differing)),
        ("corkage_database_bytes", "The size of the database.", room.database),
        ("corkage_database_wal_bytes", "The size of SQLite's write-ahead log.", room.wal),
        ("corkage_disk_free_bytes", "What is free on the disk of the database file.", room.free),
    ]
    yield from (_gauge(name, about, value) for name, about, value in figures if value is not None)


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(name, about, float(value))


def _counter(name: str, about: str, label: str, counts: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, about, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family


def _version() -> str:
    try:
        return version("corkage")
    except PackageNotFoundError:
        return "unknown"
