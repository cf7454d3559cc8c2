"""Webhooks are taken together, by one commit for all that wait, and nobody is told 200 before that."""

import http.client
import json
import socket
import sqlite3
import threading
import time
from urllib.parse import urlsplit

import pytest
import stripe
from harness import AUTH_SECRET, WEBHOOK_SECRET, until

from corkage import storage
from corkage.access import Access
from corkage.errors import DatabaseUnavailable
from corkage.identity import mint_token
from corkage.models import StripeEvent
from corkage.server import lanes
from corkage.server.serve import _is_busy

WAITING = 40


@pytest.fixture
def event(shop):
    shop.subscribe(shop.customer())
    return shop.event("customer.subscription.created")


@pytest.fixture
def held(app, monkeypatch):
    """Hold the first group back in its commit, until the test lets it go; tell how many events each group brings."""
    groups, go_on = [], threading.Event()
    write = storage.Database._commit

    def slow(self, statements):
        groups.append(len(statements))
        go_on.wait(30)
        return write(self, statements)

    monkeypatch.setattr(storage.Database, "_commit", slow)
    yield groups, go_on
    go_on.set()


@pytest.fixture
def post(app, event):
    """Send a webhook over a connection of its own; its answer is read later."""
    opened = []

    def send(name, signature=None, more=b""):
        body = json.dumps(json.loads(str(event)) | {"id": name})
        signature = signature or stripe.WebhookSignature.generate_signature_header(
            body, WEBHOOK_SECRET, int(time.time())
        )
        sent = http.client.HTTPConnection(urlsplit(app.url).netloc, timeout=60)
        opened.append(sent)
        if more:
            head = f"POST /webhook HTTP/1.1\r\nHost: x\r\nStripe-Signature: {signature}\r\n"
            sent.connect()
            sent.sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode() + more)
        else:
            sent.request("POST", "/webhook", body, {"Stripe-Signature": signature})
        return sent

    yield send
    for sent in opened:
        sent.close()


def status(sent):
    with sent.getresponse() as answer:
        answer.read()
        return answer.status


def waiting(app):
    """How many webhooks wait for a group to take them."""
    return app.server.task_dispatcher._lanes["/webhook"]._waiting.qsize()


def test_those_that_wait_are_taken_by_few_commits_and_each_is_answered(app, post, held):
    groups, go_on = held
    first = post("evt_first")
    until(lambda: groups == [1])
    others = [post(f"evt_{number}") for number in range(WAITING)]
    until(lambda: waiting(app) == WAITING)

    go_on.set()

    assert [status(sent) for sent in (first, *others)] == [200] * (1 + WAITING)
    assert groups == [1, lanes.MOST_TOGETHER, WAITING - lanes.MOST_TOGETHER]
    assert StripeEvent.select().count() == 1 + WAITING


def test_nobody_is_told_200_before_the_commit_and_other_routes_go_on(app, post, held, config):
    groups, go_on = held
    sent = post("evt_held")
    until(lambda: groups == [1])

    assert app.ask().json()["reason"] == "no_subscription"
    sent.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        sent.sock.recv(1)
    with sqlite3.connect(config.database) as other:
        assert other.execute("SELECT count(*) FROM corkage_stripe_event").fetchone() == (0,)

    go_on.set()
    sent.sock.settimeout(30)
    assert status(sent) == 200


def test_a_group_that_cannot_be_written_is_told_503_each_and_none_is_kept(app, post, held, monkeypatch):
    groups, go_on = held
    first = post("evt_first")
    until(lambda: groups == [1])
    others = [post(f"evt_{number}") for number in range(5)]
    until(lambda: waiting(app) == 5)

    def refused(self, statements):
        raise DatabaseUnavailable("disk I/O error")

    monkeypatch.setattr(storage.Database, "_commit", refused)
    go_on.set()

    assert status(first) == 200
    for sent in others:
        with sent.getresponse() as answer:
            assert (answer.status, answer.getheader("Retry-After")) == (503, "5")
            assert json.load(answer)["error"]["code"] == "database_unavailable"
    assert [row.id for row in StripeEvent.select()] == ["evt_first"]


def test_what_is_refused_does_not_spoil_the_group(app, post, held):
    groups, go_on = held
    first = post("evt_first")
    until(lambda: groups == [1])
    good, bad = post("evt_good"), post("evt_bad", signature="t=1,v1=0")
    until(lambda: waiting(app) == 2)
    go_on.set()

    assert [status(sent) for sent in (first, good, bad)] == [200, 200, 400]
    assert {row.id for row in StripeEvent.select()} == {"evt_first", "evt_good"}


def pipelined(app, post, rest):
    """Send a webhook, and with it, before its answer, what else is to be asked over the same connection."""
    sent = post("evt_pipelined", more=rest)
    sent.sock.settimeout(30)
    return sent.sock


def test_who_asks_more_before_the_answer_does_not_let_others_answers_out(app, post, held, monkeypatch):
    groups, go_on = held
    first = post("evt_first")
    until(lambda: groups == [1])
    eager = pipelined(app, post, b"GET /pricing HTTP/1.1\r\nHost: x\r\n\r\n")
    bystanders = [post(f"evt_{number}") for number in range(3)]
    until(lambda: waiting(app) == 4)

    def refused(self, statements):
        channels = app.server.active_channels
        until(lambda: any(len(channel.outbufs) > 1 for channel in channels.values()))  # the other answer is there, too
        raise DatabaseUnavailable("disk I/O error")

    monkeypatch.setattr(storage.Database, "_commit", refused)
    go_on.set()

    assert [status(sent) for sent in (first, *bystanders)] == [200, 503, 503, 503]
    assert eager.recv(20).startswith(b"HTTP/1.1 503")
    assert [row.id for row in StripeEvent.select()] == ["evt_first"]


