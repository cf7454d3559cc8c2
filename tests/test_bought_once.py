"""What is bought once: lifetimes, plans that last some days, and packs, through HTTP and the hosted page."""

import html
import re
import time
from dataclasses import replace

import pytest
import requests
from buying import bearer, click, token, url_of
from examined import examine
from harness import ADMIN_TOKEN, DAY, PRO, is_error, running
from once import DAYS, LIFETIME, PACK, PLANS, VISA, buy, hear, session_of, stock
from rows import renew_timelines

from corkage.access import access_at
from corkage.errors import CannotChange, StripeRefused, StripeUnavailable
from corkage.gateway.gateway import Gateway
from corkage.models import ChangeRow, CheckoutAttempt, Credit, Customer, NoticeRow, Purchase, Refund, Subscription, User
from corkage.plans import Plan
from corkage.replica import owed
from corkage.selling.credits import credits_of
from corkage.simulator import visitor
from corkage.sync.resync import resync

pytestmark = pytest.mark.slow

BILLING = "https://app.example.com/billing"


@pytest.fixture
def prices(shop):
    return stock(shop)


@pytest.fixture
def app(config, prices):
    with running(replace(config, billing_url=BILLING, plans=PLANS)) as served:
        yield served


def kinds():
    return [row.kind for row in NoticeRow.select().order_by(NoticeRow.id)]


def test_a_lifetime_is_sold_in_payment_mode_with_an_invoice(app, shop):
    url = url_of(click(app, body={"plan": "lifetime"}))

    session = shop.client.v1.checkout.sessions.retrieve(url.rpartition("/")[2])
    assert (session.mode, session.amount_total, session.invoice_creation.enabled) == ("payment", 30_000, True)
    tags = {"corkage_app": "app.example.com", "corkage_user": "ann", "corkage_plan": "lifetime"}
    assert tags.items() <= session.metadata.to_dict().items()
    visitor.pay(url, VISA)
    paid = shop.client.v1.checkout.sessions.retrieve(session.id, params={"expand": ["invoice", "payment_intent"]})
    for each in (paid.invoice, paid.payment_intent):
        assert tags.items() <= each.metadata.to_dict().items()
    assert Subscription.select().count() == 0


def test_a_lifetime_that_is_paid_lets_in_for_good(app, shop):
    session = buy(app, "lifetime")
    assert not app.billing.access("ann").allowed
    hear(app, shop)

    access = app.billing.access("ann")
    assert (access.allowed, access.reason, access.plan, access.until) == (True, "active", "lifetime", None)
    row = Purchase.get()
    assert (row.id, row.amount, row.quantity, row.ours, row.returned) == (session["id"], 30_000, 1, True, None)
    assert kinds() == ["access_granted"]


def test_a_visitor_who_returns_has_what_they_bought_without_any_webhook(app):
    session = buy(app, "lifetime")

    answer = app.billing.service.come_back(session["id"])

    assert (answer.user_id, answer.gives_access) == ("ann", True)
    assert app.billing.access("ann").plan == "lifetime"
    assert CheckoutAttempt.select().count() == 0


def test_a_pack_gives_credit_and_no_access_each_time_that_it_is_bought(app, shop):
    for _ in range(3):
        session = buy(app, "pack")
        assert not app.billing.service.come_back(session["id"]).gives_access
    hear(app, shop)
    hear(app, shop)

    assert [each.left for each in credits_of("ann")] == [100, 100, 100]
    assert len({each.purchase_id for each in credits_of("ann")}) == 3
    assert not app.billing.access("ann").allowed
    assert kinds() == []


def test_credit_that_is_used_comes_back_by_nothing_that_is_heard(app, shop):
    buy(app, "pack")
    hear(app, shop)
    Credit.update(left=40).execute()
    Customer.update(purchases_at=None).execute()

    shop.client.v1.customers.update(Customer.get().id, params={"description": "of the host"})
    hear(app, shop)
    app.billing.sync("ann")

    assert [each.left for each in credits_of("ann")] == [40]
    assert (Credit.get().amount, Credit.select().count()) == (100, 1)


