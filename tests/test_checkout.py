"""A click on "subscribe", the portal, and the way back: one customer, one open session, never a second subscription."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace

import pytest
import requests
from buying import CARD, click, pay, url_of
from harness import APP, AUTH_SECRET, PRO, is_error, running

from corkage.errors import StripeFailed, StripeRefused, StripeUnavailable, UnknownSubscription
from corkage.gateway.gateway import Subscriptions
from corkage.identity import mint_token
from corkage.models import CheckoutAttempt, Customer, StripeEvent, User
from corkage.pacing.line import PLACES_OF_ONE
from corkage.plans import Plan
from corkage.selling import attempts
from corkage.simulator import ApiFaults

FRONTEND = f"https://{APP}"
TEAM = Plan("team", "Team", ("team_monthly",))
TRIAL = replace(PRO, trial_days=14)
DECLINED = CARD | {"number": "4000000000000002"}


@pytest.fixture
def team_price(shop):
    return shop.client.v1.prices.create(
        params={
            "product_data": {"name": "Team"},
            "currency": "usd",
            "unit_amount": 2900,
            "recurring": {"interval": "month"},
            "lookup_key": "team_monthly",
        }
    ).id


@pytest.fixture
def app(config, shop, team_price):
    with running(replace(config, plans=(PRO, TEAM), billing_url="https://billing.example.com")) as served:
        yield served


def sessions(shop, **params):
    return shop.client.v1.checkout.sessions.list(params=params).data


def live_subscriptions(shop):
    return [each.id for each in shop.client.v1.subscriptions.list().data]


def test_checkout_sends_every_field_and_names_the_user_everywhere(app, shop):
    url_of(click(app))

    (session,) = sessions(shop)
    customer = shop.client.v1.customers.retrieve(session.customer)
    ours = {"corkage_app": APP, "corkage_user": "ann"}
    assert (session.mode, session.client_reference_id, session.metadata.to_dict()) == ("subscription", "ann", ours)
    assert (customer.metadata.to_dict(), customer.email) == (ours, "ann@example.com")
    assert session.success_url == "https://billing.example.com/return?session_id={CHECKOUT_SESSION_ID}"
    assert session.cancel_url == FRONTEND
    (asked,) = [
        each for each in shop.simulator.requests if each.path == "/v1/checkout/sessions" and each.method == "POST"
    ]
    sold = {"corkage_plan": "pro", "corkage_price": shop.price}
    assert asked.params["subscription_data"] == {"metadata": ours | sold}
    assert asked.params["line_items"] == [{"price": shop.price, "quantity": "1"}]
    assert asked.idempotency_key
    assert User.get().stripe_customer_id == Customer.get().id == session.customer


def test_a_browser_gets_a_303_and_a_program_gets_json(app):
    page = click(app, Accept="text/html", **{"Sec-Fetch-Site": "same-origin"})

    assert (page.status_code, page.headers["Cache-Control"]) == (303, "no-store")
    assert page.headers["Location"] == url_of(click(app))


def test_a_visitor_returning_before_any_webhook_has_access_at_once(app, shop):
    paid = pay(url_of(click(app)))
    back = paid.headers["Location"].replace("https://billing.example.com", app.url)
    assert not app.billing.access("ann").allowed

    calls = len(shop.simulator.requests)
    returned = requests.get(back, allow_redirects=False, timeout=30)

    assert (returned.status_code, returned.headers["Location"]) == (303, FRONTEND)
    assert len(shop.simulator.requests) == calls + 2  # each has its share of the 5 s that a visitor waits at most
    assert app.billing.access("ann").plan == "pro"
    assert StripeEvent.select().count() == 0
    before = len(shop.simulator.requests)
    assert requests.get(back, allow_redirects=False, timeout=30).status_code == 303
    assert len(shop.simulator.requests) == before


def come_back(app, session_id, **headers):
    address = f"{app.url}/return?session_id={session_id}"
    return requests.get(address, headers=headers, allow_redirects=False, timeout=30)


@pytest.fixture
def pause(monkeypatch):
    """Set how long after a look at a returning visitor's session the next one may be."""
    return lambda seconds: monkeypatch.setattr("corkage.selling.attempts.RETURN_PAUSE_SECONDS", seconds)


def test_returning_from_an_unpaid_session_limits_calls_to_stripe(app, shop, pause):
    pause(3600)
    url_of(click(app))
    session_id = CheckoutAttempt.get().session_id
    before = len(shop.simulator.requests)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: come_back(app, session_id), range(12)))

    assert [(each.status_code, each.headers["Location"]) for each in answers] == [(303, FRONTEND)] * 12
    assert len(shop.simulator.requests) == before + 2  # the session and the customer's subscriptions
    pause(0)
    come_back(app, session_id)
    assert len(shop.simulator.requests) == before + 4


