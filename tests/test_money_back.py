"""Refunds and disputes: of the last paid invoice of a subscription, and of what was bought once."""

import json
import time
from dataclasses import replace

import pytest
from buying import click, url_of
from examined import examine
from harness import DAY, PRO, running
from once import LIFETIME, PACK, PLANS, buy, hear, stock

from corkage.gateway.gateway import Gateway
from corkage.gateway.states import PaidInvoice
from corkage.models import Credit, Customer, NoticeRow, Purchase, Refund, StripeEvent, Subscription
from corkage.replica.returns import Return, of_subscription
from corkage.selling.credits import credits_of
from corkage.simulator import ApiFaults
from corkage.sync.resync import resync

pytestmark = pytest.mark.slow

BILLING = "https://app.example.com/billing"
DISPUTED, INQUIRY = "4000000000000259", "4000000000001976"
REFUND_FAILS, REFUND_PENDS = "4000000000005126", "4000000000007726"


@pytest.fixture
def plans():
    return PLANS


@pytest.fixture
def app(config, shop, plans):
    stock(shop)
    with running(replace(config, billing_url=BILLING, plans=plans)) as served:
        yield served


def kinds():
    return [row.kind for row in NoticeRow.select().order_by(NoticeRow.id)]


def intent_of(shop, invoice):
    return (
        shop.client.v1.invoices.retrieve(invoice, params={"expand": ["payments"]})
        .payments.data[0]
        .payment.payment_intent
    )


def refund(shop, intent, amount=None):
    return shop.client.v1.refunds.create(params={"payment_intent": intent} | ({"amount": amount} if amount else {})).id


def subscribed(app, shop, card="4242424242424242"):
    """Subscribe, and return the subscription with the PaymentIntent that paid it."""
    session = buy(app, "pro", card=card)
    hear(app, shop)
    return session["subscription"], intent_of(shop, session["invoice"])


def bought(app, shop, plan="lifetime", card="4242424242424242"):
    session = buy(app, plan, card=card)
    hear(app, shop)
    return session["id"], session["payment_intent"]


def decide(app, shop, evidence):
    """Send the evidence that wins or loses the dispute, or makes one of an inquiry."""
    dispute = shop.client.v1.disputes.list().data[0].id
    shop.client.v1.disputes.update(dispute, params={"evidence": {"uncategorized_text": evidence}})
    hear(app, shop)


def test_a_full_refund_of_the_last_payment_ends_access_and_is_a_notice(app, shop, caplog):
    subscription, intent = subscribed(app, shop)
    refund(shop, intent, 899)
    hear(app, shop)
    assert app.billing.access("ann").allowed

    refund(shop, intent, 1)
    hear(app, shop)

    access = app.billing.access("ann")
    assert (access.allowed, access.reason, access.status) == (False, "refunded", "active")
    assert kinds() == ["access_granted", "refunded", "access_revoked"]
    assert NoticeRow.get(NoticeRow.kind == "refunded").subscription_id == subscription
    assert f"what was last paid for {subscription} is refunded; it goes on at Stripe" in caplog.text
    assert shop.client.v1.subscriptions.retrieve(subscription).status == "active"
    found = [each for each in examine(app) if subscription in each.what]
    assert [each.repair for each in found] == [f"stripe subscriptions cancel {subscription}"]


def test_a_later_payment_restores_what_a_refund_ended(app, shop, simulator):
    _, intent = subscribed(app, shop)
    refund(shop, intent)
    hear(app, shop)
    simulator.advance(32 * DAY)
    hear(app, shop, time.time() + 32 * DAY)

    assert app.billing.access("ann").allowed
    assert Subscription.get().returned is None
    assert kinds() == ["access_granted", "refunded", "access_revoked", "access_granted"]


def test_a_refund_of_an_earlier_month_changes_nothing(app, shop, simulator):
    _, first = subscribed(app, shop)
    simulator.advance(32 * DAY)
    hear(app, shop, time.time() + 32 * DAY)
    refund(shop, first)
    hear(app, shop, time.time() + 32 * DAY)

    assert app.billing.access("ann").allowed
    assert kinds() == ["access_granted"]
    assert (Refund.get().status, Refund.get().subscription_id) == ("succeeded", Subscription.get().id)


