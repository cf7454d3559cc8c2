"""What an operator should know of a PostgreSQL server: its clock, what it confirms, what is in between."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from .. import storage
from ..storage.url import is_url

MOST_SECONDS_APART = 5.0
TRIED = (15, 18)  # the versions of PostgreSQL that the tests were run with

_SETTINGS = """
SELECT current_setting('server_version'), current_setting('server_version_num')::integer,
  current_setting('synchronous_commit'), current_setting('synchronous_standby_names')
"""


def examine(clock: Callable[[], float] = time.time) -> Iterator[tuple[str, str | None]]:
    """Return what is to be known, each with the command that repairs it, if it is wrong. Of a file that is nothing.

    Errors  DatabaseUnavailable
    """
    opened: Any = storage.current()
    if not is_url(opened.label):
        return
    yield from _clocks(clock)
    yield from _settings(opened.label, opened.has_several_hosts)
    if not opened.of_thread().is_direct:
        yield "the connection goes through a pooler: nothing is prepared, and access takes a little longer", None


def _clocks(clock: Callable[[], float]) -> Iterator[tuple[str, str | None]]:
    before = clock()
    (there,) = storage.row("SELECT extract(epoch FROM statement_timestamp())::float8") or (before,)
    behind, ahead = before - there, there - clock()
    if max(behind, ahead) > MOST_SECONDS_APART:
        apart = f"{behind:.0f} s behind" if behind > ahead else f"{ahead:.0f} s ahead of"
        yield (
            f"the clock of PostgreSQL's machine is {apart} this one's: access is answered by that clock, and stored by "
            "this one",
            "timedatectl, on both machines: let NTP set the clock",
        )


def _settings(label: str, has_several_hosts: bool) -> Iterator[tuple[str, str | None]]:
    version, number, commit, standbys = storage.row(_SETTINGS) or ("", 0, "", "")
    if number < min(TRIED) * 10_000:
        yield f"Corkage was tried with PostgreSQL {' and '.join(map(str, TRIED))}, and this is {version}", None
    if commit == "off":
        yield (
            "synchronous_commit is off: events that were acknowledged are lost when PostgreSQL crashes",
            f'psql -U USER {label} -c "ALTER ROLE CURRENT_USER SET synchronous_commit = on", as the user in '
            "BILLING_DATABASE, and restart Corkage",
        )
    if has_several_hosts and (not standbys or commit == "local"):
        setting = "synchronous_commit is local" if standbys else "synchronous_standby_names is empty"
        yield (
            f"BILLING_DATABASE names several hosts, and {setting}: no standby confirms a write, so a failover may lose "
            "events that were acknowledged",
            None,
        )
