"""corkage backup: copy the database while it is in use, and read the copy back before it counts."""

import json
import os
import sqlite3
import sys
import time
from contextlib import ExitStack, closing

from ... import storage
from ...errors import ConfigError, DatabaseUnavailable
from ...models import APP, MADE_AT
from ...storage import backup as backups
from ...storage.backup import Content, NotUsable
from ...storage.engine import Engine
from ...storage.lock import FileLock
from ...storage.url import is_url
from .. import FAILED, MISCONFIGURED, OK, configured, moment
from ..output import Progress, print_json

POSTGRESQL = (
    "BILLING_DATABASE is a PostgreSQL server, which has tools of its own for that:\n  {}\n"
    "docs/postgresql.md says more, under Backups."
)
DUMP = 'pg_dump "$BILLING_DATABASE" --schema=billing --format=custom --file=billing.dump'
NOTED = "backup"  # the setting that says when the last backup was made, and where
OF_ONE_DATABASE = (MADE_AT, APP, "account")  # what is the same in a database and in its backups


class NoBackup(Exception):
    """It cannot be made, or not at that path."""


def backup(file: str, force: bool, as_json: bool) -> int:
    """Make a backup, and print what it holds; return 1 when there is none."""
    database, path, at = configured().database, os.path.realpath(file), int(time.time())
    if is_url(database):
        print(POSTGRESQL.format(DUMP), file=sys.stderr)
        return MISCONFIGURED
    try:
        content = _make(database, path, at, force=force)
    except (NoBackup, NotUsable, OSError, sqlite3.Error, ConfigError, DatabaseUnavailable) as error:
        print(f"No backup was made: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("Broken off. What was at that path before is still there.", file=sys.stderr)
        return FAILED
    size = os.path.getsize(path)
    if as_json:
        print_json({"file": path, "at": at, "bytes": size, "users": content.users, "schema_version": content.version})
    else:
        print(path)
        print(f"{counted(content)}, {size / 1e6:.1f} MB, as of {moment(at)}; read back and found whole")
    return OK


def counted(content: Content) -> str:
    """Return how many users a database knows, in words."""
    return f"{content.users} user{'s' * (content.users != 1)}"


def _make(database: str, path: str, at: int, *, force: bool) -> Content:
    """Copy the database, whatever version of Corkage wrote it, and note there when and where to."""
    if not os.path.exists(database):
        raise NoBackup(f"BILLING_DATABASE names {database}, and there is no such file")
    _refuse_in_use(database, path)
    engine = storage.engine_of(database)
    with ExitStack() as undo:
        undo.callback(engine.close_all)
        source = engine.of_thread()
        if os.path.exists(path) and not force:
            _refuse_to_overwrite(path, backups.settings_of(source), at)
        with Progress() as bar:
            content = backups.copy(source, path, at, lambda done, of: bar("copying", done, of))
        _note(engine, path, at)
    return content


def _refuse_in_use(database: str, path: str) -> None:
    """Refuse to write over a database that is used, --force or not."""
    if path in [f"{os.path.realpath(database)}{each}" for each in backups.COMPANIONS]:
        raise NoBackup(f"{path} is a part of the database")
    if not os.path.exists(path):
        return
    if not os.path.isfile(path):
        raise NoBackup(f"{path} is no file")
    with closing(FileLock(path)) as lock:
        is_free = not os.path.samefile(path, database) and lock.exclude()
    if not is_free:
        raise NoBackup(f"{path} is a database in use")


def _refuse_to_overwrite(path: str, ours: dict[str, str], at: int) -> None:
    """Refuse to write over what is no older backup of this database."""
    advice = "name another file, or say --force to overwrite it"
    try:
        found = backups.read(path)
    except NotUsable as error:
        raise NoBackup(f"{error}: {advice}") from error
    if found.copied_at is None:
        raise NoBackup(f"{path} is a database that no `corkage backup` made: {advice}")
    if any(found.settings.get(name) != ours.get(name) for name in OF_ONE_DATABASE):
        raise NoBackup(f"{path} is a backup of another database: {advice}")
    if found.copied_at > at:
        raise NoBackup(f"{path} is of {moment(found.copied_at)}, which is still to come: {advice}")


def _note(engine: Engine, path: str, at: int) -> None:
    """Note the backup for `corkage doctor`. It counts without that, too, as on a full disk."""
    note = json.dumps({"at": at, "file": path})
    try:
        with engine.writing():
            engine.change("INSERT OR REPLACE INTO corkage_setting VALUES (?, ?)", (NOTED, note))
    except DatabaseUnavailable as error:
        print(f"The backup is there. The database does not know of it: {error}", file=sys.stderr)