def test_a_refund_while_the_next_invoice_is_not_paid_is_of_the_last_that_was(app, shop, simulator):
    _, first = subscribed(app, shop)
    shop.use_card(Customer.get().id, "pm_card_chargeCustomerFail")
    subscription = Subscription.get().id
    shop.client.v1.subscriptions.update(subscription, params={"default_payment_method": ""})
    simulator.advance(32 * DAY)
    hear(app, shop, time.time() + 32 * DAY)
    assert Subscription.get().status == "past_due"

    refund(shop, first)
    hear(app, shop, time.time() + 32 * DAY)

    assert Subscription.get().returned == "refunded"


def test_a_refund_that_fails_restores(app, shop, simulator):
    _, intent = subscribed(app, shop, REFUND_FAILS)
    refund(shop, intent)
    hear(app, shop)
    assert app.billing.access("ann").reason == "refunded"

    simulator.advance(8 * DAY)
    hear(app, shop, time.time() + 8 * DAY)

    assert (app.billing.access("ann").allowed, Refund.get().status) == (True, "failed")


def test_a_refund_on_its_way_counts(app, shop):
    _, intent = subscribed(app, shop, REFUND_PENDS)
    refund(shop, intent)
    hear(app, shop)

    assert (app.billing.access("ann").reason, Refund.get().status) == ("refunded", "pending")


def test_a_dispute_ends_access_until_it_is_won(app, shop):
    subscribed(app, shop, DISPUTED)
    access = app.billing.access("ann")
    assert (access.allowed, access.reason) == (False, "disputed")

    decide(app, shop, "winning_evidence")

    assert app.billing.access("ann").allowed
    assert kinds()[-1] == "access_granted"
    assert kinds().count("disputed") == 1


def test_a_dispute_that_is_lost_ends_access_for_good(app, shop):
    subscribed(app, shop, DISPUTED)
    decide(app, shop, "losing_evidence")

    assert (app.billing.access("ann").reason, Refund.get().status) == ("disputed", "lost")


def test_an_inquiry_is_no_dispute_until_it_becomes_one(app, shop):
    subscribed(app, shop, INQUIRY)
    assert app.billing.access("ann").allowed

    decide(app, shop, "escalate_inquiry_evidence")

    assert app.billing.access("ann").reason == "disputed"


@pytest.mark.parametrize("plans", [(*PLANS[:1], replace(PRO, refunded="keep"), replace(LIFETIME, refunded="keep"))])
def test_a_plan_may_keep_access_when_it_is_refunded(app, shop, plans):
    _, intent = subscribed(app, shop)
    refund(shop, intent)
    hear(app, shop)

    assert (app.billing.access("ann").allowed, Subscription.get().returned) == (True, "refunded")
    assert kinds() == ["access_granted", "refunded"]
    assert not [each for each in examine(app) if "paid for sub" in each.what]


@pytest.mark.parametrize("plans", [(*PLANS[:1], replace(PRO, disputed="keep"), LIFETIME)])
def test_a_plan_may_keep_access_when_it_is_disputed(app, shop, plans):
    subscribed(app, shop, DISPUTED)

    assert (app.billing.access("ann").allowed, Subscription.get().returned) == (True, "disputed")


@pytest.mark.parametrize("plans", [(replace(PRO, refunded="keep"), LIFETIME)])
def test_what_is_refunded_and_disputed_is_kept_only_if_the_plan_keeps_both(app, shop, plans):
    _, intent = subscribed(app, shop, INQUIRY)
    refund(shop, intent)
    decide(app, shop, "escalate_inquiry_evidence")

    assert Subscription.get().returned == "refunded disputed"
    assert app.billing.access("ann").reason == "disputed"


def test_a_lifetime_that_is_refunded_ends_and_can_be_bought_again(app, shop):
    purchase, intent = bought(app, shop)
    refund(shop, intent)
    hear(app, shop)

    access = app.billing.access("ann")
    assert (access.allowed, access.reason) == (False, "refunded")
    notice = NoticeRow.get(NoticeRow.kind == "refunded")
    assert (notice.purchase_id, notice.subscription_id) == (purchase, None)
    assert Refund.get().purchase_id == purchase
    assert "/c/pay/" in url_of(click(app, body={"plan": "lifetime"}))


