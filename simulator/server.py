"""The API over HTTP: keys, parameters, idempotency, expansion, errors, as Stripe does them."""

import base64
import binascii
import functools
import hashlib
import json
import logging
import re
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl

import bottle

from . import form
from .agenda import catch_up
from .errors import ApiError
from .expand import expanded
from .pages.routes import add_pages
from .resources import ROUTES
from .route import Route
from .world import API_VERSION, Object, World

KEY = re.compile(r"(sk|rk)_test_\w+")

log = logging.getLogger("corkage.simulator")


@dataclass(frozen=True, slots=True)
class Request:
    """A request that came in, for tests that count calls."""

    method: str
    path: str
    params: dict[str, Any]
    idempotency_key: str | None
    status: int


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Object
    headers: dict[str, str] = field(default_factory=dict)


class Api:
    """Answers requests to the world, one at a time. `app` is the WSGI app."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.requests: list[Request] = []
        self._kept: dict[str, tuple[str, Answer]] = {}
        self.app = bottle.Bottle()
        for route in ROUTES:
            rule = route.path.replace("<id>", "<id_:re:[^/]+>")
            self.app.route(rule, route.method, functools.partial(self._answer, route))
        add_pages(self.app, world)
        self.app.route("/<path:path>", "ANY", functools.partial(self._answer, None))
        self.app.route("/", "ANY", functools.partial(self._answer, None))

    def _answer(self, route: Route | None, id_: str | None = None, path: str = "") -> bottle.HTTPResponse:
        request = bottle.request
        key = request.get_header("Idempotency-Key") if request.method == "POST" else None
        params: dict[str, Any] = {}
        with self.world.lock:
            request_id = self.world.new_id("request", 14)
            try:
                _check_key(request.get_header("Authorization", ""))
                if route is None:
                    raise ApiError(
                        404,
                        f"Unrecognized request URL ({request.method}: /{path}). If Stripe has it, the simulator does "
                        "not play it; docs/simulator.md says what it plays.",
                    )
                params = _params(request)
                catch_up(self.world)
                clock = self.world.clock_of(id_, params.get("customer"), params.get("test_clock"))
                with self.world.requested(request_id, key), self.world.on_clock(clock):
                    answer = self._once(route, dict(params), [id_] if id_ else [], key)
                catch_up(self.world)
            except ApiError as error:
                answer = Answer(error.status, error.body)
            self.requests.append(Request(request.method, request.path, params, key, answer.status))
        log.info("%s %s -> %d", request.method, request.path, answer.status)
        return self._response(answer, request_id, key)

    def _once(self, route: Route, params: dict[str, Any], ids: list[str], key: str | None) -> Answer:
        """Carry the request out; with an idempotency key, only the first time."""
        if key is None:
            return self._carry_out(route, params, ids)
        asked = hashlib.sha256(json.dumps([route.method, route.path, ids, params]).encode()).hexdigest()
        if key in self._kept:
            first, answer = self._kept[key]
            if first != asked:
                raise ApiError(
                    400,
                    "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                    f"Try using a key other than '{key}' if you meant to execute a different request.",
                    kind="idempotency_error",
                )
            return Answer(answer.status, answer.body, {"Idempotent-Replayed": "true"})
        try:
            answer = self._carry_out(route, params, ids)
        except ApiError as error:
            if not error.is_kept:
                raise
            answer = Answer(error.status, error.body)
        self._kept[key] = (asked, answer)
        return answer

    def _carry_out(self, route: Route, params: dict[str, Any], ids: list[str]) -> Answer:
        paths = form.list_of(form.text)(params.pop("expand", ""), "expand")
        checked = form.check(params, route.takes, route.required)
        answer = route.handle(self.world, checked, *ids)
        return Answer(200, expanded(self.world, answer, paths))

    def _response(self, answer: Answer, request_id: str, key: str | None) -> bottle.HTTPResponse:
        headers = {
            "Content-Type": "application/json",
            "Date": formatdate(self.world.world_time, usegmt=True),
            "Request-Id": request_id,
            "Stripe-Version": bottle.request.get_header("Stripe-Version", API_VERSION),
            **({"Idempotency-Key": key} if key else {}),
            **answer.headers,
        }
        return bottle.HTTPResponse(json.dumps(answer.body, indent=2), answer.status, headers)


def _params(request: Any) -> dict[str, Any]:
    body = request.body.read().decode("utf-8", "replace")
    pairs = parse_qsl(request.query_string, keep_blank_values=True) + parse_qsl(body, keep_blank_values=True)
    return form.decode(pairs)


def _check_key(authorization: str) -> None:
    """Any test key will do; a live one, never: whoever sends it here has made a mistake."""
    scheme, _, credentials = authorization.partition(" ")
    key = _user_of_basic(credentials) if scheme.lower() == "basic" else credentials
    if not key:
        raise ApiError(401, "You did not provide an API key.", is_kept=False)
    if not KEY.fullmatch(key):
        raise ApiError(401, f"Invalid API Key provided: {key[:7]}***. The simulator takes test keys.", is_kept=False)


def _user_of_basic(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""
