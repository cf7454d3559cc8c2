"""Failures between us, Stripe and the disk, injected at a chosen step."""

import contextlib
import datetime
import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import stripe

from corkage import storage
from corkage.gateway.client import Transport


class Killed(BaseException):
    """The process ends here; nothing catches it."""


def cut() -> None:
    raise stripe.APIConnectionError("the connection was cut")


def kill() -> None:
    raise Killed


def die() -> None:
    """End this process here, really."""
    os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def at_step(step: int, happens: Callable[[], None]) -> Iterator[None]:
    """Have something happen at the given step, once.

    Shape   steps are, in their order: before and after each request to Stripe; before, at the end of and after each
            writing transaction. What happens after a request or a commit finds it done, and unheard of.
    """
    steps = iter(range(10**6))
    send, write = Transport.request, storage.engine.Engine.writing

    def pass_by() -> None:
        if next(steps) == step:
            happens()

    def requested(self: Any, *args: Any, **options: Any) -> Any:
        pass_by()
        answer = send(self, *args, **options)
        pass_by()
        return answer

    @contextlib.contextmanager
    def written(self: Any) -> Iterator[None]:
        before(self)
        with write(self):
            yield
            before(self)
        before(self)

    def before(_: Any) -> None:
        if happens in (kill, die):
            pass_by()

    Transport.request, storage.engine.Engine.writing = requested, written  # type: ignore[method-assign]
    try:
        yield
    finally:
        Transport.request, storage.engine.Engine.writing = send, write  # type: ignore[method-assign]


def thin(event: stripe.Event) -> bytes:
    """Return the thin event of the same change as a snapshot event."""
    subject = event.data.object
    kinds = {"customer": "customer", "subscription": "subscription", "checkout.session": "checkout.session"}
    if subject.object not in kinds:
        return str(event).encode()
    related = {"id": subject.id, "type": kinds[subject.object], "url": f"/v1/{subject.object}s/{subject.id}"}
    return json.dumps(
        {
            "id": f"{event.id}_thin",
            "object": "v2.core.event",
            "type": f"v1.{event.type}",
            "created": _rfc3339(event.created),
            "livemode": False,
            "context": None,
            "related_object": related,
        }
    ).encode()


def _rfc3339(moment: int) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
