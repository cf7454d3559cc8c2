"""Thousands of idle connections and slow requests keep nobody out, of `corkage serve` alone or behind a proxy."""

import contextlib
import json
import os
import re
import resource
import socket
import ssl
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from buying import bearer, token
from harness import WEBHOOK_SECRET, started, until
from proxies import free_port, in_front, with_caddy, with_nginx
from stripe import WebhookSignature
from torture import size

from corkage.server.connections import FILES_FOR_OTHERS, MOST_CONNECTIONS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.torture("network"),
    pytest.mark.one_engine("sqlite", "what stands in front of either engine"),
]

HEADERS = b"GET /pricing HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
BODY = b"POST /webhook HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nStripe-Signature: x\r\n\r\n"


class Front:
    """Corkage as the world reaches it, over http or behind a proxy over https; and what its process uses."""

    def __init__(self, port, process, certificate=None):
        self.port, self.process = port, process
        self.url = f"http{'s' if certificate else ''}://localhost:{port}"
        self.verify = str(certificate) if certificate else None
        self.context = ssl.create_default_context(cafile=self.verify) if certificate else None

    def connect(self, number, sent=b""):
        """Open a connection, on which nothing is sent or a request begun."""
        opened = socket.create_connection(("127.0.0.1", self.port), 60, (f"127.0.{number % 50}.1", 0))
        if sent:
            if self.context:
                opened = self.context.wrap_socket(opened, server_hostname="localhost")
            opened.sendall(sent)
        return opened

    def ask(self, event):
        """Ask for access and deliver a webhook, over a new connection each; return how long the answers took."""
        body = json.dumps(event).encode()
        signed = WebhookSignature.generate_signature_header(body.decode(), WEBHOOK_SECRET, int(time.time()))
        calls = [
            ("GET", "/access", None, bearer(token("ann"))),
            ("POST", "/webhook", body, {"Stripe-Signature": signed}),
        ]
        for method, path, data, headers in calls:
            began = time.monotonic()
            with requests.Session() as session:
                session.trust_env = False  # REQUESTS_CA_BUNDLE would win over:
                session.verify = self.verify
                answer = session.request(method, f"{self.url}{path}", data=data, headers=headers, timeout=60)
            assert answer.status_code == 200, answer.text
            yield time.monotonic() - began

    def pace(self, event):
        """Ask ten times; return the median seconds."""
        return statistics.median(seconds for _ in range(10) for seconds in self.ask(event))

    @property
    def handles(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @property
    def megabytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


@pytest.fixture(params=[None, with_nginx, with_caddy], ids=["alone", "nginx", "Caddy"])
def front(request, environ, tmp_path, certificate):
    with ExitStack() as stack:
        port = free_port()
        settings = {"BILLING_POLL_SECONDS": "0"} | (
            {"BILLING_URL": f"https://localhost:{port}"} if request.param else {}
        )
        process, said = stack.enter_context(
            started(["serve", "--port", "0"], environ | settings, tmp_path, "serving on")
        )
        serving = int(re.search(r"http://127\.0\.0\.1:(\d+)", said[-1])[1])
        if request.param is None:
            yield Front(serving, process)
        else:
            here = f"127.0.0.1:{serving}"
            stack.enter_context(in_front(request.param, port, here, here, certificate))
            yield Front(port, process, certificate[0])


@pytest.fixture
def _many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def trickle(connections):
    """Send a byte more over each that takes it."""
    for each in connections:
        with contextlib.suppress(OSError):
            each.sendall(b"x")


@pytest.mark.usefixtures("_many_files")
def test_access_and_webhooks_are_answered_beside_idle_connections_and_slow_requests(front, event, figures):
    event = json.loads(str(event))
    usual, memory, handles = front.pace(event), front.megabytes, front.handles
    with ExitStack() as opened:

        def connect(number, sent=b""):
            return opened.enter_context(front.connect(number, sent))

        idle = [connect(number) for number in range(size(200, long=5000))]
        slow = [connect(number, (HEADERS, BODY)[number % 2]) for number in range(size(20, long=2400))]
        trickle(slow)
        meanwhile = front.pace(event)
        trickle(slow)
        grown, held = front.megabytes - memory, front.handles
        assert held <= MOST_CONNECTIONS + FILES_FOR_OTHERS
        assert grown < 64
    until(lambda: front.handles <= handles + 8)  # a proxy keeps some for the next requests
    figures.note(
        idle=len(idle),
        slow=len(slow),
        times_as_long=round(meanwhile / usual, 2),
        ms=round(meanwhile * 1000, 1),
        memory_grown_MB=round(grown, 1),
        files_open=held,
    )