def test_a_clock_set_back_does_not_delay_a_returning_visitor(app, pause):
    pause(3600)
    url = url_of(click(app))
    session_id = CheckoutAttempt.get().session_id
    CheckoutAttempt.update(returned_at=int(time.time()) + 86_400).execute()
    pay(url)

    come_back(app, session_id)

    assert app.billing.access("ann").allowed


def test_a_visitor_who_pays_after_returning_has_access_without_webhook(app, pause):
    pause(0)
    url = url_of(click(app))
    session_id = CheckoutAttempt.get().session_id
    assert come_back(app, session_id).headers["Location"] == FRONTEND
    assert not app.billing.access("ann").allowed

    pay(url)
    come_back(app, session_id)

    assert app.billing.access("ann").allowed
    assert (StripeEvent.select().count(), CheckoutAttempt.select().count()) == (0, 0)


@pytest.mark.parametrize("path", ["/v1/checkout/sessions", "/v1/subscriptions"])
def test_a_return_while_stripe_fails_gives_access_at_the_next_look(app, simulator, pause, path):
    pause(0)
    url = url_of(click(app))
    session_id = CheckoutAttempt.get().session_id
    pay(url)
    simulator.api_faults = ApiFaults(failure="error", path=path)
    assert come_back(app, session_id).headers["Location"] == FRONTEND
    assert app.billing.access("ann").allowed is (path == "/v1/checkout/sessions")  # what was answered is stored
    assert CheckoutAttempt.get().session_id == session_id

    simulator.api_faults = ApiFaults()
    come_back(app, session_id)

    assert app.billing.access("ann").allowed
    assert (StripeEvent.select().count(), CheckoutAttempt.select().count()) == (0, 0)


@pytest.mark.parametrize("session_id", ["", "cs_test_of_a_stranger", "../../etc", "x" * 5000])
def test_returning_with_a_foreign_session_calls_nobody(app, shop, session_id):
    shop.client.v1.customers.create()
    before = len(shop.simulator.requests)

    answer = requests.get(f"{app.url}/return?session_id={session_id}", allow_redirects=False, timeout=30)

    assert (answer.status_code, answer.headers["Location"]) == (303, FRONTEND)
    assert len(shop.simulator.requests) == before


def test_a_returning_visitor_is_redirected_even_when_stripe_is_down(app, shop):
    back = pay(url_of(click(app))).headers["Location"].replace("https://billing.example.com", app.url)
    shop.simulator.stop()

    started = time.monotonic()
    assert requests.get(back, allow_redirects=False, timeout=30).status_code == 303
    assert time.monotonic() - started < 15  # an ordinary call is tried for half a minute


@pytest.mark.parametrize("plans", [("pro", "pro"), ("pro", "team")])
def test_two_concurrent_clicks_make_one_customer_and_one_session(app, shop, plans):
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda plan: click(app, body={"plan": plan}), plans))

    assert {answer.status_code for answer in answers} <= {200, 409}
    assert 200 in {answer.status_code for answer in answers}
    assert len(shop.client.v1.customers.list().data) == 1
    assert len(sessions(shop, status="open")) == 1


def test_ten_concurrent_clicks_make_one_customer_and_one_session(app, shop):
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: click(app), range(10)))

    assert {answer.status_code for answer in answers} <= {200, 409, 503}
    assert len({url_of(answer) for answer in answers if answer.status_code == 200}) == 1
    assert (len(shop.client.v1.customers.list().data), len(sessions(shop))) == (1, 1)


def test_a_second_click_reuses_the_session_and_another_plan_expires_it(app, shop):
    first = url_of(click(app))
    assert url_of(click(app)) == first

    second = url_of(click(app, body={"plan": "team"}))

    assert second != first
    assert [each.status for each in sessions(shop)] == ["open", "expired"]
    assert pay(first).status_code != 303 or live_subscriptions(shop) == []
    assert live_subscriptions(shop) == []


def test_an_expired_session_is_replaced(app, shop):
    first = url_of(click(app))
    shop.client.v1.checkout.sessions.expire(sessions(shop)[0].id)

    assert url_of(click(app)) != first
    assert len(shop.client.v1.customers.list().data) == 1


def test_choosing_another_plan_after_paying_makes_no_second_subscription(app, shop):
    pay(url_of(click(app)))

    portal = url_of(click(app, body={"plan": "team"}))

    assert "/p/session/" in portal
    assert len(live_subscriptions(shop)) == 1
    assert app.billing.access("ann").allowed


