"""Commands of Corkage, each in a process of its own that has other people's libraries loaded already.

To start Python and load them takes three quarters of the CPU of a command. A process that has done so waits, one for
each environment that Python itself reads at its start, and forks for each command. Corkage's own modules are loaded
anew each time, in the order in which the command asks for them.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import NamedTuple

LIBRARIES = "click dotenv jwt peewee requests stripe stripe._http_client stripe._webhook stripe.v2.core".split()
READ_AT_START = ("PYTHON", "LANG", "LC_", "TZ", "LD_", "OPENSSL", "no_proxy", "NO_PROXY")
LONGEST = 1 << 18  # of what a command is asked with

Environ = tuple[tuple[str, str], ...]


class Command(NamedTuple):
    """A command that was begun.

    Shape   answer: what says its end, for wait()
    """

    pid: int
    answer: FileIO

    def wait(self, seconds: float = 60) -> int:
        """Return its exit status, or the signal that ended it, negative. It is killed after so many seconds."""
        ended = select.poll()
        ended.register(self.answer, select.POLLIN)
        if not ended.poll(seconds * 1000):
            self.kill()
            raise subprocess.TimeoutExpired("corkage", seconds)
        with self.answer:
            return int(self.answer.readall())

    def kill(self) -> None:
        """Kill it, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def run(
    arguments: Sequence[str], folder: Path, environ: Mapping[str, str], seconds: float = 60
) -> "subprocess.CompletedProcess[str]":
    """Run a command with nothing to read, as subprocess.run() with capture_output and text does.

    Errors  TimeoutExpired after so many seconds
    """
    with open(os.devnull) as nothing, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        files = (nothing.fileno(), out.fileno(), err.fileno())
        code = begin(arguments, folder, environ, files).wait(seconds)
        return subprocess.CompletedProcess(["corkage", *arguments], code, _text(out), _text(err))


def begin(arguments: Sequence[str], folder: Path, environ: Mapping[str, str], files: tuple[int, int, int]) -> Command:
    """Begin a command with these files as its stdin, stdout and stderr."""
    at_start = tuple(sorted((name, value) for name, value in environ.items() if name.startswith(READ_AT_START)))
    asked = json.dumps([arguments, str(folder), dict(environ)]).encode()
    heard, told = os.pipe()
    answer = FileIO(heard)  # unbuffered, or select() would not see what was read too far
    try:
        socket.send_fds(_waiting(at_start), [asked], [*files, told])
    finally:
        os.close(told)
    return Command(int(answer.readline()), answer)


def _text(file: "tempfile._TemporaryFileWrapper[bytes]") -> str:
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n")


@functools.cache
def _waiting(at_start: Environ) -> socket.socket:
    """Start a process that waits for commands, and return the socket on which it is asked."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            env={"PATH": os.environ["PATH"], **dict(at_start)},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def wait(asked: socket.socket) -> None:
    """Fork for each command that is asked for. Returns in the process that is to run it, with `sys.argv` set."""
    while True:
        message, files, _, _ = socket.recv_fds(asked, LONGEST, 4)
        _reap()
        if not message:
            sys.exit()
        if os.fork() == 0:
            asked.close()
            _become(message, *files)
            return
        for each in files:
            os.close(each)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _become(message: bytes, *files: int) -> None:
    """Fork the process of a command, which alone returns from here, and say how it ended."""
    told = files[3]
    pid = os.fork()
    if pid:
        for each in files[:3]:
            os.close(each)
        os.write(told, b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(told, b"%d" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    for number, each in enumerate(files[:3]):
        os.dup2(each, number)
    for each in files:
        os.close(each)
    os.setsid()  # or who hides what is typed would ask the terminal of whoever runs the tests
    arguments, folder, environ = json.loads(message)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv[1:] = arguments
    sys.path.insert(0, folder)


if __name__ == "__main__":
    del sys.path[0]  # of this file
    for library in LIBRARIES:
        importlib.import_module(library)
    with contextlib.suppress(ImportError):  # in a plain installation
        importlib.import_module("psycopg")
    sys.modules["stripe"].HTTPClient.INITIAL_DELAY = 0.02  # type: ignore[attr-defined]  # as in conftest.py
    gc.collect()
    gc.freeze()
    wait(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module("corkage.cli", run_name="__main__", alter_sys=True)
