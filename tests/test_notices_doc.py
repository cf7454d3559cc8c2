"""docs/notices.md: its receivers verify, act once on duplicates, and refuse forgeries."""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import closing, contextmanager

import pytest
import requests
from harness import until
from repository import ROOT, block

from corkage import Notice
from corkage.notices.notice import KINDS, AccessSummary, NotDelivered
from corkage.notices.webhook import Endpoint, body_of

SECRET, FORGED = ("whsec_" + base64.b64encode(bytes(range(at, at + 32))).decode() for at in (0, 100))
BEFORE = AccessSummary(allowed=False, reason="")
AFTER = AccessSummary(True, "active", "active", "pro", "price_1", 1, plans=("pro",))
NOTICE = Notice("ntc_1", "access_granted", "ann", 1795514400.0, BEFORE, AFTER)


def free_port():
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextmanager
def receiver(command, folder):
    port = free_port()
    environ = os.environ | {"PORT": str(port), "BILLING_NOTIFY_SECRET": SECRET}
    options = {"cwd": folder, "env": environ, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, **options) as process:
        url = f"http://127.0.0.1:{port}/hooks/billing"
        try:
            until(lambda: answers(url))
            yield url, process
        finally:
            process.kill()


def answers(url):
    try:
        return requests.get(url, timeout=30) is not None
    except requests.ConnectionError:
        return False


def command(language, folder):
    if language == "python":
        (folder / "receiver.py").write_text(block("docs/notices.md", "receiver-python"))
        return [sys.executable, "receiver.py"]
    if not shutil.which("node"):
        assert not os.environ.get("CI"), "node is wanted"
        pytest.skip("Node is not here: install nodejs to run the Node receiver")
    (folder / "receiver.mjs").write_text(block("docs/notices.md", "receiver-node"))
    return ["node", "receiver.mjs"]


@pytest.mark.parametrize("language", ["python", "node"])
def test_the_documented_receiver_acts_once_and_refuses_forgeries(language, tmp_path):
    with receiver(command(language, tmp_path), tmp_path) as (url, process):
        assert Endpoint(url, (SECRET,)).notify(NOTICE) == "answered 204"
        assert Endpoint(url, (FORGED, SECRET)).notify(NOTICE) == "answered 204"
        with pytest.raises(NotDelivered, match="answered 400"):
            Endpoint(url, (FORGED,)).notify(NOTICE)
        assert requests.post(url, body_of(NOTICE), timeout=30).status_code == 400
        Endpoint(url, (SECRET,)).notify(NOTICE._replace(id="ntc_2", kind="access_revoked"))
        heard = [process.stdout.readline() for _ in range(2)]

    assert heard == ["access_granted ann\n", "access_revoked ann\n"]


def test_the_documented_body_is_the_posted_one():
    assert json.loads(block("docs/notices.md", "body")) == json.loads(body_of(NOTICE))


def test_the_posted_body_names_the_subscription_that_it_is_about():
    failed = NOTICE._replace(kind="payment_failed", subscription_id="sub_1")

    assert json.loads(body_of(failed))["data"]["subscription_id"] == "sub_1"


def test_every_kind_of_notice_is_documented():
    assert sorted(re.findall(r"^\| `([a-z_]+)` \|", (ROOT / "docs/notices.md").read_text(), re.MULTILINE)) == sorted(
        KINDS
    )