def test_paying_during_another_click_makes_no_second_subscription(app, shop):
    url = url_of(click(app))
    gateway = app.billing.service.gateway
    expire = gateway.expire_checkout_session

    def be_overtaken(session_id):
        pay(url)
        expire(session_id)

    gateway.expire_checkout_session = be_overtaken
    portal = url_of(click(app, body={"plan": "team"}))

    assert "/p/session/" in portal
    assert len(live_subscriptions(shop)) == 1


def test_returning_during_another_click_makes_no_second_session(app, shop):
    url = url_of(click(app))
    gateway = app.billing.service.gateway
    expire = gateway.expire_checkout_session

    def be_overtaken(session_id):
        back = pay(url).headers["Location"].replace("https://billing.example.com", app.url)
        requests.get(back, allow_redirects=False, timeout=30)
        expire(session_id)

    gateway.expire_checkout_session = be_overtaken
    portal = url_of(click(app, body={"plan": "team"}))

    assert "/p/session/" in portal
    assert [each.status for each in sessions(shop)] == ["complete"]


def test_a_lagging_list_at_stripe_makes_no_second_subscription(app, shop):
    pay(url_of(click(app)))
    app.billing.service.gateway.subscriptions_of = lambda *_, **__: Subscriptions((), 0)

    portal = url_of(click(app, body={"plan": "team"}))

    assert "/p/session/" in portal
    assert app.billing.access("ann").allowed


def test_a_user_may_buy_again_after_the_end_with_the_same_customer(app, shop):
    pay(url_of(click(app)))
    (subscription,) = live_subscriptions(shop)
    shop.client.v1.subscriptions.cancel(subscription)

    pay(url_of(click(app)))

    assert len(live_subscriptions(shop)) == 1
    assert len(shop.client.v1.customers.list().data) == 1


def test_a_session_gone_at_stripe_does_not_block_buying(app, shop, simulator):
    first = url_of(click(app))
    simulator.world.remove("checkout.session", CheckoutAttempt.get().session_id)

    second = url_of(click(app))
    pay(second)

    assert second != first
    assert len(live_subscriptions(shop)) == 1


def test_returning_from_a_session_gone_at_stripe_leads_to_the_product(app, simulator):
    url_of(click(app))
    session = CheckoutAttempt.get().session_id
    simulator.world.remove("checkout.session", session)

    answer = requests.get(f"{app.url}/return?session_id={session}", allow_redirects=False, timeout=20)

    assert (answer.status_code, answer.headers["Location"]) == (303, "https://app.example.com")


def test_a_kill_between_claim_and_response_makes_no_second_session(app, shop, monkeypatch):
    gateway = app.billing.service.gateway
    create = gateway.create_checkout_session

    def create_and_die(params, key):
        create(params, key)
        raise KeyboardInterrupt

    gateway.create_checkout_session = create_and_die
    from corkage.selling.buyer import Buyer

    buyer = Buyer(
        "ann", "ann@example.com", None, "https://billing.example.com/return?session_id={CHECKOUT_SESSION_ID}", FRONTEND
    )
    with pytest.raises(KeyboardInterrupt):
        app.billing.service.checkout.subscribe(buyer, "pro")
    assert CheckoutAttempt.get().session_id is None
    CheckoutAttempt.update(claimed_until=time.time() - 1).execute()

    gateway.create_checkout_session = create
    url = url_of(click(app))

    assert [each.url for each in sessions(shop)] == [url]
    assert len(shop.client.v1.customers.list().data) == 1


def test_a_lost_response_is_retried_with_the_same_key(app, shop):
    gateway = app.billing.service.gateway
    create, keys = gateway.create_checkout_session, []

    def create_and_cut(params, key):
        keys.append(key)
        made = create(params, key)
        if len(keys) == 1:
            raise StripeUnavailable("cut")
        return made

    gateway.create_checkout_session = create_and_cut
    assert is_error(click(app), 503, "stripe_unavailable")
    url = url_of(click(app))

    assert keys[0] == keys[1]
    assert [each.url for each in sessions(shop)] == [url]


@pytest.mark.parametrize(("hours", "is_same"), [(22.9, True), (23.1, False)])
def test_an_unanswered_attempt_is_retried_while_stripe_keeps_its_key(app, shop, hours, is_same):
    url_of(click(app))
    nonce = CheckoutAttempt.get().nonce
    CheckoutAttempt.update(session_id=None, created_at=int(time.time() - hours * 3600)).execute()

    url_of(click(app))

    assert (CheckoutAttempt.get().nonce == nonce) is is_same


