"""The events page: each event, its deliveries and responses, and a button that sends it again."""

import time
from typing import Any
from urllib.parse import urlencode

import bottle

from ..http import lists
from ..webhooks import destinations
from ..webhooks.deliveries import Delivery
from ..world import Object, World
from . import page, redirect

PATH = "/control/events"
EVENTS_OF_A_PAGE = 25


def show_events(world: World) -> bottle.HTTPResponse:
    """Show events, newest first, each with its deliveries and their responses."""
    start = bottle.request.query.get("starting_after", "")
    params: dict[str, Any] = {"limit": EVENTS_OF_A_PAGE} | ({"starting_after": start} if start else {})
    found = lists.page(world.all("event"), params, PATH)
    older = _page_url(found["data"][-1]["id"]) if found["has_more"] else None
    shown = [_event(world, each) for each in found["data"]]
    return page("Events", "events", 200, events=shown, newest=PATH if start else None, older=older, start=start)


def send_again(world: World, event_id: str) -> bottle.HTTPResponse:
    """Send an event to every destination that wants it, and redirect to it in the list."""
    world.deliveries.resend(world.get("event", event_id))
    return redirect(f"{_page_url(bottle.request.forms.get('starting_after', ''))}#{event_id}")


def _page_url(start: str) -> str:
    return f"{PATH}?{urlencode({'starting_after': start})}" if start else PATH


def _event(world: World, event: Object) -> Object:
    return {
        "id": event["id"],
        "type": event["type"],
        "subject": event["data"]["object"].get("id", ""),
        "created": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(event["created"])),
        "deliveries": [_delivery(each) for each in world.deliveries.of(event["id"])],
        "is_wanted": bool(destinations.for_event(world, event)),
    }


def _delivery(delivery: Delivery) -> Object:
    form = "thin event" if destinations.is_thin(delivery.destination) else "event"
    return {"url": destinations.url_of(delivery.destination), "form": form, "state": _state(delivery)}


def _state(delivery: Delivery) -> str:
    if delivery.is_lost:
        return "lost on purpose"
    answers = [str(each) if each else "no response" for each in delivery.answers]
    if not answers:
        return "not attempted yet"
    count = "1 attempt" if len(answers) == 1 else f"{len(answers)} attempts"
    return f"{count}: {', '.join(answers)}"