def test_an_event_of_a_purchase_that_comes_after_a_fetch_is_no_old_news(app, shop):
    buy(app, "pack")
    hear(app, shop)
    buy(app, "lifetime")
    Customer.update(fetched_at=int(time.time()) + 60).execute()

    app.deliver(shop.event("checkout.session.completed"))
    app.work()

    assert app.billing.access("ann").plan == "lifetime"


def test_days_end_by_themselves_which_is_a_notice(app, shop):
    buy(app, "days")
    hear(app, shop)
    bought = Purchase.get().created
    access = app.billing.access("ann")
    assert (access.allowed, access.plan, access.until) == (True, "days", bought + 30 * DAY)

    app.work(bought + 30 * DAY - 1)
    assert kinds() == ["access_granted"]
    app.work(bought + 30 * DAY)
    assert kinds() == ["access_granted", "access_revoked"]


def test_days_that_are_bought_again_before_they_end_are_added(app, shop, simulator):
    buy(app, "days")
    simulator.advance(20 * DAY)
    buy(app, "days")
    hear(app, shop)

    first = Purchase.select().order_by(Purchase.created).first()
    access = access_at("ann", first.created + 25 * DAY)
    assert (access.until, access.quantity) == (first.created + 60 * DAY, 1)
    assert not access_at("ann", first.created + 60 * DAY).allowed


def test_days_count_from_the_payment_and_not_from_when_the_page_was_opened(app, shop, simulator):
    url = url_of(click(app, body={"plan": "days"}))
    simulator.advance(80_000)
    visitor.pay(url, VISA)
    hear(app, shop)

    assert Purchase.get().created >= session_of(app, url)["created"] + 80_000


def test_a_delayed_payment_gives_access_when_it_has_arrived(app, shop, simulator):
    world = simulator.world
    with world.lock:
        price = world.get("price", next(each["id"] for each in world.all("price") if each["lookup_key"] == "pack_100"))
        price["currency"] = "eur"
    url = url_of(click(app, body={"plan": "pack"}))
    visitor.pay(url, "AT611904300234573201")
    session_id = url.rpartition("/")[2]
    assert app.billing.service.come_back(session_id).gives_access
    hear(app, shop)
    assert credits_of("ann") == []

    simulator.advance(15 * DAY)
    hear(app, shop)

    assert [each.left for each in credits_of("ann")] == [100]


def test_a_delayed_payment_that_fails_gives_nothing(app, shop, simulator):
    world = simulator.world
    with world.lock:
        price = world.get("price", next(each["id"] for each in world.all("price") if each["lookup_key"] == "pack_100"))
        price["currency"] = "eur"
    visitor.pay(url_of(click(app, body={"plan": "pack"})), "AT861904300235473202")
    simulator.advance(15 * DAY)
    hear(app, shop)

    assert (credits_of("ann"), Purchase.select().count()) == ([], 0)


def test_what_is_free_by_a_code_is_bought_without_a_payment(config, shop, prices):
    coupon = shop.client.v1.coupons.create(params={"percent_off": 100, "duration": "once"}).id
    shop.client.v1.promotion_codes.create(
        params={"promotion": {"type": "coupon", "coupon": coupon}, "code": "GIFT", "active": True}
    )
    with running(replace(config, billing_url=BILLING, plans=PLANS, promotion_codes=True)) as app:
        url = url_of(click(app, body={"plan": "lifetime", "code": "GIFT"}))
        visitor.pay(url, VISA)
        hear(app, shop)

        assert app.billing.access("ann").plan == "lifetime"
        assert (Purchase.get().amount, Purchase.get().payment_intent) == (0, None)


