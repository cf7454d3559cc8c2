"""Tables on their way from one database into another, of either engine; and the mark of one that was moved away.

The mark renames the tables. So every statement of every process fails there, also one that has waited for the move to
end: a write that was acknowledged there would be lost.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import peewee

from .engine import MOVED, Engine
from .url import is_url

Tables: TypeAlias = Sequence[type[peewee.Model]]

AT_A_TIME = 5000  # rows that a server sends: all of a table may not fit in memory
RENAMED = "moved_"  # begins the names of the tables in a database that was moved


class Content(NamedTuple):
    """Rows in short: how many, and the sum of their digests, which is the same in whatever order they are read."""

    rows: int
    digest: int


def hold(engine: Engine, tables: Tables) -> None:
    """Let nobody write to these tables until the end of the transaction, however long it takes. They can be read.

    On a server, because a single statement does not wait for the lock of transactions.
    """
    engine.take_time()
    if is_url(engine.label):
        engine.execute_sql(f"LOCK TABLE {', '.join(map(name_of, tables))} IN EXCLUSIVE MODE")


def copy(old: Engine, new: Engine, table: type[peewee.Model]) -> Content:
    """Copy a table into an empty one, inside a transaction of each; return what was read."""
    counter = _Counter()
    rows = counter.passing(_rows_of(old, table))
    if is_url(new.label):
        with new.reading(), new.of_thread().cursor().copy(f"COPY {_place(table)} FROM STDIN") as copying:
            for row in rows:
                copying.write_row(row)
        for field in table._meta.sorted_fields:
            if isinstance(field, peewee.AutoField):
                _continue(new, name_of(table))
        new.execute_sql(f"ANALYZE {name_of(table)}")
    else:
        marks = ", ".join("?" * len(table._meta.sorted_fields))
        with new.reading():
            new.of_thread().executemany(f"INSERT INTO {_place(table)} VALUES ({marks})", rows)  # noqa: S608 -- what is put in are the names of our own tables and columns, no input
    return counter.content


def _continue(server: Engine, name: str) -> None:
    """Let the ids that the server gives begin after those that were copied."""
    server.rows(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), (SELECT max(id) FROM {name}))")  # noqa: S608 -- what is put in are the names of our own tables and columns, no input


def content_of(engine: Engine, table: type[peewee.Model]) -> Content:
    """Return the content of a table, inside a transaction."""
    return _content(_rows_of(engine, table))


def answers(engine: Engine, query: str) -> Content:
    """Return the content of a query that both engines answer alike, but for their booleans."""
    plain = (tuple(int(each) if isinstance(each, bool) else each for each in row) for row in _stream(engine, query))
    return _content(plain)


def mark_moved(old: Engine, tables: Tables, views: Iterable[str], target: str, token: str) -> None:
    """Write, inside a transaction, that this database was moved, and let no statement find its tables."""
    if is_url(old.label):
        for view in views:  # it follows its tables
            old.execute_sql(f"ALTER VIEW {view} RENAME TO {RENAMED}{view}")
    else:
        old.execute_sql("PRAGMA legacy_alter_table = on")  # a view does not follow, and fails
    for table in tables:
        old.execute_sql(f"ALTER TABLE {name_of(table)} RENAME TO {RENAMED}{name_of(table)}")
    old.execute_sql(f"CREATE TABLE {MOVED} (target TEXT NOT NULL, token TEXT NOT NULL, moved_at BIGINT NOT NULL)")
    old.execute_many("INSERT INTO corkage_moved VALUES (?, ?, ?)", [(target, token, int(time.time()))])


def name_of(table: type[peewee.Model]) -> str:
    """Return a table's name in the database."""
    return str(table._meta.table_name)


class _Counter:
    """Sums up the rows that pass."""

    content = Content(0, 0)

    def passing(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        """Return the rows as they are. The content is that of all of them once they were read to the end."""
        count = total = 0
        for row in rows:
            text = repr(row).encode()  # which has all bits of a float
            count += 1
            total += int.from_bytes(hashlib.blake2b(text, digest_size=16).digest())
            yield row
        self.content = Content(count, total)


def _content(rows: Iterable[tuple[Any, ...]]) -> Content:
    counter = _Counter()
    for _ in counter.passing(rows):
        pass
    return counter.content


def _rows_of(engine: Engine, table: type[peewee.Model]) -> Iterator[tuple[Any, ...]]:
    """Return the rows of a table, with booleans as such, which an SQLite file has as numbers."""
    rows = _stream(engine, f"SELECT {_columns(table)} FROM {name_of(table)}")  # noqa: S608 -- what is put in are the names of our own tables and columns, no input
    fields = table._meta.sorted_fields
    booleans = [number for number, field in enumerate(fields) if isinstance(field, peewee.BooleanField)]
    return (_with_booleans(row, booleans) for row in rows) if booleans else rows


def _with_booleans(row: tuple[Any, ...], places: list[int]) -> tuple[Any, ...]:
    values = list(row)
    for place in places:
        values[place] = bool(values[place])
    return tuple(values)


def _stream(engine: Engine, query: str) -> Iterator[tuple[Any, ...]]:
    with engine.reading():
        if not is_url(engine.label):
            yield from engine.of_thread().execute(query)
            return
        with engine.of_thread().cursor(name=MOVED) as cursor:
            cursor.itersize = AT_A_TIME
            yield from cursor.execute(query)


def _columns(table: type[peewee.Model]) -> str:
    return ", ".join(f'"{field.column_name}"' for field in table._meta.sorted_fields)


def _place(table: type[peewee.Model]) -> str:
    return f"{name_of(table)} ({_columns(table)})"
