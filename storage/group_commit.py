"""Group commit: the statements of many threads share one commit, and so one fsync.

A thread queues its statement. Where no commit is under way, it leads: it takes the write lock and commits all that
wait, its own among them. Meanwhile the statements of other threads queue up, and one of them leads next. So there is no
thread to start, stop or fork, and no delay: a statement that comes alone is committed at once.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from ..errors import DatabaseUnavailable

LARGEST_GROUP = 64  # some milliseconds of work, which whoever else wants the write lock waits for


class Statement:
    """A statement and, once it is done, the error that came of it, if any."""

    def __init__(self, sql: str, values: tuple[object, ...]) -> None:
        self.sql, self.values = sql, values
        self.error: Exception | None = None
        self.is_done = False

    def is_like(self, other: "Statement") -> bool:
        """Return whether only its values differ."""
        return self.sql == other.sql and len(self.values) == len(other.values)


class GroupCommit:
    """Commits what threads write.

    Shape   write_lock: held by whoever writes; commit: executes statements in one transaction, and sets the error
            of those that fail by themselves; when it raises, nothing was written
    """

    def __init__(self, write_lock: AbstractContextManager[Any], commit: Callable[[Sequence[Statement]], None]) -> None:
        self._write_lock, self._commit = write_lock, commit
        self._waiting: deque[Statement] = deque()
        self._changed = threading.Condition()
        self._has_leader = False

    def write(self, sql: str, values: tuple[object, ...]) -> None:
        """Execute the statement; return once it is committed.

        Errors  what the statement raises; DatabaseUnavailable when its group could not be committed
        """
        statement = Statement(sql, values)
        leads = False
        try:
            with self._changed:
                self._waiting.append(statement)
                while self._has_leader and not statement.is_done:
                    self._changed.wait()
                if not statement.is_done:
                    leads = self._has_leader = True
            while not statement.is_done:
                self._commit_group()
        finally:
            if leads:
                with self._changed:
                    if not statement.is_done:  # an error ended this thread first: nobody waits for it any more
                        self._waiting.remove(statement)
                    self._has_leader = False
                    self._changed.notify_all()
        if statement.error is not None:
            raise statement.error

    def _commit_group(self) -> None:
        """Commit those that wait. If a bug or a signal ends this thread, the others are refused, and may retry."""
        group: list[Statement] = []
        failure: DatabaseUnavailable | None = DatabaseUnavailable("the commit was interrupted")
        try:
            with self._write_lock:
                group += [self._waiting.popleft() for _ in range(min(len(self._waiting), LARGEST_GROUP))]
                self._commit(group)
            failure = None
        except DatabaseUnavailable as error:
            failure = error
        finally:
            for statement in group:
                statement.error = failure or statement.error
                statement.is_done = True
