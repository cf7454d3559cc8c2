"""A simulator with a state file continues where it stopped, or says why it cannot."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import stripe
from harness import DAY, open_shop, sdk, started, until

from corkage.simulator import ApiFaults, Rules, Simulator, UnusableFile
from corkage.simulator.state_file import StateFile

pytestmark = pytest.mark.slow


@pytest.fixture
def file(tmp_path):
    return tmp_path / "stripe.json"


def subscribe(simulator, **params):
    shop = open_shop(simulator, sdk(simulator))
    return shop.subscribe(shop.customer(email="ann@example.com"), **params)


def everything(simulator):
    kinds = [kind for kind in simulator.world._objects if simulator.world.all(kind)]
    return {kind: simulator.world.all(kind) for kind in kinds}


def test_a_restart_keeps_the_objects_and_the_renewal_still_happens(file):
    with Simulator(seed=1, file=file) as simulator:
        subscription = subscribe(simulator)
        simulator.advance(3 * DAY)
        held, now = everything(simulator), simulator.world.now

    with Simulator(file=file) as again:
        client = sdk(again)
        assert everything(again) == held
        assert again.world.now == now
        assert client.v1.subscriptions.retrieve(subscription).status == "active"
        again.advance_to("renewal")
        invoices = client.v1.invoices.list(params={"subscription": subscription}).data
        assert [(each.billing_reason, each.status) for each in invoices] == [
            ("subscription_cycle", "paid"),
            ("subscription_create", "paid"),
        ]


def test_a_restart_does_not_change_the_sequence_of_ids(file):
    with Simulator(seed=1) as simulator:
        subscribe(simulator)
        straight = sdk(simulator).v1.customers.create().id
    with Simulator(seed=1, file=file) as simulator:
        subscribe(simulator)
    with Simulator(seed=2, file=file) as again:
        assert sdk(again).v1.customers.create().id == straight


def test_the_state_survives_json_unchanged(file):
    with Simulator(seed=1, file=file) as simulator:
        shop = open_shop(simulator, sdk(simulator))
        customer = shop.customer()
        shop.subscribe(customer, trial_period_days=14)
        bank = shop.customer(card="pm_usBankAccount_success")
        shop.subscribe(bank)
        clock = shop.client.v1.test_helpers.test_clocks.create(params={"frozen_time": simulator.world.now})
        shop.subscribe(shop.customer(test_clock=clock.id))
        shop.client.v1.checkout.sessions.create(
            params={
                "mode": "subscription",
                "line_items": [{"price": shop.price, "quantity": 2}],
                "success_url": "https://app.example.com/",
                "subscription_data": {"metadata": {"a": "b"}, "trial_period_days": 3},
            }
        )
        shop.client.v1.billing_portal.sessions.create(params={"customer": customer})
        simulator.advance(16 * DAY)
        state = simulator.world.to_state()

        for part in ("objects", "behind"):
            assert json.loads(json.dumps(state[part])) == state[part]
        assert state["behind"]
        assert len(state["clocks"]) == 2


def test_a_restart_keeps_test_clocks_and_what_is_due_on_them(file):
    with Simulator(file=file) as simulator:
        shop = open_shop(simulator, sdk(simulator))
        begin = simulator.world.now
        clock = shop.client.v1.test_helpers.test_clocks.create(params={"frozen_time": begin}).id
        subscription = shop.subscribe(shop.customer(test_clock=clock), trial_period_days=7)

    with Simulator(file=file) as again:
        client = sdk(again)
        assert client.v1.test_helpers.test_clocks.retrieve(clock).frozen_time == begin
        client.v1.test_helpers.test_clocks.advance(clock, params={"frozen_time": begin + 8 * DAY})
        assert client.v1.subscriptions.retrieve(subscription).status == "active"


def test_a_restart_keeps_the_time_advanced(file):
    with Simulator(file=file) as simulator:
        simulator.advance(90 * DAY)
    with Simulator(file=file) as again:
        assert again.world.now - time.time() == pytest.approx(90 * DAY, abs=60)


def test_a_restart_keeps_replays_rules_and_cards_and_no_faults(file):
    options = {"idempotency_key": "first"}
    with Simulator(file=file) as simulator:
        client = sdk(simulator)
        made = client.v1.customers.create(params={"name": "Ann"}, options=options).id
        broke = open_shop(simulator, client).customer(card="pm_card_chargeCustomerFail")
        simulator.rules.retry_days = (1,)
        simulator.api_faults.failure = "cut"

    with Simulator(file=file) as again:
        client = sdk(again)
        assert client.v1.customers.create(params={"name": "Ann"}, options=options).id == made
        with pytest.raises(stripe.IdempotencyError):
            client.v1.customers.create(params={"name": "Bob"}, options=options)
        price = again.world.all("price")[0]["id"]
        declined = client.v1.subscriptions.create(params={"customer": broke, "items": [{"price": price}]})
        assert declined.status == "incomplete"
        assert again.rules == Rules(retry_days=(1,))
        assert again.api_faults == ApiFaults()


def test_a_restart_sends_only_undelivered_events(file):
    taken = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["id"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    receiver = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=receiver.serve_forever)
    with Simulator(file=file) as simulator:
        sdk(simulator).v1.customers.create()
        endpoint = simulator.add_webhook_endpoint("http://127.0.0.1:1/")
        sdk(simulator).v1.customers.create()
        simulator.settle()
        endpoint["url"] = f"http://127.0.0.1:{receiver.server_port}/"
        undelivered = simulator.world.all("event")[0]["id"]
    try:
        thread.start()
        with Simulator(file=file) as again:
            again.settle()
            assert taken == [undelivered]
            assert again.world.get("event", undelivered)["pending_webhooks"] == 0
    finally:
        receiver.shutdown()
        thread.join()
        receiver.server_close()


def test_changes_are_on_disk_while_it_runs(file):
    with Simulator(file=file) as simulator:
        made = sdk(simulator).v1.customers.create().id
        until(lambda: made in file.read_text())

        until(lambda: [each.name for each in file.parent.iterdir()] == [file.name])


@pytest.fixture
def kept(file):
    """Return a state file for this list, which only the test saves."""
    state = []
    return StateFile(file, threading.RLock(), lambda: {"state": state}, state.extend), state


def test_a_state_that_has_not_changed_is_not_written_again(file, kept):
    kept_file, state = kept
    kept_file.save()
    written = file.stat().st_ino
    kept_file.save()
    assert file.stat().st_ino == written

    state.append(1)
    kept_file.save()
    assert json.loads(file.read_text())["state"] == [1]


def test_a_failed_write_leaves_the_file_intact_and_is_retried(file, kept, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    kept_file, state = kept
    kept_file.save()
    before = file.read_bytes()
    state.append(1)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(UnusableFile, match="cannot be written: No space left on device"):
            kept_file.save()

    assert file.read_bytes() == before
    kept_file.save()
    assert json.loads(file.read_text())["state"] == [1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: "",
        lambda _: "[]",
        lambda _: '"corkage"',
        lambda _: "{}",
        lambda _: "\x00" * 100,
        lambda text: text.replace('"clocks"', '"clicks"'),
        lambda text: text.replace('"customer": {', '"costumer": {', 1),
        lambda text: text.replace('"corkage_simulator": 1', '"corkage_simulator": "1"'),
        lambda text: re.sub(r'"random": \[3, \[\d+', '"random": [3, ["x"', text),
    ],
)
def test_a_damaged_file_is_refused_and_left_as_it_is(file, damage):
    with Simulator(seed=1, file=file):
        pass
    damaged = damage(file.read_text())
    file.write_text(damaged)

    with pytest.raises(UnusableFile, match="is damaged, or not a simulator's file"):
        Simulator(file=file)

    assert file.read_text() == damaged


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ('"corkage_simulator": 1', '"corkage_simulator": 2', "was written by a newer Corkage"),
        ('"api_version": "2026-10-28.endive"', '"api_version": "2020-01-01"', "Stripe's API version 2020-01-01"),
    ],
)
def test_a_file_of_another_version_is_refused_and_left_as_it_is(file, was, becomes, says):
    with Simulator(seed=1, file=file):
        pass
    changed = file.read_text().replace(was, becomes, 1)
    file.write_text(changed)

    with pytest.raises(UnusableFile, match=says):
        Simulator(file=file)

    assert file.read_text() == changed


def test_a_file_that_cannot_be_written_is_refused_at_the_start(tmp_path):
    with pytest.raises(UnusableFile, match="cannot be written: No such file or directory"):
        Simulator(file=tmp_path / "nowhere" / "stripe.json")
    with pytest.raises(UnusableFile, match="cannot be read: Is a directory"):
        Simulator(file=tmp_path)


def test_without_a_file_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Simulator() as simulator:
        sdk(simulator).v1.customers.create()

    assert list(tmp_path.iterdir()) == []


def test_the_command_keeps_its_file_and_one_endpoint(file, tmp_path):
    arguments = ["simulator", "--port", "0", "--file", str(file), "--webhook", "http://127.0.0.1:1/webhook"]
    secrets, made = [], []
    for _ in range(2):
        with started(arguments, os.environ | {"PYTHONUNBUFFERED": "1"}, tmp_path, "WEBHOOK_SECRET") as (process, said):
            text = "".join(said)
            secrets.append(re.search(r"STRIPE_WEBHOOK_SECRET=(\w+)", text)[1])
            url = re.search(r"STRIPE_API_BASE=(\S+)", text)[1]
            client = stripe.StripeClient("sk_test_x", base_addresses={"api": url})
            made.append(client.v1.customers.create().id)
            assert len(client.v1.webhook_endpoints.list().data) == 1
        assert process.returncode == 0
    assert secrets[0] == secrets[1]
    assert list(json.loads(file.read_text())["world"]["objects"]["customer"]) == made


def test_the_command_refuses_a_damaged_file_with_a_message(file, tmp_path):
    file.write_text("{")
    refused = subprocess.run(
        [sys.executable, "-m", "corkage.cli", "simulator", "--port", "0", "--file", str(file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert refused.returncode == 2
    assert "is damaged" in refused.stderr
    assert "Traceback" not in refused.stderr