def test_what_was_bought_by_a_payment_link_counts_by_its_items(app, shop, prices):
    customer = shop.customer()
    items = [{"price": prices["pack_100"], "quantity": 2}, {"price": prices["lifetime_once"], "quantity": 1}]
    session = shop.client.v1.checkout.sessions.create(
        params={"mode": "payment", "customer": customer, "line_items": items, "success_url": "https://x"}
    )
    visitor.pay(session.url, VISA)
    hear(app, shop)

    rows = {row.price_id: (row.quantity, row.amount, row.ours) for row in Purchase.select()}
    assert rows == {prices["pack_100"]: (2, 1_000, False), prices["lifetime_once"]: (1, 30_000, False)}
    assert app.billing.access("ann").plan == "lifetime"
    assert [each.left for each in credits_of("ann")] == [200]


@pytest.mark.parametrize("hears", [True, False])
def test_what_stripes_list_lacks_yet_is_read_by_its_id(app, shop, simulator, hears):
    buy(app, "pack")
    hear(app, shop)
    session = buy(app, "lifetime")
    event = shop.event("checkout.session.completed")
    simulator.api_faults.list_lag_seconds = 3600

    if hears:
        app.deliver(event)
        app.work()
    else:
        app.billing.service.come_back(session["id"])

    assert app.billing.access("ann").plan == "lifetime"
    assert [each.left for each in credits_of("ann")] == [100]


def test_all_of_more_than_ten_items_are_fetched(app, shop, prices):
    shirt = {"currency": "usd", "unit_amount": 900, "product_data": {"name": "Shirt"}}
    shirts = [{"price_data": shirt, "quantity": 1}] * 10
    params = {"mode": "payment", "customer": shop.customer(), "success_url": "https://x"}
    items = [*shirts, {"price": prices["pack_100"], "quantity": 1}]
    session = shop.client.v1.checkout.sessions.create(params=params | {"line_items": items})
    visitor.pay(session.url, VISA)
    hear(app, shop)

    assert [each.left for each in credits_of("ann")] == [100]
    assert Purchase.select().count() == 11


def test_what_another_product_sold_once_is_not_ours(app, shop, prices):
    customer = shop.customer()
    item = {"price_data": {"currency": "usd", "unit_amount": 900, "product_data": {"name": "Shirt"}}, "quantity": 1}
    params = {"mode": "payment", "customer": customer, "line_items": [item], "success_url": "https://x"}
    visitor.pay(shop.client.v1.checkout.sessions.create(params=params).url, VISA)
    hear(app, shop)

    assert app.billing.access("ann").reason == "no_subscription"
    assert Purchase.select().count() == 0


def test_a_lifetime_is_not_sold_twice_nor_what_gives_no_more(app, shop):
    buy(app, "lifetime")
    hear(app, shop)

    assert is_error(click(app, body={"plan": "lifetime"}), 409, "already_bought")
    assert is_error(click(app, body={"plan": "pro"}), 409, "already_bought")
    assert is_error(click(app, body={"plan": "days"}), 409, "already_bought")
    assert "/c/pay/" in url_of(click(app, body={"plan": "better"}))
    assert "/c/pay/" in url_of(click(app, body={"plan": "pack"}))
    assert "/c/pay/" in url_of(click(app, user="bob", body={"plan": "lifetime"}))


def test_a_click_asks_stripe_whether_it_was_bought_before_any_event_comes(app):
    buy(app, "lifetime")

    assert is_error(click(app, body={"plan": "lifetime"}), 409, "already_bought")


