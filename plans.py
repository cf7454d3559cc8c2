"""plans.toml: what the product sells. Stripe holds the amounts; this file says what they stand for."""

import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ConfigError

PLAN_KEY = re.compile(r"[a-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan: the Stripe prices that stand for it, and what it gives.

    Shape   key is the table's name in plans.toml; prices are lookup keys or price ids, the first is the default;
            retired prices are no longer sold and still honoured; pending says whether a first payment that is on its
            way lets in ("allow") or not ("deny")
    """

    key: str
    name: str
    prices: tuple[str, ...]
    features: tuple[str, ...] = ()
    trial_days: int = 0
    grace_days: int = 0
    retired: tuple[str, ...] = ()
    pending: str = "allow"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a key of plans.toml must hold: in words, as a check, and as the value the plan keeps."""

    words: str
    fits: Callable[[Any], bool]
    read: Callable[[Any], Any]


def _texts(least: int) -> _Wanted:
    return _Wanted(
        f"a list of {'at least one text' if least else 'texts'}, without doubles",
        lambda value: (
            isinstance(value, list)
            and len(value) >= least
            and all(isinstance(each, str) and each.strip() for each in value)
            and len(set(value)) == len(value)
        ),
        tuple,
    )


def _days(most: int) -> _Wanted:
    return _Wanted(f"a whole number from 0 to {most}", lambda value: type(value) is int and 0 <= value <= most, int)


WANTED = {
    "name": _Wanted("a text", lambda value: isinstance(value, str) and bool(value.strip()), str),
    "prices": _texts(least=1),
    "features": _texts(least=0),
    "trial_days": _days(730),
    "grace_days": _days(365),
    "retired": _texts(least=0),
    "pending": _Wanted('"allow" or "deny"', lambda value: value in ("allow", "deny"), str),
}
REQUIRED = ("name", "prices")


def read_plans(path: Path) -> tuple[Plan, ...]:
    """Read plans.toml.

    Errors  ConfigError with every problem at once, each with its line and what was wanted
    """
    try:
        text = path.read_text("utf-8")
        tables = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(
            [f"BILLING_PLANS: {path} cannot be read ({error.strerror}); wanted a file of plans"]
        ) from error
    except ValueError as error:  # what is not TOML, and what is not UTF-8
        raise ConfigError([f"{path}: wanted TOML: {error}"]) from error
    problems = [f"{path}: wanted at least one plan, such as [pro]"] if not tables else []
    problems += [f"{path}, line {line}: {problem}" for line, problem in sorted(_problems(text, tables))]
    if problems:
        raise ConfigError(problems)
    return tuple(_plan(key, table) for key, table in tables.items())


def _plan(key: str, table: dict[str, Any]) -> Plan:
    return Plan(key=key, **{name: WANTED[name].read(value) for name, value in table.items()})


def _problems(text: str, tables: dict[str, Any]) -> Iterator[tuple[int, str]]:
    for key, table in tables.items():
        if not isinstance(table, dict):
            yield _line_of(text, None, key), f"{key} stands outside of any plan; wanted tables such as [pro]"
        elif not PLAN_KEY.fullmatch(key):
            yield _line_of(text, key), f"[{key}]: wanted a name of 1 to 64 small letters, digits, - and _"
        else:
            yield from _problems_of_plan(text, key, table)
    yield from _prices_used_twice(text, tables)


def _problems_of_plan(text: str, key: str, table: dict[str, Any]) -> Iterator[tuple[int, str]]:
    for name in REQUIRED:
        if name not in table:
            yield _line_of(text, key), f"[{key}] has no {name}; wanted {WANTED[name].words}"
    for name, value in table.items():
        if name not in WANTED:
            yield _line_of(text, key, name), f"[{key}] {name} is not known; wanted one of {', '.join(WANTED)}"
        elif not WANTED[name].fits(value):
            yield _line_of(text, key, name), f"[{key}] {name} = {value!r}; wanted {WANTED[name].words}"


def _prices_used_twice(text: str, tables: dict[str, Any]) -> Iterator[tuple[int, str]]:
    first_use: dict[str, str] = {}
    for key, table in tables.items():
        for name in ("prices", "retired"):
            listed = table.get(name) if isinstance(table, dict) else None
            for price in listed if isinstance(listed, list) else ():
                if isinstance(price, str) and first_use.setdefault(price, f"[{key}] {name}") != f"[{key}] {name}":
                    yield (
                        _line_of(text, key, name),
                        f"[{key}] {name}: {price} stands in {first_use[price]} already; wanted each price once",
                    )


def _line_of(text: str, table: str | None, name: str | None = None) -> int:
    """Find the line of a table, or of a key in it; tomllib does not tell. The table's own line where in doubt."""
    within, found = table is None, 1
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\s*[\"']?([^\]\"']+?)[\"']?\s*\]", line)
        if header:
            within = header[1] == table
            found = number if within else found
        if within and name and re.match(rf"\s*[\"']?{re.escape(name)}[\"']?\s*=", line):
            return number
    return found
