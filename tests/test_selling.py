"""Selling as people sell: promotion codes, tax, seats, trials without a card, payers, currencies, refusals in words."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import requests
from buying import bearer, click, pay, submit, token, url_of
from examined import examine
from harness import APP, AUTH_SECRET, PRO, is_error, running, until

from corkage.errors import InvalidToken
from corkage.identity import Identity, identity_from_token, mint_token
from corkage.models import CheckoutAttempt, Price, User
from corkage.pacing.line import THREADS
from corkage.plans import Plan
from corkage.simulator import ApiFaults

TEAM = Plan("team", "Team", ("team_monthly",), seats=(2, 50))
WITHOUT_CARD = replace(PRO, trial_days=14, trial_card=False)
PRODUCT = f"https://{APP}"
BILLING = "https://billing.example.com"


@pytest.fixture
def team_price(shop):
    product = shop.client.v1.products.create(params={"name": "Team"}).id
    params = {"product": product, "currency": "usd", "unit_amount": 2900, "recurring": {"interval": "month"}}
    return shop.client.v1.prices.create(params=params | {"lookup_key": "team_monthly"}).id


@pytest.fixture
def serve(config, shop, team_price):
    """Serve with other settings, until the end of the test."""
    opened = []

    def start(**settings):
        settings = {"plans": (PRO, TEAM), "billing_url": BILLING} | settings
        opened.append(running(replace(config, **settings)))
        return opened[-1].__enter__()

    yield start
    for each in opened:
        each.__exit__(None, None, None)


@pytest.fixture
def code(shop):
    coupon = shop.client.v1.coupons.create(params={"percent_off": 50, "duration": "once"}).id
    promotion = {"type": "coupon", "coupon": coupon}
    return shop.client.v1.promotion_codes.create(params={"code": "SUMMER", "promotion": promotion})


def session(shop):
    return shop.client.v1.checkout.sessions.list().data[0]


def asked(shop):
    """The parameters of the newest Checkout Session."""
    made = [each for each in shop.simulator.requests if each.path == "/v1/checkout/sessions" and each.method == "POST"]
    return made[-1].params


# Promotion codes


@pytest.mark.parametrize("has_bought_before", [False, True])
def test_a_code_is_used_and_one_that_is_dead_leads_to_the_full_price_in_words(serve, shop, code, has_bought_before):
    app = serve(promotion_codes=True)
    if has_bought_before:
        customer = shop.customer()
        shop.client.v1.subscriptions.cancel(shop.subscribe(customer))
        app.converge(customer)

    used = click(app, body={"plan": "pro", "code": " SUMMER "})
    assert used.json().keys() == {"url"}
    assert session(shop).amount_total == 450
    dead = click(app, body={"plan": "pro", "code": "WINTER"})

    assert (session(shop).amount_total, session(shop).allow_promotion_codes) == (900, True)
    assert dead.json()["notice"]["code"] == "code_unknown"
    assert "WINTER" in dead.json()["notice"]["message"]
    again = click(app, body={"plan": "pro", "code": "WINTER"})
    assert again.json() == dead.json()


def test_a_code_for_somebody_else_is_left_out_with_the_words(serve, shop):
    coupon = shop.client.v1.coupons.create(params={"percent_off": 50, "duration": "once"}).id
    params = {"code": "BOBS", "promotion": {"type": "coupon", "coupon": coupon}, "customer": shop.customer("bob")}
    shop.client.v1.promotion_codes.create(params=params)
    app = serve(promotion_codes=True)

    led = click(app, body={"plan": "pro", "code": "BOBS"}).json()

    assert (session(shop).amount_total, led["notice"]["code"]) == (900, "code_unknown")
    assert pay(led["url"]).status_code == 303


def test_browsers_are_told_of_a_dead_code_on_a_page(serve, shop):
    app = serve()

    page = submit(app, "/checkout", plan="pro", code="<WINTER>")

    assert page.status_code == 200
    assert "The code &lt;WINTER&gt; is not valid for this." in page.text
    assert session(shop).url in page.text
    assert "Refresh" not in page.headers


def test_the_pricing_page_hands_its_code_on(serve):
    assert "SUMMER" not in requests.get(f"{serve().url}/pricing?code=SUMMER", timeout=30).text.partition("<main")[2]


def test_the_pricing_page_with_codes_hands_its_code_on(serve):
    app = serve(promotion_codes=True)
    headers = bearer(token()) | {"Accept": "text/html"}

    page = requests.get(f"{app.url}/pricing?code=SUMMER", headers=headers, timeout=30).text
    signed_out = requests.get(f"{app.url}/pricing?code=SUMMER", headers={"Accept": "text/html"}, timeout=30).text

    assert page.count('<input type="hidden" name="code" value="SUMMER">') == 2
    assert "The code SUMMER is used when you choose a plan." in page
    assert 'name="code"' not in signed_out


def test_without_the_setting_checkout_has_no_field_for_codes(serve, shop):
    url_of(click(serve()))

    assert "allow_promotion_codes" not in asked(shop)


# Tax, language


def test_tax_and_tax_ids_are_asked_for_and_stored_with_the_customer(serve, shop):
    url_of(click(serve(tax=True, tax_ids=True)))

    sent = asked(shop)
    assert (sent["automatic_tax"], sent["tax_id_collection"]) == ({"enabled": "true"}, {"enabled": "true"})
    assert sent["customer_update"] == {"address": "auto", "name": "auto"}


@pytest.mark.parametrize(
    ("chosen", "locale"), [("de", "de"), ("pt-BR", "pt-BR"), ("de-AT", "de"), ("no", "nb"), ("xx", None), ("", None)]
)
def test_checkout_is_in_the_language_that_the_visitor_chose(serve, shop, chosen, locale):
    url_of(click(serve(), f"/checkout?lang={chosen}", body={"plan": "pro"}))

    assert session(shop).locale == locale


# Seats


def test_seats_are_bought_and_can_be_changed_in_checkout(serve, shop):
    app = serve()
    url = url_of(click(app, body={"plan": "team", "quantity": "3"}))
    assert session(shop).amount_total == 8700
    (item,) = asked(shop)["line_items"]
    assert item["adjustable_quantity"] == {"enabled": "true", "minimum": "2", "maximum": "50"}

    shop.simulator.buy(url, details={"quantity_0": "4"})
    app.converge(User.get().stripe_customer_id)

    assert app.billing.access("ann").quantity == 4


@pytest.mark.parametrize(
    ("plan", "quantity"), [("team", "1"), ("team", "51"), ("team", "-3"), ("team", "3.5"), ("pro", "2"), ("pro", "0")]
)
def test_another_number_than_the_plan_is_sold_for_is_refused_and_creates_nothing(serve, shop, plan, quantity):
    refused = click(serve(), body={"plan": plan, "quantity": quantity})

    assert is_error(refused, 400, "invalid_quantity")
    assert shop.client.v1.customers.list().data == []


def test_without_a_number_the_least_is_sold(serve, shop):
    url_of(click(serve(), body={"plan": "team"}))

    assert asked(shop)["line_items"][0]["quantity"] == "2"


def test_a_subscriber_changes_the_number_in_the_portal(serve, shop, team_price):
    app = serve()
    (portal,) = shop.client.v1.billing_portal.configurations.list().data
    updates = {"subscription_update": {"default_allowed_updates": ["price", "quantity"]}}
    shop.client.v1.billing_portal.configurations.update(portal.id, params={"features": updates})
    customer = shop.customer()
    shop.subscribe(customer, items=[{"price": team_price, "quantity": 3}])
    app.converge(customer)

    led = click(app, body={"plan": "team", "quantity": "5"}).json()

    assert led.keys() == {"url"}
    flow = shop.simulator.world.get("billing_portal.session", led["url"].rpartition("/")[2])["flow"]
    assert flow["subscription_update_confirm"]["items"][0]["quantity"] == 5
    page = requests.get(f"{app.url}/pricing", headers=bearer(token()) | {"Accept": "text/html"}, timeout=30).text
    assert re.search(r'name="quantity" min="2" max="50" value="3"', page)


# Trials


@pytest.mark.parametrize("then", ["cancel", "pause"])
def test_a_trial_without_a_card(serve, shop, then):
    app = serve(plans=(replace(WITHOUT_CARD, trial_then=then),))
    url = url_of(click(app))

    assert session(shop).payment_method_collection == "if_required"
    assert requests.post(url, {"without_card": "1"}, allow_redirects=False, timeout=30).status_code == 303
    (bought,) = shop.client.v1.subscriptions.list().data
    assert (bought.status, bought.trial_settings.end_behavior.missing_payment_method) == ("trialing", then)


def test_who_had_a_trial_gives_a_card(serve, shop):
    app = serve(plans=(WITHOUT_CARD,))
    with_trial = shop.customer()
    shop.client.v1.subscriptions.cancel(shop.subscribe(with_trial, trial_period_days=3))
    app.converge(with_trial)

    url_of(click(app))

    assert session(shop).payment_method_collection == "always"
    assert "trial_period_days" not in asked(shop)["subscription_data"]


# Payers


def member_token(may_buy=None, user="ann", payer="org_7"):
    return mint_token(AUTH_SECRET, user, payer=payer, may_buy=may_buy, email=f"{user}@example.com", now=time.time())


def ask(app, path, minted, method="GET", **body):
    headers = bearer(minted) | {"Accept": "application/json" if method == "POST" else "text/html"}
    return requests.request(method, f"{app.url}{path}", data=body, headers=headers, allow_redirects=False, timeout=30)


@pytest.fixture
def paid_by_org(serve, shop):
    app = serve(payer_prefix="org_")
    bought = ask(app, "/checkout", member_token(may_buy=True), "POST", plan="pro")
    pay(url_of(bought))
    app.converge(User.get_by_id("org_7").stripe_customer_id)
    return app


def test_a_payer_pays_for_its_members(paid_by_org, shop):
    app = paid_by_org
    (bought,) = shop.client.v1.subscriptions.list().data
    assert bought.metadata.to_dict()["corkage_user"] == "org_7"
    assert bought.metadata.to_dict()["corkage_buyer"] == "ann"

    for user in ("ann", "bob"):
        told = ask(app, "/access", member_token(user=user)).json()
        assert (told["allowed"], told["plan"]) == (True, "pro")
    assert not requests.get(f"{app.url}/access", headers=bearer(token("ann")), timeout=30).json()["allowed"]


def test_a_member_buys_nothing_and_sees_no_price_no_invoice_and_no_cancellation(paid_by_org, shop):
    app, before = paid_by_org, len(shop.simulator.requests)
    member = member_token(user="bob")
    for path, body in (("/checkout", {"plan": "pro"}), ("/portal", {}), ("/portal", {"flow": "subscription_cancel"})):
        assert is_error(ask(app, path, member, "POST", **body), 403, "may_not_buy")
    pages = [ask(app, path, member).text for path in ("/account", "/pricing")]

    assert len(shop.simulator.requests) == before
    assert "<form" not in pages[0] + pages[1]
    assert "9" not in re.sub(r"<[^>]*>", "", pages[0])
    assert "Somebody else manages the billing for you" in pages[1]
    (bought,) = shop.client.v1.subscriptions.list().data
    shop.client.v1.subscriptions.update(bought.id, params={"cancel_at_period_end": True})
    app.converge(bought.customer)
    told, buyers = ask(app, "/access", member).json(), ask(app, "/access", member_token(may_buy=True)).json()
    assert (told["reason"], told["cancel_at"], told["until"], told["price_id"]) == ("active", None, None, None)
    assert (buyers["reason"], buyers["cancel_at"] is not None) == ("canceling", True)
    assert "canceled" not in ask(app, "/account", member).text


def test_a_buyer_sees_everything_of_the_payer(paid_by_org):
    page = ask(paid_by_org, "/account", member_token(may_buy=True)).text

    assert "$9" in page
    assert 'value="subscription_cancel"' in page


def test_a_trial_is_one_for_the_payer_and_its_buyer(serve, shop):
    app = serve(payer_prefix="org_", plans=(replace(PRO, trial_days=14),))
    pay(url_of(ask(app, "/checkout", member_token(may_buy=True), "POST", plan="pro")))
    app.converge(User.get_by_id("org_7").stripe_customer_id)

    for minted in (token("ann"), member_token(may_buy=True, payer="org_8"), member_token(may_buy=True, user="bob")):
        ask(app, "/checkout", minted, "POST", plan="pro")
        assert "trial_period_days" not in asked(shop)["subscription_data"]
    ask(app, "/checkout", member_token(may_buy=True, user="eve", payer="org_9"), "POST", plan="pro")
    assert asked(shop)["subscription_data"]["trial_period_days"] == "14"


@pytest.mark.parametrize(
    ("prefix", "user", "payer"), [("org_", "ann", "42"), ("org_", "org_1", None), ("", "ann", "org_1")]
)
def test_users_and_payers_are_never_mistaken_for_each_other(prefix, user, payer):
    environ = {"HTTP_AUTHORIZATION": f"Bearer {member_token(user=user, payer=payer)}"}

    with pytest.raises(InvalidToken, match="BILLING_PAYER_PREFIX"):
        identity_from_token(environ, (AUTH_SECRET,), time.time(), payer_prefix=prefix)


def test_an_identity_of_the_hosts_own_is_checked_as_well(config, shop):
    asked_for = {}

    def authenticate(_):
        return Identity("ann", payer=asked_for["payer"])

    with running(replace(config, auth_secrets=(), payer_prefix="org_"), authenticate=authenticate) as app:
        asked_for["payer"] = "42"
        assert requests.get(f"{app.url}/access", timeout=30).status_code == 500
        asked_for["payer"] = "org_42"
        assert requests.get(f"{app.url}/access", timeout=30).json()["user_id"] == "org_42"


@pytest.mark.parametrize("may_buy", ["yes", 1.5, []])
def test_may_buy_is_true_or_false(may_buy):
    with pytest.raises(ValueError, match="may_buy"):
        Identity("ann", may_buy=may_buy)


# What cannot be sold


def archive_by_key(shop):
    shop.client.v1.prices.update(shop.price, params={"active": False})


def archive_product(shop):
    product = shop.client.v1.prices.retrieve(shop.price).product
    shop.client.v1.products.update(product, params={"active": False})


def misspell(shop):
    shop.client.v1.prices.update(shop.price, params={"lookup_key": "pro_montly"})


def pricing(app, user="ann"):
    headers = bearer(token(user)) | {"Accept": "text/html"}
    return requests.get(f"{app.url}/pricing", headers=headers, timeout=30).text


@pytest.mark.parametrize(
    ("spoil", "why", "repair"),
    [
        (archive_by_key, "the price is archived", "stripe prices update"),
        (archive_product, "is archived", "stripe products update"),
        (misspell, "Stripe has no price of that key or id", "plans.toml"),
    ],
)
def test_what_cannot_be_sold_has_no_button_and_the_doctor_says_why(serve, shop, spoil, why, repair):
    spoil(shop)
    app = serve(plans=(replace(PRO, trial_days=14), TEAM))

    page = pricing(app)
    found = [each for each in examine(app) if "plan pro" in each.what]

    assert 'value="pro' not in page
    assert "This plan cannot be bought at the moment." in page
    assert "14 days free" not in page
    assert 'value="team:team_monthly"' in page
    assert [why in each.what for each in found] == [True]
    assert repair in found[0].repair
    refused = click(app)
    assert refused.status_code in (400, 409)
    assert refused.json()["error"]["code"] in ("unknown_plan", "price_refused")
    assert shop.client.v1.customers.list().data == []


@pytest.mark.parametrize("spoil", [archive_by_key, archive_product])
def test_after_a_refusal_of_a_price_the_prices_are_fetched_anew(serve, shop, spoil, caplog):
    app = serve()
    assert 'value="pro' in pricing(app)
    spoil(shop)

    assert is_error(click(app), 409, "price_refused")

    assert not Price.get_by_id(shop.price).sold
    assert 'value="pro' not in pricing(app)
    assert CheckoutAttempt.select().count() == 0


def test_while_stripe_was_never_reached_plans_keep_their_buttons(serve, shop):
    shop.simulator.api_faults = ApiFaults(failure="error")

    assert 'value="pro"' in pricing(serve())


def test_a_metered_price_is_sold_without_a_number(serve, shop):
    meter = shop.client.v1.billing.meters.create(
        params={"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
    )
    recurring = {"interval": "month", "usage_type": "metered", "meter": meter.id}
    product = shop.client.v1.products.create(params={"name": "Calls"}).id
    params = {"product": product, "currency": "usd", "unit_amount": 10, "recurring": recurring}
    shop.client.v1.prices.create(params=params | {"lookup_key": "calls"})
    app = serve(plans=(Plan("calls", "Calls", ("calls",)),))

    pay(url_of(click(app, body={"plan": "calls"})))

    assert len(shop.client.v1.subscriptions.list().data) == 1


def test_a_subscriber_in_euros_is_offered_what_is_sold_in_euros(serve, shop):
    shop.client.v1.prices.update(shop.price, params={"currency_options": {"eur": {"unit_amount": 800}}})
    app = serve()
    customer = shop.customer()
    shop.subscribe(customer, currency="eur")
    app.converge(customer)

    page, account = (
        pricing(app),
        requests.get(f"{app.url}/account", headers=bearer(token()) | {"Accept": "text/html"}, timeout=30).text,
    )

    assert "€8" in page
    assert "€8" in account
    assert "$" not in page + account
    assert 'value="team' not in page
    assert is_error(click(app, body={"plan": "team"}), 409, "currency_refused")


# Refusals in words


def test_a_portal_that_was_never_saved_is_said_in_words(serve, shop, simulator, caplog):
    app = serve()
    customer = shop.customer()
    shop.subscribe(customer)
    app.converge(customer)
    simulator.rules.portal_is_saved = False

    for path, body in (("/portal", {}), ("/portal", {"flow": "subscription_cancel"}), ("/checkout", {"plan": "team"})):
        caplog.clear()
        refused = click(app, path, body=body)
        assert is_error(refused, 503, "stripe_not_set_up")
        assert "unexpected" not in refused.text
        assert "Customer portal, and save its settings once" in caplog.text


@pytest.mark.parametrize(
    ("may", "named"),
    [
        (("checkout_session_write", "subscription_read", "plan_read"), "rak_customer_write"),
        (("customer_write", "subscription_read", "plan_read"), "rak_checkout_session_write"),
    ],
)
def test_a_key_without_a_permission_is_said_with_the_permission(serve, simulator, may, named, caplog):
    app = serve(stripe_secret_key="rk_test_restricted")
    simulator.api_faults = ApiFaults(restricted_key_may=may)

    refused = click(app)

    assert is_error(refused, 503, "stripe_not_set_up")
    assert named in caplog.text
    assert "give the restricted key this permission" in caplog.text
    assert "rk_test_restricted" not in caplog.text


def test_a_currency_that_stripe_refuses_is_said_in_words(serve, shop, caplog):
    app = serve()
    customer = shop.customer()
    euros = {"product_data": {"name": "Other"}, "currency": "eur", "unit_amount": 5, "recurring": {"interval": "month"}}
    shop.subscribe(customer, shop.client.v1.prices.create(params=euros).id, user=None)
    app.billing.service.worker.converger.link("ann", customer, time.time())

    refused = click(app)

    assert is_error(refused, 409, "currency_refused")
    assert "You pay in another currency" in refused.json()["error"]["message"]
    assert "currency_options" in caplog.text


def test_an_address_that_tax_needs_is_said_in_words(serve, shop, monkeypatch, caplog):
    app = serve(tax=True)
    parameters = app.billing.service.checkout.selling.__class__.parameters

    def without_update(self, *args, **options):
        return {name: value for name, value in parameters(self, *args, **options).items() if name != "customer_update"}

    monkeypatch.setattr("corkage.selling.buyer.Selling.parameters", without_update)

    assert is_error(click(app), 409, "address_needed")
    assert "automatic tax needs the customer's address" in caplog.text


# Waiting in line


def test_eight_buyers_at_once_at_a_slow_stripe_are_all_served(serve, simulator):
    """As under `corkage serve`, where half of the threads may wait for Stripe."""
    app = serve(stripe_slots=THREADS // 2)
    simulator.api_faults = ApiFaults(latency_seconds=0.6)

    with ThreadPoolExecutor(8) as buyers:
        answers = list(buyers.map(lambda number: click(app, user=f"u{number}"), range(8)))

    assert [each.status_code for each in answers] == [200] * 8


# Ways back


def test_a_click_from_the_second_product_address_leads_back_there(serve, shop):
    second = "https://other.example"
    app = serve(frontend_urls=(PRODUCT, second))

    url = url_of(click(app, Origin=second, Referer=f"{second}/"))

    assert session(shop).cancel_url == second
    back = pay(url).headers["Location"].replace(BILLING, app.url)
    assert requests.get(back, allow_redirects=False, timeout=30).headers["Location"] == second
    app.converge(User.get().stripe_customer_id)
    portal = url_of(click(app, "/portal", body={}, Origin=second))
    portal_session = shop.simulator.world.get("billing_portal.session", portal.rpartition("/")[2])
    assert portal_session["return_url"] == second


@pytest.mark.parametrize(
    ("referer", "leads_back_to"),
    [
        (f"{PRODUCT}/projects/7?tab=plans#top", f"{PRODUCT}/projects/7?tab=plans"),
        ("https://evil.example/", PRODUCT),
        (f"{PRODUCT}.evil.example/", PRODUCT),
        (f"https://{APP}:8443/", PRODUCT),
        ("javascript:alert(1)", PRODUCT),
        (f"{PRODUCT}/\u2028", PRODUCT),
        (f"{PRODUCT}/{'x' * 2000}", PRODUCT),
        ("http://[", PRODUCT),
        (f"{BILLING}/pricing", PRODUCT),
        ("", PRODUCT),
    ],
)
def test_who_does_not_buy_returns_to_the_page_of_the_click_and_to_no_other_origin(serve, shop, referer, leads_back_to):
    url_of(click(serve(), Referer=referer.encode("utf-8")))

    assert session(shop).cancel_url == leads_back_to


@pytest.mark.parametrize("to", ["https://evil.example", f"{PRODUCT}.evil.example", "//evil.example", ""])
def test_the_way_back_leads_to_listed_addresses_only(serve, to):
    answer = requests.get(
        f"{serve().url}/return", params={"session_id": "cs_1", "to": to}, allow_redirects=False, timeout=30
    )

    assert answer.headers["Location"] == PRODUCT


def test_our_pages_on_the_products_own_origin_are_no_page_of_the_product(serve, shop):
    app = serve(billing_url=f"{PRODUCT}/billing")

    url_of(click(app, Referer=f"{PRODUCT}/billing/pricing"))

    assert session(shop).cancel_url == PRODUCT


def test_the_prices_hold_until_they_are_known(serve, shop):
    """A plan is sold at its price right after the start, before anything was fetched."""
    app = serve()
    until(lambda: click(app).status_code == 200)

    assert session(shop).amount_total == 900