def test_a_lifetime_ends_the_subscription_in_whose_place_it_was_bought(app, shop):
    subscription = buy(app, "pro")["subscription"]
    hear(app, shop)
    url = url_of(click(app, body={"plan": "lifetime"}))
    app.work()
    assert shop.client.v1.subscriptions.retrieve(subscription).status == "active"
    assert shop.client.v1.checkout.sessions.retrieve(url.rpartition("/")[2]).status == "open"

    visitor.pay(url, VISA)
    hear(app, shop)

    ended = shop.client.v1.subscriptions.retrieve(subscription)
    assert (ended.status, shop.client.v1.refunds.list().data) == ("canceled", [])
    row = Subscription.get()
    assert (row.status, row.replaced_by) == ("canceled", Purchase.get().id)
    assert app.billing.access("ann").plan == "lifetime"
    assert kinds() == ["access_granted", "plan_changed", "subscription_replaced", "plan_changed"]
    assert NoticeRow.get(NoticeRow.kind == "subscription_replaced").subscription_id == subscription


def replaced_while_no_cancellation_succeeds(app, shop, monkeypatch, error):
    """Buy a lifetime in the place of a subscription; return the subscription, which Stripe does not end."""
    subscription = buy(app, "pro")["subscription"]
    hear(app, shop)
    buy(app, "lifetime")

    def fail(*_):
        raise error

    monkeypatch.setattr(Gateway, "cancel_subscription", fail)
    hear(app, shop)
    return subscription


def test_the_end_of_a_replaced_subscription_is_tried_again_until_stripe_answers(app, shop, monkeypatch):
    down = StripeUnavailable("down")
    subscription = replaced_while_no_cancellation_succeeds(app, shop, monkeypatch, down)
    assert Subscription.get().status == "active"
    row = ChangeRow.get()
    assert (row.kind, row.done_at, row.attempts) == (owed.END_REPLACED, None, 1)
    monkeypatch.undo()

    app.work(time.time() + 3600)

    assert shop.client.v1.subscriptions.retrieve(subscription).status == "canceled"


def test_the_doctor_names_a_replaced_subscription_that_stripe_refuses_to_end(app, shop, monkeypatch):
    refused = StripeRefused("not now")
    subscription = replaced_while_no_cancellation_succeeds(app, shop, monkeypatch, refused)
    app.work(time.time() + 3600)

    named = [each for each in examine(app) if subscription in each.what]
    assert "which is replaced by what they bought for good; it could not be canceled: " in named[0].what
    assert named[0].repair == f"corkage user cancel ann --subscription {subscription} --now"
    monkeypatch.undo()
    shop.client.v1.subscriptions.cancel(subscription)
    app.billing.sync("ann")
    assert not [each for each in examine(app) if "for good" in each.what]


def test_a_change_that_is_owed_does_not_outlive_the_subscription_that_a_lifetime_replaces(app, shop):
    subscription = buy(app, "pro")["subscription"]
    hear(app, shop)
    app.billing.cancel("ann", subscription=subscription)

    buy(app, "lifetime")
    hear(app, shop)

    assert shop.client.v1.subscriptions.retrieve(subscription).status == "canceled"
    with pytest.raises(CannotChange):
        app.billing.resume("ann", subscription=subscription)


def test_a_lifetime_that_was_paid_back_ends_no_subscription(app, shop, monkeypatch):
    buy(app, "pro")
    hear(app, shop)
    intent = buy(app, "lifetime")["payment_intent"]
    shop.client.v1.refunds.create(params={"payment_intent": intent})
    hear(app, shop)

    row = Subscription.get()
    assert (row.status, row.replaced_by, ChangeRow.select().count()) == ("active", None, 0)
    assert app.billing.access("ann").plan == "pro"


def test_a_subscription_with_an_addon_in_it_is_not_ended_by_a_lifetime(config, shop, prices):
    storage_plan = Plan("storage", "Storage", ("storage_monthly",), adds_to=("pro", "lifetime"))
    product = shop.client.v1.products.create(params={"name": "Storage"}).id
    price = {"product": product, "currency": "usd", "unit_amount": 200, "lookup_key": "storage_monthly"}
    storage = shop.client.v1.prices.create(params=price | {"recurring": {"interval": "month"}}).id
    with running(replace(config, billing_url=BILLING, plans=(*PLANS, storage_plan))) as app:
        customer = shop.customer()
        shop.subscribe(customer, items=[{"price": shop.price}, {"price": storage}])
        hear(app, shop)
        buy(app, "lifetime")
        hear(app, shop)

        assert Subscription.get().status == "active"
        assert set(app.billing.access("ann").plans) == {"pro", "lifetime", "storage"}


