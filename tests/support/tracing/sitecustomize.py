"""Which lines of Corkage each test runs: for bin/mutate, which puts this folder on PYTHONPATH.

Python imports this at its start, so the processes that a test starts are traced as well. Each process writes to a file
of its own: "=" and a test's id, then "file:line" for each line of a function that the test is the first time at.
"""

import os
import sys
import threading
from types import FrameType
from typing import Any

IN_FUNCTION = 2  # CO_NEWLOCALS: the code of a module or a class lacks it
LEFT_OUT = ("tests/", "simulator/", "bench/", "demo/", "bin/")


class Lines:
    """The lines that a process has run in the test that is played."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.files: dict[str, str] = {}
        self.begin(self._now())

    def begin(self, test: str) -> None:
        """Begin a test in this process, for all processes that it starts from now on."""
        self.seen: set[tuple[str, int]] = set()
        self.out = os.open(f"{self.folder}/{os.getpid()}.lines", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(self.out, f"={test}\n".encode())

    def end(self) -> None:
        """End a test; no file stays open between two."""
        os.close(self.out)

    def in_child(self) -> None:
        """Write to a file of its own, in a process that was forked; its test may have begun after its parent."""
        os.close(self.out)
        self.begin(self._now())

    def called(self, frame: FrameType, *_: Any) -> Any:
        """Trace the lines of a function of Corkage, and of no other."""
        code = frame.f_code
        file = self.files.get(code.co_filename)
        if file is None:
            file = self.files[code.co_filename] = _name(code.co_filename)
        return self.line if file and code.co_flags & IN_FUNCTION else None

    def line(self, frame: FrameType, event: str, _: Any) -> Any:
        """Write a line that is run the first time."""
        key = frame.f_code.co_filename, frame.f_lineno  # the hash of a code would be slow
        if event == "line" and key not in self.seen:
            self.seen.add(key)
            os.write(self.out, f"{self.files[key[0]]}:{key[1]}\n".encode())
        return self.line

    def _now(self) -> str:
        """Return the test that the process that plays the tests has noted."""
        try:
            with open(os.environ["PYTHON_LINES_NOW"]) as noted:
                return noted.read()
        except (KeyError, FileNotFoundError):
            return ""


def _name(path: str) -> str:
    """Return the file's name in the tree, "" where it is none of Corkage's own."""
    _, found, name = path.rpartition("/corkage/")
    return name if found and not name.startswith(LEFT_OUT) else ""


if folder := os.environ.get("PYTHON_LINES"):  # of the environment, the tests' warm processes keep what begins so
    lines = Lines(folder)
    os.register_at_fork(after_in_child=lines.in_child)
    threading.settrace(lines.called)
    sys.settrace(lines.called)