def test_a_claim_left_by_a_crash_is_taken_over_once(app, shop):
    url_of(click(app))
    CheckoutAttempt.update(session_id=None, claimed_until=time.time() - 1).execute()
    left = CheckoutAttempt.get()

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(lambda _: attempts.claim(left, time.time()), range(4)))

    assert sorted(won) == [False, False, False, True]


def test_a_500_stored_under_the_key_leads_to_a_new_key(app, shop):
    gateway = app.billing.service.gateway
    create, keys = gateway.create_checkout_session, []

    def fail_once(params, key):
        keys.append(key)
        if len(keys) == 1:
            raise StripeFailed("500")
        return create(params, key)

    gateway.create_checkout_session = fail_once
    assert is_error(click(app), 503, "stripe_failed")
    url_of(click(app))

    assert keys[0] != keys[1]


def test_a_click_during_another_ones_claim_gets_a_retry_response(app, shop, monkeypatch):
    monkeypatch.setattr("corkage.selling.attempts.WAIT_SECONDS", 0.3)
    url_of(click(app))
    CheckoutAttempt.update(session_id=None, claimed_until=time.time() + 60).execute()

    answer = click(app)

    assert is_error(answer, 409, "checkout_in_progress")
    assert answer.headers["Retry-After"] == "2"


def test_a_customer_deleted_at_stripe_is_replaced_at_the_next_click(app, shop):
    url_of(click(app))
    first = User.get().stripe_customer_id
    shop.client.v1.customers.delete(first)

    url = url_of(click(app))

    assert url
    assert User.get().stripe_customer_id != first


def test_a_customer_deleted_after_buying_is_replaced_at_the_next_click(app, shop):
    pay(url_of(click(app)))
    first = User.get().stripe_customer_id
    shop.client.v1.customers.delete(first)

    again = url_of(click(app))

    assert "/c/pay/" in again
    assert User.get().stripe_customer_id not in (first, None)
    assert live_subscriptions(shop) == []


def test_an_open_session_that_cannot_expire_prevents_a_second(app, shop):
    url_of(click(app))

    def refuse(session_id):
        raise StripeRefused("it is no longer open, though it was read so")

    app.billing.service.gateway.expire_checkout_session = refuse

    assert is_error(click(app, body={"plan": "team"}), 409, "checkout_in_progress")
    assert [each.status for each in sessions(shop)] == ["open"]


@pytest.mark.parametrize(
    ("status", "leads_to"),
    [
        ("active", "change"),
        ("trialing", "change"),
        ("past_due", "card"),
        ("unpaid", "card"),
        ("paused", "plain"),
        ("canceled", "checkout"),
        ("incomplete_expired", "checkout"),
        ("unheard_of", "plain"),
    ],
)
def test_the_state_decides_where_a_click_leads(app, shop, simulator, status, leads_to):
    customer = shop.customer()
    simulator.world.get("subscription", shop.subscribe(customer))["status"] = status
    app.converge(customer)

    url = url_of(click(app, body={"plan": "team"}))

    assert where(url) == leads_to
    assert len(shop.client.v1.customers.list().data) == 1


def where(url):
    if "/c/pay/" in url:
        return "checkout"
    if "/i/" in url:
        return "invoice"
    page = requests.get(url, timeout=30).text
    return (
        next((name for name in ("Change plan", "Change card") if f"<h1>{name}" in page), "plain")
        .split()[-1]
        .replace("plan", "change")
    )


def test_an_incomplete_subscription_leads_to_its_open_invoice(app, shop):
    shop.subscribe(shop.customer(card="pm_card_chargeCustomerFail"))
    customer = shop.client.v1.customers.list().data[0].id
    app.converge(customer)

    url = url_of(click(app))

    assert where(url) == "invoice"
    assert requests.post(url, data=CARD, timeout=30).status_code == 200
    app.converge(customer)
    assert app.billing.access("ann").allowed


def test_several_items_or_the_current_price_lead_to_the_plain_portal(app, shop, team_price):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    app.converge(customer)
    assert where(url_of(click(app))) == "plain"

    shop.client.v1.subscriptions.update(subscription, params={"items": [{"price": team_price}]})
    assert where(url_of(click(app, body={"plan": "team"}))) == "plain"


def test_a_change_of_plan_keeps_the_quantity(app, shop):
    customer = shop.customer()
    shop.subscribe(customer, items=[{"price": shop.price, "quantity": 3}])
    app.converge(customer)

    url_of(click(app, body={"plan": "team"}))

    (asked,) = [each for each in shop.simulator.requests if "flow_data" in each.params]
    (item,) = asked.params["flow_data"]["subscription_update_confirm"]["items"]
    assert item["quantity"] == "3"


