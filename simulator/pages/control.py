"""The control page and its JSON API: shows subscriptions, moves the clock, sets rules and faults."""

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import bottle

from .. import scheduler, settings
from ..api.subscriptions import pay_with
from ..billing import periods
from ..errors import ApiError, invalid
from ..money.instruments import instrument_of
from ..world import Object, World
from . import format_price, page, redirect

PATH = "/control"
TITLES = {
    "rules": "The account's rules",
    "faults/api": "Faults of the API",
    "faults/deliveries": "Faults of the deliveries",
}
DECLINING_CARD, GOOD_CARD = "pm_card_chargeCustomerFail", "pm_card_visa"
LONGEST_MOVE = 2 * 366 * 86_400
SHOWN = 50


class Control:
    """Serves /control. `parts` are dataclasses of plain fields, each shown and set at /control/NAME."""

    def __init__(self, world: World, parts: Mapping[str, Callable[[], Any]]) -> None:
        self._world = world
        self._parts = parts

    def add_to(self, app: bottle.Bottle) -> None:
        """Add the routes of the page and its forms."""
        app.route(PATH, "GET", self._show)
        app.route(f"{PATH}/clock", "POST", functools.partial(self._handle, self._move))
        app.route(f"{PATH}/card", "POST", functools.partial(self._handle, self._give_card))
        for name in self._parts:
            app.route(f"{PATH}/{name}", "POST", functools.partial(self._handle, functools.partial(self._change, name)))

    def _handle(self, action: Callable[[dict[str, Any]], None]) -> bottle.HTTPResponse:
        try:
            _refuse_other_sites()
            given = _submitted()
            with self._world.lock:
                action(given)
        except ApiError as error:
            return self._show(error)
        return self._show() if _wants_json() else redirect(PATH)

    def _show(self, error: ApiError | None = None) -> bottle.HTTPResponse:
        status = error.status if error else 200
        with self._world.lock:
            scheduler.catch_up(self._world)
            if _wants_json():
                return _json(error.body if error else self._overview(), status)
            return page("Stripe's side", "control", status, error=error, **self._page_values())

    def _overview(self) -> Object:
        overview: Object = {
            "now": self._world.world_time,
            "subscriptions": [_summary(each) for each in self._world.all("subscription")],
        }
        for name, part in self._parts.items():
            group, _, last = name.rpartition("/")
            (overview.setdefault(group, {}) if group else overview)[last] = dataclasses.asdict(part())
        return overview

    def _page_values(self) -> dict[str, Any]:
        subscriptions = self._world.all("subscription")
        return {
            "now": _moment(self._world.world_time),
            "subscriptions": [_row(self._world, each) for each in subscriptions[:SHOWN]],
            "hidden": len(subscriptions[SHOWN:]),
            "parts": [_part(name, get()) for name, get in self._parts.items()],
        }

    def _move(self, given: dict[str, Any]) -> None:
        """Move the world's clock, by a named move or by seconds."""
        world, clock = self._world, self._world.clock
        if given.keys() == {"move"}:
            target = scheduler.target_time(world, clock, str(given["move"]))
        elif given.keys() == {"seconds"} and _is_valid_move(given["seconds"]):
            target = clock.now() + int(given["seconds"])
        else:
            raise invalid(f"Send move=day, month, renewal or trial_end, or seconds=1 to {LONGEST_MOVE}.", "seconds")
        scheduler.advance(world, clock, target)

    def _give_card(self, given: dict[str, Any]) -> None:
        """Make a test card the payment method of a subscription's customer, and of the customer's subscriptions."""
        if "card" not in given or given.keys() - {"card", "subscription"}:
            raise invalid("Send card=pm_card_..., and subscription=sub_..., or nothing for the newest.", "card")
        subscription = _subscription(self._world, given)
        with self._world.on_clock(self._world.clock_of(subscription["customer"])):
            pay_with(self._world, subscription["customer"], str(given["card"]))

    def _change(self, name: str, given: dict[str, Any]) -> None:
        if given.pop("clear", ""):
            settings.reset(self._parts[name]())
        else:
            settings.change(self._parts[name](), given)


def _refuse_other_sites() -> None:
    """Refuse forms of other sites (CSRF). Programs send neither header and pass."""
    request = bottle.request
    site, origin = request.get_header("Sec-Fetch-Site"), request.get_header("Origin")
    is_own_origin = origin in (None, f"{request.urlparts.scheme}://{request.urlparts.netloc}")
    if site not in (None, "same-origin", "none") or not is_own_origin:
        raise ApiError(403, "This request comes from a page of another site.")


def _submitted() -> dict[str, Any]:
    """Return the submitted form or JSON."""
    request = bottle.request
    if request.content_type.partition(";")[0] != "application/json":
        return dict(request.forms.decode())
    try:
        given = json.loads(request.body.read())
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise ApiError(400, "The body is not a JSON object.")
    return given


def _wants_json() -> bool:
    request = bottle.request
    is_json = request.content_type.startswith("application/json")
    return is_json or "application/json" in request.get_header("Accept", "")


def _json(body: Object, status: int) -> bottle.HTTPResponse:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return bottle.HTTPResponse(json.dumps(body, indent=2), status, headers)


def _is_valid_move(seconds: Any) -> bool:
    return str(seconds).isdecimal() and len(str(seconds)) < 12 and 0 < int(seconds) <= LONGEST_MOVE


def _summary(subscription: Object) -> Object:
    shown = {name: subscription[name] for name in ("id", "customer", "status", "cancel_at", "trial_end")}
    return shown | {"current_period_end": periods.period_of(subscription)[1]}


def _subscription(world: World, given: dict[str, Any]) -> Object:
    """Return the subscription that the form names, or the newest one."""
    if "subscription" in given:
        return world.get("subscription", str(given["subscription"]), "subscription")
    newest = next((each for each in world.all("subscription") if each["status"] not in periods.ENDED), None)
    if newest is None:
        raise invalid("There is no running subscription.", "subscription")
    return newest


def _row(world: World, subscription: Object) -> dict[str, Any]:
    customer = world.find("customer", subscription["customer"]) or {}
    names = (customer.get("metadata", {}).get("corkage_user"), customer.get("name"), customer.get("email"))
    first = subscription["items"]["data"][0]
    will_end = subscription["cancel_at"] and subscription["status"] not in periods.ENDED
    return {
        "id": subscription["id"],
        "customer": subscription["customer"],
        "names": list({name.casefold(): name for name in names if name}.values()),
        "price": format_price(first["price"], first.get("quantity", 1)),
        "status": subscription["status"] + (", will end" if will_end else ""),
        "end": _moment(periods.period_of(subscription)[1]),
        "next_card": _next_card(world, subscription, customer),
    }


def _next_card(world: World, subscription: Object, customer: Object) -> tuple[str, str] | None:
    """Return the card that one click gives, and the button's words: one that declines, or one that works again."""
    if subscription["status"] in periods.ENDED or customer.get("deleted"):
        return None
    method = subscription["default_payment_method"] or customer["invoice_settings"]["default_payment_method"]
    if method and instrument_of(world, method).declines:
        return GOOD_CARD, "Card works again"
    return DECLINING_CARD, "Card declines from the next renewal"


def _part(name: str, part: Any) -> dict[str, Any]:
    return {
        "name": name,
        "title": TITLES[name],
        "fields": settings.fields_of(part),
        "is_changed": part != type(part)(),
    }


def _moment(at: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
