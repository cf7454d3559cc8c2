"""A terminal, in which a command runs."""

import fcntl
import os
import pty
import select
import struct
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

import warm


def run_in_terminal(
    arguments: Sequence[str], folder: Path, environ: Mapping[str, str], columns: int = 80
) -> tuple[int, str]:
    """Run a command of Corkage's on a terminal; return its exit status and what it printed, without colours."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environ = {name: value for name, value in environ.items() if name not in ("COLUMNS", "LINES")} | {"NO_COLOR": "1"}
    with open(os.devnull) as nothing:
        command = warm.begin(arguments, folder, environ, (nothing.fileno(), slave, slave))
    os.close(slave)
    printed = b"".join(iter(lambda: _read(master), b""))
    os.close(master)
    return command.wait(), printed.decode().replace("\r\n", "\n")


def typed(arguments: Sequence[str], answers: Sequence[str], folder: Path, environ: Mapping[str, str]) -> str:
    """Run a command on a terminal, and type an answer at each question; return what it printed."""
    ours, theirs = pty.openpty()
    command = warm.begin(arguments, folder, environ, (theirs, theirs, theirs))
    os.close(theirs)
    printed, left = b"", list(answers)
    try:
        while select.select([ours], [], [], 60)[0] and (piece := _read(ours)):
            printed += piece
            if left and printed.endswith(b": "):  # a hidden answer that is typed before the question is lost
                os.write(ours, f"{left.pop(0)}\n".encode())
    finally:
        command.kill()
        command.wait()
        os.close(ours)
    assert left == [], printed
    return printed.decode()


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65_536)
    except OSError:  # Linux says so that the other end is closed
        return b""
