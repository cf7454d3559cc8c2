"""Who opens many connections, or is slow, or sends too much, keeps nobody else out."""

import errno
import ipaddress
import json
import os
import re
import resource
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import requests
import stripe
from harness import AUTH_SECRET, WEBHOOK_SECRET, running, started, until

from corkage.handlers.responses import LARGEST_BODIES
from corkage.identity import mint_token
from corkage.models import StripeEvent
from corkage.server import connections
from corkage.server.connections import connections_within, is_near
from corkage.server.request_limits import LARGEST_HEADERS

pytestmark = pytest.mark.slow

GET = b"GET /pricing HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def server(app):
    """The app's server, which looks for overdue connections at every turn of its loop."""
    app.server.adj.cleanup_interval = 0.01
    return app.server


@pytest.fixture
def connect(server):
    with ExitStack() as opened:

        def connected(send=b"", source="127.0.0.1"):
            address = ("127.0.0.1", server.effective_port)
            made = opened.enter_context(socket.create_connection(address, 30, (source, 0)))
            made.sendall(send)
            return made

        yield connected


def test_a_server_that_has_ended_keeps_no_file_open(config):
    def open_after(servers):
        for _ in range(servers):
            with running(config):
                pass
        return len(os.listdir("/proc/self/fd"))

    assert open_after(1) == open_after(5)


def port_of(connection):
    return connection.getsockname()[1]


def open_ports(server):
    return {each.addr[1] for each in list(server.active_channels.values())}


def is_open(server, connection):
    return port_of(connection) in open_ports(server)


def accepted(server, *opened):
    until(lambda: {port_of(each) for each in opened} <= open_ports(server))


