"""What may be asked: the SDK's own parameters of each call, held against what a route of the simulator takes."""

import ast
import re
import textwrap
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import stripe
from contract import imports_for_types
from stripe import _request_options
from stripe._stripe_object import UntypedStripeObject

from corkage.simulator.http import form
from corkage.simulator.http.route import Route

PLAIN = {
    form.integer: {int},
    form.positive: {int},
    form.boolean: {bool},
    form.number: {float, Decimal},
    form.text: {str, Decimal},
    form.decimal: {Decimal},
    form.email: {str},
    form.metadata: {UntypedStripeObject[str]},
}


def problems_of_route(route: Route) -> list[str]:
    """List what the route takes and the SDK's method for it does not, or not so, or cannot do without."""
    params = params_of_calls().get((route.method, route.path))
    if params is None:
        return [f"{route.method} {route.path}: the SDK has no method that asks this"]
    found = [f"{name}: required, but not by the route" for name in params().__required_keys__ - {*route.required}]
    return [f"{route.method} {route.path} {problem}" for problem in [*found, *_nested(route.params, params(), "")]]


@cache
def params_of_calls() -> dict[tuple[str, str], Any]:
    """Find each call that the SDK can make: by method and path, how to have the type of its parameters."""
    root = Path(stripe.__file__).parent
    return {call: params for file in sorted(root.rglob("_*_service.py")) for call, params in _calls_in(root, file)}


def _calls_in(root: Path, file: Path) -> Iterator[tuple[tuple[str, str], Any]]:
    module = ".".join(["stripe", *file.relative_to(root).with_suffix("").parts])
    for method in (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)):
        annotations = [
            ast.unparse(arg.annotation) for arg in method.args.args if arg.arg == "params" and arg.annotation
        ]
        for call in ast.walk(method):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "self._request" and annotations:
                verb, path = (_text_in(each) for each in call.args[:2])
                (name,) = re.findall(r"\w+Params", annotations[0])
                yield (verb.upper(), re.sub(r"{\w+}", "<id>", path)), imports_for_types(module)[name]


def _text_in(node: ast.expr) -> str:
    """The text, or the template of a `"...".format(...)`."""
    return next(str(each.value) for each in ast.walk(node) if isinstance(each, ast.Constant))


@cache
def _hints_of(params: Any) -> dict[str, Any]:
    hints = get_type_hints(params, localns=vars(_request_options) | {"StripeContext": Any})
    return {name: hint for name, hint in hints.items() if name not in stripe.RequestOptions.__annotations__}


def _nested(kinds: Mapping[str, form.Parser], params: Any, within: str) -> Iterator[str]:
    hints = _hints_of(params)
    for name in sorted(params.__required_keys__ - kinds.keys()):
        yield f"{within}{name}: required, but not taken"
    for name, kind in kinds.items():
        if name in hints:
            yield from _mismatches(kind, _options(hints[name]), within + name)
        else:
            yield f"{within}{name}: taken, but not a parameter that {params.__name__} has"


def _options(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _mismatches(kind: form.Parser, options: tuple[Any, ...], name: str) -> Iterator[str]:
    words = {word for each in options if get_origin(each) is Literal for word in get_args(each)}
    match kind:
        case form.Optional(inner):
            if not {"", str} & {*words, *options}:
                yield f"{name}: an empty text does not unset it"
            yield from _mismatches(inner, tuple(each for each in options if each != Literal[""]), name)
        case form.Nested(kinds):
            found = [each for each in options if hasattr(each, "__required_keys__")]
            yield from _nested(kinds, found[0], f"{name}.") if found else [_not_so(name, "an object", options)]
        case form.MapOf(inner):
            found = [get_args(each)[-1:] for each in options if get_origin(each) in (dict, UntypedStripeObject)]
            yield from _mismatches(inner, found[0], f"{name}.") if found else [_not_so(name, "an object", options)]
        case form.TextOr(kinds):
            if str not in options:
                yield _not_so(name, "a text", options)
            yield from _mismatches(form.Nested(kinds), options, name)
        case form.ListOf(inner):
            found = [_options(get_args(each)[0]) for each in options if get_origin(each) is list]
            yield from _mismatches(inner, found[0], f"{name}[]") if found else [_not_so(name, "a list", options)]
        case form.Choice(chosen) | form.TimeOr(chosen):
            yield from (_not_so(name, repr(word), options) for word in chosen if words and word not in words)
            if isinstance(kind, form.TimeOr):
                yield from _mismatches(form.integer, options, name)
            elif not words and str not in options:
                yield _not_so(name, "words", options)
        case form.created:
            yield from _mismatches(form.nested(form.PERIOD), options, name)
            yield from _mismatches(form.integer, options, name)
        case form.text if words:
            yield _not_so(name, "any text", options)
        case _ if not PLAIN.get(kind, set()) & {*options}:
            yield _not_so(name, kind.__name__, options)


def _not_so(name: str, what: str, options: tuple[Any, ...]) -> str:
    wanted = " or ".join(str(each).replace("typing.", "") for each in options)
    return f"{name}: takes {what}, but the SDK has {textwrap.shorten(wanted, 200)}"
