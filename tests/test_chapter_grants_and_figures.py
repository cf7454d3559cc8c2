"""The examples of the page about grants and figures, run as they stand."""

import json
import shlex
from dataclasses import replace

import pytest
from harness import running
from repository import block

from corkage.models import Grant
from corkage.plans import read_plans

pytestmark = pytest.mark.slow

PAGE = "docs/what-you-can-sell.md"
PLANS, CODE = block(PAGE, "plans: grants"), block(PAGE, "code: grants")
GRANTS, STATS = (block(PAGE, f"commands: {name}").splitlines() for name in ("grants", "figures"))


@pytest.fixture
def settings(config, environ, tmp_path):
    (tmp_path / "plans.toml").write_text(PLANS)
    return replace(config, plans=read_plans(tmp_path / "plans.toml"))


def test_the_python_example_gives_and_takes_back(settings):
    with running(settings) as app:
        exec(CODE, {"billing": app.billing})

        rows = {(row.user_id, row.plan): (row.quantity, row.given_by) for row in Grant.select()}
        assert rows == {("ann", "staff"): (1, "support"), ("bob", "pro"): (3, "support")}


def test_the_commands_give_list_and_revoke(settings, corkage):
    given, listed, revoked = (corkage(*shlex.split(line)[1:]) for line in GRANTS)

    assert "eve: yes, granted" in given.stdout
    assert listed.stdout.startswith("eve: staff, given by operator on ")
    assert "helps us test\n  only here: the user has no customer at Stripe\n" in listed.stdout
    assert "eve: no, ended" in revoked.stdout


def test_the_commands_print_figures(settings, corkage):
    tables, found = (corkage(*shlex.split(line)[1:]) for line in STATS)

    assert "\nPayers and trials\n" in tables.stdout
    assert len(json.loads(found.stdout)["months"]) == 3
