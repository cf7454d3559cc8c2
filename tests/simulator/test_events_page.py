"""The simulator's events page: each event, its deliveries and responses, and a button that sends it again."""

import html
import re

import pytest
import requests


def show(simulator, query=""):
    answer = requests.get(f"{simulator.url}/control/events{query}", timeout=10)
    assert answer.status_code == 200
    return html.unescape(answer.text)


def section(page, event):
    """Return the page's section on one event."""
    return re.search(rf'<section class="card" id="{event}".*?</section>', page, re.DOTALL)[0]


def press(simulator, event, **data):
    return requests.post(f"{simulator.url}/control/events/{event}/send", data, timeout=10, allow_redirects=False)


def newest(client):
    return client.v1.events.list().data[0].id


def test_events_are_shown_newest_first_with_their_deliveries(simulator, client, receiver):
    receiver.answers = ["500 Oops", "404 Nothing"]
    simulator.add_webhook_endpoint(receiver.url, ("customer.created",))
    simulator.deliveries.faults.down_attempts = 1
    customer = client.v1.customers.create().id
    receiver.has_got(3)
    client.v1.products.create(params={"name": "Pro"})
    simulator.settle()

    page = show(simulator)
    created = newest(client), client.v1.events.list(params={"type": "customer.created"}).data[0].id
    assert re.findall(r'id="(evt_\w+)"', page) == list(created)
    sent = section(page, created[1])
    assert all(
        each in sent for each in (customer, receiver.url, "4 attempts: no response, 500, 404, 200", "Send again")
    )
    silent = section(page, created[0])
    assert "No endpoint wants it." in silent
    assert "Send again" not in silent
    assert "Simulation, not Stripe." in page
    assert "<script" not in page


def test_lost_waiting_and_thin_deliveries_are_labeled(simulator, client, receiver):
    params = {"name": "Thin", "type": "webhook_endpoint", "event_payload": "thin", "enabled_events": ["*"]}
    client.v2.core.event_destinations.create(params=params | {"webhook_endpoint": {"url": receiver.url}})
    simulator.deliveries.faults.delay_seconds = 600
    client.v1.customers.create()
    waiting = newest(client)
    simulator.deliveries.faults.loss = 1
    client.v1.customers.create()

    page = show(simulator)
    assert f"thin event to {receiver.url}</td><td>not attempted yet" in section(page, waiting)
    assert "lost on purpose" in section(page, newest(client))
    assert receiver.got == []


def test_send_again_sends_the_event_and_redirects_to_it(simulator, client, receiver):
    simulator.add_webhook_endpoint(receiver.url)
    client.v1.customers.create()
    event = newest(client)
    receiver.has_got(1)

    answer = press(simulator, event)
    receiver.has_got(2)
    simulator.settle()

    assert (answer.status_code, answer.headers["Location"]) == (303, f"/control/events#{event}")
    assert receiver.events[0] == receiver.events[1]
    assert section(show(simulator), event).count("1 attempt: 200") == 2


def test_send_again_refuses_an_unknown_event(simulator, receiver):
    simulator.add_webhook_endpoint(receiver.url)

    assert press(simulator, "evt_nothing").status_code == 404
    assert receiver.got == []


@pytest.mark.slow
def test_ten_thousand_events_come_in_pages(simulator, client):
    product = client.v1.products.create(params={"name": "Pro"}).id
    with simulator.world.lock:
        for _ in range(10_000):
            simulator.world.emit("product.updated", simulator.world.get("product", product))
    events = [event["id"] for event in simulator.world.all("event")]

    first = show(simulator)
    older = re.search(r'<a href="/control/events(\?starting_after=\w+)">Older', first)[1]
    second = show(simulator, older)

    assert re.findall(r'id="(evt_\w+)"', first) == events[:25]
    assert re.findall(r'id="(evt_\w+)"', second) == events[25:50]
    assert "Newest events" in second
    assert "Newest events" not in first
    last = show(simulator, f"?starting_after={events[-2]}")
    assert "Older events" not in last
    location = press(simulator, events[30], starting_after=events[24]).headers["Location"]
    assert location == f"/control/events{older}#{events[30]}"


def test_a_page_that_starts_after_an_unknown_event_is_an_error(simulator):
    answer = requests.get(f"{simulator.url}/control/events?starting_after=evt_nothing", timeout=10)

    assert answer.status_code == 400
    assert "No such object" in answer.text


def test_the_page_without_events_says_so(simulator):
    assert "No event yet." in show(simulator)
