"""Processes that race: each has a Billing of its own on one database, and they do at once what they are asked to."""

import functools
import io
import multiprocessing
import pkgutil
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import stripe
from sabotage import at_step, die
from tables import remembered

from corkage import schema, storage
from corkage.billing_app import Billing
from corkage.config import Config
from corkage.errors import DatabaseUnavailable, StripeError
from corkage.models import User
from corkage.sync import inbox

LONGEST_SECONDS = 90.0  # generous: a race that hangs fails
USUAL = {
    "corkage.sync.worker.CALLS_PER_SECOND": 10_000,
    "corkage.storage.deadline.BUSY_SECONDS": LONGEST_SECONDS,  # however slow the machine is, nobody gives up
}

Call = tuple[Any, ...]  # what to do, and with what

# Forked from a process that has loaded the program and runs no threads, a process takes milliseconds to start.
PROCESSES = multiprocessing.get_context("forkserver")
COMMANDS = ("corkage.commands.push", "corkage.commands.move_price", "corkage.commands.database.move_database")
PROCESSES.set_forkserver_preload(
    ["corkage.billing_app", "corkage.routes", "corkage.sync.worker", "psycopg", "corkage.cli", *COMMANDS]
)


class Racer:
    """A process. It does one thing after the other."""

    def __init__(self, config: Config, changes: dict[str, object], line: Any) -> None:
        self._pipe, theirs = PROCESSES.Pipe()
        self.process = PROCESSES.Process(target=_run, args=(config, changes, line, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def begin(self, act: Callable[..., Any], *given: Any, meets: str = "") -> None:
        """Have it do something, without waiting for the end. It is given the Billing first."""
        self._pipe.send((meets, act, given))

    def result(self) -> Any:
        """Wait for the end of what was begun, and return what came of it."""
        assert self._pipe.poll(LONGEST_SECONDS), "a racer takes too long"
        is_done, found = self._pipe.recv()
        assert is_done, found
        return found

    def do(self, act: Callable[..., Any], *given: Any) -> Any:
        self.begin(act, *given)
        return self.result()

    def kill(self) -> None:
        """End it, wherever it is."""
        self.process.kill()
        self.process.join()
        self.process.close()
        self._pipe.close()


class Race:
    """Some processes on the same database."""

    def __init__(self, config: Config, count: int, changes: dict[str, object]) -> None:
        self._line = PROCESSES.Barrier(count)  # kept: the processes look for it when they start
        self._racer = functools.partial(Racer, config, USUAL | changes, self._line)
        self.racers = [self._racer() for _ in range(count)]

    def at_once(self, *calls: Call) -> list[Any]:
        """Have each racer do one of these. They begin together."""
        return self._run("start", calls)

    def to_the_write(self, *calls: Call) -> list[Any]:
        """Have each racer do one of these. They wait for each other before the first transaction that writes."""
        return self._run("write", calls)

    def play(self, parts: Sequence[Sequence[Call]], deaths: dict[int, int]) -> None:
        """Have each racer do its part. Some are killed at a step (sabotage.py), and others take their places."""
        for number, part in enumerate(parts):
            self.racers[number].begin(play, part, deaths.get(number))
        for number, racer in enumerate(self.racers):
            try:
                racer.result()
            except EOFError:
                assert number in deaths
                racer.kill()
                self.racers[number] = self._racer()

    def end(self) -> None:
        for racer in self.racers:
            racer.kill()

    def _run(self, meets: str, calls: Sequence[Call]) -> list[Any]:
        for racer, call in zip(self.racers, calls, strict=True):
            racer.begin(*call, meets=meets)
        return [racer.result() for racer in self.racers]


@contextmanager
def racing(config: Config, count: int = 2, changes: dict[str, object] | None = None) -> Iterator[Race]:
    """Start some processes, and end them.

    Shape   changes: what a name in a module is in them, by its path
    """
    race = Race(config, count, changes or {})
    try:
        yield race
    finally:
        race.end()


def _run(config: Config, changes: dict[str, object], line: Any, pipe: Any) -> None:
    for path, value in changes.items():
        module, _, name = path.rpartition(".")
        setattr(pkgutil.resolve_name(module), name, value)
    schema._create_everything = remembered(schema._create_everything)
    meets: list[str] = [""]
    storage.engine.Engine.writing = _met(storage.engine.Engine.writing, meets, line)  # type: ignore[method-assign]
    billing = Billing(config)
    while True:
        try:
            meets[0], act, given = pipe.recv()
        except EOFError:
            return
        try:
            if meets[0] == "start":
                line.wait(LONGEST_SECONDS)
            pipe.send((True, act(billing, *given)))
        except Exception:
            pipe.send((False, traceback.format_exc()))


def _met(writing: Any, meets: list[str], line: Any) -> Any:
    """Return `writing`, with a meeting before the first of each race."""

    @contextmanager
    def written(self: Any) -> Iterator[None]:
        if meets[0] == "write":
            meets[0] = ""
            line.wait(LONGEST_SECONDS)
        with writing(self):
            yield

    return written


def post(billing: Billing, body: bytes) -> int:
    """Hand a signed webhook to the app, as its server would, and return the status."""
    (secret,), now = billing.config.webhook_secrets, int(time.time())
    signature = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, now)
    answered: list[int] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/webhook",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_STRIPE_SIGNATURE": signature,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "http",
    }
    for _ in billing.wsgi(environ, lambda status, *_: answered.append(int(status.split()[0]))):
        pass
    return answered[0]


