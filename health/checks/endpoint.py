"""Webhooks: Stripe's endpoint, what it delivers, and what was accepted and refused here."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ... import storage
from ...config import Config
from ...gateway.events import read_event
from ...gateway.gateway import Gateway
from ...models import StripeEvent, remember
from ...sync.endpoint import APP, SECRET, endpoint_events, endpoint_url, fingerprint
from .. import refusals
from ..spans import span
from ..standing import LOOKED
from .check import NAMED, WRONG, Check, Examination, Seen, note, ok, wrong

PUSH = "corkage push"
SET_BACK = "corkage push --overwrite"
OLDEST_READ = "2024-09-30"  # the day of the oldest API version of events that are read
THIN = "v1."


class Endpoint(NamedTuple):
    """A webhook endpoint, or a destination of the v2 API, as far as it is looked at.

    Shape   version: the API version of its events; None for the account's, or for thin events;
            marks: its metadata, where it is ours: `corkage push` made it
    """

    id: str
    url: str
    is_enabled: bool
    events: frozenset[str]
    version: str | None
    marks: Mapping[str, str]
    is_thin: bool = False

    def is_made_by(self, app: str) -> bool:
        """Return whether `corkage push` made it for this product."""
        return self.marks.get(APP) == app

    def lacking(self, wanted: list[str]) -> list[str]:
        """Return those of these events that do not come."""
        if "*" in self.events:
            return []
        prefix = THIN if self.is_thin else ""
        return [each for each in wanted if prefix + each not in self.events]


def endpoints(found: list[dict[str, Any]], destinations: list[dict[str, Any]]) -> list[Endpoint]:
    """Return what Stripe's JSON says of them."""
    thin = [each for each in destinations if each.get("webhook_endpoint") and each["event_payload"] == "thin"]
    return [
        *(
            Endpoint(
                each["id"],
                each["url"],
                each["status"] == "enabled",
                frozenset(each["enabled_events"]),
                each["api_version"],
                each["metadata"] or {},
            )
            for each in found
        ),
        *(
            Endpoint(
                each["id"],
                each["webhook_endpoint"]["url"] or "",
                each["status"] == "enabled",
                frozenset(each["enabled_events"]),
                None,
                {},
                is_thin=True,
            )
            for each in thin
        ),
    ]


def problems(config: Config, found: list[Endpoint]) -> Iterator[Seen]:
    """Return what is wrong with the endpoint at our address, or that it is missing."""
    address = endpoint_url(config)
    at_address = [each for each in found if each.url == address]
    enabled = [each for each in at_address if each.is_enabled]
    if not at_address:
        yield from _elsewhere(config, found)
    elif not enabled:
        (first, *_) = at_address
        yield wrong(f"Stripe's endpoint {first.id} is disabled: no webhook comes", _enable(first))
    if len(enabled) > 1 and len(config.webhook_secrets) < len(enabled):
        ids = " and ".join(each.id for each in enabled)
        yield note(f"{ids} post to the same address, and each signs with a secret of its own: delete the one too many")
    for each in enabled:
        yield from _of_enabled(config, each)


def is_ours_known(config: Config) -> bool:
    """Return whether it is known which endpoint is this program's, and whether it shall have one."""
    return bool(config.webhook_secrets and endpoint_url(config))


def look(gateway: Gateway, config: Config, now: float) -> bool:
    """Look at the endpoint, and store what is wrong with it, for /health; return whether it is as it should be.

    Errors  StripeError as the gateway's; DatabaseUnavailable
    """
    found = endpoints(gateway.first("/v1/webhook_endpoints"), gateway.event_destinations())
    problem = next((each.what for each in problems(config, found) if each.mark == WRONG), None)
    remember(LOOKED, json.dumps({"at": int(now), "problem": problem}))
    return problem is None


def _enable(endpoint: Endpoint) -> str:
    if endpoint.is_thin:
        return f"stripe post /v2/core/event_destinations/{endpoint.id}/enable"
    return f"stripe webhook_endpoints update {endpoint.id} -d disabled=false"


def _elsewhere(config: Config, found: list[Endpoint]) -> Iterator[Seen]:
    address = endpoint_url(config) or ""
    host = urlsplit(address).hostname
    near = [each for each in found if each.is_enabled and urlsplit(each.url).hostname == host]
    others = [each for each in near if urlsplit(each.url).path.endswith("/webhook")] or near
    if others and not others[0].is_thin:
        yield wrong(
            f"Stripe posts to {others[0].url}, and BILLING_URL makes it {address}",
            f"stripe webhook_endpoints update {others[0].id} --url {address}",
        )
    else:
        yield wrong(f"Stripe has no webhook endpoint at {address}: changes come by polling, and late", PUSH)


