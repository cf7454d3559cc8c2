"""Refused webhooks: is Stripe itself refused, because the secret is wrong, or only a stranger?

Anybody can post a body with a signature that looks like Stripe's. So a refusal alone proves nothing, and a stranger
must not be able to turn /health to 503, after which a load balancer would stop sending requests. It is a problem if at
least MOST_IN_A_ROW webhooks were refused in the last hour, with none accepted in between, and one of these is true:

- Polling returned one of the refused events. So Stripe sent it: a stranger does not know its id.
- No webhook was accepted since this process started, or for a day. As long as one was, the secrets are right, unless
  the secret was changed at Stripe: then polling or the day shows it. Where no webhooks come at all, a stranger can
  cause a false alarm, for an hour, or until the first genuine webhook.

The doctor reports what is stored in the database, without these conditions: it has no load balancer behind it.
"""

import json
import logging
import re
import threading
from collections import Counter

from peewee import fn

from .. import storage
from ..errors import DatabaseUnavailable
from ..logs.facts import logger
from ..logs.pace import EACH_SECONDS
from ..models import StripeEvent, setting
from ..trouble import Trouble

MOST_IN_A_ROW = 3
LATELY_SECONDS, A_DAY = 3600.0, 86_400.0
CLOCKS_DIFFER_SECONDS = 300.0  # those of two hosts
STORE_EVERY_SECONDS = 60.0  # a stranger can cause these writes
REMEMBERED_IDS = 20
STORED = "refused_webhooks"
LONGEST_REASON = 120
REPAIR = "set STRIPE_WEBHOOK_SECRET to the signing secret that Stripe shows for this endpoint, and restart"
OF_THE_CLOCK = "compare `date -u` with another machine's, and have NTP set the clock"
OF_A_BODY = (
    "the body is not written as Stripe writes it: have the proxy in between pass bodies on as they are; or " + REPAIR
)
STRIPES_BODY = b"{\n"  # Stripe sends indented JSON; what parses a body and writes it anew mostly does not

_SIGNATURE = re.compile(r"t=\d{1,15}(?:,v\d=[0-9a-f]{64})+")
_EVENT_ID = re.compile(rb'"id"\s*:\s*"(evt_\w{1,250})"')
_STORE = """
INSERT INTO corkage_setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
_ACCEPTED = """
SELECT 1 FROM corkage_stripe_event WHERE {which} AND source = 'webhook' AND received_at > ?
ORDER BY applied_at DESC LIMIT 1
"""
_CLEAR = "DELETE FROM corkage_setting WHERE name = ?"

log = logger("corkage.webhook")


class Refusals:
    """The webhooks that this process refused since it last accepted one.

    Shape   accepted: how many since the start; refused: the same by reason, "secret", "age" or "header"
    """

    def __init__(self, started_at: float) -> None:
        self._started_at = started_at
        self._lock = threading.Lock()
        self._accepted_at = 0.0
        self._in_a_row = 0
        self._event_ids: list[str] = []
        self._stored_at = 0.0
        self._is_clear = False
        self._trouble = Trouble(
            log,
            logging.WARNING,
            f"webhooks are refused, {MOST_IN_A_ROW} in a row by now: %s",
            "a webhook is accepted again, after %.0f s",
            EACH_SECONDS,
        )
        self._repair = REPAIR
        self.last: tuple[float, str] | None = None
        self.accepted = 0
        self.refused: Counter[str] = Counter()

    def refuse(self, header: str | None, body: bytes, reason: str, now: float) -> None:
        """Note a webhook with a wrong signature. Ignore it if the header does not look like Stripe's."""
        is_like_stripes = bool(header and _SIGNATURE.fullmatch(header) and ",v1=" in header)
        with self._lock:
            self.refused[_kind(reason)] += 1
            if not is_like_stripes:
                return
            self.last = (now, reason[:LONGEST_REASON])
            self._in_a_row += 1
            self._repair = _repair(reason, body)
            if found := _EVENT_ID.search(body):
                self._event_ids = [*self._event_ids, found[1].decode()][-REMEMBERED_IDS:]
            stores = self._in_a_row >= MOST_IN_A_ROW and now >= self._stored_at + STORE_EVERY_SECONDS
            self._stored_at = now if stores else self._stored_at
        if self._in_a_row >= MOST_IN_A_ROW:  # one that goes on is not another one with each new reason
            self._trouble.begin(self._trouble.reason or f"{reason}. If Stripe sends them, {self._repair}")
        if stores:
            self._store(now, reason)

    def accept(self, now: float) -> None:
        """Note a webhook with a right signature.

        Errors  DatabaseUnavailable
        """
        with self._lock:
            self._accepted_at, self._in_a_row, self._event_ids = now, 0, []
            self.accepted += 1
            is_clear, self._is_clear = self._is_clear, True
        self._trouble.end()
        if not is_clear and setting(STORED) is not None:
            storage.write(_CLEAR, (STORED,))

    def problem(self, now: float) -> str | None:
        """Return the problem if Stripe's own webhooks are refused, as described above; else None.

        Errors  DatabaseUnavailable
        """
        if self.last is None or self._in_a_row < MOST_IN_A_ROW or now - self.last[0] > LATELY_SECONDS:
            return None
        if self._is_accepted_since(self.last[0]):  # by another process
            return None
        is_unproved = not self._is_accepted_since(max(self._started_at, now - A_DAY))
        if not is_unproved and not _were_polled(self._event_ids):
            return None
        return f"every webhook is refused, the last {self._in_a_row} in a row: {self.last[1]}; {self._repair}"

    def _is_accepted_since(self, moment: float) -> bool:
        return self._accepted_at > moment or is_accepted_since(moment)

    def _store(self, now: float, reason: str) -> None:
        row = {"at": int(now), "reason": reason[:LONGEST_REASON]}
        self._is_clear = False
        try:
            storage.write(_STORE, (STORED, json.dumps(row)))
        except DatabaseUnavailable as error:  # this webhook is refused in any case
            log.debug("the refused webhook could not be stored for the doctor: %s", error)


