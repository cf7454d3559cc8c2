"""The API over HTTP: keys, parameters, idempotency, expansion, errors, as Stripe does them."""

import base64
import binascii
import functools
import hashlib
import json
import logging
import re
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, NoReturn
from urllib.parse import parse_qsl

import bottle
from waitress.channel import ClientDisconnected

from .api import ROUTES
from .errors import ApiError, not_played
from .http import form, v2
from .http.expand import expanded
from .http.faults import Failure, Misbehaviour, broken, cut_within, too_many
from .http.permissions import check_permission
from .http.route import Route
from .pages.routes import add_pages
from .scheduler import catch_up
from .world import API_VERSION, Object, World

KEY = re.compile(r"(sk|rk)_test_\w+")

log = logging.getLogger("corkage.simulator")


@dataclass(frozen=True, slots=True)
class Request:
    """A request that came in, for tests that count calls. Its status is 0 when it was left unanswered."""

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

    def __init__(self, world: World, misbehaviour: Misbehaviour) -> None:
        self.world = world
        self.misbehaviour = misbehaviour
        self.requests: list[Request] = []
        self._kept: dict[str, tuple[str, Answer]] = {}
        self.app = bottle.Bottle()
        self.app.catchall = False  # a cut connection is waitress's business, and so is a bug
        for route in ROUTES:
            rule = route.path.replace("<id>", "<id_:re:[^/]+>")
            self.app.route(rule, route.method, functools.partial(self._answer, route))
        add_pages(self.app, world)
        self.app.route("/<path:path>", "ANY", functools.partial(self._answer, None))
        self.app.route("/", "ANY", functools.partial(self._answer, None))

    def to_state(self) -> Object:
        """Return the answers that idempotency keys replay, as JSON can hold them."""
        return {key: [asked, answer.status, answer.body] for key, (asked, answer) in self._kept.items()}

    def restore(self, state: Object) -> None:
        """Replay what to_state() returned."""
        self._kept = {key: (asked, Answer(status, body)) for key, (asked, status, body) in state.items()}

    def _answer(self, route: Route | None, id_: str | None = None, path: str = "") -> bottle.HTTPResponse:
        request = bottle.request
        key = request.get_header("Idempotency-Key") if request.method == "POST" else None
        failure = self.misbehaviour.strike(request.path, time.monotonic())
        if failure in ("cut", "hang"):
            self._leave_unanswered(request, key, failure)
        params: dict[str, Any] = {}
        with self.world.lock:
            request_id = self.world.new_id("request", 14)
            try:
                self._admit(request, failure)
                _check_version(request.get_header("Stripe-Version", API_VERSION))
                if route is None:
                    raise _unknown_route(request.method, path)
                params = _params(request)
                catch_up(self.world)
                clock = self.world.clock_of(id_, params.get("customer"), params.get("test_clock"))
                with self.world.requested(request_id, key), self.world.on_clock(clock):
                    answer = self._once(route, dict(params), [id_] if id_ else [], key, failure)
                catch_up(self.world)
            except ApiError as error:
                answer = _refusal(request.path, error)
            self.requests.append(Request(request.method, request.path, params, key, answer.status))
        log.info("%s %s -> %d", request.method, request.path, answer.status)
        return self._response(answer, request_id, key, failure)

    def _leave_unanswered(self, request: Any, key: str | None, failure: Failure) -> NoReturn:
        self.requests.append(Request(request.method, request.path, {}, key, 0))
        log.info("%s %s: %s", request.method, request.path, failure)
        if failure == "hang":
            self.misbehaviour.hold(request.environ["waitress.client_disconnected"])
        raise ClientDisconnected  # which makes waitress close without a word

    def _admit(self, request: Any, failure: Failure) -> None:
        key = _check_key(request.get_header("Authorization", ""))
        if failure == "rate_limit":
            raise too_many()
        check_permission(key, self.misbehaviour.faults.restricted_key_may, request.method, request.path)

    def _once(self, route: Route, params: dict[str, Any], ids: list[str], key: str | None, failure: Failure) -> Answer:
        """Carry the request out; with an idempotency key, only the first time."""
        if key is None:
            return self._carry_out(route, params, ids, failure)
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
            answer = self._carry_out(route, params, ids, failure)
        except ApiError as error:
            if not error.is_kept or route.path.startswith(v2.ROOT):
                raise
            answer = Answer(error.status, error.body)
        self._kept[key] = (asked, answer)
        return answer

    def _carry_out(self, route: Route, params: dict[str, Any], ids: list[str], failure: Failure) -> Answer:
        paths = form.list_of(form.text)(params.pop("expand", ""), "expand")
        checked = form.check(params, route.takes, route.required)
        if failure == "error":
            raise broken()
        with self.world.lagging(self._lag_of(route)):
            answer = route.handle(self.world, checked, *ids)
        if failure == "error_after":
            raise broken()
        return Answer(200, expanded(self.world, answer, paths))

    def _lag_of(self, route: Route) -> int:
        is_list = route.method == "GET" and not route.path.endswith("<id>")
        return self.misbehaviour.lag_for(route.path) if is_list else 0

    def _response(self, answer: Answer, request_id: str, key: str | None, failure: Failure) -> bottle.HTTPResponse:
        body = json.dumps(answer.body, indent=2)
        headers = {
            "Content-Length": str(len(body)),
            "Content-Type": "application/json",
            "Date": formatdate(self.world.world_time, usegmt=True),
            "Request-Id": request_id,
            "Stripe-Version": API_VERSION,
            **({"Idempotency-Key": key} if key else {}),
            **answer.headers,
        }
        if failure == "cut_after":
            raise ClientDisconnected
        return bottle.HTTPResponse(cut_within(body) if failure == "cut_within" else body, answer.status, headers)


def _refusal(path: str, error: ApiError) -> Answer:
    if path.startswith(v2.ROOT):
        return Answer(v2.status_of(error), v2.error_body(error))
    return Answer(error.status, error.body)


def _params(request: Any) -> dict[str, Any]:
    body = request.body.read().decode("utf-8", "replace")
    if request.path.startswith(v2.ROOT) and request.method == "POST":
        return v2.read_body(body)
    pairs = parse_qsl(request.query_string, keep_blank_values=True) + parse_qsl(body, keep_blank_values=True)
    return form.decode(pairs)


def _unknown_route(method: str, path: str) -> ApiError:
    return ApiError(
        404,
        f"Unrecognized request URL ({method}: /{path}). If Stripe has it, the simulator does not play it; "
        "docs/simulator.md says what it plays.",
    )


def _check_key(authorization: str) -> str:
    """Return the key. Any test key will do; a live one, never: whoever sends it here has made a mistake."""
    scheme, _, credentials = authorization.partition(" ")
    key = _user_of_basic(credentials) if scheme.lower() == "basic" else credentials
    if not key:
        raise ApiError(401, "You did not provide an API key.", is_kept=False)
    if not KEY.fullmatch(key):
        raise ApiError(401, f"Invalid API Key provided: {key[:7]}***. The simulator takes test keys.", is_kept=False)
    return key


def _check_version(asked: str) -> None:
    """Stripe's releases of one name only add to each other; those of another would want another rendering."""
    if asked.partition(".")[2] != API_VERSION.partition(".")[2]:
        raise not_played(f"Stripe-Version {asked}; it answers as of {API_VERSION}.")


def _user_of_basic(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""
