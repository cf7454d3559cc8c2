"""What is done in a process of its own, which is killed at a random moment."""

import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from racing import LONGEST_SECONDS, PROCESSES

from corkage import cli
from corkage.billing_app import Billing
from corkage.config import Config

LATEST = 1.1  # of the time that it takes: some end before they are killed

Act = Callable[..., int]
"""What is done, and returns its exit status."""


class Mortal:
    """Does things, of which most are killed.

    Shape   killed: how many were; seconds: how long it takes, by default what the first took that came to its end
    """

    def __init__(self, seed: int, seconds: float = 0.0) -> None:
        self.killed = 0
        self.seconds = seconds
        self._chance = random.Random(seed)

    def lives(self, act: Act, *given: Any) -> None:
        """Do it to its end, and well."""
        self._do(LONGEST_SECONDS, act, given)

    def dies(self, act: Act, *given: Any) -> bool:
        """Do it, and kill it at a random moment; return whether it had not ended well before."""
        assert self.seconds, "how long it takes is known when it was done once"
        return self._do(self._chance.uniform(0, LATEST * self.seconds), act, given)

    def _do(self, seconds: float, act: Act, given: Sequence[Any]) -> bool:
        begins, says = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=_act, args=(says, act, given), daemon=True)
        process.start()
        says.close()
        assert begins.poll(LONGEST_SECONDS)
        began = begins.recv()
        process.join(seconds)
        is_killed = process.is_alive()
        process.kill()
        process.join()
        if is_killed:
            assert seconds < LONGEST_SECONDS, "it takes too long"
            self.killed += 1
        else:
            assert process.exitcode == 0
            self.seconds = self.seconds or time.monotonic() - began
        begins.close()
        process.close()
        return is_killed


def _act(says: Any, act: Act, given: Sequence[Any]) -> None:
    says.send(time.monotonic())
    sys.exit(act(*given))


def command(folder: Path, environ: Mapping[str, str], *arguments: str) -> int:
    """Run a command of `corkage`. What it prints goes to the file `printed`."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    printed = os.open("printed", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    return cli.main(arguments)


def start(config: Config) -> int:
    """Start a Billing, which brings its database up to date, and end it."""
    Billing(config).close()
    return 0
