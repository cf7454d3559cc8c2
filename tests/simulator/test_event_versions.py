"""Webhook endpoints in older API versions get events in those versions' shape."""

import json

import pytest
import stripe
from harness import DAY, WEBHOOK_SECRET, running

from corkage.models import StripeEvent
from corkage.simulator.versions import ACACIA, BASIL, CLOVER, DAHLIA, VERSIONS, render_event

pytestmark = pytest.mark.slow

RELEASES = (ACACIA, "2025-02-24.acacia", BASIL, "2025-08-27.basil", CLOVER, DAHLIA, *VERSIONS[-2:])
OLDER_THAN_BASIL = {
    "discount": None,
    "paid": True,
    "paid_out_of_band": False,
    "quote": None,
    "tax": None,
    "total_tax_amounts": [],
    "transfer_data": None,
}


@pytest.fixture
def received(simulator, client, receiver):
    """Return the newest event of each type, as an endpoint of this version receives it."""

    def listen(version, act):
        client.v1.webhook_endpoints.create(
            params={"url": receiver.url, "enabled_events": ["*"], "api_version": version}
        )
        act()
        simulator.settle()
        events = sorted(receiver.events, key=lambda event: position(simulator, event["id"]))
        return {event["type"]: event for event in events}

    return listen


def position(simulator, event_id):
    return [event["id"] for event in reversed(simulator.world.all("event"))].index(event_id)


def object_of(event):
    return event["data"]["object"]


@pytest.mark.parametrize("version", RELEASES)
def test_an_event_names_the_version_it_is_rendered_in(simulator, shop, received, version):
    events = received(version, lambda: shop.subscribe(shop.customer()))

    assert {event["api_version"] for event in events.values()} == {version}
    assert {event.api_version for event in shop.client.v1.events.list().data} == {VERSIONS[-1]}
    assert "current_period_end" not in object_of(plain(shop.event("customer.subscription.created")))


def plain(answered):
    return json.loads(str(answered))


@pytest.mark.parametrize("version", [None, *VERSIONS[-2:]])
def test_in_the_newest_versions_an_event_equals_the_listed_one(shop, received, version):
    params = {} if version is None else {"api_version": version}
    event = received(params.get("api_version", VERSIONS[-1]), lambda: shop.subscribe(shop.customer()))["invoice.paid"]

    assert object_of(event) == object_of(plain(shop.event("invoice.paid")))


def test_acacia_has_the_period_on_the_subscription_and_not_on_its_items(shop, received):
    subscription = object_of(received(ACACIA, lambda: shop.subscribe(shop.customer()))["customer.subscription.created"])
    item = subscription["items"]["data"][0]

    now = plain(shop.client.v1.subscriptions.retrieve(subscription["id"]))["items"]["data"][0]
    assert subscription["current_period_start"] == now["current_period_start"]
    assert subscription["current_period_end"] == now["current_period_end"]
    assert subscription["discount"] is None
    assert not item.keys() & {"current_period_start", "current_period_end"}
    assert item["price"]["recurring"]["aggregate_usage"] is None
    assert item["plan"]["aggregate_usage"] is None


def test_acacia_has_the_invoice_on_its_payment_intent_and_charge(shop, received):
    events = received(ACACIA, lambda: shop.subscribe(shop.customer()))
    invoice, intent, charge = (
        object_of(events[kind]) for kind in ("invoice.paid", "payment_intent.succeeded", "charge.succeeded")
    )

    assert intent["invoice"] == charge["invoice"] == invoice["id"]
    assert (invoice["payment_intent"], invoice["charge"]) == (intent["id"], charge["id"])
    assert "invoice" not in plain(shop.client.v1.payment_intents.retrieve(intent["id"]))
    assert "invoice" not in plain(shop.client.v1.charges.retrieve(charge["id"]))


