"""`corkage serve` under the load of webhooks, and what of them a database has."""

import itertools
import json
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import requests
import stripe
from harness import WEBHOOK_SECRET, started, until

THREADS = 4


@contextmanager
def loaded(environ: dict[str, str], folder: Path, event: dict[str, Any]) -> Iterator[list[set[int]]]:
    """Deliver events to `corkage serve` from several threads, each one after the other; yield those acknowledged."""
    environ |= {"BILLING_POLL_SECONDS": "0", "BILLING_SETTLE_SECONDS": "60"}
    acknowledged: list[set[int]] = [set() for _ in range(THREADS)]
    is_over, failed = threading.Event(), []
    with started(["serve", "--port", "0"], environ, folder, "serving on") as (_, said):
        url = re.search(r"http://127\.0\.0\.1:\d+", said[-1])[0]

        def deliver(thread: int) -> None:
            for number in itertools.takewhile(lambda _: not is_over.is_set(), itertools.count()):
                body = json.dumps(event | {"id": f"evt_{thread}_{number}"})
                signature = stripe.WebhookSignature.generate_signature_header(body, WEBHOOK_SECRET, int(time.time()))
                answer = requests.post(f"{url}/webhook", body, headers={"Stripe-Signature": signature}, timeout=30)
                if answer.status_code != 200:
                    failed.append(answer.text)
                acknowledged[thread].add(number)

        threads = [threading.Thread(target=deliver, args=(number,)) for number in range(THREADS)]
        for each in threads:
            each.start()
        try:
            yield acknowledged
        finally:
            is_over.set()
            for each in threads:
                each.join()
    assert failed == []


def events_in(path: Path) -> list[set[int]]:
    """The events of each thread that a sound database has."""
    found: list[set[int]] = [set() for _ in range(THREADS)]
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        for (name,) in file.execute("SELECT id FROM corkage_stripe_event WHERE id LIKE 'evt\\__\\_%' ESCAPE '\\'"):
            thread, number = re.fullmatch(r"evt_(\d)_(\d+)", name).groups()
            found[int(thread)].add(int(number))
    return found


def go_on(acknowledged: list[set[int]], more: int = 1) -> None:
    """Wait until more were acknowledged."""
    count = len(acknowledged[0]) + more
    until(lambda: len(acknowledged[0]) >= count)
