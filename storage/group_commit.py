"""Group commit: what many threads write shares one commit, and so one fsync.

A thread queues its statement or its deed. Where no commit is under way, it leads: it takes the write lock and commits
all that wait, its own among them. Meanwhile those of other threads queue up, and one of them leads next. So there is no
thread to start, stop or fork, and no delay: what comes alone is committed at once, and only after a group the leader
waits for some hundred microseconds at most, for those that may write again.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from ..errors import DatabaseUnavailable
from .deadline import Deadline

GATHER_SECONDS = 0.0005  # a good deal less than what the commits cost that it saves
LARGEST_GROUP = 64  # some milliseconds of work, which whoever else wants the write lock waits for

Execute = Callable[[str, Any], Any]
"""Executes a statement, with values for its ? or :names, and returns the driver's cursor."""


class Waiting:
    """What waits for its commit and, once it is done, the error that came of it, if any."""

    def __init__(self) -> None:
        self.deadline = Deadline()
        self.error: Exception | None = None
        self.is_done = self.leads = False
        self._woken: threading.Lock | None = None

    def begin_to_wait(self) -> None:
        """Make the lock of its own that it waits on: on one for all, those who wake would queue up again."""
        self._woken = threading.Lock()
        self._woken.acquire()

    def wait(self, seconds: float = -1) -> bool:
        """Wait until it is done, or is to lead, for so many seconds at most; return whether it is."""
        return self._woken is None or self._woken.acquire(timeout=seconds)

    def wake(self) -> None:
        """End the wait, if it waits."""
        if self._woken is not None:
            self._woken.release()


class Statement(Waiting):
    """A statement."""

    def __init__(self, sql: str, values: tuple[object, ...]) -> None:
        super().__init__()
        self.sql, self.values = sql, values

    def is_like(self, other: Waiting) -> bool:
        """Return whether only its values differ."""
        return isinstance(other, Statement) and self.sql == other.sql and len(self.values) == len(other.values)


class Deed(Waiting):
    """A function of several statements, and its result. It may be called again where a transaction was undone."""

    def __init__(self, act: Callable[[Execute], Any]) -> None:
        super().__init__()
        self.act, self.result = act, None


class GroupCommit:
    """Commits what threads write.

    Shape   held_lock: holds what is held by whoever writes, or raises DatabaseUnavailable at the deadline;
            commit: executes what waits in one transaction, and sets the error of those that fail by themselves;
            when it raises, nothing was written; locked: the reason when another commit takes too long
    """

    def __init__(
        self,
        held_lock: Callable[[Deadline], AbstractContextManager[Any]],
        commit: Callable[[Sequence[Any], Deadline], None],
        locked: str,
    ) -> None:
        self._held_lock, self._commit, self._locked = held_lock, commit, locked
        self._waiting: deque[Waiting] = deque()
        self._changing = threading.Lock()
        self._has_leader = False
        self._latest = 1

    def write(self, sql: str, values: tuple[object, ...]) -> None:
        """Execute the statement; return once it is committed.

        Errors  what the statement raises; DatabaseUnavailable when its group could not be committed
        """
        self._commit_with(Statement(sql, values))

    def act(self, act: Callable[[Execute], Any]) -> Any:
        """Call the function within the transaction of a group; return its result once that is committed.

        Errors  as `write`
        """
        deed = Deed(act)
        self._commit_with(deed)
        return deed.result

    def _commit_with(self, own: Waiting) -> None:
        try:
            with self._changing:
                if self._has_leader:
                    own.begin_to_wait()
                self._waiting.append(own)
                own.leads, self._has_leader = not self._has_leader, True
            if not own.leads:
                self._wait(own)
            while not own.is_done:
                self._commit_group(own)
        finally:
            if own.leads or not own.is_done:
                self._leave(own)
        if own.error is not None:
            raise own.error

    def _wait(self, own: Waiting) -> None:
        """Wait until it is done, or is to lead. Past the deadline only a commit that is under way is waited for.

        Errors  DatabaseUnavailable
        """
        if own.wait(own.deadline.left()):
            return
        with self._changing:
            if own.leads:
                return
            if is_waiting := own in self._waiting:
                self._waiting.remove(own)
        if is_waiting:
            raise DatabaseUnavailable(self._locked)
        own.wait()

    def _leave(self, own: Waiting) -> None:
        """Let the next that waits lead, if this one did."""
        with self._changing:
            if not own.is_done and own in self._waiting:  # an error ended this thread: nobody waits for it any more
                self._waiting.remove(own)
            if own.leads:
                self._has_leader = bool(self._waiting)
            if own.leads and self._waiting:
                self._waiting[0].leads = True
                self._waiting[0].wake()

    def _gather(self) -> None:
        """Let other threads run that were committed a moment ago, where some were: they may write again."""
        if len(self._waiting) >= self._latest:
            return
        until = time.monotonic() + GATHER_SECONDS
        while len(self._waiting) < self._latest and time.monotonic() < until:
            time.sleep(0)

    def _take(self, most: int) -> list[Waiting]:
        with self._changing:
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), most))]

    def _commit_group(self, own: Waiting) -> None:
        """Commit those that wait. If a bug or a signal ends this thread, the others are refused, and may retry.

        This thread came before the others, so none of them waits longer than its deadline allows.
        """
        group: list[Waiting] = []
        failure: DatabaseUnavailable | None = DatabaseUnavailable("the commit was interrupted")
        try:
            self._gather()
            with self._held_lock(own.deadline):
                group += self._take(LARGEST_GROUP)
                self._latest = len(group)
                self._commit(group, own.deadline)
            failure = None
        except DatabaseUnavailable as error:
            failure = error
            group = group or self._take(1)  # this one: without the lock none was taken
        finally:
            for each in group:
                if not each.is_done:
                    each.error = failure or each.error
                each.is_done = True
                if each is not own:
                    each.wake()