def test_a_portal_without_the_product_opens_without_a_flow(app, shop):
    shop.client.v1.billing_portal.configurations.list()
    (default,) = shop.client.v1.billing_portal.configurations.list().data
    shop.client.v1.billing_portal.configurations.update(
        default.id, params={"features": {"subscription_update": {"enabled": False}}}
    )
    customer = shop.customer()
    shop.subscribe(customer)
    app.converge(customer)

    assert where(url_of(click(app, body={"plan": "team"}))) == "plain"


def test_a_trial_is_given_once(config, shop):
    with running(replace(config, plans=(TRIAL,), billing_url="https://billing.example.com")) as app:
        pay(url_of(click(app)))
        (subscription,) = live_subscriptions(shop)
        assert shop.client.v1.subscriptions.retrieve(subscription).status == "trialing"
        app.billing.service.converger.converge(User.get().stripe_customer_id, time.time())
        assert app.billing.access("ann").reason == "trialing"
        shop.client.v1.subscriptions.cancel(subscription)

        pay(url_of(click(app)))

        (again,) = live_subscriptions(shop)
        assert shop.client.v1.subscriptions.retrieve(again).status == "active"


def test_an_open_session_with_a_used_trial_is_expired(config, shop):
    with running(replace(config, plans=(TRIAL,), billing_url="https://billing.example.com")) as app:
        first = url_of(click(app))
        User.update(trial_used_at=1).execute()

        assert url_of(click(app)) != first
        assert [each.status for each in sessions(shop)] == ["open", "expired"]


def test_a_later_token_does_not_change_the_email_at_stripe(app, shop):
    url_of(click(app))
    customer = User.get().stripe_customer_id
    shop.client.v1.customers.update(customer, params={"email": "billing@example.com"})
    shop.client.v1.checkout.sessions.expire(sessions(shop)[0].id)

    url_of(click(app))

    assert shop.client.v1.customers.retrieve(customer).email == "billing@example.com"


def test_a_changed_email_in_the_token_reaches_stripe_once(app, shop):
    url_of(click(app))
    customer = User.get().stripe_customer_id

    url_of(click(app, email="ann@new.example"))
    assert shop.client.v1.customers.retrieve(customer).email == "ann@new.example"
    shop.client.v1.customers.update(customer, params={"email": "billing@example.com"})
    url_of(click(app, email="ann@new.example"))
    assert shop.client.v1.customers.retrieve(customer).email == "billing@example.com"


def test_a_changed_email_that_stripe_refuses_stops_no_click(app, shop, caplog):
    url_of(click(app))

    assert "/c/pay/" in url_of(click(app, email="github-77"))
    assert shop.client.v1.customers.list().data[0].email == "ann@example.com"
    assert "Stripe does not take the new e-mail" in caplog.text


def test_a_user_with_only_another_products_subscription_may_buy(app, shop):
    customer = shop.customer(user=None)
    shop.subscribe(customer, price=shop.other_price, user=None)
    app.billing.service.converger.link("ann", customer, time.time())

    assert "/c/pay/" in url_of(click(app))


@pytest.fixture
def other_prices(shop):
    """Two more prices of Pro, as an owner makes them who raises the price and adds a yearly one."""
    product = shop.client.v1.prices.retrieve(shop.price).product
    prices = {"pro_monthly_2027": ("month", 1200), "pro_yearly": ("year", 9000)}
    for key, (interval, amount) in prices.items():
        params = {"product": product, "currency": "usd", "unit_amount": amount, "lookup_key": key}
        shop.client.v1.prices.create(params=params | {"recurring": {"interval": interval}})


@pytest.mark.parametrize(
    ("prices", "plan", "sold"),
    [
        (("pro_monthly_2027",), "pro", "pro_monthly_2027"),
        (("pro_yearly", "pro_monthly"), "pro", "pro_yearly"),
        (("pro_yearly", "pro_monthly"), "pro:pro_monthly", "pro_monthly"),
    ],
)
def test_a_changed_plans_toml_sells_its_new_price_from_the_first_click(
    app, config, shop, other_prices, prices, plan, sold
):
    app.work()
    url_of(click(app, user="bob"))
    app.billing.close()

    changed = replace(config, plans=(replace(PRO, prices=prices),), billing_url="https://billing.example.com")
    with running(changed) as app:
        pay(url_of(click(app, body={"plan": plan})))

    (bought,) = shop.client.v1.subscriptions.list().data
    assert bought["items"].data[0].price.lookup_key == sold


