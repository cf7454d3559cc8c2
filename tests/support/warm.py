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
from collections.abc import Mapping
from pathlib import Path

LIBRARIES = "click dotenv jwt peewee requests stripe stripe._http_client stripe._webhook stripe.v2.core".split()
READ_AT_START = ("PYTHON", "LANG", "LC_", "TZ", "LD_", "OPENSSL", "no_proxy", "NO_PROXY")
LONGEST = 1 << 18  # of what a command is asked with

Environ = tuple[tuple[str, str], ...]


def run(
    arguments: tuple[str, ...], folder: Path, environ: Mapping[str, str], seconds: float = 60
) -> "subprocess.CompletedProcess[str]":
    """Run a command as subprocess.run(capture_output=True, text=True) does, and no longer than so many seconds."""
    at_start = tuple(sorted((name, value) for name, value in environ.items() if name.startswith(READ_AT_START)))
    asked = json.dumps([arguments, str(folder), dict(environ)]).encode()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        heard, told = os.pipe()
        with open(heard, "rb", buffering=0) as answer:  # or select() would not see what was read too far
            try:
                socket.send_fds(_waiting(at_start), [asked], [out.fileno(), err.fileno(), told])
            finally:
                os.close(told)
            pid = int(answer.readline())
            if not select.select([answer], [], [], seconds)[0]:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(["corkage", *arguments], seconds)
            code = int(answer.read())
        return subprocess.CompletedProcess(["corkage", *arguments], code, _text(out), _text(err))


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
        message, files, _, _ = socket.recv_fds(asked, LONGEST, 3)
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


def _become(message: bytes, out: int, err: int, told: int) -> None:
    """Fork the process of a command, which alone returns from here, and say how it ended."""
    pid = os.fork()
    if pid:
        os.write(told, b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(told, b"%d" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    for source, target in ((out, 1), (err, 2)):
        os.dup2(source, target)
    for each in (out, err, told):
        os.close(each)
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
    gc.collect()
    gc.freeze()
    wait(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module("corkage.cli", run_name="__main__", alter_sys=True)
