"""What Stripe may return: the SDK's classes, generated from Stripe's specification, checked against a JSON object."""

import ast
import inspect
import re
import types
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib import import_module
from reprlib import repr as shown
from textwrap import dedent
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import stripe
from stripe._list_object import ListObject, T
from stripe._object_classes import OBJECT_CLASSES, V2_OBJECT_CLASSES
from stripe._stripe_object import StripeObject, UntypedStripeObject
from stripe.events._event_classes import get_v2_event_class

Check = Callable[[Any], Sequence[str]]
"""Lists what is wrong with a value. Each problem begins with its path inside the value: `.plan.interval: ...`."""

TYPE_CHECKING = re.compile(r"^if TYPE_CHECKING:\n((?:(?: .*)?\n)+)", re.MULTILINE)
NULL = ": null, which it never is"
PLAIN = {
    str: ("a text", (str,)),
    int: ("an integer", (int,)),
    bool: ("a boolean", (bool,)),
    float: ("a number", (int, float)),
}


def problems(answer: Any, cls: type | None = None) -> list[str]:
    """List what the SDK's class, by default the one that `object` names, does not allow in the answer."""
    if isinstance(answer, dict) and "error" in answer and "object" not in answer:
        return [f"error{problem}" for problem in _check_of(stripe.ErrorObject)(answer["error"])]
    check = _check_of(cls) if cls else _self_described
    if isinstance(answer, dict) and "next_page_url" in answer:
        check = _page
    root = answer.get("object") if isinstance(answer, dict) else None
    return [f"{root or 'answer'}{problem}" for problem in check(answer)]


@cache
def class_of(kind: str) -> type[StripeObject] | None:
    """Find the SDK's class for what stands in `object`."""
    module, name = (V2_OBJECT_CLASSES | OBJECT_CLASSES).get(kind, (None, None))
    return getattr(import_module(module), name) if module else None


@cache
def fields_of(cls: type) -> dict[str, Any]:
    """Resolve the fields that a class declares, and what each may hold."""
    names = {name: load() for name, load in imports_for_types(cls.__module__).items() if not name.endswith("Params")}
    hints = get_type_hints(cls, localns=names)
    return {name: hint for name, hint in hints.items() if name[0] != "_" and get_origin(hint) is not ClassVar}


