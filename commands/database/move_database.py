"""corkage move-database: from an SQLite file to PostgreSQL, and back.

Two databases cannot commit in one moment. So the copy is committed first, with a mark that keeps it from being used;
then the mark of the old database, which decides; then the mark of the copy is removed. Killed before the decision, the
old one goes on, and the command begins anew when it is repeated. Killed after it, the copy is complete, and the command
only removes its mark. At no moment are there two that can be used.
"""

import json
import os
import secrets
import sys
import time
from contextlib import ExitStack

import click

from ... import models, schema, storage
from ...access import VIEWS
from ...errors import ConfigError, DatabaseUnavailable
from ...models import MADE_AT, TABLES, UNFINISHED, Setting, User
from ...schema import SCHEMA_VERSION
from ...settings import InvalidValue, parse_database
from ...storage import move as moving
from ...storage.engine import MOVED, Engine
from ...storage.url import has_password, is_url
from .. import FAILED, OK, configured
from ..output import Progress, warn_of_arguments

ASKED = "-"  # as the target
QUESTION = "Where to: postgresql://user:password@host/name, or a file"
OTHERWISE = "name a file that is not there yet, or an empty schema or database"
NAMES = [moving.name_of(table) for table in TABLES]


class NothingMoved(Exception):
    """One of the databases is not fit for it."""


def a_database(text: str) -> str:
    """Parse the target, as BILLING_DATABASE is parsed. It is asked for where the text is "-": a list of processes
    shows what is given.

    Errors  click.BadParameter
    """
    if text == ASKED:
        text = _typed()
    elif is_url(text) and has_password(text):
        warn_of_arguments("The password", "`corkage move-database -` asks for the URL, or reads it from a pipe")
    try:
        return parse_database(text)
    except InvalidValue as error:
        raise click.BadParameter(f"wanted {error}", param_hint="URL") from None


def _typed() -> str:
    """Return what is typed, without an echo, or what a pipe brings."""
    if sys.stdin.isatty():
        return str(click.prompt(QUESTION, hide_input=True, err=True)).strip()
    return sys.stdin.readline().strip()


def move(target: str) -> int:
    """Move the database, and print what to set; return 1 when that failed."""
    source = configured().database
    try:
        move_all(source, a_database(target))
    except ConfigError as error:
        print(f"Nothing was moved: {' '.join(error.problems).replace('BILLING_DATABASE: ', '')}.", file=sys.stderr)
    except NothingMoved as error:
        print(f"Nothing was moved: {error}.", file=sys.stderr)
    except (DatabaseUnavailable, KeyboardInterrupt) as error:
        print(
            f"The move was not finished: {error or 'interrupted'}.\nRun the command again: it begins anew, or finishes "
            f"the move. Unless `corkage doctor` says that {storage.label(source)} was moved, it is used as before.",
            file=sys.stderr,
        )
    else:
        return OK
    return FAILED


def move_all(source: str, target: str) -> None:
    """Move all tables to the target, or finish a move to it that was interrupted, and print what to do next.

    Errors  NothingMoved; ConfigError when a database cannot be opened, or lacks a right; DatabaseUnavailable
    """
    _refuse_paths(source, target)
    old = storage.engine_of(source)
    with ExitStack() as undo:
        undo.callback(old.close_all)
        if MOVED in old.get_tables():
            _refuse_other_target(old, target)
        storage.open_database(target)
        undo.callback(storage.close_database)
        if MOVED not in old.get_tables():
            _copy(old)
        _let_copy_be_used(old)
        _print_what_to_do(old)


def _copy(old: Engine) -> None:
    started_at, new = time.monotonic(), storage.current()
    with old.writing():
        _refuse_unfit(old)
        with storage.writing():
            new.take_time()
            _make_room(old)
            print("Webhooks are answered 503, and Stripe delivers them again. Access is answered on.", flush=True)
            moving.hold(old, TABLES)
            rows = _copy_tables(old)
            _compare_answers(old)
            token = secrets.token_hex(16)
            models.store_setting(UNFINISHED, json.dumps([old.label, token]))
            moving.mark_moved(old, TABLES, VIEWS, new.label, token)
    seconds = time.monotonic() - started_at
    print(f"{rows} rows of {len(TABLES)} tables were copied from {old.label} to {new.label} in {seconds:.1f} s.")


def _copy_tables(old: Engine) -> int:
    rows = 0
    with Progress() as bar:
        for count, table in enumerate(TABLES, 1):
            rows += _copy_table(old, table)
            bar("tables copied", count, len(TABLES))
    return rows