def test_a_subscription_with_an_item_of_another_product_in_it_is_not_ended_by_a_lifetime(app, shop):
    items = [{"price": shop.price}, {"price": shop.other_price}]
    subscription = shop.subscribe(shop.customer(), items=items, user=None)
    hear(app, shop)
    buy(app, "lifetime")
    hear(app, shop)

    assert shop.client.v1.subscriptions.retrieve(subscription).status == "active"
    assert (Subscription.get().replaced_by, app.billing.access("ann").plan) == (None, "lifetime")


def test_a_subscription_that_gives_more_goes_on_beside_a_lifetime(app, shop):
    subscription = buy(app, "better")["subscription"]
    hear(app, shop)
    buy(app, "lifetime")
    hear(app, shop)

    assert shop.client.v1.subscriptions.retrieve(subscription).status == "active"
    assert Subscription.get().replaced_by is None
    assert app.billing.access("ann").plan == "better"


def test_a_subscription_that_was_bought_after_a_lifetime_goes_on(app, shop, prices, simulator):
    buy(app, "lifetime")
    hear(app, shop)
    simulator.advance(10)
    shop.use_card(Customer.get().id, "pm_card_visa")
    subscription = shop.subscribe(Customer.get().id)
    hear(app, shop)

    assert shop.client.v1.subscriptions.retrieve(subscription).status == "active"


def test_an_open_page_of_a_subscription_is_closed_when_a_lifetime_was_bought(app, shop, prices):
    url = url_of(click(app, body={"plan": "pro"}))
    items = [{"price": prices["lifetime_once"], "quantity": 1}]
    params = {"mode": "payment", "customer": Customer.get().id, "line_items": items, "success_url": "https://x"}
    visitor.pay(shop.client.v1.checkout.sessions.create(params=params).url, VISA)
    hear(app, shop)

    assert shop.client.v1.checkout.sessions.retrieve(url.rpartition("/")[2]).status == "expired"
    assert CheckoutAttempt.select().count() == 0


def test_an_open_page_of_a_pack_stays_whatever_is_bought(app, shop):
    url = url_of(click(app, body={"plan": "pack"}))
    buy(app, "lifetime")
    hear(app, shop)

    assert shop.client.v1.checkout.sessions.retrieve(url.rpartition("/")[2]).status == "open"


def test_purchases_of_a_deleted_customer_stay(app, shop):
    buy(app, "lifetime")
    hear(app, shop)
    shop.client.v1.customers.delete(Customer.get().id)
    hear(app, shop)

    assert Customer.get().deleted_at
    assert app.billing.access("ann").plan == "lifetime"


def test_a_lost_database_gets_its_purchases_back(app, shop, config):
    buy(app, "lifetime")
    buy(app, "pack", user="bob")
    hear(app, shop)
    before = [app.billing.access(user) for user in ("ann", "bob")]
    for table in (Credit, Purchase):
        table.delete().execute()
    Customer.update(purchases_at=None).execute()

    resync(app.billing.service.converger, time.time())

    assert [app.billing.access(user) for user in ("ann", "bob")] == before
    assert [each.left for each in credits_of("bob")] == [100]


def test_a_renewal_still_costs_one_call(app, shop, simulator):
    buy(app, "lifetime")
    buy(app, "better")
    hear(app, shop)
    simulator.advance(32 * DAY)
    before = len(simulator.requests)
    for event in shop.client.v1.events.list(params={"limit": 100}).data:
        app.deliver(event)
    heard = len(simulator.requests)

    app.work(time.time() + 32 * DAY)

    assert heard - before == 1
    asked = {each.path for each in simulator.requests[heard:]}
    assert "/v1/subscriptions" in asked
    assert not any(word in path for path in asked for word in ("checkout", "refund", "dispute", "invoice", "charge"))


