"""What PostgreSQL says when something fails: whose fault it is, what it means, and what the operator does."""

import re

import peewee
import psycopg

from ..errors import BillingError, ConfigError, DatabaseUnavailable
from .engine import causes

OF_STATEMENT = ("0A", "21", "22", "23", "42")  # classes of SQLSTATE
PEEWEES_OF_STATEMENT = (peewee.DataError, peewee.IntegrityError, peewee.NotSupportedError, peewee.ProgrammingError)
DRIVERS_OF_STATEMENT = (psycopg.DataError, psycopg.ProgrammingError, psycopg.NotSupportedError)
READ_ONLY, MISSING_TABLE = "25006", "42P01"
SETUP = {
    "3F000": "there is no schema to work in: create it, or name it in the search_path of the user or the URL",
    "42501": "the user lacks a right: let it own the schema, as in docs/postgresql.md",
    MISSING_TABLE: "a table is missing: restore a backup, or give Corkage an empty schema",
    "42P07": "some tables are there and others not: restore a backup, or give Corkage an empty schema",
}
"""What is wrong with how the database is set up, by SQLSTATE."""

WORDS = {
    READ_ONLY: "the server takes no writes: it is a standby, or set to read-only",
    "53100": "the server's disk is full",
    "53300": "the server has no connection left",
    "55P03": "another writer keeps its lock",
    "57014": "it took too long to answer",
}
"""Why a server that is there is no use, by SQLSTATE: what it says itself is short, and may be in another language."""

# What the error says, and the command that shows more.
REPAIRS = {
    "too many connections|too many clients|connection slots|no connection left": (
        'psql -U postgres {label} -c "SELECT usename, application_name, state, count(*) FROM pg_stat_activity '
        'GROUP BY 1, 2, 3": end what is idle, raise max_connections, or put pgbouncer before the server'
    ),
    "no standby has confirmed": (
        'psql -U postgres {label} -c "SELECT application_name, state, sync_state FROM pg_stat_replication": start the '
        "standby that is missing, or take it out of synchronous_standby_names"
    ),
    "takes no writes|not read-write|session is read-only": (
        "psql -U postgres {label} -c \"SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')\": "
        "name every host in BILLING_DATABASE, so that the primary is found, or promote this one"
    ),
    "keeps its lock|too long to answer": (
        'psql -U postgres {label} -c "SELECT pid, usename, application_name, xact_start, query FROM pg_stat_activity '
        'WHERE xact_start IS NOT NULL ORDER BY xact_start": the longest transaction comes first, and '
        "pg_terminate_backend(pid) ends it"
    ),
    "disk is full|No space left": "df -h, on the server, for the folder of its data and its pg_wal: make room",
    "authentication failed|pg_hba.conf|does not exist|no password supplied": (
        "psql -U USER {label}, as the user in BILLING_DATABASE: set its password, or make what is missing"
    ),
    "unsupported startup parameter": (
        "psql -U postgres {label}: a pooler takes no options. Leave them out, and ALTER ROLE ... SET what they set"
    ),
    "server running|timeout expired|failed to resolve|closed the connection|no answer|shutting down|starting up": (
        "pg_isready -d {label}, and the log of the server: start it, or look for what is between it and this machine"
    ),
}
OTHERWISE = "psql -U USER {label}, and the log of the server"


def is_of_statement(error: BaseException) -> bool:
    """Return whether PostgreSQL blames the statement, and neither itself nor how it is set up."""
    state = sqlstate(error)
    if state is not None:
        return state.startswith(OF_STATEMENT) and state not in SETUP
    return isinstance(error, PEEWEES_OF_STATEMENT + DRIVERS_OF_STATEMENT)


def unavailable(error: BaseException, label: str) -> BillingError:
    """Return PostgreSQL's error as ours."""
    state, text = sqlstate(error) or "", _text(error)
    if state in SETUP:
        return ConfigError([f"BILLING_DATABASE: {label}: {SETUP[state]} (PostgreSQL says: {text})"])
    return DatabaseUnavailable(f"{WORDS[state]} (PostgreSQL says: {text})" if state in WORDS else text)


def repair(reason: str, label: str) -> str:
    """Return the command that shows more about why the server cannot be used."""
    found = (command for words, command in REPAIRS.items() if re.search(words, reason))
    return next(found, OTHERWISE).format(label=label)


def sqlstate(error: BaseException) -> str | None:
    """Return the five signs by which PostgreSQL names an error. One of connecting has none."""
    return next((each.sqlstate for each in causes(error) if isinstance(each, psycopg.Error) and each.sqlstate), None)


def _text(error: BaseException) -> str:
    """Return what PostgreSQL says, without the statement that it says it of."""
    said = (each.diag.message_primary for each in causes(error) if isinstance(each, psycopg.Error))
    in_one_line = re.sub(r"\s+", " ", str(error))
    return next((text for text in said if text), in_one_line.rpartition("All failures were: ")[2])