def _copy_table(old: Engine, table: type[models.Table]) -> int:
    new = storage.current()
    try:
        read = moving.copy(old, new, table)
    except new.ERRORS as error:
        raise NothingMoved(f"{moving.name_of(table)} holds what {new.label} does not take: {error}") from error
    if moving.content_of(new, table) != read:
        raise NothingMoved(f"{moving.name_of(table)} was not read from the copy as it was written to it")
    return read.rows


def _compare_answers(old: Engine) -> None:
    """Compare what the views answer for all users, at this second."""
    now = int(time.time())
    for view, text in VIEWS.items():
        query = text.format(now=now)
        if moving.answers(old, query) != moving.answers(storage.current(), query):
            raise NothingMoved(f"{view} has other answers in the copy")


def _let_copy_be_used(old: Engine) -> None:
    moved = old.moved()
    with storage.writing():
        if moved is None or _unfinished()[1:] != [moved.token]:
            raise NothingMoved(f"{old.label} is not in use any more: {moved}")
        Setting.delete().where(Setting.name == UNFINISHED).execute()


def _refuse_paths(source: str, target: str) -> None:
    is_there = is_url(source) or os.path.exists(source)
    if not is_there:
        raise NothingMoved(f"BILLING_DATABASE names {storage.label(source)}, and there is no such file")
    is_same = not is_url(source) and os.path.exists(target) and os.path.samefile(source, target)
    if is_same or storage.label(source) == storage.label(target):
        raise NothingMoved(f"{storage.label(target)} is what BILLING_DATABASE names already")


def _refuse_other_target(old: Engine, target: str) -> None:
    moved = old.moved()
    if moved is not None and moved.target != storage.label(target):
        raise NothingMoved(f"{old.label} is not in use any more: {moved}")


def _refuse_unfit(old: Engine) -> None:
    """Refuse to move what is no database of this Corkage. Asked while nobody writes to it."""
    tables = old.get_tables()
    if MOVED in tables:
        raise NothingMoved(f"{old.label} is not in use any more: {old.moved()}")
    if not set(NAMES) & set(tables):
        raise NothingMoved(f"{old.label} holds no tables of Corkage")
    version = _setting(old, "schema_version")
    if version != str(SCHEMA_VERSION):
        raise NothingMoved(
            f"{old.label} has schema version {version}, and this Corkage needs {SCHEMA_VERSION}. `corkage doctor` of "
            "this version upgrades an older one"
        )
    if _setting(old, UNFINISHED):
        raise NothingMoved(f"{old.label} is itself the copy of a move that is not finished")


def _make_room(old: Engine) -> None:
    """Make the tables of the target, or empty those that an interrupted move from the same database left there."""
    label, tables = storage.current().label, set(storage.current().get_tables())
    if MOVED in tables:
        raise NothingMoved(f"the tables of {label} were moved away themselves: {OTHERWISE}")
    if not tables & set(NAMES):
        schema.make_tables()
        return
    if not tables >= set(NAMES) or models.setting("schema_version") != str(SCHEMA_VERSION):
        raise NothingMoved(f"{label} holds tables of another version of Corkage: {OTHERWISE}")
    unfinished = _unfinished()
    if not unfinished:
        raise NothingMoved(f"{label} is a database of Corkage, with {User.select().count()} users: {OTHERWISE}")
    if unfinished[0] != old.label or models.setting(MADE_AT) != _setting(old, MADE_AT):
        raise NothingMoved(f"{label} is the copy of another move, from {unfinished[0]}: finish that, or {OTHERWISE}")
    for table in reversed(TABLES):
        table.delete().execute()


def _unfinished() -> list[str]:
    """Return from where the open database was copied, and the token of that move, while it must not be used."""
    is_there = moving.name_of(Setting) in storage.current().get_tables()
    found: list[str] = json.loads((models.setting(UNFINISHED) if is_there else None) or "[]")
    return found


def _setting(engine: Engine, name: str) -> str | None:
    row = engine.row("SELECT value FROM corkage_setting WHERE name = ?", (name,))
    return row and str(row[0])


def _print_what_to_do(old: Engine) -> None:
    new = storage.current().label
    value = "the URL that you gave to this command" if is_url(new) else new
    remains = f"the tables {MOVED} and {moving.RENAMED}corkage_... there" if is_url(old.label) else "that file"
    print(
        f"""
Now:
1. Set BILLING_DATABASE to {value}. The other settings stay as they are.
2. Restart every process of Corkage, and of your product where it embeds Corkage. Until then they answer 503.
3. Run `corkage doctor`.
4. Nothing uses {old.label} any more.
   Delete {remains} once you have a backup of the new database."""
    )
