"""The programs that run on one database: each says with which settings, so that it shows where they differ.

A program says so when it starts and every minute, and takes it back when it ends. What was killed is not counted from a
quarter of an hour on or, on the same machine, at once.
"""

import hashlib
import json
import os
import socket
import threading
import time
from contextlib import suppress
from typing import NamedTuple

from .. import storage
from ..config import Config
from ..errors import DatabaseUnavailable
from ..logs.facts import logger
from ..models import Setting

PREFIX = "program:"
EVERY_SECONDS = 60.0
GONE_SECONDS = 900.0
DIGITS = 12

_STORE = """
INSERT INTO corkage_setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
_DELETE = "DELETE FROM corkage_setting WHERE name = ?"

log = logger("corkage.programs")


class Program(NamedTuple):
    """A program that runs on this database.

    Shape   settings: a short digest of each setting that must be the same in all; at: when it last said so
    """

    name: str
    host: str
    pid: int
    at: float
    settings: dict[str, str]

    def is_gone(self, now: float) -> bool:
        """Return whether it has ended, as far as can be known from here."""
        if now - self.at > GONE_SECONDS:
            return True
        return self.host == socket.gethostname() and not _is_running(self.pid)


def settings_of(config: Config) -> dict[str, str]:
    """Return a digest of each setting that all programs on one database must have alike. Secrets stay secret."""
    values = {
        "STRIPE_WEBHOOK_SECRET": sorted(config.webhook_secrets),
        "STRIPE_API_BASE": config.stripe_api_base,
        "BILLING_APP": config.app,
        "BILLING_AUTH_SECRET": sorted(config.auth_secrets),
        "BILLING_PAYER_PREFIX": config.payer_prefix,
        "BILLING_PLANS": repr(config.plans),
    }
    return {name: _digest(name, value) for name, value in values.items()}


def _digest(name: str, value: object) -> str:
    return hashlib.sha256(json.dumps([name, value]).encode()).hexdigest()[:DIGITS]


def programs(now: float) -> list[Program]:
    """Return the programs that run on this database.

    Errors  DatabaseUnavailable
    """
    found = storage.rows("SELECT name, value FROM corkage_setting WHERE name LIKE ? ORDER BY name", (f"{PREFIX}%",))
    every = [Program(name, **json.loads(value)) for name, value in found]
    return [each for each in every if not each.is_gone(now)]


def differences(now: float) -> dict[str, list[Program]]:
    """Return the settings in which programs on this database differ, each with one program of each kind."""
    running = programs(now)
    found: dict[str, list[Program]] = {}
    for name in sorted({name for each in running for name in each.settings}):
        kinds = {each.settings.get(name): each for each in running}
        if len(kinds) > 1:
            found[name] = list(kinds.values())
    return found


class Presence:
    """Says that this program runs, with which settings."""

    def __init__(self, config: Config) -> None:
        self._settings = settings_of(config)
        self._host, self._pid = socket.gethostname(), os.getpid()
        self._name = f"{PREFIX}{self._host}:{self._pid}"  # so that who has the same place takes it over
        self._next_at = 0.0
        self._lock = threading.Lock()

    def say(self) -> None:
        """Say so, once a minute at most. Where the database cannot be written, other checks say that."""
        if time.monotonic() < self._next_at:
            return
        with self._lock:
            if time.monotonic() < self._next_at:
                return
            is_first, self._next_at = not self._next_at, time.monotonic() + EVERY_SECONDS
        try:
            if is_first:
                _forget_gone(time.time())
            storage.write(_STORE, (self._name, json.dumps(self._said())))
        except DatabaseUnavailable as error:
            log.debug("what runs here could not be stored: %s", error)

    def _said(self) -> dict[str, object]:
        return {"host": self._host, "pid": self._pid, "at": time.time(), "settings": self._settings}

    def take_back(self) -> None:
        """Say that this program ends."""
        is_said, self._next_at = bool(self._next_at), 0.0
        if is_said and self._pid == os.getpid():
            with suppress(DatabaseUnavailable):
                storage.write(_DELETE, (self._name,))


def _forget_gone(now: float) -> None:
    rows = Setting.select().where(Setting.name.startswith(PREFIX))
    for row in list(rows):
        if Program(row.name, **json.loads(row.value)).is_gone(now):
            storage.write(_DELETE, (row.name,))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