def _kind(reason: str) -> str:
    """Return the reason in one word, of which there are few: the metrics count by it."""
    if reason.startswith("none of the"):
        return "secret"
    return "age" if reason.startswith("the signature is") else "header"


def _repair(reason: str, body: bytes) -> str:
    """Return what to do about a webhook of Stripe's own that was refused."""
    if "of our clock" in reason or reason.endswith(" s old"):
        return OF_THE_CLOCK
    return REPAIR if body.startswith(STRIPES_BODY) else OF_A_BODY


def stored_problem(now: float) -> str | None:
    """Return the problem that any process stored within a day, unless a webhook was accepted since.

    Errors  DatabaseUnavailable
    """
    row = setting(STORED)
    stored = json.loads(row) if row else None
    if stored is None or stored["at"] < now - A_DAY or is_accepted_since(stored["at"]):
        return None
    return f"webhooks are refused, the last {max(0.0, now - stored['at']):.0f} s ago or later: {stored['reason']}"


def is_accepted_since(moment: float) -> bool:
    """Return whether any process accepted a webhook after this moment. Unlike last_accepted_at(), it does not read all
    events: a stranger can cause this look.

    Errors  DatabaseUnavailable
    """
    return any(
        storage.row(_ACCEPTED.format(which=which), (*values, moment)) is not None
        for which, values in (
            ("applied_at IS NULL", ()),
            ("applied_at > ?", (moment - CLOCKS_DIFFER_SECONDS,)),  # it was received before
        )
    )


def last_accepted_at() -> float:
    """Return when any process last accepted a webhook that is stored; 0 when none is."""
    query = StripeEvent.select(fn.MAX(StripeEvent.received_at)).where(StripeEvent.source == "webhook")
    return next(iter(storage.column(query)), None) or 0.0


def _were_polled(event_ids: list[str]) -> bool:
    """Return whether polling returned one of these events."""
    polled = StripeEvent.select(StripeEvent.id).where(StripeEvent.id.in_(event_ids), StripeEvent.source == "poll")
    return bool(storage.column(polled.limit(1)))
