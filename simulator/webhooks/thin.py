"""Thin events: each event in the v2 API's shape, which names the object and does not contain it.

Their ids and types are derived from the snapshot event's. Unsupported: Stripe's more specific events, such as
`v1.customer.subscription.past_due`, and `changes`.
"""

import datetime

from ..errors import ApiError
from ..world import Object, World

KIND = "v2.core.event"
PREFIX = "evt_test_"
UNFETCHABLE = ("application", "billing_portal.session", "entitlements.active_entitlement_summary")
SNAPSHOT_ONLY = ("customer.source.", "reporting.report_run.")
SINGLETONS = ("balance", "cash_balance", "discount")  # named by a path, without an id
SNAPSHOT_SUBSCRIPTION_EVENTS = frozenset(
    "created deleted paused pending_update_applied pending_update_expired resumed trial_will_end updated".split()
)
"""The subscription events that exist as snapshots too; thin ones beyond these are unsupported."""


def thin_type(kind: str) -> str:
    """Return the thin type for an event's type."""
    return kind if is_thin_only(kind) else f"v1.{kind}"


def is_thin_only(kind: str) -> bool:
    """Return whether an event of this type has no snapshot."""
    return kind.startswith("v1.")


def is_snapshot_only(kind: str) -> bool:
    """Return whether Stripe has no thin event of this type."""
    return kind.startswith(SNAPSHOT_ONLY)


def is_unsupported(name: str) -> bool:
    """Return whether Stripe has thin events of this type and the simulator never sends them."""
    of_subscription = name.removeprefix("v1.customer.subscription.")
    return name.startswith("v2.") or (of_subscription != name and of_subscription not in SNAPSHOT_SUBSCRIPTION_EVENTS)


def notification(event: Object) -> Object:
    """Return the thin event as it is delivered.

    Source  docs.stripe.com/api/v2/core/events/event-types
    """
    subject = event["data"]["object"]
    notified: Object = {
        "id": PREFIX + event["id"].removeprefix("evt_"),
        "object": KIND,
        "context": None,
        "created": timestamp(event["created"]),
        "livemode": False,
        "type": thin_type(event["type"]),
    }
    if subject and subject["object"] not in UNFETCHABLE:
        named = {} if subject["object"] in SINGLETONS else {"id": subject["id"]}
        notified["related_object"] = named | {"type": subject["object"], "url": _url_of(subject)}
    return notified


def full_event(event: Object) -> Object:
    """Return the thin event as it is fetched, with the reason and the id of the snapshot event."""
    if is_thin_only(event["type"]):
        return notification(event) | {"data": event["data"]["thin"], "reason": None}
    return notification(event) | {"changes": None, "reason": _reason(event), "snapshot_event": event["id"]}


def find_snapshot(world: World, thin_id: str) -> Object:
    """Return the snapshot event for a thin event's id.

    Errors  ApiError when there is none
    """
    snapshot_id = f"evt_{thin_id.removeprefix(PREFIX)}" if thin_id.startswith(PREFIX) else ""
    event = world.find("event", snapshot_id)
    if event is None or is_snapshot_only(event["type"]):
        raise ApiError(404, f"No such event: '{thin_id}'", code="not_found")
    return event


def timestamp(moment: int) -> str:
    """Format a time as the v2 API does: RFC 3339 with milliseconds."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _reason(event: Object) -> Object | None:
    request = event["request"]
    if request["id"] is None:
        return None
    shown = {"id": request["id"], "idempotency_key": request["idempotency_key"] or ""}
    return {"type": "request", "request": shown}


def _url_of(subject: Object) -> str:
    """Return an object's path, which follows from its type: `checkout.session` is at /v1/checkout/sessions."""
    if subject["object"] == "balance":
        return "/v1/balance"
    if subject["object"] == "cash_balance":
        return f"/v1/customers/{subject['customer']}/cash_balance"
    if subject["object"] == "customer_cash_balance_transaction":
        return f"/v1/customers/{subject['customer']}/cash_balance_transactions/{subject['id']}"
    if subject["object"] == "discount":
        return f"/v1/customers/{subject['customer']}/discount"
    if subject["object"] == "tax_id":
        return f"/v1/customers/{subject['customer']}/tax_ids/{subject['id']}"
    return f"/v1/{subject['object'].replace('.', '/')}s/{subject['id']}"
