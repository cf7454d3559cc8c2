"""Complete lives of subscriptions over HTTP with the real SDK: every event, in order."""

import json
import re

import pytest
import requests
from contract import problems
from harness import DAY, open_shop, sdk

from corkage.simulator import Simulator

pytestmark = [pytest.mark.slow, pytest.mark.seeded]

BEGIN = 1_767_225_600  # 2026-01-01
GOOD, DECLINING = "4242424242424242", "4000000000000341"
DECLINED = ["charge.failed", "payment_intent.payment_failed", "invoice.payment_failed open 900"]
FIRST_INVOICE = ["invoice.created open 0", "customer.subscription.created"]


class Visitor:
    """A visitor who fills in the hosted pages."""

    def __init__(self, url):
        self.url = url

    def post(self, path="", **fields):
        answer = requests.post(self.url + path, fields, allow_redirects=False, timeout=10)
        return answer.status_code, answer.headers.get("Location") or answer.text

    def pay(self, number=GOOD, path=""):
        return self.post(path, number=number, expiry="12/40", cvc="123")


class Story:
    """A customer, the customer's actions, and the events they cause."""

    def __init__(self, simulator, shop):
        self.simulator, self.v1, self.shop = simulator, shop.client.v1, shop
        self.customer = self.v1.customers.create(params={"email": "ann@example.com"}).id
        self._told = self._count()

    def _count(self):
        return len(self.simulator.world.all("event"))

    def new_events(self):
        """Return the events since the last call, oldest first: the type and the deciding fields."""
        new = self._count() - self._told
        self._told += new
        events = list(self.v1.events.list(params={"limit": 100}).auto_paging_iter())[:new] if new else []
        assert [each for event in events for each in problems(json.loads(str(event)))] == []
        assert all(BEGIN <= event.created < BEGIN + 1000 * DAY for event in events)
        assert all(self.is_told_truly(event) for event in events)
        return [fact(event) for event in reversed(events) if not event.type.startswith("test_helpers.")]

    def is_told_truly(self, event):
        """Return whether an event is about this customer and its previous values differ from the current ones."""
        subject, previous = event.data.object, getattr(event.data, "previous_attributes", None)
        owner = subject.id if subject.object == "customer" else getattr(subject, "customer", None)
        changed = previous.to_dict() if previous else {}
        return (
            owner in (self.customer, None)
            and bool(changed) is event.type.endswith(".updated")
            and all(subject[name] != value for name, value in changed.items())
        )

    def checkout(self, price=None, **params):
        session = self.v1.checkout.sessions.create(
            params={
                "mode": "subscription",
                "line_items": [{"price": price or self.shop.price, "quantity": 1}],
                "customer": self.customer,
                "success_url": "https://app.example.com/done?id={CHECKOUT_SESSION_ID}",
            }
            | params
        )
        return session.id, Visitor(session.url)

    def portal(self, **flow):
        params = {"customer": self.customer, "return_url": "https://app.example.com/"} | flow
        return Visitor(self.v1.billing_portal.sessions.create(params=params).url)

    @property
    def subscription(self):
        return self.v1.subscriptions.list(params={"customer": self.customer, "status": "all"}).data[0]

    def subscribed(self, number=GOOD, **params):
        _, page = self.checkout(**params)
        assert page.pay(number)[0] == 303
        self.new_events()
        return self.subscription


def fact(event):
    subject = event.data.object
    match subject.object:
        case "invoice":
            return f"{event.type} {subject.status} {subject.amount_due}"
        case "subscription":
            items = subject["items"].data
            days = (items[0].current_period_end - items[0].current_period_start) // DAY
            return f"{event.type} {subject.status} {days}d"
        case "checkout.session":
            return f"{event.type} {subject.payment_status}"
        case _:
            return event.type


@pytest.fixture
def story(simulator, shop):
    return Story(simulator, shop)