@pytest.mark.parametrize("plan", ["", "none", "pro:none", "pro:team_monthly", "PRO", "price_1", "a" * 9999])
def test_an_unknown_plan_is_refused_and_creates_nothing(app, shop, plan):
    assert is_error(click(app, body={"plan": plan}), 400, "unknown_plan")
    assert shop.client.v1.customers.list().data == []
    assert User.select().count() == 0


def test_a_plan_without_a_price_at_stripe_is_refused_and_creates_nothing(config, shop):
    plans = (PRO, Plan("vip", "VIP", ("vip_monthly",)))
    with running(replace(config, plans=plans, billing_url="https://billing.example.com")) as app:
        assert is_error(click(app, body={"plan": "vip"}), 400, "unknown_plan")
        assert shop.client.v1.customers.list().data == []
        assert User.select().count() == 0


def test_only_the_plan_is_read_from_the_body(app, shop):
    body = {
        "plan": "pro",
        "user": "eve",
        "user_id": "eve",
        "price": shop.other_price,
        "price_id": shop.other_price,
        "trial_period_days": "999",
        "customer": "cus_other",
    }
    url_of(click(app, body=body))

    (session,) = sessions(shop)
    (asked,) = [
        each for each in shop.simulator.requests if each.path == "/v1/checkout/sessions" and each.method == "POST"
    ]
    assert session.client_reference_id == "ann"
    assert asked.params["line_items"] == [{"price": shop.price, "quantity": "1"}]
    assert "trial_period_days" not in asked.params["subscription_data"]


def test_json_bodies_are_read_and_invalid_ones_refused(app):
    headers = {"Content-Type": "application/json"}
    assert click(app, body=b'{"plan": "pro"}', **headers).status_code == 200
    for body in (b"[]", b'{"plan": 7}', b"{", b"\xff", b"[" * 9999):
        assert is_error(click(app, body=body, **headers), 400, "invalid_body")


def test_a_body_is_json_only_with_exactly_that_content_type(app):
    for kind in ("application/json", "Application/JSON \t; charset=utf-8"):
        assert click(app, body=b'{"plan": "pro"}', **{"Content-Type": kind}).status_code == 200
    for kind in (b"application/json\xa0", b"\xa0application/json", b"application/json\x85; charset=utf-8"):
        assert is_error(click(app, body=b'{"plan": "pro"}', **{"Content-Type": kind}), 400, "unknown_plan")


def test_a_form_of_two_mebibytes_is_refused(app, shop):
    assert is_error(click(app, body={"plan": "x" * 2 * 1024 * 1024}), 413, "body_too_large")
    assert shop.client.v1.customers.list().data == []


def test_portal_before_any_purchase_is_refused_without_asking_stripe(app, shop):
    before = len(shop.simulator.requests)

    assert is_error(click(app, "/portal"), 409, "no_billing_account")
    assert len(shop.simulator.requests) == before


@pytest.mark.parametrize(
    ("flow", "leads_to"),
    [
        (None, "plain"),
        ("payment_method_update", "card"),
        ("subscription_update", "change"),
        ("subscription_cancel", "Cancel"),
    ],
)
def test_the_portal_opens_at_the_named_flow(app, shop, flow, leads_to):
    customer = shop.customer()
    shop.subscribe(customer)
    app.converge(customer)

    url = url_of(click(app, "/portal", body={"flow": flow} if flow else {}))

    page = requests.get(url, timeout=30).text
    assert ("Cancel Pro" in page) if leads_to == "Cancel" else where(url) == leads_to
    asked = [each for each in shop.simulator.requests if each.path == "/v1/billing_portal/sessions"]
    assert {each.params["return_url"] for each in asked} == {FRONTEND}


@pytest.mark.parametrize("flow", [None, "subscription_cancel", "payment_method_update"])
def test_the_portal_opens_for_the_customer_with_the_subscription(app, shop, flow):
    first, second = shop.customer(), shop.customer()
    subscription = shop.subscribe(second)
    for customer in (first, second):
        app.converge(customer)
    assert User.get().stripe_customer_id == first

    url = url_of(click(app, "/portal", body={"flow": flow} if flow else {}))

    session = shop.simulator.world.get("billing_portal.session", url.rpartition("/")[2])
    assert session["customer"] == second
    if flow == "subscription_cancel":
        assert session["flow"]["subscription_cancel"]["subscription"] == subscription