def test_acacia_has_one_refund_on_a_credit_note(shop, received):
    shop.subscribe(shop.customer())
    invoice = shop.client.v1.invoices.list().data[0].id
    params = {"invoice": invoice, "amount": 100, "refund_amount": 100}
    note = object_of(received(ACACIA, lambda: shop.client.v1.credit_notes.create(params=params))["credit_note.created"])

    (refund,) = shop.client.v1.refunds.list().data
    assert (note["refund"], note["tax_amounts"]) == (refund.id, [])
    assert not note.keys() & {"refunds", "total_taxes"}
    (line,) = note["lines"]["data"]
    assert (line["amount_excluding_tax"], line["unit_amount_excluding_tax"]) == (100, "100")
    assert "taxes" not in line


def test_acacia_has_the_subscription_on_the_invoice_and_no_parents(shop, received):
    customer = shop.customer()
    invoice = object_of(received(ACACIA, lambda: shop.subscribe(customer))["invoice.paid"])
    (line,) = invoice["lines"]["data"]

    subscription = shop.client.v1.subscriptions.list(params={"customer": customer}).data[0]
    assert invoice["subscription"] == line["subscription"] == subscription.id
    assert invoice["subscription_details"]["metadata"] == {"corkage_app": "app.example.com", "corkage_user": "ann"}
    assert {name: invoice[name] for name in OLDER_THAN_BASIL} == OLDER_THAN_BASIL
    (intent,) = shop.client.v1.payment_intents.list().data
    assert (invoice["payment_intent"], invoice["charge"]) == (intent.id, intent.latest_charge)
    assert not invoice.keys() & {"parent", "total_taxes", "payments"}
    assert not line.keys() & {"parent", "pricing", "taxes"}
    assert (line["type"], line["proration"], line["price"]["id"]) == ("subscription", False, shop.price)
    assert (line["plan"]["id"], line["subscription_item"]) == (shop.price, subscription["items"].data[0].id)


def test_acacia_has_the_price_and_amount_on_the_invoice_item(shop, received):
    customer = shop.customer()
    params = {"customer": customer, "amount": 250, "currency": "usd"}
    item = object_of(
        received(ACACIA, lambda: shop.client.v1.invoice_items.create(params=params))["invoiceitem.created"]
    )

    assert (item["unit_amount"], item["price"], item["subscription"]) == (250, None, None)
    assert not item.keys() & {"parent", "pricing"}


def test_acacia_has_paid_and_paid_out_of_band_on_the_invoice(simulator, shop, received):
    customer = shop.customer()

    def bill():
        shop.client.v1.invoice_items.create(params={"customer": customer, "amount": 250, "currency": "usd"})
        params = {"customer": customer, "pending_invoice_items_behavior": "include"}
        invoice = shop.client.v1.invoices.create(params=params).id
        shop.client.v1.invoices.pay(invoice, params={"paid_out_of_band": True})

    events = received(ACACIA, bill)

    assert [object_of(events[f"invoice.{name}"])["paid"] for name in ("finalized", "paid")] == [False, True]
    paid = object_of(events["invoice.paid"])
    assert (paid["paid_out_of_band"], paid["subscription"]) == (True, None)
    assert paid["lines"]["data"][0]["type"] == "invoiceitem"


def test_previous_attributes_are_rendered_in_the_same_version(simulator, shop, received):
    shop.subscribe(shop.customer())
    before = received(ACACIA, lambda: simulator.advance(32 * DAY))["customer.subscription.updated"]["data"]

    previous, now = before["previous_attributes"], before["object"]
    assert previous["current_period_end"] == now["current_period_start"]
    assert "items" not in previous


def discount(shop):
    coupon = shop.client.v1.coupons.create(params={"percent_off": 10, "duration": "forever"}).id
    params = {"promotion": {"type": "coupon", "coupon": coupon}, "code": "corks"}
    shop.client.v1.promotion_codes.create(params=params)
    shop.subscribe(shop.customer(), discounts=[{"coupon": coupon}])