def test_first_purchase(story):
    session, page = story.checkout(client_reference_id="ann")
    status, text = page.pay("4000000000000002")
    assert (status, "Your card was declined." in text) == (402, True)
    assert story.new_events() == []

    assert page.pay() == (303, f"https://app.example.com/done?id={session}")

    assert story.new_events() == [
        "payment_method.attached",
        "invoice.created draft 900",
        "customer.subscription.created active 31d",
        "invoice.finalized open 900",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice.paid paid 900",
        "invoice.payment_succeeded paid 900",
        "invoice_payment.paid",
        "checkout.session.completed paid",
    ]
    answered = story.v1.checkout.sessions.retrieve(session, params={"expand": ["subscription", "invoice"]})
    assert (answered.status, answered.url, answered.client_reference_id) == ("complete", None, "ann")
    assert answered.subscription.id == story.subscription.id
    assert answered.invoice.parent.subscription_details.subscription == story.subscription.id
    assert page.pay()[0] == 303
    assert story.new_events() == []


def test_trial_then_paid(story):
    story.checkout(subscription_data={"trial_period_days": 14})[1].pay()
    assert story.new_events() == [
        "payment_method.attached",
        "invoice.created draft 0",
        "customer.subscription.created trialing 14d",
        "invoice.finalized open 0",
        "invoice.paid paid 0",
        "invoice.payment_succeeded paid 0",
        "checkout.session.completed no_payment_required",
    ]

    story.simulator.advance(11 * DAY - 1)
    assert story.new_events() == []
    story.simulator.advance(1)
    assert story.new_events() == ["customer.subscription.trial_will_end trialing 14d"]

    story.simulator.advance_to("trial_end")
    assert story.new_events() == [
        "invoice.created draft 900",
        "customer.subscription.updated active 31d",
        "invoice.finalized open 900",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice.paid paid 900",
        "invoice.payment_succeeded paid 900",
        "invoice_payment.paid",
    ]
    assert story.subscription.trial_end == BEGIN + 14 * DAY


def test_trial_then_declined(story):
    story.subscribed(DECLINING, subscription_data={"trial_period_days": 14})
    story.simulator.advance_to("trial_end")

    assert story.new_events() == [
        "customer.subscription.trial_will_end trialing 14d",
        "invoice.created draft 900",
        "customer.subscription.updated active 31d",
        "invoice.finalized open 900",
        "payment_intent.created",
        "charge.failed",
        "payment_intent.payment_failed",
        "invoice.payment_failed open 900",
        "customer.subscription.updated past_due 31d",
    ]


@pytest.mark.parametrize(
    ("behaviour", "expected", "status"),
    [
        ("cancel", ["customer.subscription.deleted canceled 3d"], "canceled"),
        ("pause", ["customer.subscription.paused paused 3d"], "paused"),
    ],
)
def test_trial_without_a_card_ends_as_the_subscription_says(story, behaviour, expected, status):
    end = {"trial_settings": {"end_behavior": {"missing_payment_method": behaviour}}}
    _, page = story.checkout(payment_method_collection="if_required", subscription_data={"trial_period_days": 3} | end)
    assert page.post(without_card="yes")[0] == 303
    story.new_events()

    story.simulator.advance_to("trial_end")

    assert [each for each in story.new_events() if "trial_will_end" not in each] == expected
    assert story.subscription.status == status


def test_renewal(story):
    before = story.subscribed()
    story.simulator.advance_to("renewal")

    assert story.new_events() == [
        "invoice.created draft 900",
        "customer.subscription.updated active 28d",
        "invoice.finalized open 900",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice.paid paid 900",
        "invoice.payment_succeeded paid 900",
        "invoice_payment.paid",
    ]
    (old,), (new,) = before["items"].data, story.subscription["items"].data
    assert new.current_period_start == old.current_period_end
    assert story.subscription.latest_invoice != before.latest_invoice
    assert story.v1.invoices.retrieve(story.subscription.latest_invoice).billing_reason == "subscription_cycle"


def test_decline_three_retries_canceled(story):
    story.subscribed()
    assert story.portal().pay(DECLINING, "/card")[0] == 303
    story.new_events()
    story.simulator.advance_to("renewal")
    assert story.new_events()[-2:] == ["invoice.payment_failed open 900", "customer.subscription.updated past_due 28d"]
    invoice = story.subscription.latest_invoice

    for days in (3, 5):
        attempt = story.v1.invoices.retrieve(invoice)
        assert attempt.next_payment_attempt == story.simulator.world.now + days * DAY
        story.simulator.advance(days * DAY)
        assert story.new_events() == DECLINED

    story.simulator.advance(7 * DAY)
    assert story.new_events() == [*DECLINED, "customer.subscription.deleted canceled 28d"]
    ended, last = story.subscription, story.v1.invoices.retrieve(invoice)
    assert (ended.cancellation_details.reason, ended.ended_at) == ("payment_failed", story.simulator.world.now)
    assert (last.attempt_count, last.next_payment_attempt) == (4, None)

    story.simulator.advance(60 * DAY)
    assert story.new_events() == []


