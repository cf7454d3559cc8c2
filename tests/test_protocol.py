"""The model of the protocol holds, and without each guard it breaks as docs/protocol.md says."""

import os
import shutil
import subprocess
import sys

import pytest
from repository import ROOT


@pytest.mark.slow
def test_every_order_of_the_protocol_ends_well_and_each_guard_that_is_removed_breaks_what_the_page_says():
    if shutil.which("spin") is None or (shutil.which("gcc") or shutil.which("cc")) is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("install spin and gcc")

    checked = subprocess.run([sys.executable, ROOT / "bin/protocol", "--check"], capture_output=True, text=True)

    assert (checked.returncode, checked.stdout) == (0, ""), checked.stderr
