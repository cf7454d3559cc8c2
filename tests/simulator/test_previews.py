"""Previews of invoices equal the invoices that follow, and leave nothing behind."""

import json

import pytest
import stripe
from contract import problems
from harness import DAY

pytestmark = [pytest.mark.slow, pytest.mark.seeded]

BEGIN = 1_767_225_600  # 2026-01-01
HOUR = 3600
DECLINING = "pm_card_chargeCustomerFail"


@pytest.fixture
def v1(client):
    return client.v1


def billed(invoice):
    """Return what two invoices must have in common."""
    lines = [(each.amount, each.description, each.quantity, each.period.start, each.period.end)
             for each in invoice.lines.data]  # fmt: skip
    return (invoice.total, invoice.subtotal, invoice.amount_due, invoice.currency, lines)


def price(v1, interval="month", **params):
    wanted = {"currency": "usd", "product_data": {"name": "More"}, "recurring": {"interval": interval}}
    return v1.prices.create(params=wanted | ({"unit_amount": 2100} | params)).id


def preview(v1, **params):
    return v1.invoices.create_preview(params=params)


def items_of(v1, subscription, **params):
    return [{"id": v1.subscriptions.retrieve(subscription)["items"].data[0].id} | params]


def stored(simulator):
    """Return all but the next random number, which the id of each request takes."""
    return json.dumps({name: each for name, each in simulator.world.to_state().items() if name != "random"})


