"""Stripe's API over HTTP: stripe-python's keys, API version, retries and errors, without its tree of objects."""

import copy
import functools
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeVar

import requests
import stripe
from requests.structures import CaseInsensitiveDict

from ..errors import StripeError, StripeFailed, StripeRefused, StripeUnavailable, UnknownCustomer
from ..pacing.deadline import DeadlineAdapter
from .explained import refusal_of
from .outage import Outage
from .watched import Watched

TIMEOUT_SECONDS = (3, 10)  # to connect, and for all of an answer
RETRIES = 2
SLOWEST_CALL_SECONDS = (1 + RETRIES) * sum(TIMEOUT_SECONDS) + 5
KEPT_OPEN = 32  # connections; more are opened where more calls are made at once, and closed after them
OF_CUSTOMER = (None, "id", "customer")  # the parameter that Stripe names when the customer is missing
ALWAYS_SENT = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate"}

# What a JSON text escapes: a whole surrogate pair, NUL or half of a pair, anything else.
_PAIR = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_NEVER_STORED = rb"(\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2}))"
_ESCAPED = re.compile(_PAIR + b"|" + _NEVER_STORED + rb"|\\.", re.DOTALL)

Object = dict[str, Any]
"""An object of Stripe's, as its JSON has it."""

_Found = TypeVar("_Found")


class Page(NamedTuple):
    """A page of a list at Stripe, and when Stripe read it; see Client.get."""

    items: list[Object]
    has_more: bool
    as_of: int


class Client:
    """Calls Stripe. What is fetched stays plain JSON: to make the library's objects of it costs more than all else.

    Shape   library: with its own services, for what changes something; outage: learns of each answer
    """

    def __init__(
        self,
        secret_key: str,
        api_base: str | None,
        timeout_seconds: tuple[float, float],
        retries: int | None,
        watched: Watched,
        outage: Outage,
    ) -> None:
        stripe.enable_telemetry = False
        self._make_client = functools.partial(
            stripe.StripeClient,
            secret_key,
            base_addresses={"api": api_base} if api_base else {},
            max_network_retries=RETRIES if retries is None else retries,
        )
        address = api_base or stripe.DEFAULT_API_BASE
        self._transport = Transport(address, timeout_seconds, watched, outage)
        self.library = self._make_client(http_client=self._transport)

    def paced(self, calls_per_second: float) -> "Client":
        """Return a client like this one, on the same connections, that spaces its calls and retries."""
        other = copy.copy(self)
        other.library = self._make_client(http_client=_Paced(self._transport, calls_per_second))
        return other

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        self._transport.close()

    def get(self, path: str, **params: Any) -> tuple[Object, int]:
        """Fetch an object.

        Shape   also when Stripe read it, by its own clock: the response's Date minus the duration of the call
        Units   Unix seconds; 0 when the response has no date
        """
        began = time.monotonic()
        response = self.library.raw_request("get", path, **params)
        date = response.headers.get("Date", "")
        as_of = int(parsedate_to_datetime(date).timestamp() - (time.monotonic() - began)) if date else 0
        found: Any = response.data
        return found, as_of

    def page(self, path: str, **params: Any) -> Page:
        """Fetch the first page of a list."""
        found, as_of = self.get(path, **params)
        return Page(found["data"], found["has_more"], as_of)

    def pages(self, path: str, **params: Any) -> Iterator[Page]:
        """Fetch a list, page by page."""
        page = self.page(path, **params)
        yield page
        while page.has_more:
            page = self.page(path, **params | {"starting_after": page.items[-1]["id"]})
            yield page

    def every(self, path: str, **params: Any) -> Iterator[Object]:
        """Fetch a list, item by item."""
        for page in self.pages(path, **params):
            yield from page.items

    def whole(self, path: str, **params: Any) -> tuple[list[Object], int]:
        """Fetch a whole list, and when Stripe began to read it; see get()."""
        pages = list(self.pages(path, **params))
        return [each for page in pages for each in page.items], pages[0].as_of


