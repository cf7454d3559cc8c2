"""How Stripe is called: over connections that stay open, by way of a proxy where one is set, packed where it packs."""

import gzip
import http.server
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from harness import sdk

from corkage.gateway.gateway import Gateway

CUSTOMER = {"id": "cus_1", "object": "customer", "email": "ann@example.com", "name": "Ann", "metadata": {}}


class Stripe(http.server.ThreadingHTTPServer):
    """Answers every request with a customer, and notes connections and what was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.connections, self.asked = 0, []

    def get_request(self):
        self.connections += 1
        return super().get_request()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append((self.path, self.headers))
        body = gzip.compress(json.dumps(CUSTOMER).encode())
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def listening():
    with Stripe() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def gateways():
    made = []

    def make(*args):
        made.append(Gateway("sk_test_x", *args))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_connection_is_kept_open_and_whichever_thread_calls_next_uses_it(gateways):
    with listening() as (stripe, url):
        gateway = gateways(url)
        for _ in range(3):
            with ThreadPoolExecutor(1) as thread:
                assert thread.submit(gateway.customer, "cus_1").result().email == "ann@example.com"
        assert gateway.paced(1000).customer("cus_1").name == "Ann"
        assert (stripe.connections, len(stripe.asked)) == (1, 4)
        gateway.close()
        gateway.customer("cus_1")
        assert stripe.connections == 2


def test_what_is_asked_is_packed_and_says_key_and_version_and_nothing_of_this_machine(gateways):
    with listening() as (stripe, url):
        gateways(url).customer("cus_1")

    ((path, headers),) = stripe.asked
    assert path == "/v1/customers/cus_1"
    assert headers["Authorization"] == "Bearer sk_test_x"
    assert headers["Stripe-Version"]
    assert "gzip" in headers["Accept-Encoding"]
    assert "X-Stripe-Client-Telemetry" not in headers
    assert "platform" not in json.loads(headers["X-Stripe-Client-User-Agent"])


def test_an_id_from_outside_stays_one_part_of_the_address(gateways):
    with listening() as (stripe, url):
        gateways(url).customer("../charges?limit=1#")

    assert stripe.asked[0][0] == "/v1/customers/..%2Fcharges%3Flimit%3D1%23"


def test_a_proxy_of_the_environment_is_used_unless_it_says_not_for_stripe(gateways, monkeypatch):
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY")
    with listening() as (proxy, url):
        monkeypatch.setenv("http_proxy", url)
        assert gateways("http://stripe.test").customer("cus_1").name == "Ann"
        assert proxy.asked[0][0] == "http://stripe.test/v1/customers/cus_1"

        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with listening() as (direct, stripe_url):
            gateways(stripe_url).customer("cus_1")
        assert (len(proxy.asked), len(direct.asked)) == (1, 1)


@pytest.mark.seeded
def test_what_the_gateway_reads_is_what_the_library_reads(shop, simulator, gateways):
    """The library's own objects, of the same call, say the same: nothing is lost by reading plain JSON."""
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    gateway = gateways(simulator.url)
    theirs = sdk(simulator).v1.subscriptions.retrieve(subscription, params={"expand": ["latest_invoice"]})

    (ours,) = gateway.subscriptions_of(customer).items

    assert (ours.id, ours.status, ours.created) == (theirs.id, theirs.status, theirs.created)
    assert ours.current_period_end == theirs["items"].data[0].current_period_end
    assert ours.items[0].price.id == theirs["items"].data[0].price.id
    assert (ours.latest_invoice.id, ours.latest_invoice.status) == (theirs.latest_invoice.id, "paid")
    assert ours.has_paid
    assert gateway.customer(customer).user_id == "ann"