def test_a_purchase_of_a_plan_that_has_left_the_file_is_kept(app, shop, config):
    buy(app, "lifetime")
    hear(app, shop)
    app.billing.close()

    with running(replace(config, plans=(DAYS, PRO, PACK))) as later:
        later.work()
        access = later.billing.access("ann")
        assert (access.allowed, access.plan, access.features) == (True, "lifetime", LIFETIME.features)


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (replace(PACK, prices=("pro_monthly",)), "it is paid every month, and a pack is paid once"),
        (
            replace(LIFETIME, limits={"calls": "unlimited"}, meters={"calls": "api_calls"}),
            "it is paid once, and what the plan meters is billed to a subscription",
        ),
    ],
)
def test_what_does_not_fit_its_plan_is_not_sold_and_the_doctor_says_why(config, prices, plan, why):
    with running(replace(config, billing_url=BILLING, plans=(plan,))) as app:
        assert is_error(click(app, body={"plan": plan.key}), 409, "price_refused")
        found = [each.what for each in examine(app) if f"plan {plan.key}" in each.what]
    assert len(found) == 1
    assert why in found[0]


# The pages


def page_of(app, path, user="ann"):
    headers = bearer(token(user)) | {"Accept": "text/html"}
    return text_of(requests.get(f"{app.url}/{path}", headers=headers, timeout=30).text)


def text_of(page):
    """Return the words of a page, with one blank between them."""
    return " ".join(re.sub("<[^>]+>", " ", html.unescape(page)).split())


def test_the_pricing_page_sells_once_without_a_period(app, shop):
    words = page_of(app, "pricing")

    assert "Lifetime $300 Buy" in words
    assert "Thirty days $15 for 30 days Buy" in words
    assert "A hundred exports $5 Buy" in words
    assert "Pro $9 per month Subscribe" in words

    buy(app, "lifetime")
    buy(app, "pack")
    hear(app, shop)
    words = page_of(app, "pricing")
    assert "Lifetime Your plan $300 Exports" in words
    assert "Pro $9 per month Exports" in words
    assert "Better $29 per month Subscribe" in words
    assert "A hundred exports $5 Buy" in words


def test_a_plan_that_can_be_paid_once_or_monthly_has_a_switch(config, prices):
    both = replace(PRO, prices=("pro_monthly", "lifetime_once"))
    with running(replace(config, billing_url=BILLING, plans=(both,))) as app:
        assert "Monthly Pay once Pro $9 per month Subscribe" in page_of(app, "pricing")
        assert "Pro $300 Buy" in page_of(app, "pricing?interval=once")


def test_the_account_page_lists_what_was_bought_once(app, shop):
    subscription = buy(app, "pro")["subscription"]
    hear(app, shop)
    buy(app, "lifetime")
    buy(app, "pack")
    hear(app, shop)
    app.work()
    Credit.update(left=12).execute()
    words = page_of(app, "account")

    assert "Lifetime This is yours. There is nothing more to pay." in words
    assert "In place of a subscription that ended on" in words
    assert subscription not in words
    purchases = words[words.index("Your purchases") : words.index("Invoices")]
    assert "A hundred exports $5.00 Exports: 12 of 100 left" in purchases
    assert "Lifetime $300.00 Yours" in purchases

    refunded = Purchase.get(Purchase.amount == 500).payment_intent
    shop.client.v1.refunds.create(params={"payment_intent": refunded})
    hear(app, shop)
    assert "A hundred exports $5.00 Refunded" in page_of(app, "account")
    assert "Your purchases" not in page_of(app, "account", user="bob")


