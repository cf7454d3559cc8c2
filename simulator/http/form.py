"""Stripe's form encoding, `items[0][price]=...`, and the types of parameters."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from ..errors import invalid, missing_parameter, unknown_parameter

EMAIL = re.compile(r"[^\s@]+@[^\s@.]+(\.[^\s@.]+)+")

Parser = Callable[[Any, str], Any]
"""Takes a raw value and the parameter's name, and returns the parsed value or raises ApiError."""


def decode(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Turn `a[b][0]=c` pairs into nested dicts and lists of strings."""
    tree: dict[str, Any] = {}
    for name, value in pairs:
        head, *rest = name.replace("]", "").split("[")
        node = tree
        for part, following in zip([head, *rest], rest, strict=False):
            key = part or str(len(node))
            inner = node.setdefault(key, {})
            if not isinstance(inner, dict):
                raise invalid(f"Invalid parameter: {name} (before {following})", head)
            node = inner
        last = [head, *rest][-1]
        node[last or str(len(node))] = value
    return {name: _with_lists(value) for name, value in tree.items()}


def _with_lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(key.isdecimal() for key in node):
        return [_with_lists(node[key]) for key in sorted(node, key=int)]
    return {key: _with_lists(value) for key, value in node.items()}


def parse(params: Mapping[str, Any], parsers: Mapping[str, Parser], required: Iterable[str] = ()) -> dict[str, Any]:
    """Parse every parameter. Like Stripe, refuse the request before anything has changed."""
    for name in required:
        if params.get(name) in (None, ""):
            raise missing_parameter(name)
    return _parse_each(params, parsers, "")


def _parse_each(params: Mapping[str, Any], parsers: Mapping[str, Parser], within: str) -> dict[str, Any]:
    parsed = {}
    for name, value in params.items():
        full = f"{within}[{name}]" if within else name
        if name not in parsers:
            raise unknown_parameter(full, parsers)
        parsed[name] = parsers[name](value, full)
    return parsed


def text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise invalid("Invalid string", name)
    return value


def email(value: Any, name: str) -> str:
    """Parse an e-mail address. Like Stripe, refuse blanks around it and a domain without a dot."""
    if not EMAIL.fullmatch(text(value, name)):
        raise invalid(f"Invalid email address: {value}", name, "email_invalid")
    return str(value)


def integer(value: Any, name: str) -> int:
    digits = value.removeprefix("-") if isinstance(value, str) else ""
    if not digits.isdecimal():
        raise invalid(f"Invalid integer: {value}", name, "parameter_invalid_integer")
    return int(value)


def positive(value: Any, name: str) -> int:
    """Parse an amount of money that moves."""
    amount = integer(value, name)
    if amount < 1:
        raise invalid("This value must be greater than or equal to 1.", name, "parameter_invalid_integer")
    return amount


def number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise invalid(f"Invalid decimal: {value}", name) from None


MOST_DECIMALS = 12
MOST_METADATA = 50


def decimal(value: Any, name: str) -> str:
    """Parse a decimal amount, which stays a text."""
    try:
        amount = Decimal(value)
    except (InvalidOperation, TypeError):
        raise invalid(f"Invalid decimal: {value}", name) from None
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or -exponent > MOST_DECIMALS:
        raise invalid(f"Invalid decimal: {value}; must contain at maximum twelve decimal places.", name)
    return f"{amount.normalize():f}"


def boolean(value: Any, name: str) -> bool:
    if value not in ("true", "false"):
        raise invalid(f"Invalid boolean: {value}", name)
    return bool(value == "true")


@dataclass(frozen=True, slots=True)
class Optional:
    """Parses an empty string as None, which unsets the field."""

    parser: Parser

    def __call__(self, value: Any, name: str) -> Any:
        return None if value == "" else self.parser(value, name)


@dataclass(frozen=True, slots=True)
class TimeOr:
    """Parses a time in Unix seconds, or one of these words."""

    words: tuple[str, ...]

    def __call__(self, value: Any, name: str) -> Any:
        return value if value in self.words else integer(value, name)


@dataclass(frozen=True, slots=True)
class Choice:
    words: tuple[str, ...]

    def __call__(self, value: Any, name: str) -> str:
        if value not in self.words:
            words = ", ".join(self.words)
            raise invalid(
                f"Invalid {name}: {value}. If Stripe has it, the simulator does not support it; it supports: {words}.",
                name,
            )
        return str(value)


@dataclass(frozen=True, slots=True)
class ListOf:
    parser: Parser

    def __call__(self, value: Any, name: str) -> list[Any]:
        if value == "":
            return []
        if not isinstance(value, list):
            raise invalid("Invalid array", name)
        return [self.parser(each, f"{name}[{position}]") for position, each in enumerate(value)]


@dataclass(frozen=True, slots=True)
class Nested:
    parsers: Mapping[str, Parser]

    def __call__(self, value: Any, name: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise invalid("Invalid object", name)
        return _parse_each(value, self.parsers, name)


@dataclass(frozen=True, slots=True)
class MapOf:
    """Parses an object whose names are the caller's own."""

    parser: Parser

    def __call__(self, value: Any, name: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise invalid("Invalid object", name)
        return {key: self.parser(each, f"{name}[{key}]") for key, each in value.items()}


@dataclass(frozen=True, slots=True)
class TextOr:
    """Parses a text, such as an id, or an object."""

    parsers: Mapping[str, Parser]

    def __call__(self, value: Any, name: str) -> Any:
        return value if isinstance(value, str) else Nested(self.parsers)(value, name)


optional: Callable[[Parser], Parser] = Optional
list_of: Callable[[Parser], Parser] = ListOf
nested: Callable[[Mapping[str, Parser]], Parser] = Nested


map_of: Callable[[Parser], Parser] = MapOf
text_or: Callable[[Mapping[str, Parser]], Parser] = TextOr


def time_or(*words: str) -> Parser:
    return TimeOr(words)


def choice(*words: str) -> Parser:
    return Choice(words)


def metadata(value: Any, name: str) -> dict[str, str]:
    """Parse metadata: keys of up to 40 characters, values of up to 500. An empty string clears all of it."""
    if value == "":
        return {"": ""}
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise invalid("Invalid object", name)
    for key, each in value.items():
        if len(key) > 40 or len(each) > 500:
            raise invalid("Metadata keys have at most 40 characters, values at most 500", f"{name}[{key}]")
    _refuse_more_keys(sum(each != "" for each in value.values()))
    return dict(value)


def merge_metadata(present: dict[str, str], given: Mapping[str, str] | None) -> dict[str, str]:
    """Merge as Stripe does: an empty value removes its key, an empty string removes all."""
    if given == {"": ""}:
        return {}
    merged = {key: value for key, value in (present | dict(given or {})).items() if value != ""}
    _refuse_more_keys(len(merged))
    return merged


def _refuse_more_keys(count: int) -> None:
    if count > MOST_METADATA:
        raise invalid(f"Metadata can have up to {MOST_METADATA} keys, but you've set {count}.", "metadata")


PERIOD = {"gt": integer, "gte": integer, "lt": integer, "lte": integer}


def created(value: Any, name: str) -> dict[str, int]:
    """Parse a time, or a range of times."""
    if isinstance(value, dict):
        return _parse_each(value, PERIOD, name)
    return {"gte": integer(value, name), "lte": integer(value, name)}


LIST: dict[str, Parser] = {"limit": integer, "starting_after": text, "ending_before": text}
"""The parameters of every list."""