class Transport(stripe.HTTPClient):
    """Requests' connections to Stripe, shared by all threads and kept open.

    Only the adapter of that library is used, and not its session, which reads the environment and all cookies for each
    request, and costs as much again.
    """

    name = "requests"

    def __init__(self, base: str, timeout_seconds: tuple[float, float], watched: Watched, outage: Outage) -> None:
        super().__init__()
        self._timeout_seconds = timeout_seconds
        self._watched, self._outage = watched, outage
        self._proxies = requests.utils.get_environ_proxies(base)
        self._adapter = DeadlineAdapter(timeout_seconds[1], pool_connections=1, pool_maxsize=KEPT_OPEN)

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[Any, int, Mapping[str, str]]:
        """Send a request; return the body, the status and the headers of the answer.

        Errors  stripe.APIConnectionError where there is no whole answer
        """
        began = time.time()
        try:
            answer = self._adapter.send(
                _prepared(method, url, headers or {}, post_data),
                timeout=self._timeout_seconds,
                verify=stripe.ca_bundle_path,
                proxies=self._proxies,
            )
            content = answer.content  # half an answer is none: it raises here
            self._watched.note(answer.status_code, answer.headers, began, time.time())
            if answer.status_code < 500 and answer.status_code != 429:
                self._outage.note_answer()
            return _cleaned(content), answer.status_code, answer.headers
        except requests.RequestException as error:
            self._watched.note_failure(began, time.time())
            may_pass = isinstance(error, (requests.Timeout, requests.ConnectionError))
            is_refused = isinstance(error, requests.exceptions.SSLError)
            raise stripe.APIConnectionError(  # type: ignore[no-untyped-call]  # stripe-python gives its constructor no types
                f"Stripe cannot be reached: {type(error).__name__}: {error}", should_retry=may_pass and not is_refused
            ) from error

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._adapter.close()


class _Paced(stripe.HTTPClient):
    """Spaces the requests of all threads."""

    name = "requests"

    def __init__(self, transport: Transport, calls_per_second: float) -> None:
        super().__init__()
        self._transport = transport
        self._seconds_apart = 1 / calls_per_second
        self._lock = threading.Lock()
        self._free_at = 0.0

    def request(self, *arguments: Any, **options: Any) -> Any:
        with self._lock:
            begins = max(self._free_at, time.monotonic())
            self._free_at = begins + self._seconds_apart
            time.sleep(max(0.0, begins - time.monotonic()))
        return self._transport.request(*arguments, **options)

    def close(self) -> None:
        self._transport.close()


def _prepared(method: str, url: str, headers: Mapping[str, str], body: str | None) -> requests.PreparedRequest:
    """Return a request. stripe-python has encoded its address and body already."""
    prepared = requests.PreparedRequest()
    prepared.method, prepared.url = method.upper(), url
    prepared.headers = CaseInsensitiveDict(ALWAYS_SENT | dict(headers))
    if method != "get":
        prepared.prepare_body(body, None)
    return prepared


def _cleaned(body: bytes) -> bytes:
    """Put a U+FFFD in the place of what no database can store, which a customer's name may hold: what was paid must
    count all the same.
    """
    if b"\\u" not in body:
        return body
    return _ESCAPED.sub(lambda found: rb"\ufffd" if found[1] else found[0], body)


@contextmanager
def translated(customer_id: str | None = None) -> Iterator[None]:
    """Translate every error of the stripe library into one of ours.

    Shape   customer_id: the customer that the call is about
    """
    try:
        yield
    except (stripe.APIConnectionError, stripe.RateLimitError) as error:
        raise StripeUnavailable(_reason(error)) from error
    except (stripe.CardError, stripe.PermissionError, stripe.AuthenticationError) as error:
        raise refusal_of(error, _reason(error)) from error
    except stripe.InvalidRequestError as error:
        if customer_id and _is_missing(error) and error.param in OF_CUSTOMER:
            raise UnknownCustomer(f"Stripe knows no customer {customer_id} in this account and mode") from error
        raise refusal_of(error, _reason(error)) from error
    except stripe.StripeError as error:
        status = error.http_status or 0
        kind = StripeFailed if status >= 500 else StripeUnavailable if status in (409, 429) else StripeRefused
        raise (kind if status >= 400 else StripeError)(_reason(error)) from error
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise StripeError(f"Stripe's response does not have the expected shape: {error!r}") from error


def unless_missing(fetch: Callable[[], _Found]) -> _Found | None:
    """Return what `fetch` returns; None when this account has no object of this id."""
    try:
        with translated():
            return fetch()
    except StripeRefused as error:
        if _is_missing(error.__cause__):
            return None
        raise


def _reason(error: stripe.StripeError) -> str:
    """Return Stripe's message, but not that about a wrong key: it repeats a part of the key."""
    request = f", {error.request_id}" if error.request_id else ""
    text = type(error).__name__ if isinstance(error, stripe.AuthenticationError) else (error.user_message or str(error))
    return f"HTTP {error.http_status or 'none'}{request}: {' '.join(text.split())}"


def _is_missing(error: BaseException | None) -> bool:
    return isinstance(error, stripe.InvalidRequestError) and error.code == "resource_missing"