def test_days_are_listed_with_their_end(app, shop):
    buy(app, "days")
    hear(app, shop)
    assert "Thirty days $15.00 Until" in page_of(app, "account")

    Purchase.update(created=Purchase.created - 31 * DAY).execute()
    renew_timelines(app)
    assert "Thirty days $15.00 Ended on" in page_of(app, "account")


def test_a_returning_visitor_with_a_pack_does_not_wait_for_access(app):
    session = buy(app, "pack")
    headers = bearer(token("ann")) | {"Accept": "text/html"}
    back = requests.get(
        f"{app.url}/return", {"session_id": session["id"]}, headers=headers, timeout=30, allow_redirects=False
    )

    assert (back.status_code, back.headers["Location"]) == (303, "https://app.example.com")


# For the operator


@pytest.fixture
def corkage_here(corkage, app, tmp_path):
    """Run a command on the database that the app serves, with its plans."""
    (tmp_path / "plans.toml").write_text(
        '[lifetime]\nprices = ["lifetime_once"]\n[pack]\nprices = ["pack_100"]\nadds = { exports = 100 }\n'
    )
    return corkage


def test_user_show_prints_what_was_bought_once(corkage_here, app, shop):
    lifetime = buy(app, "lifetime")
    pack = buy(app, "pack")
    hear(app, shop)
    Credit.update(left=12).execute()
    shop.client.v1.refunds.create(params={"payment_intent": lifetime["payment_intent"]})
    hear(app, shop)

    shown = corkage_here("user", "show", "ann").stdout

    assert f"purchase {lifetime['id']}: lifetime lifetime_once\n  bought " in shown
    assert " for $300.00, is refunded\n  by itself: no, refunded" in shown
    assert f"purchase {pack['id']}: pack pack_100\n  bought " in shown
    assert " for $5.00, 12 of 100 exports left\n" in shown
    assert "ann: no, refunded" in shown


def test_the_operators_page_shows_what_was_bought_once(config, shop, prices):
    with running(replace(config, billing_url=BILLING, plans=PLANS, admin_token=ADMIN_TOKEN)) as app:
        session = buy(app, "pack")
        hear(app, shop)
        signed_in = requests.post(
            f"{app.url}/admin",
            {"do": "sign_in", "token": ADMIN_TOKEN},
            headers={"Sec-Fetch-Site": "same-origin", "Accept": "text/html"},
            allow_redirects=False,
            timeout=30,
        )
        cookie = signed_in.headers["Set-Cookie"].split(";")[0]
        headers = {"Cookie": cookie, "Accept": "text/html"}
        words = text_of(requests.get(f"{app.url}/admin?user=ann", headers=headers, timeout=30).text)

    assert f"Purchases {session['id']} paid pack_100, $5.00" in words
    assert "exports 100/100" in words


def test_who_is_forgotten_leaves_no_purchase_and_no_credit(app, shop):
    intent = buy(app, "pack")["payment_intent"]
    hear(app, shop)
    shop.client.v1.refunds.create(params={"payment_intent": intent, "amount": 100})
    hear(app, shop)
    assert Refund.select().count() == 1

    app.billing.forget("ann")
    hear(app, shop)

    assert [table.select().count() for table in (Purchase, Credit, Refund, User)] == [0, 0, 0, 0]


def test_the_credit_goes_with_the_customer_to_another_user(app, shop):
    buy(app, "pack")
    hear(app, shop)
    Credit.update(left=40).execute()

    app.billing.service.converger.link("bob", Customer.get().id, time.time())

    assert credits_of("ann") == []
    assert [each.left for each in credits_of("bob")] == [40]


def test_the_credit_of_a_pack_that_has_left_the_file_goes_with_the_customer_as_well(app, shop, config):
    buy(app, "pack")
    hear(app, shop)
    app.billing.close()

    with running(replace(config, plans=(DAYS, PRO, LIFETIME))) as later:
        later.billing.service.converger.link("bob", Customer.get().id, time.time())

        assert credits_of("ann") == []
        assert [each.left for each in credits_of("bob")] == [100]
