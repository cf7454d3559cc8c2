"""The changes of a module that bin/mutate makes, one at a time, and where each is.

Left out is what no test can or need notice: docstrings, annotations, log texts, asserts, how a dataclass is made, and
numbers of versions. What a stronger change covers is left out as well: where a condition is made always true and always
false, it is not turned round besides.
"""

import ast
import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

BOUNDARIES = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
COMPARED = {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn,
            ast.NotIn: ast.In}  # fmt: skip
OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.BitAnd: ast.BitOr,
             ast.BitOr: ast.BitAnd}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
LOGGERS = {"log", "logger", "logging"}
IS_SQL = re.compile(r"\b(SELECT|WHERE|SET|AND|OR|ORDER BY|GROUP BY|IS NULL|NOT NULL|CASE|EXISTS|CONFLICT)\b")
SQL = tuple((re.compile(pattern), after) for pattern, after in (
    (r"\bAND\b", "OR"), (r"\bOR\b", "AND"), (r" <= ", " < "), (r" < ", " <= "), (r" >= ", " > "), (r" > ", " >= "),
    (r" <> ", " = "), (r"(?<=[\w)]) = ", " <> "), (r"\bIS NOT NULL\b", "IS NULL"), (r"\bIS NULL\b", "IS NOT NULL"),
    (r"(?<!IF )\bNOT EXISTS\b", "EXISTS"), (r"(?<!NOT )(?<!IF )\bEXISTS\b", "NOT EXISTS"), (r" \+ ", " - "),
    (r" - ", " + "), (r"\bmin\(", "max("), (r"\bmax\(", "min("), (r" DESC\b", ""), (r"\bDISTINCT ", ""),
    (r"(?<=ORDER BY )([\w.]+)(?! DESC)", r"\1 DESC"), (r"(?<=[ (])0(?=[ ),])", "1"), (r"(?<=[ (])1(?=[ ),])", "2"),
))  # fmt: skip


class Mutation(NamedTuple):
    """A change: of what kind, where it is, the text there before and after, and the whole module with it.

    Shape   first and last: the lines of what is changed; function: which function's body it is in, "" for none;
            names: what is assigned there, where it is in no function
    """

    kind: str
    file: str
    first: int
    last: int
    function: str
    names: tuple[str, ...]
    before: str
    after: str
    source: str


class _Place(NamedTuple):
    function: str = ""
    prefix: str = ""
    names: tuple[str, ...] = ()
    parent: ast.AST | None = None


def mutations(file: str, source: str, every: int = 1) -> Iterator[Mutation]:
    """Yield each change of a module, or each Nth, in the order of its text."""
    tree = ast.parse(source)
    for node, place, kind, change in itertools.islice(_all_changes(tree), 0, None, every):
        span = node.test if isinstance(node, ast.If | ast.IfExp | ast.While) else node
        before, kept = ast.unparse(node), dict(vars(node))
        vars(node).update(change)
        changed, after = ast.unparse(ast.fix_missing_locations(tree)), ast.unparse(node)
        vars(node).update(kept)
        first, last = span.lineno, span.end_lineno or span.lineno
        yield Mutation(kind, file, first, last, place.function, place.names, before, after, changed)


def how_many(source: str) -> int:
    """Return how many changes mutations() makes of a module."""
    return len(list(_all_changes(ast.parse(source))))


def _all_changes(tree: ast.AST) -> Iterator[tuple[Any, _Place, str, dict[str, Any]]]:
    for node, place in _nodes(tree, _Place()):
        for kind, change in list(_changes(node, place.parent)):
            yield node, place, kind, change


def _nodes(node: ast.AST, place: _Place) -> Iterator[tuple[Any, _Place]]:
    """Yield the nodes that may be changed, each with its place."""
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_left_out(child, name):
                inside = _inside(node, name, place)._replace(parent=node)
                if hasattr(child, "lineno"):
                    yield child, inside
                yield from _nodes(child, inside)