@pytest.mark.parametrize("status", ["unpaid", "past_due"])
def test_after_the_last_retry_the_accounts_rule_applies(story, status):
    story.simulator.rules.after_retries = status
    story.simulator.rules.retry_days = (2,)
    story.subscribed()
    story.portal().pay(DECLINING, "/card")
    story.simulator.advance_to("renewal")
    story.simulator.advance(2 * DAY)
    assert story.subscription.status == status
    story.new_events()

    story.simulator.advance_to("renewal")
    kinds = [each.split()[0] for each in story.new_events()]
    assert ("invoice.finalized" in kinds) is (status == "past_due")
    assert story.subscription.status == status

    assert story.portal().pay(GOOD, "/card")[0] == 303
    story.v1.invoices.pay(story.subscription.latest_invoice)
    assert story.subscription.status == "active"


@pytest.mark.parametrize("pays_at_once", [True, False])
def test_decline_new_card_recovered(story, pays_at_once):
    story.subscribed()
    story.portal().pay(DECLINING, "/card")
    story.simulator.advance_to("renewal")
    story.new_events()

    page = story.portal(flow_data={"type": "payment_method_update"})
    assert page.pay("4000000000000002", "/card")[0] == 402
    assert story.subscription.status == "past_due"
    story.simulator.rules.portal_pays_open_invoices = pays_at_once
    assert page.pay(GOOD, "/card")[0] == 303

    saved = [
        "billing_portal.session.created",
        "payment_method.attached",
        "customer.updated",
        "customer.subscription.updated past_due 28d",
    ]
    paid = [
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice.paid paid 900",
        "invoice.payment_succeeded paid 900",
        "invoice_payment.paid",
        "customer.subscription.updated active 28d",
    ]
    assert story.new_events() == saved + (paid if pays_at_once else [])
    story.simulator.advance(20 * DAY)
    assert story.new_events() == ([] if pays_at_once else paid)


def change(story, price, **params):
    subscription = story.subscription
    items = [{"id": subscription["items"].data[0].id, "price": price}]
    return story.v1.subscriptions.update(subscription.id, params={"items": items} | params)