def test_before_clover_a_promotion_code_holds_its_coupon(shop, received):
    code = object_of(received(BASIL, lambda: discount(shop))["promotion_code.created"])

    assert (code["coupon"]["object"], code["coupon"]["percent_off"]) == ("coupon", 10)
    assert "promotion" not in code


def test_acacia_has_a_single_discount_on_subscription_and_invoice(shop, received):
    events = received(ACACIA, lambda: discount(shop))

    for kind in ("customer.subscription.created", "invoice.paid"):
        only = object_of(events[kind])["discount"]
        assert (only["object"], only["coupon"]["percent_off"], only["id"]) == (
            "discount",
            10,
            object_of(events[kind])["discounts"][0],
        )
        assert "source" not in only


def test_basil_differs_from_today_only_in_its_coupons(shop, received):
    events = received(BASIL, lambda: discount(shop))

    subscription, invoice = object_of(events["customer.subscription.created"]), object_of(events["invoice.paid"])
    assert "current_period_end" in subscription["items"]["data"][0]
    assert "current_period_end" not in subscription
    assert invoice["parent"]["subscription_details"]["subscription"] == subscription["id"]
    assert "subscription" not in invoice


@pytest.mark.parametrize(("version", "mode"), [(ACACIA, "hosted"), (CLOVER, "hosted"), (DAHLIA, "hosted_page")])
def test_ui_mode_is_hosted_before_dahlia(shop, received, version, mode):
    def expire():
        items = [{"price": shop.price, "quantity": 1}]
        params = {"mode": "subscription", "line_items": items, "success_url": "https://x"}
        session = shop.client.v1.checkout.sessions.create(params=params)
        shop.client.v1.checkout.sessions.expire(session.id)

    assert object_of(received(version, expire)["checkout.session.expired"])["ui_mode"] == mode


def test_metadata_is_never_rewritten(shop, received):
    trap = {"object": "subscription", "parent": "x"}
    customer = object_of(received(ACACIA, lambda: shop.customer(metadata=trap))["customer.created"])

    assert customer["metadata"] == trap


def test_rendering_does_not_change_the_recorded_event(simulator, shop):
    discount(shop)
    before = json.dumps(simulator.world.all("event"))

    for event in simulator.world.all("event"):
        render_event(simulator.world, event, ACACIA)

    assert json.dumps(simulator.world.all("event")) == before


@pytest.mark.parametrize("version", ["2030-01-01.grenache", "2024-12-19.acacia", "2025-03-31.clover", "", "endive"])
def test_a_version_that_stripe_does_not_have_is_refused(client, version):
    params = {"url": "http://127.0.0.1:9/", "enabled_events": ["*"], "api_version": version}

    with pytest.raises(stripe.InvalidRequestError, match="Invalid Stripe API version") as refused:
        client.v1.webhook_endpoints.create(params=params)
    assert refused.value.param == "api_version"
    assert client.v1.webhook_endpoints.list().data == []


def test_a_version_older_than_acacia_is_not_supported(client):
    params = {"url": "http://127.0.0.1:9/", "enabled_events": ["*"], "api_version": "2024-06-20"}

    with pytest.raises(stripe.InvalidRequestError, match=r"It supports 2024-09-30\.acacia to") as refused:
        client.v1.webhook_endpoints.create(params=params)
    assert refused.value.code == "simulator_not_played"
    assert client.v1.webhook_endpoints.list().data == []


def test_corkage_accepts_the_events_of_a_subscription_in_acacia(config, simulator, shop):
    with running(config) as app:
        simulator.add_webhook_endpoint(f"{app.url}/webhook", secret=WEBHOOK_SECRET, api_version=ACACIA)
        subscription = shop.subscribe(shop.customer())
        simulator.settle()

        assert {each.answers[-1] for each in simulator.deliveries.made} == {200}
        rows = {row.type: row for row in StripeEvent.select()}
        app.work()
        assert app.ask().json()["allowed"]

    assert rows["customer.subscription.created"].object_id == subscription
    assert rows["invoice.paid"].object_id == subscription