def _inside(node: ast.AST, field: str, place: _Place) -> _Place:
    """Return the place of what is in a field of the node."""
    match node:
        case ast.FunctionDef(name=name) if not place.function:
            known = place.prefix + name
            return place._replace(function=known) if field == "body" else place._replace(names=(*place.names, name))
        case ast.ClassDef(name=name):
            return place._replace(prefix=f"{place.prefix}{name}.")
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)) if not place.function:
            return place._replace(names=(name,))
    return place


def _is_left_out(node: ast.AST, field: str) -> bool:
    match node:
        case ast.Assert() | ast.Expr(value=ast.Constant()) | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))) if name in LOGGERS:
            return True
        case ast.Assign(targets=[ast.Name(id=name)]) if name.endswith("_VERSION"):
            return True
        case ast.Call(func=ast.Name(id="dataclass")) | ast.Assign(value=ast.Subscript(slice=ast.Tuple() | ast.BinOp())):
            return True
    return field in ("annotation", "returns")


def _changes(node: ast.AST, parent: ast.AST | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a node's changes: their kind, and what its fields are then."""
    is_condition = isinstance(parent, ast.If | ast.IfExp | ast.While | ast.BoolOp | ast.comprehension)
    match node:
        case ast.If() | ast.IfExp():
            yield "condition", {"test": ast.Constant(True)}
            yield "condition", {"test": ast.Constant(False)}
        case ast.While():
            yield "condition", {"test": ast.Constant(False)}
        case ast.BoolOp(values=values):
            is_for_types = isinstance(values[-1], ast.Constant) and not values[-1].value
            each_left_out = list(_each_left_out(values))
            yield from (("condition", {"values": rest}) for rest in each_left_out[: -1 if is_for_types else None])
        case ast.UnaryOp(op=ast.Not(), operand=operand) if not is_condition:
            yield "condition", {"operand": ast.UnaryOp(ast.Not(), operand)}
        case ast.Compare(ops=ops):
            for number, each in enumerate(ops):
                for kind, others in (("boundary", BOUNDARIES), ("condition", {} if is_condition else COMPARED)):
                    if type(each) in others:
                        yield kind, {"ops": [*ops[:number], others[type(each)](), *ops[number + 1 :]]}
        case ast.GeneratorExp() | ast.ListComp() | ast.SetComp() | ast.DictComp():
            yield from _unfiltered(node.generators)
        case ast.BinOp(op=operator) | ast.AugAssign(op=operator) if type(operator) in OPERATORS:
            yield "operator", {"op": OPERATORS[type(operator)]()}
        case ast.Constant(value=bool() as value):
            yield "choice", {"value": not value}
        case ast.Constant(value=int() as value):
            yield "number", {"value": value + 1}
        case ast.Constant(value=str() as value) if IS_SQL.search(value):
            yield from (("sql", {"value": after}) for after in _other_sql(value))
        case ast.Name(id=name) if name in NAMES:
            yield "choice", {"id": NAMES[name]}
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield "return", {"value": ast.Constant(None)}
        case ast.Expr(value=ast.Call()):
            yield "call", {"value": ast.Constant(None)}
        case ast.Tuple(elts=elts) | ast.Set(elts=elts) if all(isinstance(each, ast.Constant) for each in elts):
            yield from (("element", {"elts": rest}) for rest in _each_left_out(elts))


def _each_left_out(values: list[Any]) -> Iterator[list[Any]]:
    if len(values) > 1:
        yield from ([*values[:number], *values[number + 1 :]] for number in range(len(values)))


def _unfiltered(generators: list[ast.comprehension]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, each in enumerate(generators):
        for left_out in range(len(each.ifs)):
            ifs = [*each.ifs[:left_out], *each.ifs[left_out + 1 :]]
            other = ast.comprehension(each.target, each.iter, ifs, each.is_async)
            yield "condition", {"generators": [*generators[:number], other, *generators[number + 1 :]]}


def _other_sql(text: str) -> Iterator[str]:
    for pattern, after in SQL:
        for found in pattern.finditer(text):
            yield text[: found.start()] + found.expand(after) + text[found.end() :]
