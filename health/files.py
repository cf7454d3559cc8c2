"""Files with secrets or e-mails that other users of the machine may read or change."""

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..logs.facts import logger
from ..storage.url import is_url

OTHERS_READ, OTHERS_WRITE = stat.S_IROTH, stat.S_IWOTH
SETTINGS = ".env"

log = logger("corkage")


class Exposed(NamedTuple):
    """A file that others may use, in a sentence, and the command that ends it."""

    what: str
    repair: str


def exposed(database: str, folder: str = ".") -> list[Exposed]:
    """Return the files that every user of the machine may read or change: the database's, and the settings' `.env`.

    Shape   database: BILLING_DATABASE; folder: where Corkage was started
    """
    return [*_of_database(database), *_of_settings(folder)]


def warn_of_exposed(database: str, folder: str = ".") -> None:
    """Log a warning for each of these files."""
    for what, repair in exposed(database, folder):
        log.warning("%s: %s", what, repair)


def _of_database(database: str) -> Iterator[Exposed]:
    if is_url(database):
        return
    real = os.path.realpath(database)  # where its companions are
    paths = [path for path in (real, f"{real}-wal", f"{real}-shm") if _bits(path)]
    if paths:
        may = _may(max(_bits(path) for path in paths))
        yield Exposed(
            f"every user of this machine may {may} the database {database}, which holds e-mails and payments",
            f"chmod o= {shlex.join(paths)}",
        )


def _of_settings(folder: str) -> Iterator[Exposed]:
    path = str(Path(folder, SETTINGS))
    if bits := _bits(path):
        yield Exposed(
            f"every user of this machine may {_may(bits)} {path}, which holds secret keys",
            f"chmod 600 {shlex.quote(path)}",
        )


def _bits(path: str) -> int:
    """Return what others may do with the file; 0 where there is none."""
    try:
        return os.stat(path).st_mode & (OTHERS_READ | OTHERS_WRITE)
    except OSError:
        return 0


def _may(bits: int) -> str:
    return "change" if bits & OTHERS_WRITE else "read"