# What a racer may be asked to do.


def converge(billing: Billing, customer_id: str) -> str:
    return billing.service.worker.converger.converge(customer_id, time.time()).outcome


def link(billing: Billing, user_id: str, customer_id: str) -> str:
    return billing.service.worker.converger.link(user_id, customer_id, time.time())


def record(billing: Billing, events: Sequence[Any], threads: int) -> None:
    """Store these events, as the threads of a server do."""
    now = time.time()
    with ThreadPoolExecutor(threads) as pool:
        for ended in [pool.submit(inbox.record, event, "webhook", now, now) for event in events]:
            ended.result()


def follow_time(billing: Billing, now: float) -> None:
    billing.service.catalogue.timelines.follow_time(now)


def work(billing: Billing) -> None:
    """Work until nothing is pending."""
    while inbox.backlog(time.time()).backlog:
        billing.service.worker.work_once(time.time())
        time.sleep(0.02)


def play(billing: Billing, part: Sequence[Call], death: int | None) -> None:
    """Do one thing after the other, as a server and its worker do; die at a step."""
    acts = {"hear": _hear, "see": _see, "work": _work, "poll": _poll}
    with at_step(death, die) if death is not None else nullcontext():
        for name, *given in part:
            acts[name](billing, *given)


def _hear(billing: Billing, body: bytes) -> None:
    assert post(billing, body) in (200, 503)


def _see(billing: Billing, customer_id: str, now: float) -> None:
    with suppress(StripeError):
        billing.service.worker.converger.converge(customer_id, now)


def _work(billing: Billing, now: float) -> None:
    with suppress(StripeError):
        billing.service.worker.owed.clock = lambda: now
        billing.service.worker.work_once(now)


def _poll(billing: Billing, now: float) -> None:
    with suppress(StripeError):
        billing.service.worker.owed.clock = lambda: now
        billing.service.worker.work_at_once(now)


def write_in_halves(billing: Billing, folder: Path) -> str:
    """Write a user, make the file `inside`, and wait for the file `go on` before writing another; return the end."""
    try:
        with storage.writing():
            User.insert(id="first half", created_at=0).execute()
            (folder / "inside").touch()
            while not (folder / "go on").exists():
                time.sleep(0.01)
            User.insert(id="second half", created_at=0).execute()
    except DatabaseUnavailable:
        return "unavailable"
    return "written"
