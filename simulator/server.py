"""The WSGI app: the API as Stripe serves it, with keys, idempotency and errors, and the hosted pages."""

import base64
import binascii
import hashlib
import json
import logging
import re
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, NoReturn
from urllib.parse import parse_qsl

import bottle
from waitress.channel import ClientDisconnected

from .api import ROUTES
from .api.reading import INCLUDED
from .errors import ApiError
from .http import form, v2
from .http.expand import expanded
from .http.faults import Failure, FaultInjector, cut_within, rate_limited, server_error
from .http.older_params import modernized
from .http.permissions import check_permission
from .http.route import Route, RouteTable
from .pages.routes import add_pages
from .scheduler import catch_up
from .versions import check_version
from .world import ACCOUNT_ID, Object, World

KEY = re.compile(r"(sk|rk)_test_\w+")

CLOCK_PARAMS = ("customer", "subscription", "from_subscription", "test_clock", "charge", "payment_intent", "invoice")
"""Parameters that lead to the clock of what is created."""

_ROUTES = RouteTable(ROUTES)

log = logging.getLogger("corkage.simulator")


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was received, for tests that count calls. Status 0 means no response was sent."""

    method: str
    path: str
    params: dict[str, Any]
    idempotency_key: str | None
    status: int


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: Object
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Call:
    """A request to a route. `version` is the API version that it is answered in."""

    route: Route
    params: dict[str, Any]
    ids: list[str]
    idempotency_key: str | None
    failure: Failure
    version: str


class Api:
    """Handles requests to the world, one at a time. `app` is the WSGI app."""

    def __init__(self, world: World, fault_injector: FaultInjector) -> None:
        self.world = world
        self.fault_injector = fault_injector
        self.requests: list[Request] = []
        self._replays: dict[str, tuple[str, Response]] = {}
        self.app = bottle.Bottle()
        self.app.catchall = False  # waitress handles cut connections and bugs
        add_pages(self.app, world)
        self.app.route("/<path:path>", "ANY", self._handle)
        self.app.route("/", "ANY", self._handle)

    def to_state(self) -> Object:
        """Return the responses that idempotency keys replay, for JSON."""
        return {key: [digest, response.status, response.body] for key, (digest, response) in self._replays.items()}

    def restore(self, state: Object) -> None:
        """Replay responses from to_state()."""
        self._replays = {key: (digest, Response(status, body)) for key, (digest, status, body) in state.items()}

    def _handle(self, path: str = "") -> bottle.HTTPResponse:
        request = bottle.request
        route, found = _ROUTES.find(request.method, f"/{path}")
        ids = [self.world.unquoted_id(each) for each in found]
        key = request.get_header("Idempotency-Key") if request.method == "POST" else None
        failure = self.fault_injector.failure_for(request.path, time.monotonic())
        if failure in ("cut", "hang"):
            self._drop_request(request, key, failure)
        params: dict[str, Any] = {}
        version = self.world.api_version
        with self.world.lock:
            request_id = self.world.new_id("request", 14)
            try:
                self._authorize(request, failure)
                version = _checked(request.get_header("Stripe-Version", version))
                if route is None:
                    raise _unknown_route(request.method, path)
                params = _params(request)
                catch_up(self.world)
                clock = self.world.clock_of(*ids[:1], *map(params.get, CLOCK_PARAMS))
                with self.world.caused_by_request(request_id, key), self.world.on_clock(clock):
                    call = _Call(route, dict(params), ids, key, failure, version)
                    response = self._execute_once(call)
                catch_up(self.world)
            except ApiError as error:
                response = _error_response(request.path, error)
            self.requests.append(Request(request.method, request.path, params, key, response.status))
        log.info("%s %s -> %d", request.method, request.path, response.status)
        return self._response(response, request_id, key, failure, version)

    def _drop_request(self, request: Any, key: str | None, failure: Failure) -> NoReturn:
        self.requests.append(Request(request.method, request.path, {}, key, 0))
        log.info("%s %s: %s", request.method, request.path, failure)
        if failure == "hang":
            self.fault_injector.hang(request.environ["waitress.client_disconnected"])
        raise ClientDisconnected  # makes waitress close the connection without a response

    def _authorize(self, request: Any, failure: Failure) -> None:
        faults = self.fault_injector.faults
        key = _check_key(request.get_header("Authorization", ""), faults.revoked_keys or ())
        _check_account(key, request.get_header("Stripe-Account", ACCOUNT_ID))
        if failure == "rate_limit":
            raise rate_limited()
        check_permission(key, faults.restricted_key_may, request.method, request.path)

    def _execute_once(self, call: _Call) -> Response:
        """Execute the request. A repeated idempotency key replays the first response, in the first one's version."""
        key, route = call.idempotency_key, call.route
        if key is None:
            return self._execute(call)
        digest = hashlib.sha256(json.dumps([route.method, route.path, call.ids, call.params]).encode()).hexdigest()
        if key in self._replays:
            first, response = self._replays[key]
            if first != digest:
                raise ApiError(
                    400,
                    "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                    f"Try using a key other than '{key}' if you meant to execute a different request.",
                    kind="idempotency_error",
                )
            return Response(response.status, response.body, {"Idempotent-Replayed": "true"})
        try:
            response = self._execute(call)
        except ApiError as error:
            if not error.is_replayed or route.path.startswith(v2.ROOT):
                raise
            response = Response(error.status, error.body)
        self._replays[key] = (digest, response)
        return response

    def _execute(self, call: _Call) -> Response:
        route, params = call.route, call.params
        paths = form.list_of(form.text)(params.pop("expand", ""), "expand")
        params = modernized(route.method, route.path, params, call.version)
        parsed = form.parse(params, route.params, route.required)
        if call.failure == "error":
            raise server_error()
        with self.world.lagging_lists(self._lag_of(route)):
            response = route.handle(self.world, parsed, *call.ids)
        if call.failure == "error_after":
            raise server_error()
        return Response(200, expanded(self.world, response, paths, call.version, INCLUDED))

    def _lag_of(self, route: Route) -> int:
        is_list = route.method == "GET" and not route.path.endswith("<id>")
        return self.fault_injector.lag_for(route.path) if is_list else 0

    def _response(
        self, response: Response, request_id: str, key: str | None, failure: Failure, version: str
    ) -> bottle.HTTPResponse:
        body = json.dumps(response.body, indent=2)
        ahead = self.fault_injector.faults.date_ahead_seconds
        headers = {
            "Content-Length": str(len(body)),
            "Content-Type": "application/json",
            "Date": formatdate(self.world.world_time + ahead, usegmt=True),
            "Request-Id": request_id,
            "Stripe-Version": version,
            **({"Idempotency-Key": key} if key else {}),
            **({"Server": "nginx"} if ahead else {}),  # Stripe's: a client need not mind a simulator's clock
            **response.headers,
        }
        if failure == "cut_after":
            raise ClientDisconnected
        return bottle.HTTPResponse(cut_within(body) if failure == "cut_within" else body, response.status, headers)