@cache
def imports_for_types(module: str) -> dict[str, Callable[[], Any]]:
    """Read what a module of the SDK imports `if TYPE_CHECKING`: each name, and how to have it."""
    blocks = TYPE_CHECKING.findall(inspect.getsource(import_module(module)))  # the rest is long, and slow to parse
    return {
        alias.asname or alias.name: lambda source=node.module, name=alias.name: getattr(import_module(source), name)
        for block in blocks
        for node in ast.parse(dedent(block)).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@cache
def _check_of(hint: Any) -> Check:
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind is Any:
        return _anything
    if kind in (Union, types.UnionType):
        return _any_of(inner)
    if kind is Literal:
        return _one_of(inner)
    if kind is list:
        return _each(inner[0])
    if kind in (dict, UntypedStripeObject):
        return _values(inner[-1])
    if kind in PLAIN:
        return _plain(*PLAIN[kind])
    if kind is Decimal:
        return _decimal
    if isinstance(kind, TypeVar):
        return _self_described
    if kind is ListObject:
        return _object(ListObject, {"object": Literal["list"], "data": list[(*inner, T)[0]]})
    if isinstance(kind, type) and issubclass(kind, StripeObject):
        return _object(kind, {})
    raise TypeError(f"The SDK has a type that the contract's tests do not know: {hint!r}")


def _anything(_value: Any) -> Sequence[str]:
    return ()


def _plain(noun: str, kinds: tuple[type, ...]) -> Check:
    return lambda value: () if type(value) in kinds else [f": {shown(value)} is not {noun}"]


def _decimal(value: Any) -> Sequence[str]:
    try:
        Decimal(value if isinstance(value, str) else "")
    except InvalidOperation:
        return [f": {shown(value)} is not a decimal number in a text"]
    return ()


def _one_of(words: tuple[Any, ...]) -> Check:
    named = ", ".join(repr(word) for word in words)
    known = [(type(word), word) for word in words]
    return lambda value: () if (type(value), value) in known else [f": {shown(value)} is not one of {named}"]


def _any_of(hints: tuple[Any, ...]) -> Check:
    """A union: perhaps null, an id or what it stands for, or words. Words are all that are known, `| str` or not."""
    is_nullable = type(None) in hints
    has_words = any(get_origin(hint) is Literal for hint in hints)
    checks = {hint: _check_of(hint) for hint in hints if hint is not type(None) and not (hint is str and has_words)}
    if len(checks) == 1:
        (only,) = checks.values()
        return lambda value: only(value) if value is not None else () if is_nullable else [NULL]

    def check(value: Any) -> Sequence[str]:
        if value is None:
            return () if is_nullable else [NULL]
        fitting = [each for hint, each in checks.items() if _may_be(value, hint)] or checks.values()
        return min((each(value) for each in fitting), key=len)

    return check


def _may_be(value: Any, hint: Any) -> bool:
    """Return whether a value is the kind of object that a class describes; an id or another kind is not."""
    if not isinstance(value, dict):
        return True
    return hint not in PLAIN and getattr(hint, "OBJECT_NAME", value.get("object")) == value.get("object")


def _each(hint: Any) -> Check:
    check = _check_of(hint)

    def check_list(value: Any) -> Sequence[str]:
        if not isinstance(value, list):
            return [f": {shown(value)} is not a list"]
        return [f"[{at}]{problem}" for at, each in enumerate(value) for problem in check(each)]

    return check_list


def _values(hint: Any) -> Check:
    check = _check_of(hint)

    def check_values(value: Any) -> Sequence[str]:
        if not isinstance(value, dict):
            return [f": {shown(value)} is not an object"]
        return [f".{name}{problem}" for name, each in value.items() for problem in check(each)]

    return check_values


def _object(cls: type[StripeObject], sharper: dict[str, Any]) -> Check:
    """The class' checks are made at its first use, because classes refer to each other."""

    @cache
    def checks() -> tuple[dict[str, Check], list[str]]:
        hints = fields_of(cls) | sharper
        required = [name for name, hint in hints.items() if type(None) not in get_args(hint)]
        return {name: _check_of(hint) for name, hint in hints.items()}, required

    def check(value: Any) -> Sequence[str]:
        if not isinstance(value, dict):
            return [f": {shown(value)} is not an object"]
        known, required = checks()
        must = ("id", "object") if value.get("deleted") is True else required
        found = [f".{name}: missing" for name in must if name not in value]
        for name, each in value.items():
            if name not in known:
                found.append(f".{name}: not a field that {cls.__qualname__} has")
            elif wrong := known[name](each):
                found += [f".{name}{problem}" for problem in wrong]
        return found + _of_event(value["data"]) if cls is stripe.Event and "data" in value else found

    return check


def _of_event(data: dict[str, Any]) -> list[str]:
    """What the SDK leaves open in an event: its object, and what the object was before. Hashes come in parts there."""
    subject = data.get("object")
    found = [f".data.object{problem}" for problem in _self_described(subject)]
    cls = _class_that_it_says(subject)
    known = fields_of(cls) if cls else {}
    for name, value in (data.get("previous_attributes") or {}).items():
        path = f".data.previous_attributes.{name}"
        if name not in known:
            found.append(f"{path}: not a field of the object")
        elif not isinstance(value, dict):
            found += [f"{path}{problem}" for problem in _check_of(known[name])(value)]
    return found


def _self_described(value: Any) -> Sequence[str]:
    """An object that says what it is."""
    cls = _class_that_it_says(value)
    return _check_of(cls)(value) if cls else [f": {shown(value)} is of no kind that the SDK knows"]


def _page(value: Any) -> Sequence[str]:
    """A list of the v2 API, of which the SDK leaves out the way back."""
    return _object(stripe.v2.ListObject, {"data": list[T], "previous_page_url": str | None})(value)


def _class_that_it_says(value: Any) -> type[StripeObject] | None:
    if isinstance(value, dict) and value.get("object") == "v2.core.event":
        found = get_v2_event_class(str(value.get("type")))
        return found if hasattr(found, "LOOKUP_TYPE") else None
    return class_of(str(value.get("object"))) if isinstance(value, dict) else None