def test_a_pack_that_is_refunded_leaves_no_credit_and_never_less(app, shop):
    for _ in range(2):
        bought(app, shop, "pack")
    kept, _ = credits_of("ann")
    intent = Purchase.get(Purchase.id != kept.purchase_id).payment_intent
    Credit.update(left=30).where(Credit.purchase_id != kept.purchase_id).execute()
    refund(shop, intent)
    hear(app, shop)

    assert credits_of("ann") == [kept]
    assert kinds() == ["refunded"]


def test_a_pack_whose_refund_fails_has_what_was_left_of_it(app, shop, simulator):
    _, intent = bought(app, shop, "pack", REFUND_FAILS)
    Credit.update(left=30).execute()
    refund(shop, intent)
    hear(app, shop)
    assert credits_of("ann") == []

    simulator.advance(8 * DAY)
    hear(app, shop)

    assert [each.left for each in credits_of("ann")] == [30]


@pytest.mark.parametrize("plans", [(replace(PACK, refunded="keep"), PRO)])
def test_a_pack_may_keep_its_credit_when_it_is_refunded_but_not_when_it_is_disputed_as_well(app, shop, plans):
    _, intent = bought(app, shop, "pack", INQUIRY)
    refund(shop, intent)
    hear(app, shop)
    assert [each.left for each in credits_of("ann")] == [100]

    decide(app, shop, "escalate_inquiry_evidence")

    assert Purchase.get().returned == "refunded disputed"
    assert credits_of("ann") == []


def test_money_that_went_back_for_what_we_did_not_sell_changes_nothing(app, shop):
    subscribed(app, shop)
    paid = shop.client.v1.payment_intents.create(
        params={
            "amount": 900,
            "currency": "usd",
            "customer": Customer.get().id,
            "payment_method": "pm_card_visa",
            "confirm": True,
        }
    )
    refund(shop, paid.id)
    hear(app, shop)

    assert app.billing.access("ann").allowed
    assert kinds() == ["access_granted"]


def test_a_refund_is_found_by_a_resync_alone(app, shop):
    _, intent = subscribed(app, shop)
    bought(app, shop, "pack")
    refund(shop, intent)
    refund(shop, Purchase.get().payment_intent)

    resync(app.billing.service.converger, time.time())

    assert (app.billing.access("ann").reason, credits_of("ann")) == ("refunded", [])
    before = len(shop.simulator.requests)
    resync(app.billing.service.converger, time.time())
    asked = [each.path for each in shop.simulator.requests[before:]]
    assert "/v1/refunds" in asked
    assert "/v1/invoice_payments" not in asked


def test_a_refund_is_found_by_the_poll_alone(config, shop):
    stock(shop)
    with running(replace(config, billing_url=BILLING, plans=PLANS, poll_seconds=300)) as app:
        _, intent = subscribed(app, shop)
        refund(shop, intent)
        app.work(time.time() + 301)

        assert app.billing.access("ann").reason == "refunded"


def test_an_event_of_a_refund_that_comes_after_a_fetch_is_no_old_news(app, shop):
    _, intent = subscribed(app, shop)
    refund(shop, intent)
    event = shop.event("charge.refunded")
    Customer.update(fetched_at=int(time.time()) + 60).execute()

    app.deliver(event)
    app.work()

    assert app.billing.access("ann").reason == "refunded"


def thin(kind, related_type, related_id):
    """A v2.core.event as Stripe documents it."""
    return json.dumps(
        {
            "id": f"evt_{related_id}",
            "object": "v2.core.event",
            "type": f"v1.{kind}",
            "created": "2026-11-24T08:00:00.000Z",
            "livemode": False,
            "context": None,
            "related_object": {"id": related_id, "type": related_type, "url": f"/v1/{related_type}s/{related_id}"},
        }
    ).encode()


@pytest.mark.parametrize("kind", ["charge.refunded", "refund.created", "refund.something_new"])
def test_a_thin_event_leads_to_the_refund(app, shop, kind):
    _, intent = subscribed(app, shop)
    made = refund(shop, intent)
    charge = shop.client.v1.refunds.retrieve(made).charge
    related = ("charge", charge) if kind.startswith("charge") else ("refund", made)

    app.deliver(thin(kind, *related))
    app.work()

    assert app.billing.access("ann").reason == "refunded"