def read(connection):
    """One answer: its status, and its body where it is JSON."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536) or pytest.fail(f"cut off after {received!r}")
    head, _, body = received.partition(b"\r\n\r\n")
    while len(body) < int(re.search(rb"(?i)content-length: (\d+)", head)[1]):
        body += connection.recv(65536)
    return int(head.split()[1]), json.loads(body) if b"application/json" in head else body


def is_cut_off(connection):
    connection.settimeout(30)
    try:
        return connection.recv(65536) == b""
    except ConnectionResetError:
        return True


def seconds_until_cut_off(connection, piece):
    """Send a piece from time to time, for 30 s at most; return when it was no longer taken."""
    began = time.monotonic()
    with suppress(OSError):
        while time.monotonic() < began + 30:
            connection.sendall(piece)
            time.sleep(0.05)
    return time.monotonic() - began


def test_head_and_body_of_an_answer_leave_by_one_send(server, connect, monkeypatch):
    sent, send = [], connections.Channel.send

    def counted(channel, data, **options):
        sent.append(bytes(data))
        return send(channel, data, **options)

    monkeypatch.setattr(connections.Channel, "send", counted)
    assert read(connect(b"GET /access HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 401
    assert [each.count(b"HTTP/1.1 401") for each in sent] == [1]
    assert sent[0].endswith(b"}")


def test_the_loop_rests_while_a_thread_finishes_its_answer(server, connect, monkeypatch):
    is_written, may_end, turns = threading.Event(), threading.Event(), []

    def holding(name):
        act = getattr(connections.Channel, name)

        def held(*arguments, **options):
            done = act(*arguments, **options)
            if threading.current_thread().name.startswith("waitress"):
                is_written.set()
                may_end.wait(30)
            return done

        monkeypatch.setattr(connections.Channel, name, held)

    holding("write_soon")
    holding("send")
    waiting = connect(GET)
    assert is_written.wait(30)
    is_readable = server.readable
    monkeypatch.setattr(server, "readable", lambda: turns.append(1) or is_readable())
    accepted(server, connect())  # which wakes it
    time.sleep(0.5)
    turned = len(turns)
    may_end.set()

    assert read(waiting)[0] == 200
    assert turned < 50  # it looks once a second; thousands when it spins


def test_answers_to_head_and_without_a_body_stay_as_http_wants_them(app):
    head = requests.head(f"{app.url}/pricing", timeout=30)
    assert (head.status_code, head.content) == (200, b"")
    away = requests.get(f"{app.url}/return", allow_redirects=False, timeout=30)
    assert away.status_code == 303


# deadlines


def test_trickling_headers_are_cut_off_at_the_deadline(server, connect):
    trickling, idle = connect(b"GET /pricing HTTP/1.1\r\n"), connect()
    accepted(server, trickling, idle)
    server.header_seconds = 0.5
    assert 0.4 <= seconds_until_cut_off(trickling, b"X-Slow: yes\r\n") < 30
    assert is_open(server, idle)
    idle.sendall(GET)
    assert read(idle)[0] == 200


def test_slow_headers_before_the_deadline_are_answered(server, connect):
    server.header_seconds = 30
    slow = connect()
    for byte in GET:
        slow.sendall(bytes([byte]))
        time.sleep(0.005)

    assert read(slow)[0] == 200
    assert is_open(server, slow)


def test_the_deadline_counts_from_the_first_byte_of_a_request(server, connect):
    server.header_seconds = 0.5
    waiting = connect()
    time.sleep(1.2)
    waiting.sendall(GET[:10])
    accepted(server, waiting)
    waiting.sendall(GET[10:])

    assert read(waiting)[0] == 200


def test_a_trickling_body_is_cut_off_and_a_slow_one_in_time_accepted(server, connect, shop):
    shop.subscribe(shop.customer())
    body, head = signed(shop)
    server.header_seconds = 0.2
    slow = connect(head + body[:10])
    time.sleep(1.5)
    slow.sendall(body[10:])
    assert read(slow)[0] == 200

    server.request_seconds = 0.5
    trickling = connect(head + body[:10])
    assert is_cut_off(trickling)
    assert StripeEvent.select().count() == 1


def test_a_silent_client_is_cut_off(server, connect):
    server.idle_seconds = server.request_seconds = 0.5
    silent = connect()
    assert is_cut_off(silent)

    assert 0.4 <= seconds_until_cut_off(connect(b"\r"), b"\n\r\n\r") < 30


def test_a_client_that_does_not_read_the_response_is_cut_off(server, connect):
    server.answer_seconds = 0.5
    deaf = connect()
    accepted(server, deaf)
    (channel,) = [each for each in server.active_channels.values() if each.addr[1] == port_of(deaf)]
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    channel.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    deaf.sendall(b"GET /style.css HTTP/1.1\r\nHost: x\r\n\r\n" * 100)

    until(lambda: not is_open(server, deaf))
    assert requests.get(f"http://127.0.0.1:{server.effective_port}/pricing", timeout=30).status_code == 200


# how many


def test_at_the_limit_the_longest_idle_connection_is_closed(server, connect, caplog):
    server.limit, server.newcomer_seconds = 5, 0
    waiting = []
    for _ in range(5):
        waiting.append(connect())
        accepted(server, waiting[-1])
    waiting[0].sendall(GET)
    assert read(waiting[0])[0] == 200  # it waits since now

    newcomer = connect(GET)
    assert read(newcomer)[0] == 200
    assert is_cut_off(waiting[1])
    assert all(is_open(server, each) for each in (waiting[0], *waiting[2:], newcomer))
    for _ in range(20):
        assert read(connect(GET))[0] == 200
    assert caplog.text.count("closing those that wait the longest") == 1


@contextmanager
def answering(app, monkeypatch):
    """Hold the answers of /pricing back."""
    go_on, asked = threading.Event(), []
    learn = app.billing.service.learn_prices
    monkeypatch.setattr(app.billing.service, "learn_prices", lambda: (asked.append(1), go_on.wait(30), learn()))
    try:
        yield asked, go_on
    finally:
        go_on.set()


def test_a_connection_with_a_request_in_progress_is_never_closed(app, server, connect, monkeypatch):
    server.limit, server.newcomer_seconds = 3, 0
    server.idle_seconds = server.header_seconds = server.request_seconds = 0.2
    with answering(app, monkeypatch) as (asked, go_on):
        busy = [connect(GET) for _ in range(3)]
        until(lambda: len(asked) == 3)
        others = [connect() for _ in range(20)]
        time.sleep(1.5)
        assert all(is_open(server, each) for each in busy)
        assert len(server.active_channels) <= 3 + connections.ACCEPTED_AT_ONCE
        go_on.set()
        assert [read(each)[0] for each in busy] == [200] * 3
    assert all(is_cut_off(each) for each in others)


def test_new_connections_wait_when_none_can_be_closed(server, connect):
    server.limit, server.newcomer_seconds = 3, 60
    opened = [connect() for _ in range(50)]
    last = connect(GET)
    time.sleep(1.5)
    assert len(server.active_channels) <= 3 + connections.ACCEPTED_AT_ONCE
    assert not is_open(server, last)

    server.newcomer_seconds = 0
    assert read(last)[0] == 200
    assert is_cut_off(opened[0])


def test_an_address_that_is_not_a_proxy_has_its_own_limit(server, connect, caplog):
    server.is_proxy, server.limit_of_address = (lambda address: str(address) == "127.0.0.1"), 3
    near = [connect() for _ in range(10)]
    stranger, other = [connect(source="127.0.0.2") for _ in range(5)], connect(source="127.0.0.3")
    accepted(server, *near, stranger[-1], other)

    until(lambda: [is_open(server, each) for each in stranger] == [False, False, True, True, True])
    assert all(is_open(server, each) for each in (*near, other))
    assert caplog.text.count("127.0.0.2 has ") == 1


def test_only_public_addresses_have_a_limit(server):
    proxies = (ipaddress.ip_network("8.8.8.0/24"),)
    near = ["127.0.0.1", "::1", "10.1.2.3", "192.168.0.1", "172.17.0.1", "100.64.0.1", "fd00::1", "8.8.8.8"]
    assert [each for each in near if not is_near(ipaddress.ip_address(each), proxies)] == []
    assert [
        each for each in ("1.1.1.1", "8.8.4.4", "2606:4700::1111") if is_near(ipaddress.ip_address(each), proxies)
    ] == []

    assert server._peer("1.1.1.1") == server._peer("::ffff:1.1.1.1") == "1.1.1.1"
    assert server._peer("2606:4700::1") == server._peer("2606:4700::ffff:1") != server._peer("2606:4700:0:1::1")
    assert server._peer("127.0.0.1") is server._peer("::ffff:127.0.0.1") is None


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ECONNRESET])
def test_a_failing_accept_is_retried_without_spinning_or_log_spam(server, connect, caplog, number):
    server.patience_seconds, server.pause_seconds = 30, 0.2
    attempts, accept = [], server.accept

    def fail():
        attempts.append(time.monotonic())
        if len(attempts) > 3:
            return accept()
        raise OSError(number, "it failed")

    server.accept = fail
    assert read(connect(GET))[0] == 200

    assert len(attempts) >= 4
    if number != errno.ECONNRESET:
        assert attempts[3] - attempts[0] >= 3 * server.pause_seconds
    assert caplog.text.count("no connection could be accepted") == 1
    assert "Traceback" not in caplog.text


def test_out_of_file_descriptors_idle_connections_are_closed(server, connect):
    server.pause_seconds = server.newcomer_seconds = 0
    waiting = [connect() for _ in range(40)]
    accepted(server, *waiting)
    accept = server.accept

    def accept_some():
        if len(server.active_channels) >= 30:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept()

    server.accept = accept_some
    for _ in range(50):
        assert read(connect(GET))[0] == 200


def without_memory_at_first(act):
    """Return what raises MemoryError four times and then acts, and what it has raised."""
    raised = []

    def fail(*given):
        if len(raised) > 3:
            return act(*given)
        raised.append(MemoryError())
        raise raised[-1]

    return fail, raised


def test_whatever_is_raised_while_a_connection_is_accepted_the_server_goes_on_listening(server, connect, caplog):
    server.pause_seconds = 0
    server.accept, raised = without_memory_at_first(server.accept)
    assert read(connect(GET))[0] == 200

    assert len(raised) == 4
    assert caplog.text.count("waiting for connections again after MemoryError") == 1


def test_a_loop_that_has_no_memory_goes_on_when_it_has(server, connect, monkeypatch):
    server.pause_seconds = 0
    look, raised = without_memory_at_first(server.readable)
    monkeypatch.setattr(server, "readable", look)
    until(lambda: len(raised) > 3)
    assert read(connect(GET))[0] == 200


def test_what_wakes_the_loop_is_kept_whatever_is_raised_there(server, connect, monkeypatch):
    fail, raised = without_memory_at_first(server.trigger.recv)
    monkeypatch.setattr(server.trigger, "recv", fail)
    server.pull_trigger()
    until(lambda: len(raised) > 3)
    woken = []
    server.trigger.pull_trigger(lambda: woken.append(1))
    until(lambda: woken)
    assert read(connect(GET))[0] == 200


def test_a_thread_that_answers_requests_goes_on_where_even_the_log_has_no_memory(app, server, connect, monkeypatch):
    threads = server.task_dispatcher
    failed = []

    class Task:
        def service(self):
            raise MemoryError

    def log_no_more(*_):
        failed.append(1)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(threads.logger, "exception", log_no_more)
        for number in range(20):  # more than there are threads
            threads.add_task(Task())
            until(lambda number=number: len(failed) > number)

    assert read(connect(GET))[0] == 200
    until(lambda: threads.active_count == 0)


def test_without_a_file_handle_newcomers_are_turned_away_unless_somebody_can_be_closed_for_them(server, connect):
    server.pause_seconds, server.patience_seconds, server.newcomer_seconds = 0, 0.2, 60
    waiting, accept = connect(), server.accept
    accepted(server, waiting)
    server.accept = no_handle

    assert read(connect(GET)) == (503, b"")

    server.newcomer_seconds = 0
    time.sleep(0.1)  # for a turn that has begun
    hopeful = connect(GET)
    time.sleep(2 * server.patience_seconds)
    server.accept = accept
    assert read(hopeful)[0] == 200
    assert read(connect(GET))[0] == 200


def no_handle():
    raise OSError(errno.EMFILE, "Too many open files")


def test_the_limit_leaves_descriptors_for_the_database_and_stripe():
    assert [connections_within(files) for files in (64, 256, 1024, 20_000)] == [32, 128, 896, 1000]


# how much


def headers_of(size):
    start = b"GET /pricing HTTP/1.1\r\nHost: x\r\nX-Fill: "
    return start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"


def test_headers_of_16_kilobytes_pass_and_one_byte_more_is_refused(connect):
    assert read(connect(headers_of(LARGEST_HEADERS)))[0] == 200

    status, body = read(connect(headers_of(LARGEST_HEADERS + 1)))
    assert (status, body["error"]["code"]) == (431, "headers_too_large")
    status, body = read(connect(headers_of(500_000)))
    assert (status, body["error"]["code"]) == (431, "headers_too_large")


ROUTES = [*LARGEST_BODIES.items(), ("/access", 1024), ("/pricing", 1024), ("/nowhere", 1024)]


def request(path, body, *headers):
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(size, piece=16_000):
    whole, rest = divmod(size, piece)
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(each), each) for each in [b"x" * piece] * whole + [b"x" * rest] * (rest > 0)
    )
    return chunks + b"0\r\n\r\n"


@pytest.mark.parametrize(("path", "limit"), ROUTES)
def test_a_body_at_its_routes_limit_passes_and_one_byte_more_is_refused(connect, path, limit):
    def answer(size):
        plain = read(connect(request(path, b"x" * size, f"Content-Length: {size}")))
        in_chunks = read(connect(request(path, chunked(size), "Transfer-Encoding: chunked")))
        assert plain == in_chunks
        return plain

    assert answer(limit)[0] in (400, 401, 403, 404, 405)
    status, body = answer(limit + 1)
    assert (status, list(body["error"])) == (413, ["code", "message"])
    assert body["error"]["code"] == "body_too_large"


def test_a_body_declared_too_large_is_refused_before_it_is_sent(connect):
    announced = connect(request("/webhook", b"", f"Content-Length: {10**12}"))
    assert read(announced)[0] == 413
    polite = connect(request("/webhook", b"", f"Content-Length: {10**7}", "Expect: 100-continue"))
    assert read(polite)[0] == 413
    without_end = connect(request("/checkout", chunked(17_000)[:-5], "Transfer-Encoding: chunked"))
    assert read(without_end)[0] == 413


def test_an_endless_chunk_size_is_refused(connect):
    assert read(connect(request("/checkout", b"1" * 100_000, "Transfer-Encoding: chunked")))[0] == 413
    assert read(connect(request("/checkout", chunked(2000, piece=1), "Transfer-Encoding: chunked")))[0] in (400, 401)


def test_malformed_http_is_refused_with_our_own_response(connect):
    status, body = read(connect(b"GET /pricing HTTP/1.1\r\nno header\r\n\r\n"))
    assert (status, body["error"]["code"]) == (400, "bad_request")


def test_a_client_that_keeps_sending_reads_the_refusal_then_is_cut_off(server, connect, monkeypatch):
    monkeypatch.setattr(connections, "LINGER_SECONDS", 0.5)
    sending = connect(request("/webhook", b"", f"Content-Length: {10**9}"))
    for _ in range(200):
        sending.sendall(b"x" * 20_000)
    assert read(sending)[0] == 413
    until(lambda: not is_open(server, sending))


def test_bodies_over_the_memory_limit_are_dropped_and_others_answered(server, connect, caplog):
    server.most_bytes_held, server.next_channel_cleanup = 1_000_000, time.time() + 3600
    hoarding = [connect(request("/webhook", b"x" * 300_000, "Content-Length: 1000000")) for _ in range(10)]
    until(lambda: sum(each.bytes_held for each in list(server.active_channels.values())) > 500_000)
    assert read(connect(GET))[0] == 200
    until(lambda: len(server.active_channels) <= 4)
    assert sum(is_open(server, each) for each in hoarding) in (2, 3)
    assert caplog.text.count("closing the largest") == 1


# all of it, on a server of its own


SERVED = """
from corkage.server import connections
from corkage.cli import main

