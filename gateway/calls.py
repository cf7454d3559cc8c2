"""How Stripe is called: one client, threads for calls side by side, lists page by page."""

import copy
from collections.abc import Callable, Iterator
from typing import Any, Self, TypeVar
from urllib.parse import quote_plus

import stripe

from .client import TIMEOUT_SECONDS, Client, Page, translated
from .outage import Outage
from .side_by_side import Threads
from .watched import Watched

PAGE = 100
API_VERSION: str = stripe.api_version  # of stripe-python, in which its calls are made and webhooks are wanted

_Read = TypeVar("_Read")


class Calls:
    """A connection to Stripe, which the calls of each subject share.

    Shape   outage: whether Stripe is down
    """

    def __init__(
        self,
        secret_key: str,
        api_base: str | None = None,
        timeout_seconds: tuple[float, float] = TIMEOUT_SECONDS,
        retries: int | None = None,
        watched: Watched | None = None,
    ) -> None:
        # The same call fetches the time of a subscription's test clock. Live mode has no test clocks.
        self._expanded = ["latest_invoice"] if "_live_" in secret_key else ["latest_invoice", "test_clock"]
        self.outage = Outage()
        watched = watched or Watched()
        self._client = Client(secret_key, api_base, timeout_seconds, retries, watched, self.outage)
        self._threads = Threads()

    def side_by_side(self, *calls: Callable[[], Any]) -> list[Any]:
        """Return the results of functions that do not need each other's: the first runs here, each other in a thread.

        Errors  the first error of any of them, when all have ended
        """
        return self._threads.together(*calls)

    def paced(self, calls_per_second: float) -> Self:
        """Return one like this that spaces its calls and retries: for work that makes many of them."""
        other = copy.copy(self)
        other._client = self._client.paced(calls_per_second)
        return other

    def close(self, longest_seconds: float | None = None) -> None:
        """Close the connections, and end the threads that side_by_side() started, after so long at most. The next call
        opens new ones.
        """
        self._threads.close(longest_seconds)
        self._client.close()

    def _each_page(self, read: Callable[[Page], _Read], path: str, **params: Any) -> Iterator[_Read]:
        """Fetch a list, and return what each page is read as."""
        pages = self._client.pages(path, **params)
        while True:
            with translated():
                if (page := next(pages, None)) is None:
                    return
                found = read(page)
            yield found


def is_forbidden(error: BaseException) -> bool:
    """Return whether the key, a restricted one, lacks a permission."""
    return isinstance(error.__cause__, stripe.PermissionError)


def is_unknown_key(error: BaseException) -> bool:
    """Return whether Stripe does not know the key."""
    return isinstance(error.__cause__, stripe.AuthenticationError)


def path_of(kind: str, id_: str) -> str:
    """Return the path of an object at Stripe. An id may come from outside, and then hold anything."""
    return f"/v1/{kind}/{quote_plus(id_)}"
