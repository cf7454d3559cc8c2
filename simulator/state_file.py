"""A simulator's state, stored as one JSON file."""

import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from .errors import ApiError
from .lock import WorldLock
from .world import API_VERSION, Object

FORMAT = 1
HEAD = {"corkage_simulator": FORMAT, "api_version": API_VERSION}
SAVE_SECONDS = 1.0

log = logging.getLogger("corkage.simulator")


class UnusableFile(Exception):
    """The file cannot be read, parsed or written. The message is for the user."""


class StateFile:
    """Loads the state once, and writes it after changes: at most once in SAVE_SECONDS, and at the end.

    Shape   to_state returns the state for JSON, and is called under the lock; restore loads it.
            The file is replaced as a whole, so it is never half written
    Errors  UnusableFile
    """

    def __init__(
        self, path: Path, lock: WorldLock, to_state: Callable[[], Object], restore: Callable[[Object], None]
    ) -> None:
        self._path = path
        self._lock = lock
        self._to_state = to_state
        self._restore = restore
        self._saved = b""
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._save_regularly, daemon=True)

    def load(self) -> None:
        """Restore the state from the file, if it exists."""
        try:
            state = self._check_format(json.loads(self._path.read_bytes()))
            self._restore(state)
        except FileNotFoundError:
            return
        except OSError as error:
            raise UnusableFile(f"{self._path} cannot be read: {error.strerror}.") from error
        except (ApiError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise UnusableFile(
                f"{self._path} is damaged, or not a simulator's file. Move it away to start anew."
            ) from error

    def save(self) -> None:
        """Write the state if it has changed."""
        with self._lock:
            text = json.dumps(HEAD | self._to_state()).encode()
        if text == self._saved:
            return
        try:
            self._replace(text)
        except OSError as error:
            raise UnusableFile(f"{self._path} cannot be written: {error.strerror}.") from error
        self._saved = text

    def start(self) -> None:
        """Start saving in a background thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and save."""
        self._has_ended.set()
        self._thread.join()
        self.save()

    def _check_format(self, state: Object) -> Object:
        if state["corkage_simulator"] > FORMAT:
            raise UnusableFile(f"{self._path} was written by a newer Corkage than this one.")
        if state["api_version"] != API_VERSION:
            raise UnusableFile(
                f"{self._path} holds objects of Stripe's API version {state['api_version']}, and this simulator uses "
                f"{API_VERSION}. Move it away to start anew."
            )
        return state

    def _replace(self, text: bytes) -> None:
        beside = self._path.with_name(f"{self._path.name}.new")
        with beside.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)

    def _save_regularly(self) -> None:
        while not self._has_ended.wait(SAVE_SECONDS):
            try:
                self.save()
            except UnusableFile as error:
                log.error("%s", error)
