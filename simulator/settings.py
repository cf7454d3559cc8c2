"""Reads and changes dataclasses of plain fields from forms and JSON."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from .errors import ApiError, invalid


class Field(NamedTuple):
    """A field for a form; `choices` is empty for free input, `effect` says what the field does."""

    name: str
    value: str
    choices: tuple[str, ...]
    effect: str


def fields_of(settings: Any) -> list[Field]:
    """Return the fields with their current values, and what each does: the text that annotates its type."""
    kinds, annotated = get_type_hints(type(settings)), get_type_hints(type(settings), include_extras=True)
    return [
        Field(name, _to_text(getattr(settings, name)), _choices(kinds[name]), _effect(annotated[name]))
        for name in (each.name for each in dataclasses.fields(settings))
    ]


def _effect(kind: Any) -> str:
    return str(kind.__metadata__[0]) if get_origin(kind) is Annotated else ""


def change(settings: Any, given: Mapping[str, Any]) -> None:
    """Set all of these fields, or none if one is invalid. Values come from JSON or from a form.

    Errors  ApiError 400 for an unknown field or an invalid value
    """
    kinds = get_type_hints(type(settings))
    for name in given:
        if name not in kinds:
            raise invalid(f"Unknown field {name}. The fields are {', '.join(kinds)}.", name)
    values = {name: _read(kinds[name], value, name) for name, value in given.items()}
    try:
        dataclasses.replace(settings, **values)
    except ValueError as error:
        raise ApiError(400, str(error)) from error
    for name, value in values.items():
        setattr(settings, name, value)


def reset(settings: Any) -> None:
    """Reset every field to its default."""
    unchanged = type(settings)()
    for each in dataclasses.fields(settings):
        setattr(settings, each.name, getattr(unchanged, each.name))


def _read(kind: Any, value: Any, name: str) -> Any:
    origin = get_origin(kind)
    if origin is types.UnionType:
        return None if value in (None, "") else _read(get_args(kind)[0], value, name)
    if origin is Literal:
        return _read_choice(get_args(kind), value, name)
    if origin in (tuple, list):
        parts = value.replace(",", " ").split() if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            raise invalid(f"{name} must be a list", name)
        return origin(_read(get_args(kind)[0], each, name) for each in parts)
    if kind is bool:
        known = {"true": True, "false": False}
        return _read_choice((True, False), value if isinstance(value, bool) else known.get(str(value)), name)
    return _read_text(value, name) if kind is str else _read_number(kind, value, name)


def _read_choice(choices: tuple[Any, ...], value: Any, name: str) -> Any:
    if value not in choices:
        raise invalid(f"{name} must be one of {', '.join(map(_to_text, choices))}", name)
    return value


def _read_text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise invalid(f"{name} must be a string", name)
    return value


def _read_number(kind: type[int | float], value: Any, name: str) -> int | float:
    try:
        number = kind(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    allowed = (int,) if kind is int else (int, float)
    if isinstance(number, bool) or not isinstance(number, allowed) or not 0 <= number < 10**9:
        raise invalid(f"{name} must be {'a whole number' if kind is int else 'a number'}, not negative", name)
    return kind(number)


def _to_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(map(_to_text, value))
    return "" if value is None else str(value)


def _choices(kind: Any) -> tuple[str, ...]:
    if kind is bool:
        return ("false", "true")
    return get_args(kind) if get_origin(kind) is Literal else ()
