"""Nothing is acknowledged that is not on disk: not in a cache of the kernel, which the machine's power takes away."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import stripe
from harness import WEBHOOK_SECRET, started, until
from torture import size
from traced import Disk, through

pytestmark = [
    pytest.mark.slow,
    pytest.mark.torture("crash"),
    pytest.mark.one_engine("sqlite", "what PostgreSQL brings to disk is its own affair"),
]

SENDERS = 6
NAME = r"evt_fsync_\d{5}"


def test_each_200_of_a_webhook_comes_after_an_fsync_of_what_was_written(environ, event, tmp_path, figures):
    """The worker writes meanwhile, and those who write at once share a commit."""
    trace, body = tmp_path / "trace", json.loads(str(event))
    names = [f"evt_fsync_{number:05}" for number in range(size(60, long=6_000))]
    options = environ | {"BILLING_POLL_SECONDS": "0"}
    with started(["serve", "--port", "0"], options, tmp_path, "serving on", through(trace)) as (_, said):
        url = re.search(r"http://127\.0\.0\.1:\d+", said[-1])[0] + "/webhook"

        def deliver(name):
            text = json.dumps(body | {"id": name})
            headers = {"Stripe-Signature": stripe.WebhookSignature.generate_signature_header(text, WEBHOOK_SECRET)}
            return requests.post(url, text, headers=headers, timeout=60).status_code

        with ThreadPoolExecutor(SENDERS) as pool:
            assert set(pool.map(deliver, names)) == {200}
    until(lambda: "+++ exited with" in last_line(trace))
    lines = trace.read_text(errors="replace").splitlines()

    found = Disk(NAME, "corkage.db-wal").follow(lines)

    assert sorted(found.answered) == names
    assert found.too_early == []
    syncs = [each for each in lines if re.search(r"f(data)?sync\(\d+<[^>]*-wal>", each)]
    blind = Disk(NAME, "corkage.db-wal").follow(each for each in lines if "sync" not in each[:24])
    assert sorted(blind.too_early) == names  # without them nothing would have been on disk
    figures.note(webhooks=len(names), answered_before_an_fsync=len(found.too_early), fsyncs=len(syncs))


def last_line(path):
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 200))
        return file.read().decode(errors="replace").splitlines()[-1]