CHANGES = {
    "nothing": {},
    "another price": {"items": {"price": "MORE"}},
    "another price, invoiced": {"items": {"price": "MORE"}, "proration_behavior": "always_invoice"},
    "another price, not prorated": {"items": {"price": "MORE"}, "proration_behavior": "none"},
    "seats": {"items": {"quantity": 5}},
    "tiers": {"items": {"price": "TIERED", "quantity": 7}},
    "a year": {"items": {"price": "YEARLY"}},
    "a new anchor": {"billing_cycle_anchor": {"type": "now"}},
    "a trial": {"trial_end": BEGIN + 40 * DAY},
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_preview_equals_the_invoice_that_follows(simulator, shop, v1, what):
    tiers = [{"up_to": 3, "flat_amount": 500}, {"up_to": "inf", "unit_amount": 90}]
    known = {
        "MORE": price(v1),
        "YEARLY": price(v1, "year"),
        "TIERED": v1.prices.create(
            params={"currency": "usd", "product_data": {"name": "T"}, "recurring": {"interval": "month"},
                    "billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": tiers}
        ).id,
    }  # fmt: skip
    coupon = v1.coupons.create(params={"percent_off": 10, "duration": "forever"}).id
    customer = shop.customer()
    subscription = shop.subscribe(customer, discounts=[{"coupon": coupon}])
    v1.invoice_items.create(params={"customer": customer, "amount": 333, "currency": "usd"})
    simulator.advance(10 * DAY)
    details = dict(CHANGES[what])
    if "items" in details:
        given = {name: known.get(value, value) for name, value in details["items"].items()}
        details["items"] = items_of(v1, subscription, **given)
    before = stored(simulator)

    seen = preview(v1, subscription=subscription, subscription_details=details)

    assert stored(simulator) == before
    assert problems(json.loads(str(seen))) == []
    assert seen.id.startswith("upcoming_in_")
    assert (seen.status, seen.number, seen.hosted_invoice_url) == ("draft", None, None)
    old = {each.id for each in v1.invoices.list().data}
    v1.subscriptions.update(subscription, params=details)
    new = [each for each in v1.invoices.list().data if each.id not in old]
    if not new:
        simulator.advance(21 * DAY)
        new = [each for each in v1.invoices.list().data if each.id not in old]
    assert [billed(each) for each in new] == [billed(seen)]


def test_a_preview_of_a_new_subscription_equals_its_first_invoice(simulator, shop, v1):
    customer, items = shop.customer(), [{"price": shop.price, "quantity": 3}]

    seen = preview(v1, customer=customer, subscription_details={"items": items})
    made = v1.subscriptions.create(params={"customer": customer, "items": items})

    assert billed(seen) == billed(v1.invoices.retrieve(made.latest_invoice))
    assert v1.subscriptions.list(params={"customer": customer, "status": "all"}).data == [made]


def test_a_preview_for_a_customer_is_of_the_next_renewal(simulator, shop, v1):
    customer = shop.customer()
    shop.subscribe(customer, price(v1, "year"))
    simulator.advance(DAY)
    shop.subscribe(customer)

    seen = preview(v1, customer=customer, invoice_items=[{"amount": 50, "currency": "usd"}])

    assert sorted(each.amount for each in seen.lines.data) == [50, 900]


def test_a_preview_of_a_cancellation_bills_and_credits_the_rest(simulator, shop, v1):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    simulator.advance(10 * DAY)

    seen = preview(
        v1, subscription=subscription, subscription_details={"cancel_now": True, "proration_behavior": "always_invoice"}
    )

    assert seen.total == -round(900 * 21 / 31)
    assert v1.subscriptions.retrieve(subscription).status == "active"


@pytest.mark.parametrize("way", ["canceled", "at its end", "no subscription"])
def test_without_an_invoice_to_come_a_preview_is_refused(simulator, shop, v1, way):
    customer = shop.customer()
    if way != "no subscription":
        subscription = shop.subscribe(customer)
        if way == "canceled":
            v1.subscriptions.cancel(subscription)
        else:
            v1.subscriptions.update(subscription, params={"cancel_at_period_end": True})
    before = stored(simulator)

    with pytest.raises(stripe.InvalidRequestError) as caught:
        preview(v1, customer=customer)

    assert (caught.value.code, caught.value.http_status) == ("invoice_upcoming_none", 404)
    assert stored(simulator) == before


def always(v1, shop, subscription, behaviour, **params):
    items = items_of(v1, subscription, price=shop.other_price, quantity=4)
    wanted = {"items": items, "proration_behavior": "always_invoice", "payment_behavior": behaviour} | params
    return v1.subscriptions.update(subscription, params=wanted)


def kinds(v1, since):
    events = v1.events.list(params={"limit": 100}).data[::-1]
    return [each.type for each in events[since:] if each.type.startswith(("customer.subscription.", "invoice."))]


def count(v1):
    return len(v1.events.list(params={"limit": 100}).data)


@pytest.fixture
def failing(simulator, shop, v1):
    """A subscription that has begun with a good card, which the customer has changed to one that fails."""
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    shop.use_card(customer, DECLINING)
    simulator.advance(10 * DAY)
    return subscription


def test_a_change_whose_payment_fails_is_refused_on_request(simulator, shop, v1, failing):
    before = stored(simulator)

    with pytest.raises(stripe.CardError) as caught:
        always(v1, shop, failing, "error_if_incomplete")

    assert (caught.value.code, caught.value.http_status) == ("card_declined", 402)
    assert stored(simulator) == before


@pytest.mark.parametrize("behaviour", ["error_if_incomplete", "pending_if_incomplete"])
def test_a_change_that_is_paid_is_made(simulator, shop, v1, behaviour):
    subscription = shop.subscribe(shop.customer())

    changed = always(v1, shop, subscription, behaviour)

    assert changed["items"].data[0].price.id == shop.other_price
    assert (changed.pending_update, v1.invoices.list().data[0].status) == (None, "paid")


def test_a_pending_change_is_made_when_its_invoice_is_paid(simulator, shop, v1, failing):
    since = count(v1)
    held = always(v1, shop, failing, "pending_if_incomplete")

    assert (held.status, held["items"].data[0].price.id) == ("active", shop.price)
    assert held.pending_update.expires_at == BEGIN + 10 * DAY + 23 * HOUR
    assert [(each.price.id, each.quantity) for each in held.pending_update.subscription_items] == [
        (shop.other_price, 4)
    ]
    assert kinds(v1, since) == [
        "customer.subscription.updated", "invoice.created", "invoice.finalized", "invoice.payment_failed",
    ]  # fmt: skip
    invoice = v1.invoices.retrieve(held.latest_invoice)
    assert (invoice.status, invoice.total) == ("open", round(2000 * 21 / 31) - round(900 * 21 / 31))

    since = count(v1)
    v1.invoices.pay(invoice.id, params={"payment_method": "pm_card_visa"})

    made = v1.subscriptions.retrieve(failing)
    assert (made.pending_update, made["items"].data[0].price.id) == (None, shop.other_price)
    assert kinds(v1, since)[-4:] == [
        "invoice.paid", "invoice.payment_succeeded", "customer.subscription.updated",
        "customer.subscription.pending_update_applied",
    ]  # fmt: skip
    simulator.advance(DAY)
    assert "customer.subscription.pending_update_expired" not in kinds(v1, since)
    assert v1.invoice_items.list(params={"customer": made.customer}).data[0].invoice == invoice.id


def test_the_ids_of_a_held_invoice_are_not_made_again(simulator, shop, v1, failing):
    always(v1, shop, failing, "pending_if_incomplete")
    shop.use_card(v1.subscriptions.retrieve(failing).customer, "pm_card_visa")
    for _ in range(5):
        shop.subscribe(shop.customer("bob"))

    tokens = [key.rpartition("_")[2] for kind in ("invoice", "invoiceitem", "line_item", "event", "subscription")
              for key in simulator.world.to_state()["objects"][kind]]  # fmt: skip

    assert len(tokens) == len(set(tokens))


def test_a_pending_change_expires_and_its_invoice_is_void(simulator, shop, v1, failing):
    held = always(v1, shop, failing, "pending_if_incomplete")
    since = count(v1)

    simulator.advance(23 * HOUR - 1)
    assert kinds(v1, since) == []
    simulator.advance(1)

    assert v1.invoices.retrieve(held.latest_invoice).status == "void"
    left = v1.subscriptions.retrieve(failing)
    assert (left.pending_update, left.status, left["items"].data[0].price.id) == (None, "active", shop.price)
    assert kinds(v1, since) == [
        "customer.subscription.updated", "invoice.voided", "customer.subscription.pending_update_expired",
    ]  # fmt: skip


def test_a_change_can_wait_for_the_customers_confirmation(simulator, shop, v1):
    subscription = shop.subscribe(shop.customer())
    simulator.advance(10 * DAY)

    changed = always(v1, shop, subscription, "default_incomplete")

    assert (changed.status, changed["items"].data[0].price.id) == ("past_due", shop.other_price)
    assert v1.invoices.retrieve(changed.latest_invoice).status == "open"
    v1.invoices.pay(changed.latest_invoice)
    assert v1.subscriptions.retrieve(subscription).status == "active"
