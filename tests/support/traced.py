"""What a server asked of the kernel, as strace noted it: what was received, written, brought to disk and answered."""

import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

from programs import missing

CALLS = "recvfrom,sendto,pwrite64,write,fdatasync,fsync"
LINE = re.compile(r"(?P<pid>\d+) +(?:<\.\.\. )?(?P<name>\w+)(?: resumed>|\()(?P<rest>.*)")
UNFINISHED = "<unfinished ...>"
INSTALL = "install strace (Debian: `apt-get install strace`)"


def through(trace: Path) -> tuple[str, ...]:
    """Return what a command is put behind, to be traced into this file and still be the process that is started."""
    strace = shutil.which("strace") or missing(INSTALL)
    return (strace, "-D", "-f", "-y", "-s", "16384", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(trace))


class Step(NamedTuple):
    """The begin or the end of a call.

    Shape   by: the thread; file: the descriptor, with what it stands for; says: what it was given, at the end with
            its result
    """

    by: str
    name: str
    file: str
    says: str
    begins: bool
    ends: bool


def steps(lines: Iterable[str]) -> Iterator[Step]:
    """Read what strace wrote, in its order. A call that others interrupted has its begin and its end apart."""
    begun: dict[str, str] = {}
    for line in lines:
        if (found := LINE.match(line)) is None:
            continue
        by, begins = found["pid"], "resumed>" not in line[:60]
        says = found["rest"] if begins else begun.pop(by, "") + found["rest"]
        if not (ends := UNFINISHED not in says[-40:]):
            says = begun[by] = says.replace(UNFINISHED, "")
        yield Step(by, found["name"], re.split("[,)]", says)[0].strip(), says, begins, ends)


class Disk:
    """What was answered with 200, and whether what was written of it had been brought to disk before.

    Shape   name: the pattern of the names of what is received; log: how the path ends that each is written to first;
            answered: in order; too_early: what of it was not on disk when its answer was begun
    """

    def __init__(self, name: str, log: str) -> None:
        self.answered: list[str] = []
        self.too_early: list[str] = []
        self._name, self._log = re.compile(name), log
        self._asked: dict[str, str] = {}
        self._syncing: dict[str, set[str]] = {}
        self._written: set[str] = set()
        self._safe: set[str] = set()

    def follow(self, lines: Iterable[str]) -> Self:
        for step in steps(lines):
            if step.name == "recvfrom":
                self._receive(step)
            elif step.name == "sendto":
                self._answer(step)
            elif step.file.endswith(f"{self._log}>"):
                (self._sync if "sync" in step.name else self._write)(step)
        return self

    def _receive(self, step: Step) -> None:
        if step.ends and (found := self._name.search(step.says)):
            self._asked[step.file] = found[0]

    def _answer(self, step: Step) -> None:
        if step.begins and '"HTTP/1.1 200' in step.says and step.file in self._asked:
            answered = self._asked.pop(step.file)
            self.answered.append(answered)
            self.too_early.extend({answered} - self._safe)

    def _write(self, step: Step) -> None:
        if step.ends:
            self._written |= set(self._name.findall(step.says))

    def _sync(self, step: Step) -> None:
        """What was written before it begins is safe when it ends well."""
        if step.begins:
            self._syncing[step.by] = set(self._written)
        if step.ends and step.says.rstrip().endswith("= 0"):
            self._safe |= self._syncing.pop(step.by)