def _error_response(path: str, error: ApiError) -> Response:
    if path.startswith(v2.ROOT):
        return Response(v2.status_of(error), v2.error_body(error))
    return Response(error.status, error.body)


def _params(request: Any) -> dict[str, Any]:
    body = request.body.read().decode("utf-8", "replace")
    if request.path.startswith(v2.ROOT) and request.method == "POST":
        return v2.read_body(body)
    pairs = parse_qsl(request.query_string, keep_blank_values=True) + parse_qsl(body, keep_blank_values=True)
    return form.decode(pairs)


def _unknown_route(method: str, path: str) -> ApiError:
    return ApiError(
        404,
        f"Unrecognized request URL ({method}: /{path}). If Stripe has it, the simulator does not support it; "
        "docs/simulator.md lists what it supports.",
    )


def _check_key(authorization: str, revoked: Collection[str]) -> str:
    """Return the key. Every test key is accepted that was not revoked. A live key is refused: sending one here is a
    mistake.
    """
    scheme, _, credentials = authorization.partition(" ")
    key = _basic_auth_user(credentials) if scheme.lower() == "basic" else credentials
    if not key:
        raise ApiError(401, "You did not provide an API key.", is_replayed=False)
    if not KEY.fullmatch(key):
        raise ApiError(
            401, f"Invalid API Key provided: {key[:7]}***. The simulator accepts test keys only.", is_replayed=False
        )
    if key in revoked:
        raise ApiError(401, f"Expired API Key provided: {key[:7]}***", code="api_key_expired", is_replayed=False)
    return key


def _checked(version: str) -> str:
    check_version(version)
    return version


def _check_account(key: str, account: str) -> None:
    """Refuse requests on behalf of another account: the simulator has one, and no Connect."""
    if account != ACCOUNT_ID:
        raise ApiError(
            403,
            f"The provided key '{key[:8]}***{key[-4:]}' does not have access to account '{account}' (or that account "
            "does not exist). Application access may have been revoked.",
            code="account_invalid",
            is_replayed=False,
        )


def _basic_auth_user(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""
