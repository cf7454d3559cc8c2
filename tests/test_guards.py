"""Each guard of the code is where the table of guards says, and a test notices when it is gone."""

import pytest
from removed import GUARDS, copied, first_failure, without
from repository import ROOT

PAGE = (ROOT / "docs/guards.md").read_text()
PLAYED = ("webhook: signature", "operator: token", "tokens: audience")


@pytest.mark.parametrize("guard", GUARDS, ids=lambda each: each.name)
def test_each_guard_can_be_taken_out_and_stands_in_the_page(guard):
    compile(without(guard), guard.file, "exec")

    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| {guard.name} | `{guard.file}` | ")]
    assert "**none**" not in row
    for path, _, name in (each.rpartition("::") for each in guard.tests.split()):
        assert f"def {name}(" in (ROOT / "tests" / path.split("::")[0]).read_text()


@pytest.mark.slow
def test_a_test_fails_without_a_guard():
    chosen = [each for each in GUARDS if each.name in PLAYED]

    with copied() as link:
        assert [each.name for each in chosen if first_failure(each, link) is None] == []
    assert len(chosen) == len(PLAYED)
