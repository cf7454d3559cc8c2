"""corkage restore: put a backup in the database's place.

It is written into the file in one transaction, so that whoever kills it finds the database as before or as in the
backup, and so that readers, and Litestream, go on. Where the file is damaged, or gone, a copy takes its place.
"""

import os
import sqlite3
import sys
import time
from contextlib import ExitStack, closing

from ...config import Config
from ...models import APP, UNFINISHED
from ...schema import SCHEMA_VERSION
from ...storage import backup as backups
from ...storage.backup import Content, NotUsable
from ...storage.lock import FileLock
from ...storage.url import is_url
from .. import FAILED, MISCONFIGURED, OK, configured, moment
from ..output import is_wanted
from .backup import POSTGRESQL, counted

RESTORE = 'pg_restore --dbname="$BILLING_DATABASE" --schema=billing billing.dump'
WHAT_TO_DO = """
Now:
1. Start Corkage.
2. Run `corkage sync`: it fetches what has changed at Stripe since then.
3. Run `corkage doctor`."""

# Stripe is asked first whether it has it, as where an answer was lost (sync/meters.py), and no row grows any more.
OWED_USAGE = """
UPDATE corkage_meter_event SET asked_at = coalesce(asked_at, 1), attempts = max(attempts, 1)
WHERE sent_at IS NULL AND lost_at IS NULL
"""


class NothingRestored(Exception):
    """The backup does not fit, or the database is in use."""


def restore(file: str, yes: bool) -> int:
    """Restore a backup, and print what to do next; return 1 when the database stays as it was."""
    config = configured()
    if is_url(config.database):
        print(POSTGRESQL.format(RESTORE), file=sys.stderr)
        return MISCONFIGURED
    try:
        return _restore(config, os.path.realpath(file), os.path.realpath(config.database), yes=yes)
    except (NothingRestored, OSError, sqlite3.Error) as error:
        print(f"Nothing was restored: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("Broken off. The database is as before, or as in the backup: run it again.", file=sys.stderr)
        return FAILED


def _restore(config: Config, backup: str, path: str, *, yes: bool) -> int:
    if os.path.exists(path) and os.path.exists(backup) and os.path.samefile(backup, path):
        raise NothingRestored(f"{backup} is the database itself")
    wanted = _usable(backup, config)
    with ExitStack() as undo:
        present = _present(path, undo)
        if present is not None:
            _refuse_other_account(backup, wanted, present)
        print(_described(backup, wanted, path, present), file=sys.stderr)
        if not is_wanted("Restore it?", yes=yes):
            return FAILED
        kept = _kept(path, present)
        with backups.staged(backup, path, _edits(wanted)) as part:
            if present is None:
                backups.replace(part, path, kept)
            else:
                backups.write_into(part, path)
    print(f"The database is as in the backup:\n  {path}")
    if os.path.exists(kept):
        print(f"What was there before is kept:\n  {kept}")
    print(WHAT_TO_DO)
    return OK


def _edits(wanted: Content) -> tuple[str, ...]:
    """Return what is to be changed in the backup: usage that it has as owed may have been sent since."""
    return (OWED_USAGE,) if "corkage_meter_event" in wanted.rows else ()


def _usable(backup: str, config: Config) -> Content:
    """Return what the backup holds, where it is one of this product, at this Stripe, for this program."""
    try:
        wanted = backups.read(backup)
    except NotUsable as error:
        raise NothingRestored(str(error)) from error
    if wanted.version > SCHEMA_VERSION:
        raise NothingRestored(
            f"{backup} has schema version {wanted.version}, and this Corkage knows {SCHEMA_VERSION}: install the newer "
            "Corkage that wrote it"
        )
    if wanted.settings.get(UNFINISHED):
        raise NothingRestored(f"{backup} is a copy that `corkage move-database` has not finished")
    mode = "live" if config.livemode else "test"
    ours = {APP: ("BILLING_APP", config.app), "mode": ("STRIPE_SECRET_KEY's mode", mode)}
    for name, (setting, value) in ours.items():
        if wanted.settings.get(name, value) != value:
            raise NothingRestored(f"{backup} is of {wanted.settings[name]!r}, and {setting} is {value!r}")
    return wanted


def _present(path: str, undo: ExitStack) -> Content | None:
    """Return what the database holds, with nobody let in until the end; None where it is gone or damaged."""
    if not os.path.exists(path):
        return None
    lock = undo.enter_context(closing(FileLock(path)))
    if not lock.exclude():
        raise NothingRestored(
            f"{path} is in use. Stop Corkage, and your product where it embeds Corkage; `fuser -v {path}` lists the "
            "processes that have it open"
        )
    lock.keep_companions()
    try:
        return backups.read(path)
    except NotUsable as error:
        print(error, file=sys.stderr)
        return None


def _refuse_other_account(backup: str, wanted: Content, present: Content) -> None:
    accounts = [each.settings.get("account") for each in (wanted, present)]
    if None not in accounts and accounts[0] != accounts[1]:
        raise NothingRestored(f"{backup} mirrors the Stripe account {accounts[0]!r}, and the database {accounts[1]!r}")


def _described(backup: str, wanted: Content, path: str, present: Content | None) -> str:
    made = f", made {moment(wanted.copied_at)}" if wanted.copied_at else ""
    there = counted(present) if present else "no sound database"
    return (
        f"{backup}: {counted(wanted)}{made}\n{path}: {there} now\n"
        "What came after the backup, and is in this database only, will be gone from it:\n"
        "grants, usage, links that were made by hand."
    )


def _kept(path: str, present: Content | None) -> str:
    """Return where what was there before is kept: a sound database is copied there, and stays one to restore."""
    now = int(time.time())
    kept = f"{path}.replaced-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}"
    if present is not None:
        with closing(sqlite3.connect(path)) as source:
            backups.copy(source, kept, now, lambda *_: None)
    return kept
