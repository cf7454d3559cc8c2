"""Thin events: each event once more as the v2 API tells it, by what it is about and not by what that looked like.

They have ids and names of their own, made of the snapshot event's; the finer ones that Stripe also has
(`v1.customer.subscription.past_due`) are not played, nor is `changes`.
"""

import datetime

from ..errors import ApiError
from ..world import Object, World

KIND = "v2.core.event"
PREFIX = "evt_test_"
UNFETCHABLE = ("billing_portal.session",)
OF_SUBSCRIPTIONS = frozenset(
    "created deleted paused pending_update_applied pending_update_expired resumed trial_will_end updated".split()
)
"""The events of subscriptions that come as snapshots too; all others are finer ones."""


def type_of(kind: str) -> str:
    """Return the thin event's type for the snapshot event's."""
    return f"v1.{kind}"


def is_unplayed(name: str) -> bool:
    """Whether Stripe has a thin event of this name, and the simulator never sends it."""
    of_subscription = name.removeprefix("v1.customer.subscription.")
    return name.startswith("v2.") or (of_subscription != name and of_subscription not in OF_SUBSCRIPTIONS)


def notification(event: Object) -> Object:
    """Make what is delivered of an event.

    Source  docs.stripe.com/api/v2/core/events/event-types
    """
    subject = event["data"]["object"]
    related = {"id": subject["id"], "type": subject["object"], "url": _url_of(subject)}
    return {
        "id": PREFIX + event["id"].removeprefix("evt_"),
        "object": KIND,
        "context": None,
        "created": timestamp(event["created"]),
        "livemode": False,
        "type": type_of(event["type"]),
    } | ({} if subject["object"] in UNFETCHABLE else {"related_object": related})


def fetched(event: Object) -> Object:
    """Make what GET /v2/core/events/ID answers: with the reason, and the snapshot event of the same change."""
    return notification(event) | {"changes": None, "reason": _reason(event), "snapshot_event": event["id"]}


def snapshot_of(world: World, thin_id: str) -> Object:
    """Find the event of which this is the thin event's id.

    Errors  ApiError when there is none
    """
    snapshot_id = f"evt_{thin_id.removeprefix(PREFIX)}" if thin_id.startswith(PREFIX) else ""
    event = world.find("event", snapshot_id)
    if event is None:
        raise ApiError(404, f"No such event: '{thin_id}'", code="not_found")
    return event


def timestamp(moment: int) -> str:
    """Write a time as the v2 API does: RFC 3339, with milliseconds."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _reason(event: Object) -> Object | None:
    request = event["request"]
    if request["id"] is None:
        return None
    told = {"id": request["id"], "idempotency_key": request["idempotency_key"] or ""}
    return {"type": "request", "request": told}


def _url_of(subject: Object) -> str:
    """Stripe's paths are its objects' names: `checkout.session` is at /v1/checkout/sessions."""
    return f"/v1/{subject['object'].replace('.', '/')}s/{subject['id']}"