def test_a_thin_event_leads_to_the_dispute(app, shop):
    session = buy(app, "lifetime", card=DISPUTED)
    app.billing.service.come_back(session["id"])
    assert app.billing.access("ann").allowed

    app.deliver(thin("charge.dispute.created", "dispute", shop.client.v1.disputes.list().data[0].id))
    app.work()

    assert app.billing.access("ann").reason == "disputed"


def test_an_event_of_a_refund_that_stripe_does_not_know_is_marked_applied(app):
    app.deliver(thin("refund.created", "refund", "re_gone"))
    app.work()

    assert (StripeEvent.get().outcome, StripeEvent.get().error) == ("no customer", None)


def test_a_refund_of_no_payment_intent_is_not_kept(app, shop):
    _, intent = subscribed(app, shop)
    refund(shop, intent)
    event = json.loads(str(shop.event("refund.created")))
    event["data"]["object"]["payment_intent"] = None
    before = StripeEvent.select().count()

    assert app.deliver(json.dumps(event | {"id": "evt_old"}).encode()).status_code == 200
    assert StripeEvent.select().count() == before


def test_a_key_that_may_not_read_refunds_stops_nothing_else(app, shop, simulator, caplog):
    subscription, intent = subscribed(app, shop)
    gateway = app.billing.service.converger.gateway
    refund(shop, intent)
    may = ("subscription_read", "customer_read", "invoice_read", "checkout_session_read", "plan_read")
    simulator.api_faults = ApiFaults(restricted_key_may=may)
    restricted = Gateway("rk_test_of_the_tests", simulator.url)
    shop.client.v1.subscriptions.update(subscription, params={"cancel_at_period_end": True})

    restricted_converger = app.billing.service.converger.with_gateway(restricted)
    app.deliver(shop.event("charge.refunded"))
    restricted_converger.converge(Customer.get().id, time.time(), payments=(intent,))

    assert app.billing.access("ann").reason == "canceling"
    assert f"{intent}: what was paid back is not known" in caplog.text
    resync(restricted_converger, time.time())
    assert "refunds and disputes are not known" in caplog.text
    assert gateway.payment(intent).returns


PAID = PaidInvoice("in_2", 900)


def returned(**facts):
    usual = {"id": "re_1", "kind": "refund", "status": "succeeded", "payment_intent": "pi_1", "invoice_id": "in_2"}
    others = {"subscription_id": "sub_1", "purchase_id": None, "amount": 900, "currency": "usd", "created": 1}
    return Return(**usual | others | {"customer_id": "cus_1"} | facts)


@pytest.mark.parametrize(
    ("returns", "became"),
    [
        ([], None),
        ([returned(amount=899)], None),
        ([returned()], "refunded"),
        ([returned(amount=400), returned(id="re_2", payment_intent="pi_2", amount=500)], "refunded"),
        ([returned(amount=400), returned(id="re_2", payment_intent="pi_2", amount=499)], None),
        ([returned(invoice_id="in_1")], None),
        ([returned(status="failed")], None),
        ([returned(status="canceled")], None),
        ([returned(status="pending")], "refunded"),
        ([returned(status="requires_action")], "refunded"),
        ([returned(kind="dispute", status="needs_response", amount=1)], "disputed"),
        ([returned(kind="dispute", status="under_review")], "disputed"),
        ([returned(kind="dispute", status="lost")], "disputed"),
        ([returned(kind="dispute", status="appeal_under_review")], "disputed"),
        ([returned(kind="dispute", status="a_later_one")], "disputed"),
        ([returned(kind="dispute", status="won")], None),
        ([returned(kind="dispute", status="prevented")], None),
        ([returned(kind="dispute", status="warning_needs_response")], None),
        ([returned(kind="dispute", status="warning_closed")], None),
        ([returned(), returned(id="du_1", kind="dispute", status="lost")], "refunded disputed"),
    ],
)
def test_what_refunds_and_disputes_make_of_the_last_paid_invoice(returns, became):
    assert of_subscription(returns, PAID) == became
    assert of_subscription(returns, None) is None


def test_an_invoice_for_which_no_money_came_is_not_refunded():
    assert of_subscription([returned(amount=1)], PaidInvoice("in_2", 0)) is None
