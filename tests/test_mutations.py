"""The changes that bin/mutate makes: those that a test may notice, and no others."""

import textwrap

import pytest
from mutations import mutations


def made(source):
    """Return the changes of a source: their kind, and what stands there after."""
    found = list(mutations("some.py", textwrap.dedent(source)))
    for each in found:
        compile(each.source, each.file, "exec")
    return [(each.kind, each.after) for each in found]


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("x = a < b", [("boundary", "a <= b")]),
        ("x = a == b", [("condition", "a != b")]),
        ("x = a and b", [("condition", "b"), ("condition", "a")]),
        ("x = name or ''", [("condition", "''")]),
        ("x = a - b", [("operator", "a + b")]),
        ("x = f(True, 7)", [("choice", "False"), ("number", "8")]),
        ("x = ('a', 'b')", [("element", "('b',)"), ("element", "('a',)")]),
        ("x = min(a)", [("choice", "max")]),
        ("x = [a for a in b if a]", [("condition", "[a for a in b]")]),
        ("end(x)", [("call", "None")]),
        ("x = 'at <= ? AND b'", [("sql", "'at <= ? OR b'"), ("sql", "'at < ? AND b'")]),
    ],
)
def test_each_change_stands_alone(text, changes):
    assert made(text) == changes


def test_a_condition_is_made_always_true_and_always_false():
    assert made("if a == b:\n    c = d") == [
        ("condition", "if True:\n    c = d"),
        ("condition", "if False:\n    c = d"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        '"""Set 1 AND 2."""',
        "x: Literal[1] = y",
        "log.info('SET %s', a + b)",
        "assert a == b",
        "RULE_VERSION = 1",
        "@dataclass(frozen=True)\nclass A:\n    x: int",
        "x = 'a text and no SQL'",
    ],
)
def test_what_no_test_need_notice_is_left_as_it_is(text):
    assert made(text) == []


def test_a_change_knows_its_function_or_the_name_that_it_gives():
    source = "A = 1\nclass B:\n    c: int = 2\n    def d(self, e=3):\n        return 4\n"

    found = [(each.first, each.function, each.names) for each in mutations("some.py", source)]

    assert found == [(1, "", ("A",)), (3, "", ("c",)), (4, "", ("d",)), (5, "B.d", ())]
