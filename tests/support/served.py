"""`corkage serve` as a process that is harmed: the same port each time that it is started."""

import itertools
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
import stripe
from broken import free_port
from elsewhere import elsewhere
from harness import AUTH_SECRET, WEBHOOK_SECRET, until

from corkage import storage
from corkage.identity import mint_token

ANSWER_SECONDS = 30


class Served:
    """A server that may be killed and started again, and what is asked of it.

    Shape   acknowledged: the events that were answered with 200; statuses: of all webhooks since they were cleared
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        folder: Path,
        module: str = "corkage.cli",
        through: tuple[str, ...] = (),
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environ, self.database = dict(environ), environ["BILLING_DATABASE"]
        self.acknowledged: set[str] = set()
        self.statuses: list[int] = []
        self._folder, self._module, self._through = folder, module, through
        self._number = itertools.count()
        self._log = folder / "server.log"

    def start(self) -> None:
        """Start it; do not wait for it."""
        command = [*self._through, sys.executable, "-m", self._module, "serve", "--port", str(self.port)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self._folder, env=self.environ, stdout=log, stderr=log)

    def is_serving(self) -> bool:
        """Return whether it answers; fail where it has ended."""
        assert self.process.poll() is None, self.log()[-3000:]
        with suppress(requests.RequestException):
            return self.get("/health").status_code in (200, 503)
        return False

    def begin(self) -> None:
        """Start it, and wait until it answers."""
        self.start()
        until(self.is_serving)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Stop it as an init system would; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def log(self) -> str:
        return self._log.read_text()

    def deliver(self, event: Any, padding: int = 0) -> requests.Response:
        """Deliver a copy of the event, under an id of its own, and larger by so many bytes."""
        name = f"evt_copy_{next(self._number)}"
        body = json.dumps(json.loads(str(event)) | {"id": name, "padding": "x" * padding})
        signature = stripe.WebhookSignature.generate_signature_header(body, WEBHOOK_SECRET, int(time.time()))
        headers = {"Stripe-Signature": signature, "Connection": "close"}
        answer = requests.post(f"{self.url}/webhook", body, headers=headers, timeout=ANSWER_SECONDS)
        assert "Traceback" not in answer.text
        self.statuses.append(answer.status_code)
        if answer.ok:
            self.acknowledged.add(name)
        return answer

    def ask(self, user: str = "ann") -> requests.Response:
        """Ask for the access of a user."""
        token = mint_token(AUTH_SECRET, user, now=time.time(), lifetime_seconds=600)
        return self.get("/access", Authorization=f"Bearer {token}")

    def health(self) -> Any:
        """Return what /health says; its status must agree with that."""
        answer = self.get("/health")
        facts = answer.json()
        assert (answer.status_code, facts["status"]) == ((503, "failing") if facts["problems"] else (200, "ok"))
        return facts

    def problems(self) -> str:
        return "; ".join(self.health()["problems"])

    def is_well(self) -> bool:
        """Return whether /health says that nothing is wrong."""
        with suppress(requests.RequestException):
            return not self.health()["problems"]
        return False

    def doctor(self) -> dict[str, str]:
        """Return what the doctor says is wrong, by check."""
        command = [*self._through, sys.executable, "-m", self._module, "doctor", "--json"]
        done = subprocess.run(
            command, cwd=self._folder, env=self.environ, capture_output=True, text=True, timeout=120, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        said = json.loads(done.stdout)["checks"]
        return {each["check"]: each["what"] for each in said if each["mark"] in ("wrong", "not checked")}

    def lost(self) -> set[str]:
        """Return the events that were acknowledged and are not stored; the file must be whole."""
        if not storage.is_url(self.database):
            with closing(sqlite3.connect(self._folder / self.database)) as file:
                assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        with elsewhere(self.path) as connection:
            stored = {id_ for (id_,) in connection.execute("SELECT id FROM corkage_stripe_event").fetchall()}
        return self.acknowledged - stored

    @property
    def path(self) -> str:
        """Where the database is, from anywhere."""
        return self.database if storage.is_url(self.database) else str(self._folder / self.database)

    def get(self, path: str, **headers: str) -> requests.Response:
        answer = requests.get(self.url + path, headers={"Connection": "close"} | headers, timeout=ANSWER_SECONDS)
        assert "Traceback" not in answer.text
        return answer


@contextmanager
def served(environ: Mapping[str, str], folder: Path, **options: Any) -> Iterator[Served]:
    """Run a server, and wait until it answers; end it afterwards."""
    server = Served(environ, folder, **options)
    server.begin()
    try:
        yield server
    finally:
        server.kill()
