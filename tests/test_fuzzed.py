"""Input that a fuzzer makes: it sees which branches of the code a case reaches, and goes on from those that are new."""

import json
import os
import random
import re
import subprocess
import sys
from importlib.metadata import distributions

import pytest
from fuzz_files import FILES
from fuzz_requests import REQUESTS
from mutated import mutate
from repository import ROOT
from torture import SEED, size

TARGETS = FILES | REQUESTS

pytestmark = [pytest.mark.slow, pytest.mark.torture("input")]

SHORT = 10  # cases made of the examples of a target
LONG = {
    "signature": 150_000,
    "events": 15_000,
    "forms": 20_000,
    "tokens": 30_000,
    "cookies": 20_000,
    "requests": 30_000,
    "plans.toml": 20_000,
    "settings": 30_000,
    "stored settings": 30_000,
    "files to import": 100_000,
}
INSTALL = "install what makes the cases of the long form: pip install atheris (for Python 3.11 to 3.13)"


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_a_fuzzer_makes_of_valid_input_is_taken_or_refused(name, tmp_path, figures):
    if size(0, long=1):
        figures.note(**fuzzed(name, tmp_path))
        return
    chance = random.Random(SEED)
    with TARGETS[name](tmp_path) as target:
        for example in target.examples:
            target.play(example)
        for _ in range(SHORT):
            target.play(mutate(chance, chance.choice(target.examples)))


def fuzzed(name, folder):
    """Play the cases in a process of their own; return its figures."""
    if not any(distributions(name="atheris")):
        pytest.skip(INSTALL)
    command = [sys.executable, ROOT / "tests/support/fuzzed.py", name, str(LONG[name]), str(SEED), folder]
    with (folder / "said.txt").open("w+") as said:
        status = subprocess.call(command, stdout=said, stderr=said, env=os.environ)
        said.seek(0)
        text = said.read()
    case = next((path.read_bytes() for path in folder.glob("*-*") if path.name.startswith(("crash", "timeout"))), b"")
    assert status == 0, f"{text[-6_000:]}\n{case!r}"
    reached = [int(each) for each in re.findall(r"cov: ([0-9]+)", text)]
    return json.loads((folder / "figures.json").read_text()) | {"branches": f"{reached[0]:,} to {reached[-1]:,}"}