connections.Server.header_seconds = 3.0
raise SystemExit(main())
"""
IDLE, TRICKLING = 2000, 300


@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def signed(shop):
    """A webhook: its body and its head."""
    body = str(shop.event("customer.subscription.created")).encode()
    signature = stripe.WebhookSignature.generate_signature_header(body.decode(), WEBHOOK_SECRET, int(time.time()))
    return body, request("/webhook", b"", f"Stripe-Signature: {signature}", f"Content-Length: {len(body)}")


def seconds_at_work(process):
    spent = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(spent[11]) + int(spent[12])) / os.sysconf("SC_CLK_TCK")


def answers(port, webhook):
    """What one who comes now is answered, over a connection for each question."""
    token = mint_token(AUTH_SECRET, "ann", now=time.time())
    access = f"GET /access HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    for sent in (access, webhook, GET):
        with socket.create_connection(("127.0.0.1", port), 30) as asking:
            asking.sendall(sent)
            yield read(asking)[0]


def trickle(connections):
    """Send a byte over each that takes it; return how many do."""
    taken = 0
    for each in connections:
        with suppress(OSError):
            taken += each.send(b"x")
    return taken


@pytest.mark.parametrize("files", [1024, 3000])
def test_idle_and_trickling_connections_by_the_thousand_block_nobody(files, environ, tmp_path, shop, many_files):
    shop.subscribe(shop.customer())
    (tmp_path / "served.py").write_text(SERVED)
    limited = ("bash", "-c", f'ulimit -n {files} && exec "$@"', "-")
    body, head = signed(shop)
    webhook = head + body
    stay = min(IDLE, connections_within(files) - TRICKLING)
    with (
        started(
            ["serve", "--port", "0"], environ | {"BILLING_POLL_SECONDS": "0"}, tmp_path, "serving on", limited, "served"
        ) as (process, said),
        ExitStack() as opened,
    ):
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)", said[-1])[1])

        def connect(number):
            source = f"127.0.{number % 50}.1"
            return opened.enter_context(socket.create_connection(("127.0.0.1", port), 60, (source, 0)))

        idle = [connect(number) for number in range(IDLE)]
        assert list(answers(port, webhook)) == [200] * 3
        trickling = [connect(number) for number in range(TRICKLING)]
        for each in trickling:
            each.sendall(b"GET /pricing HTTP/1.1\r\nX-Slow: ")
        assert list(answers(port, webhook)) == [200] * 3

        until(lambda: trickle(trickling) == 0)
        assert list(answers(port, webhook)) == [200] * 3
        assert len(os.listdir(f"/proc/{process.pid}/fd")) < files
        at_work = seconds_at_work(process)
        time.sleep(2)
        assert seconds_at_work(process) - at_work < 1
        assert stay - 50 < sum(is_still_open(each) for each in idle) <= stay

    log = "".join(said)
    assert process.returncode == 0
    assert len(log) < 4096
    assert "Traceback" not in log
    assert "filedescriptor" not in log
    said = [line for line in log.splitlines() if "closing those that wait the longest" in line]
    assert len([line for line in said if " more in " not in line]) == (stay < IDLE)
    assert len(said) <= 2  # once, and how often it was so, at the end


def is_still_open(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