def portal_of(app, shop, subscription, flow="subscription_cancel", user="ann"):
    id_ = url_of(click(app, "/portal", user, {"flow": flow, "subscription": subscription})).rpartition("/")[2]
    session = shop.simulator.world.get("billing_portal.session", id_)
    return session["customer"], session["flow"]


def test_the_portal_is_about_the_subscription_that_is_named(app, shop):
    first, second = shop.customer(), shop.customer()
    older, newer = shop.subscribe(first), shop.subscribe(second)
    for customer in (first, second):
        app.converge(customer)

    for customer, subscription in ((first, older), (second, newer)):
        opened_for, flow = portal_of(app, shop, subscription)
        assert opened_for == customer
        assert flow["subscription_cancel"]["subscription"] == subscription
    assert portal_of(app, shop, older, "payment_method_update")[0] == first
    with pytest.raises(UnknownSubscription):
        app.billing.portal_url("eve", subscription=older)
    assert app.billing.portal_url("ann", subscription=older)


def test_the_portal_of_a_subscription_that_has_ended_opens_at_its_home(app, shop):
    customer, other = shop.customer(), shop.customer()
    ended = shop.subscribe(other)
    shop.subscribe(customer)
    shop.client.v1.subscriptions.cancel(ended)
    app.converge(customer)
    app.converge(other)

    assert portal_of(app, shop, ended) == (other, None)


def test_a_subscription_that_is_not_ones_own_is_refused_like_an_unknown_one(app, shop):
    theirs, mine = shop.customer("eve"), shop.customer("ann")
    of_eve, foreign = shop.subscribe(theirs, user="eve"), shop.subscribe(mine, shop.other_price, user=None)
    shop.subscribe(mine)
    app.converge(theirs)
    app.converge(mine)
    before = len(shop.simulator.requests)

    answers = [click(app, "/portal", body={"subscription": id_}) for id_ in (of_eve, foreign, "sub_none", theirs, "")]

    assert all(is_error(answer, 404, "unknown_subscription") for answer in answers[:4])
    assert len({answer.text for answer in answers[:4]}) == 1
    assert answers[4].status_code == 200
    assert len(shop.simulator.requests) == before + 1


@pytest.mark.parametrize("path", ["/portal", "/checkout"])
def test_requests_beyond_the_stripe_slots_are_refused_until_one_is_free(app, shop, path, monkeypatch):
    monkeypatch.setattr("corkage.pacing.line.WAIT_SECONDS", 0.01)
    customer = shop.customer()
    app.converge(customer)
    calls = len(shop.simulator.requests)
    line = app.billing.service.line
    for _ in range(line.places):
        assert line._at_stripe.acquire(blocking=False)

    busy = click(app, path)

    assert is_error(busy, 503, "busy")
    assert busy.headers["Retry-After"]
    assert len(shop.simulator.requests) == calls
    line._at_stripe.release()
    assert click(app, path).status_code == 200
    assert click(app, path).status_code == 200


def test_an_unknown_flow_is_refused(app, shop):
    customer = shop.customer()
    app.converge(customer)

    assert is_error(click(app, "/portal", body={"flow": "everything"}), 400, "unknown_flow")


def test_a_user_cannot_open_anothers_portal(app, shop):
    customer = shop.customer("ann")
    shop.subscribe(customer)
    app.converge(customer)

    answer = click(app, "/portal", user="eve", body={"user": "ann", "customer": customer})

    assert is_error(answer, 409, "no_billing_account")
    assert not [each for each in shop.simulator.requests if each.path == "/v1/billing_portal/sessions"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin"},
        {"Origin": FRONTEND, "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://billing.example.com"},
        {},
    ],
)
def test_posts_from_our_pages_the_product_and_programs_pass(app, headers):
    assert click(app, **headers).status_code == 200


def test_a_cookie_without_origin_is_refused(app):
    token = mint_token(AUTH_SECRET, "ann", now=time.time(), lifetime_seconds=60)
    cookie = {"Cookie": f"__Host-corkage={token}"}

    assert is_error(
        requests.post(f"{app.url}/checkout", {"plan": "pro"}, headers=cookie, timeout=30), 403, "cross_site"
    )
    cookie["Origin"] = FRONTEND
    assert requests.post(f"{app.url}/checkout", {"plan": "pro"}, headers=cookie, timeout=30).status_code == 200


def test_a_visitor_who_is_not_signed_in_is_refused(app):
    headers = {"Sec-Fetch-Site": "same-origin"}
    assert is_error(
        requests.post(f"{app.url}/checkout", {"plan": "pro"}, headers=headers, timeout=30), 401, "not_signed_in"
    )


