"""Refused tokens: one user's that has expired, which is ordinary, or those of everybody, which is a mistake?

It is everybody's when MOST_IN_A_ROW were refused, with none accepted in between, and they were of several users.
"""

import logging
import threading

from ..errors import InvalidToken
from ..logs.facts import logger
from ..logs.pace import EACH_SECONDS
from ..trouble import Trouble

MOST_IN_A_ROW = 10
SEVERAL = 3

CAUSES = {
    "expired": "they are expired. The clock of your product is behind, or ours is ahead: compare `date -u` on both "
    "machines; or your product makes them for too short a time, or uses old ones again: see their exp",
    "not_yet": "they are not valid yet. The clock of your product is ahead, or ours is behind: compare `date -u` on "
    "both machines",
    "too_long": "their exp is too far ahead. Have your product make tokens for a day at most",
    "secret": "another secret signed them. Set BILLING_AUTH_SECRET to the one that your product signs with, and "
    "restart; if your product sends none, somebody is guessing",
    "claims": "their claims are not as wanted. See what your product puts into sub, exp and aud",
}

log = logger("corkage.http")


class Tokens:
    """The tokens that this process refused since it last accepted one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._users: set[str] = set()
        self._trouble = Trouble(
            log,
            logging.WARNING,
            f"all tokens are refused, {MOST_IN_A_ROW} in a row by now, of several users: %s",
            "a token is accepted again, after %.0f s",
            EACH_SECONDS,
        )

    def refuse(self, error: InvalidToken) -> None:
        """Note a token that was refused."""
        with self._lock:
            self._in_a_row += 1
            if len(self._users) < SEVERAL:
                self._users.add(error.owner)
            is_everybody = self._in_a_row >= MOST_IN_A_ROW and len(self._users) >= SEVERAL
        if is_everybody:
            self._trouble.begin(CAUSES[error.cause])

    def accept(self) -> None:
        """Note a token that was accepted."""
        if not self._in_a_row:
            return
        with self._lock:
            self._in_a_row, self._users = 0, set()
        self._trouble.end()