def test_upgrade_is_charged_for_the_rest_of_the_period(story, shop):
    team = shop.client.v1.prices.create(
        params={
            "product": shop.client.v1.prices.retrieve(shop.price).product,
            "currency": "usd",
            "unit_amount": 2900,
            "recurring": {"interval": "month"},
        }
    ).id
    story.subscribed()
    story.simulator.advance(31 * DAY // 2)

    change(story, team, proration_behavior="always_invoice")

    assert story.new_events() == [
        "invoiceitem.created",
        "invoiceitem.created",
        "invoice.created draft 1000",
        "customer.subscription.updated active 31d",
        "invoice.finalized open 1000",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice.paid paid 1000",
        "invoice.payment_succeeded paid 1000",
        "invoice_payment.paid",
    ]
    invoice = story.v1.invoices.retrieve(story.subscription.latest_invoice)
    assert [line.amount for line in invoice.lines.data] == [-450, 1450]
    assert invoice.billing_reason == "subscription_update"
    story.simulator.advance_to("renewal")
    assert "invoice.paid paid 2900" in story.new_events()


def test_downgrade_is_credited_on_the_next_invoice(story):
    story.subscribed()
    story.simulator.advance(31 * DAY // 2)

    change(story, story.shop.other_price)
    assert story.new_events() == ["invoiceitem.created"] * 2 + ["customer.subscription.updated active 31d"]

    story.simulator.advance_to("renewal")
    assert "invoice.paid paid 300" in story.new_events()


def test_a_change_to_a_yearly_price_begins_a_new_period(story, shop):
    yearly = shop.client.v1.prices.create(
        params={
            "product": shop.client.v1.prices.retrieve(shop.price).product,
            "currency": "usd",
            "unit_amount": 9000,
            "recurring": {"interval": "year"},
        }
    ).id
    story.subscribed()
    story.simulator.advance(31 * DAY // 2)

    change(story, yearly)

    assert "invoice.paid paid 8550" in story.new_events()
    item = story.subscription["items"].data[0]
    assert item.current_period_start == story.simulator.world.now
    assert item.current_period_end - item.current_period_start == 365 * DAY


def test_more_seats_are_prorated_and_renewed(story):
    subscription = story.subscribed()
    story.simulator.advance(31 * DAY // 2)

    items = [{"id": subscription["items"].data[0].id, "quantity": 3}]
    story.v1.subscriptions.update(subscription.id, params={"items": items, "proration_behavior": "always_invoice"})

    assert "invoice.paid paid 900" in story.new_events()
    story.simulator.advance_to("renewal")
    assert "invoice.paid paid 2700" in story.new_events()


def test_cancel_in_the_portal_and_undo(story):
    subscription = story.subscribed()
    end = subscription["items"].data[0].current_period_end
    assert story.portal().post(f"/cancel/{subscription.id}")[0] == 303
    canceled = story.subscription
    assert (canceled.cancel_at, canceled.cancel_at_period_end, canceled.status) == (end, False, "active")

    assert story.portal().post(f"/renew/{subscription.id}")[0] == 303
    assert (story.subscription.cancel_at, story.subscription.canceled_at) == (None, None)
    assert [each for each in story.new_events() if "portal" not in each] == [
        "customer.subscription.updated active 31d"
    ] * 2

    story.portal().post(f"/cancel/{subscription.id}")
    story.new_events()
    story.simulator.advance(40 * DAY)
    assert story.new_events() == ["customer.subscription.deleted canceled 31d"]
    assert story.subscription.ended_at == end


def test_cancel_by_the_api_sets_the_boolean(story):
    subscription = story.subscribed()
    story.v1.subscriptions.update(subscription.id, params={"cancel_at_period_end": True})
    assert (story.subscription.cancel_at_period_end, story.subscription.cancel_at is not None) == (True, True)

    story.v1.subscriptions.update(subscription.id, params={"cancel_at_period_end": False})
    assert (story.subscription.cancel_at_period_end, story.subscription.cancel_at) == (False, None)


def test_cancel_at_a_moment_within_the_period(story):
    subscription = story.subscribed()
    story.v1.subscriptions.update(subscription.id, params={"cancel_at": BEGIN + 10 * DAY})
    story.new_events()

    story.simulator.advance(11 * DAY)

    assert story.new_events() == ["customer.subscription.deleted canceled 31d"]
    assert story.subscription.ended_at == BEGIN + 10 * DAY


def test_cancel_now_with_credit(story):
    subscription = story.subscribed()
    story.simulator.advance(31 * DAY // 2)

    story.v1.subscriptions.cancel(subscription.id, params={"prorate": True, "invoice_now": True})

    assert story.new_events() == [
        "customer.subscription.deleted canceled 31d",
        "invoiceitem.created",
        "invoice.created draft 0",
        "customer.updated",
        "invoice.finalized open 0",
        "invoice.paid paid 0",
        "invoice.payment_succeeded paid 0",
    ]
    assert story.v1.customers.retrieve(story.customer).balance == -450


@pytest.mark.parametrize(
    ("account", "expected", "status", "payment"),
    [
        (
            "000123456789",
            [
                "charge.succeeded",
                "payment_intent.succeeded",
                "invoice.paid paid 900",
                "invoice.payment_succeeded paid 900",
                "invoice_payment.paid",
                "checkout.session.async_payment_succeeded paid",
            ],
            "active",
            "paid",
        ),
        (
            "000111111116",
            [
                "charge.failed",
                "payment_intent.payment_failed",
                "invoice.payment_failed open 900",
                "customer.subscription.updated past_due 31d",
                "checkout.session.async_payment_failed unpaid",
            ],
            "past_due",
            "unpaid",
        ),
    ],
)
def test_delayed_payment_both_ways(story, account, expected, status, payment):
    session, page = story.checkout()
    assert page.post(account=account)[0] == 303
    assert story.new_events() == [
        "payment_method.attached",
        "invoice.created draft 900",
        "customer.subscription.created active 31d",
        "invoice.finalized open 900",
        "payment_intent.created",
        "charge.pending",
        "payment_intent.processing",
        "checkout.session.completed unpaid",
    ]
    assert story.v1.checkout.sessions.retrieve(session).payment_status == "unpaid"

    story.simulator.advance(4 * DAY)

    assert story.new_events() == expected
    assert story.subscription.status == status
    assert story.v1.checkout.sessions.retrieve(session).payment_status == payment


def test_customer_deleted(story):
    story.subscribed()
    story.v1.customers.delete(story.customer)

    assert story.new_events() == ["customer.subscription.deleted canceled 31d", "customer.deleted"]
    assert story.v1.customers.retrieve(story.customer).deleted is True
    story.simulator.advance(60 * DAY)
    assert story.new_events() == []


def test_a_bank_payment_that_fails_after_its_customer_was_deleted_is_not_tried_again(story):
    method = story.v1.payment_methods.attach("pm_usBankAccount_noAccount", params={"customer": story.customer}).id
    params = {"customer": story.customer, "items": [{"price": story.shop.price}], "default_payment_method": method}
    story.v1.subscriptions.create(params=params)
    story.v1.customers.delete(story.customer)
    story.new_events()

    story.simulator.advance(60 * DAY)

    assert story.new_events() == [
        "charge.failed",
        "payment_intent.payment_failed",
        "invoice.payment_failed open 900",
    ]


def test_an_unpaid_first_invoice_expires_after_23_hours(story):
    method = story.v1.payment_methods.attach("pm_card_chargeCustomerFail", params={"customer": story.customer}).id
    params = {"customer": story.customer, "items": [{"price": story.shop.price}], "default_payment_method": method}
    story.v1.subscriptions.create(params=params)
    assert story.new_events()[-1] == "invoice.payment_failed open 900"
    assert story.subscription.status == "incomplete"

    story.simulator.advance(23 * 3600)

    assert story.new_events() == [
        "customer.subscription.updated incomplete_expired 31d",
        "invoice.voided void 900",
        "payment_intent.canceled",
    ]


def test_an_unpaid_first_invoice_is_paid_on_its_hosted_page(story):
    method = story.v1.payment_methods.attach("pm_card_chargeCustomerFail", params={"customer": story.customer}).id
    params = {"customer": story.customer, "items": [{"price": story.shop.price}], "default_payment_method": method}
    subscription = story.v1.subscriptions.create(params=params | {"expand": ["latest_invoice"]})
    story.new_events()

    status, text = Visitor(subscription.latest_invoice.hosted_invoice_url).pay()

    assert (status, "paid" in text) == (200, True)
    assert story.new_events()[-1] == "customer.subscription.updated active 31d"
    story.simulator.advance(2 * DAY)
    assert story.subscription.status == "active"


def test_an_open_checkout_expires_after_a_day(story):
    session, page = story.checkout()
    story.simulator.advance(DAY - 1)
    assert story.new_events() == []
    story.simulator.advance(1)

    assert story.new_events() == ["checkout.session.expired unpaid"]
    assert story.v1.checkout.sessions.retrieve(session).url is None
    assert "expired" in page.pay()[1] or page.pay()[0] == 303
    assert story.new_events() == []


@pytest.mark.parametrize("number", ["4000002500003155", "4000002760003184"])
def test_3d_secure_is_confirmed_or_refused(story, number):
    _, page = story.checkout()
    status, text = page.pay(number)
    assert (status, "3-D Secure" in text) == (200, True)
    method = re.search(r'name="method" value="(\w+)"', text).group(1)
    assert page.post(method=method, answer="refuse")[0] == 402
    assert story.new_events() == []

    assert page.post(method=method, answer="confirm")[0] == 303
    assert story.new_events()[-1] == "checkout.session.completed paid"

    story.simulator.advance_to("renewal")
    events = story.new_events()
    if number == "4000002500003155":
        assert "invoice.paid paid 900" in events
    else:
        assert events[-4:] == [
            "payment_intent.requires_action",
            "invoice.payment_failed open 900",
            "invoice.payment_action_required open 900",
            "customer.subscription.updated past_due 28d",
        ]
        invoice = story.v1.invoices.retrieve(story.subscription.latest_invoice)
        hosted = Visitor(invoice.hosted_invoice_url)
        again = re.search(r'name="method" value="(\w+)"', hosted.pay(number)[1]).group(1)
        assert hosted.post(method=again, answer="confirm")[0] == 200
        assert story.subscription.status == "active"


def test_a_promotion_code_takes_off_once(story, shop):
    v1 = shop.client.v1
    coupon = v1.coupons.create(params={"percent_off": 50, "duration": "once"}).id
    v1.promotion_codes.create(params={"promotion": {"coupon": coupon, "type": "coupon"}, "code": "CORK"})
    session, page = story.checkout(allow_promotion_codes=True)
    assert page.post("/code", code="none such")[0] == 400
    assert page.post("/code", code="cork")[0] == 303
    assert v1.checkout.sessions.retrieve(session).amount_total == 450
    story.new_events()

    page.pay()
    assert "invoice.paid paid 450" in story.new_events()
    story.simulator.advance_to("renewal")
    assert "invoice.paid paid 900" in story.new_events()
    assert v1.coupons.retrieve(coupon).times_redeemed == 1


def test_paused_collection_leaves_the_status_and_voids_the_invoices(story):
    subscription = story.subscribed()
    story.v1.subscriptions.update(
        subscription.id, params={"pause_collection": {"behavior": "void", "resumes_at": BEGIN + 40 * DAY}}
    )
    story.new_events()
    story.simulator.advance_to("renewal")
    assert story.new_events()[-3:] == ["payment_intent.created", "invoice.voided void 900", "payment_intent.canceled"]
    assert story.subscription.status == "active"

    story.simulator.advance(10 * DAY)
    assert story.subscription.pause_collection is None
    story.new_events()
    story.simulator.advance_to("renewal")
    assert "invoice.paid paid 900" in story.new_events()


def test_pause_and_resume(story):
    subscription = story.subscribed()
    story.v1.subscriptions.pause(subscription.id, params={"type": "subscription"})
    assert story.new_events() == ["customer.subscription.paused paused 31d"]
    assert story.subscription.status_details.paused.subscription.type == "pause_requested"
    story.simulator.advance(60 * DAY)
    assert story.new_events() == []

    story.v1.subscriptions.resume(subscription.id)
    assert story.new_events() == [
        "invoice.created draft 900",
        "customer.subscription.resumed active 31d",
        "invoice.finalized open 900",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice.paid paid 900",
        "invoice.payment_succeeded paid 900",
        "invoice_payment.paid",
    ]
    story.simulator.advance_to("renewal")
    assert "invoice.paid paid 900" in story.new_events()


def test_a_schedule_changes_the_quantity_and_ends(story):
    story.v1.customers.update(story.customer, params={"invoice_settings": {"default_payment_method": "pm_card_visa"}})
    phase = {"duration": {"interval": "month", "interval_count": 1}}
    story.v1.subscription_schedules.create(
        params={
            "customer": story.customer,
            "start_date": "now",
            "end_behavior": "cancel",
            "phases": [
                phase | {"items": [{"price": story.shop.price, "quantity": 1}]},
                phase | {"items": [{"price": story.shop.price, "quantity": 2}]},
            ],
        }
    )
    story.simulator.advance(80 * DAY)

    paid = [
        each
        for each in story.new_events()
        if each.startswith(("invoice.paid", "subscription_schedule", "customer.sub"))
    ]
    assert [each for each in paid if "updated" not in each] == [
        "subscription_schedule.created",
        "customer.subscription.created active 31d",
        "invoice.paid paid 900",
        "invoice.paid paid 1800",
        "subscription_schedule.expiring",
        "customer.subscription.deleted canceled 28d",
        "subscription_schedule.completed",
    ]


def test_the_same_seed_repeats_every_event_exactly(shop):
    def play():
        with Simulator(seed=11) as simulator:
            story = Story(simulator, open_shop(simulator, sdk(simulator)))
            story.checkout()[1].pay()
            story.simulator.advance(100 * DAY)
            events = [event.to_dict() for event in story.v1.events.list(params={"limit": 100}).data]
            for event in events:
                del event["request"]  # holds idempotency keys, which the SDK makes up
            return repr(events).replace(simulator.url, "")

    assert play() == play()