@pytest.mark.parametrize(
    "stranger", ["https://evil.example", f"https://other.{APP}", f"https://evil-{APP}", f"{FRONTEND}.evil.example"]
)
def test_cors_is_allowed_for_the_product_only(app, stranger):
    allowed = requests.options(f"{app.url}/checkout", headers={"Origin": FRONTEND}, timeout=30)
    hostile = requests.options(f"{app.url}/checkout", headers={"Origin": stranger}, timeout=30)
    answer = app.ask(Origin=FRONTEND)
    refused = click(app, body={}, Origin=FRONTEND)

    assert allowed.status_code == hostile.status_code == 204
    assert allowed.headers["Access-Control-Allow-Origin"] == FRONTEND
    assert allowed.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Access-Control-Allow-Origin" not in hostile.headers
    assert answer.headers["Access-Control-Allow-Origin"] == FRONTEND
    assert "Origin" in answer.headers["Vary"]
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (400, FRONTEND)
    assert refused.headers["Access-Control-Expose-Headers"] == "Retry-After, HX-Redirect"


def test_without_billing_url_checkout_is_refused(config, shop):
    with running(replace(config, frontend_urls=(FRONTEND,))) as app:
        assert is_error(click(app, Host="evil.example"), 503, "not_configured")
        assert is_error(click(app, **{"X-Forwarded-Host": "evil.example"}), 503, "not_configured")
    with running(replace(config, frontend_urls=("http://127.0.0.1",))) as app:
        assert is_error(click(app), 503, "not_configured")
    assert shop.client.v1.customers.list().data == []


def test_errors_are_pages_for_browsers_without_details(app):
    answer = click(app, body={"plan": "<script>alert(1)</script>\r\nX: y"}, Accept="text/html,*/*")

    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "There is no such plan." in answer.text
    assert "script" not in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_stripe_down_is_a_503_and_nothing_is_lost(app, shop):
    shop.simulator.stop()

    answer = click(app)

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert CheckoutAttempt.select().count() <= 1


def test_a_slow_stripe_leaves_the_fast_routes_fast(app, shop):
    stripe_answers = threading.Event()
    shop.subscribe(shop.customer("bob"), user="bob")

    def slow(*_):
        assert stripe_answers.wait(60)
        raise StripeUnavailable("slow")

    app.billing.service.gateway.create_customer = slow
    with ThreadPoolExecutor(12) as pool:
        clicks = [pool.submit(click, app, user=f"user-{number}") for number in range(12)]
        refused = list(itertools.islice(as_completed(clicks), 8))
        # Four are held by Stripe until it is let go below, and these are answered all the same:
        assert requests.get(f"{app.url}/access", timeout=30).status_code == 401
        assert app.ask().status_code == 200
        assert app.deliver(shop.event("customer.subscription.created")).status_code == 200
        assert StripeEvent.select().count() == 1
        assert sum(each.done() for each in clicks) == 8
        stripe_answers.set()

    assert {each.result().json()["error"]["code"] for each in refused} == {"busy"}
    assert {each.result().json()["error"]["code"] for each in set(clicks) - set(refused)} == {"stripe_unavailable"}


def test_the_clicks_of_one_user_leave_places_at_stripe_to_others(app, shop):
    app.converge(shop.customer("bob"))
    stripe_answers = threading.Event()

    def slow(*_):
        assert stripe_answers.wait(60)
        raise StripeUnavailable("slow")

    app.billing.service.gateway.create_customer = slow
    with ThreadPoolExecutor(12) as pool:
        clicks = [pool.submit(click, app) for _ in range(12)]
        refused = list(itertools.islice(as_completed(clicks), 12 - PLACES_OF_ONE))
        assert all(is_error(each.result(), 503, "busy") for each in refused)
        assert click(app, user="bob").status_code == 200
        assert sum(each.done() for each in clicks) == len(refused)
        stripe_answers.set()

    assert not app.billing.service.line._held
    assert not is_error(click(app), 503, "busy")


@pytest.mark.parametrize("email", ["github-77", "ann@localhost", "ann@example.com."])
def test_an_email_that_stripe_refuses_is_left_out(app, shop, simulator, email, caplog):
    url = url_of(click(app, email=email))

    customer = shop.client.v1.customers.list().data[0]
    assert customer.email is None
    assert "/c/pay/" in url
    assert "user ann gets a customer without an e-mail: Stripe refuses theirs: email_invalid" in caplog.text
    assert email not in caplog.text


def test_blanks_around_an_email_are_cut_off(app, shop):
    url_of(click(app, email=" ann@example.com "))

    assert shop.client.v1.customers.list().data[0].email == "ann@example.com"