def hears_nothing(connection):
    connection.settimeout(0.3)
    with pytest.raises(TimeoutError):
        connection.recv(1)
    connection.settimeout(30)
    return True


def test_nothing_is_sent_before_the_commit_whatever_is_asked_beside_it(app, post, held):
    groups, go_on = held
    eager = pipelined(app, post, b"GET /access HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: groups == [1])
    assert hears_nothing(eager)

    go_on.set()
    answers = b""
    while answers.count(b"HTTP/1.1") < 2:
        answers += eager.recv(4096)
    assert answers.startswith(b"HTTP/1.1 200")


def test_a_bug_in_the_commit_is_a_500_to_all_and_the_lane_goes_on(app, post, monkeypatch, caplog):
    commit = storage.Database._commit
    monkeypatch.setattr(storage.Database, "_commit", lambda *_: 1 / 0)
    sent = post("evt_lost")
    with sent.getresponse() as answer:
        assert (answer.status, answer.getheader("Retry-After")) == (500, None)
        assert json.load(answer)["error"]["code"] == "internal_error"
    assert StripeEvent.select().count() == 0
    assert "ZeroDivisionError" in caplog.text

    monkeypatch.setattr(storage.Database, "_commit", commit)
    assert status(post("evt_next")) == 200


def test_a_lane_that_is_stopped_answers_those_that_wait_and_ends(app, post, held):
    groups, go_on = held
    first = post("evt_first")
    until(lambda: groups == [1])
    others = [post(f"evt_{number}") for number in range(5)]
    until(lambda: waiting(app) == 5)
    stopping = threading.Thread(target=app.server.task_dispatcher._lanes["/webhook"].stop)
    stopping.start()
    until(lambda: waiting(app) == 6)

    go_on.set()

    stopping.join(30)
    assert not stopping.is_alive()
    assert [status(sent) for sent in (first, *others)] == [200] * 6


ACCESS = b"GET /access HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n"


@pytest.fixture
def ask_access():
    token = mint_token(AUTH_SECRET, "ann", now=time.time())
    return ACCESS % token.encode()


@pytest.fixture
def answered_in(app, monkeypatch):
    """In which thread each question of access was answered: "loop" for waitress's own."""
    threads = []

    def read(user_id):
        threads.append("loop" if app.server.task_dispatcher.is_in_loop() else "thread")
        return Access(user_id, allowed=False, reason=f"question_{len(threads)}")

    monkeypatch.setattr("corkage.access.read_access", read)
    return threads


def read_answers(connection, count):
    answers = b""
    while answers.count(b"HTTP/1.1 ") < count or not answers.endswith(b"}"):
        answers += connection.recv(65536)
    return answers


def test_access_is_answered_in_the_loop_and_of_many_questions_at_once_the_first_alone(app, ask_access, answered_in):
    with socket.create_connection(("127.0.0.1", app.server.effective_port), timeout=30) as asking:
        asking.sendall(ask_access * 20)
        answers = read_answers(asking, 20)
        asking.sendall(ask_access)
        read_answers(asking, 1)

    assert answered_in == ["loop", *["thread"] * 19, "loop"]
    reasons = [int(part.split(b'"')[0]) for part in answers.split(b"question_")[1:]]
    assert reasons == list(range(1, 21))


def test_a_webhook_right_behind_a_question_of_access_is_on_disk_before_its_200(app, post, event, ask_access, held):
    groups, go_on = held
    body = json.dumps(json.loads(str(event)) | {"id": "evt_behind"})
    signature = stripe.WebhookSignature.generate_signature_header(body, WEBHOOK_SECRET, int(time.time()))
    webhook = f"POST /webhook HTTP/1.1\r\nHost: x\r\nStripe-Signature: {signature}\r\n"
    webhook += f"Content-Length: {len(body)}\r\n\r\n{body}"
    with socket.create_connection(("127.0.0.1", app.server.effective_port), timeout=30) as asking:
        asking.sendall(ask_access + webhook.encode())
        first = read_answers(asking, 1)
        until(lambda: groups == [1])
        assert hears_nothing(asking)
        go_on.set()
        second = read_answers(asking, 1)

    assert (first.count(b"HTTP/1.1 200"), second.count(b"HTTP/1.1 200")) == (1, 1)
    assert StripeEvent.get().id == "evt_behind"


def test_a_signal_in_the_midst_of_an_answer_ends_the_loop_after_it(app, ask_access, monkeypatch):
    busy = []

    def read(user_id):
        busy.append(_is_busy(app.server))
        lanes.end_loop(app.server)  # as the signal's handler does, which runs in this thread
        return Access(user_id, allowed=False, reason="no_subscription")

    monkeypatch.setattr("corkage.access.read_access", read)
    with socket.create_connection(("127.0.0.1", app.server.effective_port), timeout=30) as asking:
        asking.sendall(ask_access)
        assert read_answers(asking, 1).startswith(b"HTTP/1.1 200")

    app.thread.join(30)
    assert not app.thread.is_alive()
    app.server.asyncore.close_all(app.server._map)  # as the process's end would
    assert busy == [True]


def test_a_signal_between_two_answers_ends_the_loop_at_once(app):
    with pytest.raises(KeyboardInterrupt):
        lanes.end_loop(app.server)
