"""Stripe, or the receiver of notices, is in trouble: nothing waits for it but its own, and all comes afterwards."""

import base64
import json
import ssl
import statistics
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from harness import receiving, running, until
from misbehaving import misbehaving, trickling_to
from torture import size

from corkage.gateway.calls import Calls
from corkage.models import NoticeDelivery, StripeEvent
from corkage.notices.notice import AccessSummary, NotDelivered, Notice
from corkage.notices.webhook import Endpoint
from corkage.simulator import ApiFaults

pytestmark = [pytest.mark.slow, pytest.mark.torture("network")]

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
TIMEOUTS = (0.5, 0.5)
TROUBLE = {
    "slow": ApiFaults(latency_seconds=0.3),
    "silent": ApiFaults("hang"),
    "cutting": ApiFaults("cut"),
    "answering half": ApiFaults("cut_within"),
    "saying 429": ApiFaults("rate_limit"),
    "saying 500": ApiFaults("error"),
    "losing every second request": ApiFaults("cut", share=0.5),
}


@pytest.fixture(autouse=True)
def _waits_are_short(monkeypatch):
    monkeypatch.setattr(Calls.__init__, "__defaults__", (None, TIMEOUTS, 0, None))
    monkeypatch.setattr("corkage.gateway.outage.FIRST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr("corkage.gateway.outage.LONGEST_PAUSE_SECONDS", 0.5)


@pytest.fixture
def config(config):
    return replace(config, worker="thread", poll_seconds=0)


def buy(shop, simulator, users):
    """Have users subscribe; return the bodies of the events, which the API cannot list in its trouble."""
    bought = {shop.subscribe(shop.customer(user), user=user) for user in users}
    created = (each for each in simulator.world.all("event") if each["type"] == "customer.subscription.created")
    return [json.dumps(each).encode() for each in created if each["data"]["object"]["id"] in bought]


def port_of(simulator):
    return int(simulator.url.rpartition(":")[2])


def pending():
    return StripeEvent.select().where(StripeEvent.applied_at.is_null()).count()


def pace(app, bodies):
    """Deliver these events and read access as often; return the median seconds of either."""
    webhooks, reads = [], []
    for body in bodies:
        for ask, times, status in ((lambda body=body: app.deliver(body), webhooks, 200), (app.ask, reads, 200)):
            began = time.monotonic()
            assert ask().status_code == status
            times.append(time.monotonic() - began)
    return statistics.median(webhooks), statistics.median(reads)


@pytest.mark.parametrize("trouble", TROUBLE)
def test_webhooks_and_access_are_answered_and_all_is_applied_afterwards(trouble, config, shop, simulator, figures):
    users = [f"user{number}" for number in range(size(3, long=40))]
    with running(config) as app:
        usual = pace(app, buy(shop, simulator, [f"before-{user}" for user in users]))
        until(lambda: not pending())
        bodies = buy(shop, simulator, users)
        simulator.api_faults = TROUBLE[trouble]
        meanwhile = pace(app, bodies)
        failed = app.billing.service.worker.gateway.outage
        until(lambda: failed.is_down or trouble in ("slow", "losing every second request"))
        waited = pending()
        simulator.api_faults = ApiFaults()
        began = time.monotonic()
        until(lambda: not pending(), seconds=60)
        drained = time.monotonic() - began

        assert waited or trouble in ("slow", "losing every second request")
        assert all(app.billing.access(user).allowed for user in users)
    webhook, access = (round(now / before, 2) for now, before in zip(meanwhile, usual, strict=True))
    figures.note(
        events=len(bodies), webhook_times_as_long=webhook, access_times_as_long=access, drained_in_s=round(drained, 1)
    )


def test_answers_that_trickle_are_not_waited_for_without_end(config, shop, simulator, figures):
    bodies = buy(shop, simulator, users := [f"user{number}" for number in range(size(3, long=20))])
    with trickling_to(port_of(simulator)) as line, running(replace(config, stripe_api_base=line.url)) as app:
        line.is_trickling = True
        webhook, access = pace(app, bodies)
        until(lambda: app.billing.service.worker.gateway.outage.is_down)
        assert pending() == len(users)
        line.is_trickling = False
        until(lambda: not pending(), seconds=60)
        assert all(app.billing.access(user).allowed for user in users)
    figures.note(events=len(bodies), webhook_in_ms=round(webhook * 1000, 1), access_in_ms=round(access * 1000, 1))


@contextmanager
def unreachable(how, port, certificate):
    """An address of what listens at this port at which it cannot be reached."""
    if how == "no such name":
        yield "https://receiver.invalid/hook"
    elif how == "no TLS":
        yield f"https://127.0.0.1:{port}/hook"
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        with misbehaving(SECRET, context) as receiver:
            yield f"https://localhost:{receiver.port}/hook"
            assert receiver.tried == 0


UNREACHABLE = pytest.mark.parametrize("how", ["no such name", "no TLS", "a certificate of its own"])


@UNREACHABLE
def test_where_stripe_cannot_be_reached_at_all_events_wait_for_another_address(
    how, config, shop, simulator, certificate, figures
):
    bodies = buy(shop, simulator, ["ann"])
    with (
        unreachable(how, port_of(simulator), certificate) as wrong,
        running(replace(config, stripe_api_base=wrong.removesuffix("/hook"))) as app,
    ):
        assert app.deliver(bodies[0]).status_code == 200
        assert app.ask().json()["allowed"] is False
        until(lambda: StripeEvent.get().attempts >= 1)
        assert "stripe_unavailable" in StripeEvent.get().error
    with running(config) as app:
        until(lambda: not pending(), seconds=60)
        assert app.billing.access("ann").allowed
    figures.note(events=1)


# The receiver of notices

WAYS = [
    "slow",
    "silent",
    "trickling",
    "promising",
    "cutting",
    "half",
    "gibberish",
    "endless",
    "nowhere",
    "away",
    "429",
    "503",
]


@pytest.fixture
def _notices_are_tried_often(monkeypatch):
    monkeypatch.setattr("corkage.notices.webhook.TIMEOUT_SECONDS", (0.5, 0.5))
    monkeypatch.setattr("corkage.notices.notice.QUIET_SECONDS", 0)
    monkeypatch.setattr("corkage.notices.delivery.LOOK_EVERY_SECONDS", 0.05)
    monkeypatch.setattr("corkage.notices.delivery.PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr("corkage.notices.delivery.DOWN_SECONDS", 0.1)
    monkeypatch.setattr("corkage.notices.delivery.LONGEST_DOWN_SECONDS", 0.5)
    monkeypatch.setattr("corkage.notices.outbox.with_jitter", lambda _: 0.1)


def owed():
    """How many notices the receiver has not taken; those that callbacks have not do not count."""
    return (
        NoticeDelivery.select().where(NoticeDelivery.receiver == "url", NoticeDelivery.delivered_at.is_null()).count()
    )


@pytest.mark.usefixtures("_notices_are_tried_often")
@pytest.mark.parametrize("way", WAYS)
def test_a_receiver_in_trouble_delays_nothing_else_and_gets_all_afterwards(
    way, config, shop, simulator, caplog, figures
):
    users, heard = [f"user{number:02}" for number in range(size(3, long=40))], []
    with misbehaving(SECRET) as receiver, receiving() as private:
        receiver.way, receiver.elsewhere = way, private.url
        with running(replace(config, notify_url=receiver.url, notify_secrets=(SECRET,))) as app:
            app.billing.on("access_granted", heard.append)
            pace(app, buy(shop, simulator, users))
            until(lambda: all(app.billing.access(user).allowed for user in users))
            until(lambda: len(heard) == len(users))
            until(lambda: receiver.tried)
            assert app.ask(users[0]).json()["allowed"]
            assert way == "slow" or owed() == len(users)
            receiver.way = "well"
            began = time.monotonic()
            until(lambda: not owed())
            drained = time.monotonic() - began
    assert sorted(each["data"]["user_id"] for each in receiver.taken.values()) == users
    assert set(receiver.taken) == {each.id for each in heard}
    assert private.got == []
    assert "Traceback" not in caplog.text
    assert receiver.sent <= receiver.tried * 16_000_000  # what the system holds for a connection
    figures.note(notices=len(users), tried=receiver.tried, drained_in_s=round(drained, 1))


def test_an_answer_that_trickles_through_a_proxy_is_not_waited_for_either(monkeypatch, figures):
    monkeypatch.setattr("corkage.notices.webhook.TIMEOUT_SECONDS", (0.5, 0.5))
    notice = Notice("ntc_1", "access_granted", "ann", 1.0, AccessSummary(), AccessSummary())
    with misbehaving(SECRET) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        endpoint = Endpoint("http://receiver.internal/hook", (SECRET,))
        proxy.way = "trickling"
        with pytest.raises(NotDelivered, match="ReadTimeout"):
            endpoint.notify(notice)
        proxy.way = "well"
        assert endpoint.notify(notice) == "answered 204"
    assert proxy.tried == 2
    figures.note(notices=1)


@pytest.mark.usefixtures("_notices_are_tried_often")
@UNREACHABLE
def test_a_receiver_that_cannot_be_reached_at_all_gets_its_notices_at_another_address(
    how, config, shop, simulator, certificate, figures
):
    with misbehaving(SECRET) as receiver:
        with (
            unreachable(how, receiver.port, certificate) as wrong,
            running(replace(config, notify_url=wrong, notify_secrets=(SECRET,))) as app,
        ):
            pace(app, buy(shop, simulator, ["ann"]))
            until(lambda: app.billing.access("ann").allowed)
            until(lambda: NoticeDelivery.get().attempts >= 2)
            assert app.ask().json()["allowed"]
            error = NoticeDelivery.get().error
        with running(replace(config, notify_url=receiver.url, notify_secrets=(SECRET,))):
            until(lambda: not owed())
    assert error.startswith("ConnectionError" if how == "no such name" else "SSLError")
    assert [each["data"]["user_id"] for each in receiver.taken.values()] == ["ann"]
    figures.note(notices=1)