def _of_enabled(config: Config, endpoint: Endpoint) -> Iterator[Seen]:
    is_ours, id_ = endpoint.is_made_by(config.app), endpoint.id
    lacking = [] if endpoint.is_thin else endpoint.lacking(endpoint_events(config))
    if lacking:
        names = ", ".join(lacking[:NAMED]) + (f" and {len(lacking) - NAMED} others" if len(lacking) > NAMED else "")
        what = f"the endpoint {id_} does not send {names}: these changes come late"
        yield wrong(what, SET_BACK if is_ours else _send(endpoint, lacking))
    if endpoint.version is not None and endpoint.version < OLDEST_READ:
        yield wrong(
            f"the endpoint {id_} sends events of the API version {endpoint.version}, which Corkage does not read; an "
            "endpoint keeps its version",
            PUSH if is_ours else f"stripe webhook_endpoints delete {id_} --confirm && {PUSH}",
        )
    known = endpoint.marks.get(SECRET) if is_ours else None
    if known and known not in map(fingerprint, config.webhook_secrets):
        yield wrong(f"STRIPE_WEBHOOK_SECRET is not that of the endpoint {id_}: its webhooks are refused", SET_BACK)


def _send(endpoint: Endpoint, lacking: list[str]) -> str:
    events = " ".join(f'-d "enabled_events[]={each}"' for each in sorted({*endpoint.events, *lacking}))
    return f"stripe webhook_endpoints update {endpoint.id} {events}"


def _look(examination: Examination) -> Iterator[Seen]:
    config = examination.config
    if not config.webhook_secrets:
        yield from _without_secret(config, examination.at_stripe["endpoints"])
    elif config.billing_url is None:
        yield note("BILLING_URL is not set, so it is not known which of Stripe's endpoints is this one's")
    elif endpoint_url(config) is None:
        yield note(f"Stripe cannot reach {config.billing_url}: changes come by polling, or by `stripe listen`")
    else:
        found = endpoints(examination.at_stripe["endpoints"], examination.at_stripe["destinations"])
        yield from problems(config, found)


def _without_secret(config: Config, found: list[dict[str, Any]]) -> Iterator[Seen]:
    if config.poll_seconds:
        yield note(f"no STRIPE_WEBHOOK_SECRET: Stripe is polled every {config.poll_seconds} s in place of webhooks")
    else:
        is_there = any(each["url"] == endpoint_url(config) for each in found)  # and nobody can read its secret any more
        repair = SET_BACK if is_there else PUSH
        yield wrong("no webhook is accepted without STRIPE_WEBHOOK_SECRET, and polling is off", repair)


def _deliveries(examination: Examination) -> Iterator[Seen]:
    """Look for events of ours that Stripe could not deliver: one that came by webhook failed at another endpoint."""
    if not examination.config.webhook_secrets:
        return
    failed = _failed(examination)
    if not failed:
        return
    oldest, newest = failed[-1], failed[0]
    age = span(examination.now - oldest["created"])
    what = f"{len(failed)} events could not be delivered, the first {age} ago"
    accepted_at = refusals.last_accepted_at()
    if accepted_at > newest["created"]:
        yield note(f"{what}; others came since, and Stripe goes on trying for three days")
    else:
        yield wrong(f"{what}, and none came since", _resend(examination, newest["id"]))


def _failed(examination: Examination) -> list[dict[str, Any]]:
    livemode = examination.config.livemode
    pending = [
        each
        for each in examination.at_stripe["undelivered"]
        if each["pending_webhooks"] and each["livemode"] == livemode and read_event(each).is_wanted
    ]
    came: set[str] = set()
    for piece in storage.pieces([each["id"] for each in pending]):
        came.update(
            storage.column(
                StripeEvent.select(StripeEvent.id).where(StripeEvent.id.in_(piece), StripeEvent.source == "webhook")
            )
        )
    return sorted((each for each in pending if each["id"] not in came), key=lambda each: -each["created"])


def _resend(examination: Examination, event_id: str) -> str:
    address = endpoint_url(examination.config)
    found = endpoints(examination.at_stripe["endpoints"], [])
    ours = next((each.id for each in found if each.url == address and each.is_enabled), None)
    if ours is None:
        return "stripe events resend " + event_id + " --webhook-endpoint=WE_ID, once the endpoint is right"
    return f"stripe events resend {event_id} --webhook-endpoint={ours}"


def _webhooks(examination: Examination) -> Iterator[Seen]:
    if not examination.config.webhook_secrets:
        return
    if found := refusals.stored_problem(examination.now):
        yield wrong(found, refusals.REPAIR)
    accepted_at = refusals.last_accepted_at()
    if accepted_at:
        yield ok(f"the last was accepted {span(examination.now - accepted_at)} ago")
    else:
        yield note("none was accepted yet")


CHECKS = (
    Check(
        "endpoint",
        "Stripe's webhook endpoint: at `BILLING_URL` + `/webhook`, enabled, with the [events](reference.md#events), of "
        "an API version that is read",
        "at the right address, enabled, with all events",
        _look,
    ),
    Check(
        "deliveries",
        "events that Stripe could not deliver for ten minutes, and that did not come otherwise",
        "Stripe has delivered everything",
        _deliveries,
    ),
    Check(
        "webhooks", "the last webhook that was accepted, and the last that was refused, with the reason", "", _webhooks
    ),
)
