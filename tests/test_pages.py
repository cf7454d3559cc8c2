"""The pages over HTTP: what each says to whom, where its buttons lead, and what never stands in them."""

import re
import subprocess
import sys
import time
from dataclasses import replace
from urllib.parse import quote

import pytest
import requests
from buying import bearer, submit, token
from harness import APP, AUTH_SECRET, DAY, PRO, running

from corkage import Identity, storage
from corkage.errors import BillingError, ConfigError, DatabaseUnavailable, NotConfigured, NotFound, NotSignedIn
from corkage.identity import mint_token
from corkage.models import CheckoutAttempt, Price, Subscription, User
from corkage.plans import Plan
from corkage.simulator import ApiFaults

pytestmark = pytest.mark.slow

OURS = "https://billing.example.com"
FRONTEND = f"https://{APP}"
TEAM = Plan("team", "Team", ("team_monthly", "team_yearly"), features=("exports", "sharing"), trial_days=14)
ALL_OF_PRO = replace(PRO, prices=("pro_monthly", "pro_yearly"), points=("Export to PDF",), description="For one.")


@pytest.fixture
def prices(shop, simulator):
    """Pro costs 9 a month and 90 a year, Team 29 and 290."""
    sold = {"pro_monthly": shop.price}
    for key, amount, interval in (
        ("pro_yearly", 9000, "year"),
        ("team_monthly", 2900, "month"),
        ("team_yearly", 29000, "year"),
    ):
        sold[key] = simulator.add_price(key, amount, interval=interval)["id"]
    return sold


@pytest.fixture
def settings(config):
    return replace(config, plans=(ALL_OF_PRO, TEAM), billing_url=OURS, name="Notes")


@pytest.fixture
def app(settings, prices):
    with running(settings) as served:
        yield served


def look(app, path="/pricing", user=None, language="en", **headers):
    asked = {"Accept": "text/html", "Accept-Language": language} | (bearer(token(user)) if user else {}) | headers
    return requests.get(f"{app.url}{path}", headers=asked, allow_redirects=False, timeout=30)


def text_of(answer):
    """What a page says, without its markup."""
    body = answer.text.split("<main", 1)[1].split(">", 1)[1].split("</main>")[0]
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def subscribe(app, shop, user="ann", price=None, card="pm_card_visa", **params):
    customer = shop.customer(user, card=card)
    subscription = shop.subscribe(customer, price, user, **params)
    app.converge(customer)
    return customer, subscription


def test_a_stranger_sees_every_plan_with_its_price_and_a_sign_in_link(app):
    page = look(app)

    assert page.status_code == 200
    assert "Pro For one. $9 per month Subscribe Export to PDF" in text_of(page)
    assert "Team $29 per month 14 days free Start free trial Exports Sharing" in text_of(page)
    assert "<form" not in page.text
    assert page.text.count(f'href="{FRONTEND}"') == 4
    assert page.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("language", "amount", "tag"),
    [
        ("de", "9 $ pro Monat", "de"),
        ("de-AT,en;q=0.5", "$ 9 pro Monat", "de-AT"),
        ("fr-FR", "9 $US par mois", "fr-FR"),
        ("es", "9 US$ al mes", "es"),
        ("ja", "$9 \uff0f\u6708", "ja"),
        ("en-GB", "US$9 per month", "en-GB"),
        ("it, fr;q=0.4, de;q=0.6", "9 $ pro Monat", "de"),
        ("de;q=0, fr;q=0.1", "9 $US par mois", "fr"),
        ("tlh", "$9 per month", "en"),
        ("de;q=0", "$9 per month", "en"),
        ("de-XX", "9 $ pro Monat", "de"),
        ("../../de;q=1, \u00e4;q=x, *", "$9 per month", "en"),
        ("\u00a0de, fr;q=\u00a01, es;q=nan, ja;q=1e1", "$9 per month", "en"),
        ("de;q=inf, fr;q=0.001", "9 $US par mois", "fr"),
        ("de\t; \tq=1.000 \t", "9 $ pro Monat", "de"),
        ("x" * 5000, "$9 per month", "en"),
    ],
)
def test_a_page_is_in_the_language_of_the_visitor(app, language, amount, tag):
    page = look(app, language=language.encode())

    assert amount in text_of(page).replace("\u202f", " ").replace("\u00a0", " ")
    assert f'<html lang="{tag}" dir="ltr">' in page.text


def test_a_chosen_language_overrides_the_browsers_and_stays_in_links(app):
    page = look(app, "/pricing?lang=fr", "ann", language="de")

    assert '<html lang="fr" dir="ltr">' in page.text
    links = re.findall(r'(?:href|action)="((?!http|style)[^"]*)"', page.text)
    assert len(links) == 6
    assert all("lang=fr" in link for link in links)


def test_the_switch_shows_yearly_prices_and_the_savings(app):
    monthly, yearly = look(app), look(app, "/pricing?interval=year")

    assert '<a href="pricing?interval=year">Yearly</a>' in monthly.text
    assert '<a href="pricing?interval=year" aria-current="true">Yearly</a>' in yearly.text
    assert "$90 per year Save 16%" in text_of(yearly)
    assert "Save" not in monthly.text
    assert "$9 per month" in text_of(look(app, "/pricing?interval=<script>"))


def test_a_code_stays_when_another_interval_is_chosen(settings, prices):
    with running(replace(settings, promotion_codes=True)) as app:
        page, inside = (look(app, f"/pricing?code=A%26B{more}") for more in ("", "&fragment=1"))

    assert '<a href="pricing?interval=year&amp;code=A%26B">Yearly</a>' in page.text
    assert '<a href="?interval=year&amp;code=A%26B">Yearly</a>' in inside.text


def test_a_plan_without_the_chosen_interval_shows_its_own(settings, prices):
    with running(replace(settings, plans=(replace(ALL_OF_PRO, prices=("pro_monthly",)), TEAM))) as app:
        shown = text_of(look(app, "/pricing?interval=year"))

    assert "$9 per month" in shown
    assert "$290 per year" in shown


def test_a_switch_separates_prices_in_two_currencies(settings, simulator, prices):
    simulator.add_price("pro_euro", 850, currency="eur")
    with running(replace(settings, plans=(replace(ALL_OF_PRO, prices=("pro_monthly", "pro_euro")),))) as app:
        assert "$9 per month" in text_of(look(app))
        assert "\u20ac8.50 per month" in text_of(look(app, "/pricing?interval=month&currency=eur"))
        assert "currency=eur" in look(app).text
        assert 'value="pro:pro_euro"' in look(app, "/pricing?currency=EUR", "ann").text


def test_a_user_without_a_plan_can_subscribe_to_each(app):
    page = look(app, user="ann")

    assert re.findall(r'name="plan" value="([^"]+)"', page.text) == ["pro:pro_monthly", "team:team_monthly"]
    assert 'action="checkout"' in page.text
    assert "Do you have a plan already?" not in page.text


def test_the_current_plan_is_marked_and_others_explain_the_change(app, shop):
    subscribe(app, shop)

    page, yearly = look(app, user="ann"), look(app, "/pricing?interval=year", "ann")

    assert text_of(page).count("Your plan") == 1
    assert "Pro Your plan For one. $9 per month Manage plan" in text_of(page)
    assert "Change to Team" in text_of(page)
    assert "free" not in text_of(page)
    assert "Pay yearly" in text_of(yearly)
    assert 'value="pro:pro_yearly"' in yearly.text


def test_a_subscriber_first_sees_plans_of_the_same_interval(app, shop, prices):
    subscribe(app, shop, price=prices["team_yearly"])

    assert "Team Your plan $290 per year" in text_of(look(app, user="ann"))


def test_a_subscriber_to_a_retired_price_sees_no_switch(settings, shop, simulator, prices):
    retired = simulator.add_price("pro_old", 500)["id"]
    with running(replace(settings, plans=(replace(ALL_OF_PRO, retired=(retired,)),))) as app:
        subscribe(app, shop, price=retired)
        shown = text_of(look(app, user="ann"))

    assert "Manage plan" in shown
    assert "Pay" not in shown


def test_a_trial_is_offered_once(app, shop, prices):
    customer, subscription = subscribe(app, shop, price=prices["team_monthly"], trial_period_days=14)
    shop.client.v1.subscriptions.cancel(subscription)
    app.converge(customer)

    assert "14 days free" in text_of(look(app, user="bob"))
    shown = text_of(look(app, user="ann"))
    assert "Subscribe" in shown
    assert "free" not in shown


def test_a_price_without_a_fixed_amount_is_left_to_stripe(app, prices):
    look(app)
    Price.update(unit_amount=None).where(Price.id == prices["pro_monthly"]).execute()

    assert "You see the price before you pay." in text_of(look(app))


def test_with_stripe_down_plans_show_no_prices_and_calls_are_limited(app, simulator):
    simulator.api_faults.failure = "error"
    before = len(simulator.requests)

    pages = [look(app), look(app, user="ann")]

    assert [page.status_code for page in pages] == [200, 200]
    assert "You see the price before you pay." in text_of(pages[0])
    assert [asked.path for asked in simulator.requests[before:]] == ["/v1/prices"]
    assert 'name="plan" value="pro"' in pages[1].text


def test_known_prices_are_shown_without_a_call(app, simulator):
    look(app)
    before = len(simulator.requests)
    app.billing.service._learn_prices_at = 0

    assert "$9 per month" in text_of(look(app))
    assert len(simulator.requests) == before


def test_a_visitor_with_an_expired_token_is_a_stranger(app):
    expired = mint_token(AUTH_SECRET, "ann", now=time.time() - 9999, lifetime_seconds=60)

    page = look(app, Authorization=f"Bearer {expired}")

    assert page.status_code == 200
    assert "Do you have a plan already?" in page.text


def test_without_sign_in_configured_the_plans_are_shown(settings, prices):
    with running(replace(settings, auth_secrets=())) as app:
        assert look(app).status_code == 200
        assert look(app, "/account").status_code == 503


def test_a_stranger_is_sent_to_sign_in_and_back(settings, prices):
    with running(replace(settings, sign_in_url="https://app.example.com/login?next={next}")) as app:
        page = look(app, "/account")

    assert page.status_code == 401
    assert "You are not signed in Please sign in first. Sign in Back to Notes" in text_of(page)
    assert 'href="https://app.example.com/login?next=https%3A%2F%2Fbilling.example.com%2Faccount"' in page.text


def test_an_active_account_shows_the_next_payment_and_the_actions(app, shop):
    _, subscription = subscribe(app, shop)
    renews = shop.client.v1.subscriptions.retrieve(subscription)["items"].data[0].current_period_end
    day = time.strftime("%B %-d, %Y", time.gmtime(renews))

    page = look(app, "/account", "ann")

    shown = text_of(page)
    assert f"Signed in as ann Pro Your plan renews on {day}. Price $9 per month Next payment {day}" in shown
    assert re.findall(r'name="flow" value="([^"]+)"', page.text) == [
        "subscription_update",
        "payment_method_update",
        "subscription_cancel",
    ]
    assert "$9.00 Paid View PDF" in shown
    assert page.headers["Cache-Control"] == "no-store"
    assert set(page.headers["Vary"].split(", ")) == {"Accept-Language", "Cookie", "Authorization", "Origin"}


def test_in_grace_the_account_shows_its_end_by_the_test_clock(app, shop, simulator):
    customer, _ = subscribe(app, shop)
    shop.use_card(customer, "pm_card_chargeCustomerFail")
    simulator.advance_to("renewal")
    app.converge(customer)
    ends = app.billing.access("ann").until

    page = look(app, "/account", "ann", language="de")

    day = time.strftime("%Y", time.gmtime(ends))
    assert ends > time.time() + 20 * DAY
    assert f"{time.gmtime(ends).tm_mday}. " in text_of(page)
    assert re.search(rf"Ihr Zugang endet am \d+\. \w+ {day}, wenn Sie Ihre Zahlungsmethode nicht", text_of(page))
    assert "Offen Bezahlen" in text_of(page)
    assert page.text.index("payment_method_update") < page.text.index("subscription_cancel")


def test_a_user_who_canceled_can_keep_the_plan(app, shop):
    customer, subscription = subscribe(app, shop)
    shop.client.v1.subscriptions.update(subscription, params={"cancel_at_period_end": True})
    app.converge(customer)

    shown = text_of(look(app, "/account", "ann"))

    assert "Your plan is canceled and ends on" in shown
    assert "Keep my plan Update payment method" in shown
    assert "Cancel plan" not in shown


def test_returning_from_the_portal_shows_changes_before_any_webhook(app, shop):
    _, subscription = subscribe(app, shop)
    shop.client.v1.subscriptions.cancel(subscription)

    assert "renews on" in text_of(look(app, "/account", "ann"))
    assert "Your plan ended on" in text_of(look(app, "/account?from=portal", "ann"))


def test_an_account_without_purchase_links_to_the_plans_without_a_call(app, simulator):
    before = len(simulator.requests)

    page = look(app, "/account", "ann")

    assert "No plan You have no plan yet. See plans" in text_of(page)
    assert "<form" not in page.text
    assert "Invoices" not in page.text
    assert len(simulator.requests) == before


def test_an_unfinished_first_payment_can_be_finished(app, shop):
    subscribe(app, shop, card="pm_card_chargeCustomerFail", payment_behavior="allow_incomplete")

    page = look(app, "/account", "ann")

    assert "Your first payment did not go through." in text_of(page)
    assert '<input type="hidden" name="plan" value="pro">' in page.text


def test_invoices_cost_one_call_and_are_left_out_if_stripe_is_down(app, shop, simulator):
    subscribe(app, shop)
    before = len(simulator.requests)
    look(app, "/account", "ann")
    assert [asked.path for asked in simulator.requests[before:]] == ["/v1/invoices"]

    simulator.stop()
    began = time.monotonic()
    page = look(app, "/account", "ann")

    assert page.status_code == 200
    assert time.monotonic() - began < 10
    assert "Your plan renews on" in text_of(page)
    assert "Your invoices cannot be shown at the moment." in text_of(page)


def test_invoices_are_left_out_when_all_stripe_slots_are_taken(app, shop):
    subscribe(app, shop)
    line = app.billing.service.line
    for _ in range(line.places + line.places // 2):
        line._in_line.acquire()

    page, without_any = look(app, "/account", "ann"), look(app, "/account", "bob")

    assert page.status_code == 200
    assert "Your invoices cannot be shown at the moment." in text_of(page)
    assert "nvoices" not in text_of(without_any)


def test_a_draft_invoice_is_not_listed(app, shop):
    customer, _ = subscribe(app, shop)
    shop.client.v1.invoices.create(params={"customer": customer})

    assert look(app, "/account", "ann").text.count('<span class="sum">') == 1


def invoices_of(page):
    """Return the status and the first link of each invoice on the account page."""
    return [
        tuple(re.search(r'class="badge[^>]*>([^<]*)<.*?<a [^>]*>([^<]*)<', each, re.DOTALL).groups())
        for each in page.text.split('<ul class="invoices">')[1].split("<li>")[1:]
    ]


def fail_to_renew(shop, simulator, customer):
    shop.use_card(customer, "pm_card_chargeCustomerFail")
    simulator.advance_to("renewal")


def test_an_open_invoice_of_an_ended_subscription_is_not_to_pay(app, shop, simulator):
    customer, subscription = subscribe(app, shop)
    fail_to_renew(shop, simulator, customer)
    app.converge(customer)
    owing = invoices_of(look(app, "/account", "ann"))
    shop.client.v1.subscriptions.cancel(subscription)
    app.converge(customer)

    page = look(app, "/account", "ann")

    assert owing == [("Open", "Pay"), ("Paid", "View")]
    assert invoices_of(page) == [("Not paid", "View"), ("Paid", "View")]
    assert 'class="badge bad"' not in page.text


def test_only_the_latest_invoice_of_an_unpaid_subscription_is_to_pay(app, shop, simulator):
    customer, subscription = subscribe(app, shop)
    fail_to_renew(shop, simulator, customer)
    simulator.give_up(subscription, "unpaid")
    app.converge(customer)
    only_one = invoices_of(look(app, "/account", "ann"))
    simulator.advance_to("renewal")
    app.converge(customer)
    beside_a_draft = invoices_of(look(app, "/account", "ann"))
    draft = shop.client.v1.invoices.list(params={"customer": customer, "status": "draft"}).data[0]
    shop.client.v1.invoices.finalize_invoice(draft.id)

    assert only_one == [("Open", "Pay"), ("Paid", "View")]
    assert beside_a_draft == [("Not paid", "View"), ("Paid", "View")]
    assert invoices_of(look(app, "/account", "ann")) == [("Open", "Pay"), ("Not paid", "View"), ("Paid", "View")]


def test_an_open_invoice_without_a_subscription_is_to_pay(app, shop):
    customer, _ = subscribe(app, shop)
    item = {"customer": customer, "amount": 500, "currency": "usd", "description": "Hours"}
    shop.client.v1.invoice_items.create(params=item)
    with_it = {"customer": customer, "auto_advance": False, "pending_invoice_items_behavior": "include"}
    invoice = shop.client.v1.invoices.create(params=with_it)
    shop.client.v1.invoices.finalize_invoice(invoice.id)

    assert invoices_of(look(app, "/account", "ann")) == [("Open", "Pay"), ("Paid", "View")]


def set_period_end(app, moment):
    with storage.writing():
        Subscription.update(current_period_end=moment).execute()
        app.billing.service.catalogue.timelines.store(["ann"], time.time())


def test_a_stale_period_shows_no_next_payment(app, shop):
    subscribe(app, shop)
    set_period_end(app, 1_780_531_200)

    shown = text_of(look(app, "/account", "ann"))

    assert "Your plan was due to change on June 4, 2026. We are waiting for word" in shown
    assert "Next payment" not in shown


def test_a_user_id_with_markup_is_escaped(app):
    page = look(app, "/account", "<script>alert(1)</script>")

    assert "Signed in as &lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "<script" not in page.text


def test_leaving_checkout_returns_to_where_it_began(app, simulator):
    def cancel_url():
        return simulator.world.get("checkout.session", CheckoutAttempt.get().session_id)["cancel_url"]

    submit(app, "/checkout", plan="pro:pro_monthly", **{"from": "pages"})
    assert cancel_url() == f"{OURS}/cancel"
    submit(app, "/checkout", plan="pro:pro_monthly")
    assert cancel_url() == FRONTEND
    submit(app, "/checkout", plan="pro:pro_monthly", **{"from": "https://evil.example"})
    assert cancel_url() == FRONTEND


def test_leaving_the_portal_returns_to_where_it_began(app, shop, simulator):
    subscribe(app, shop)

    def return_url(path, **fields):
        submit(app, path, **fields)
        return simulator.world.all("billing_portal.session")[0]["return_url"]

    assert return_url("/portal", **{"from": "pages"}) == f"{OURS}/account?from=portal"
    assert return_url("/portal") == FRONTEND
    assert return_url("/checkout", plan="team", **{"from": "pages"}) == f"{OURS}/account?from=portal"
    assert return_url("/checkout", plan="team") == FRONTEND


def test_the_cancel_page_says_nothing_was_bought_and_shows_the_plans(app):
    page = look(app, "/cancel")

    assert page.status_code == 200
    assert "Nothing was bought, and you have not been charged. Choose your plan" in text_of(page)


def test_the_cancel_page_tells_nobody_who_subscribes_that_nothing_was_bought(app, shop):
    subscribe(app, shop)

    page = look(app, "/cancel", "ann")

    assert "Nothing was bought" not in page.text
    assert "Choose your plan" in text_of(page)


def bought(app, simulator, plan, card="pm_usBankAccount_success"):
    """Buy, and return the way back, under the address where the app is."""
    url = submit(app, "/checkout", plan=plan).headers["Location"]
    session = simulator.buy(url, card)
    return f"/return?session_id={session['id']}"


@pytest.fixture
def denying(settings, prices):
    """Pro is open only when it is paid."""
    with running(replace(settings, plans=(replace(ALL_OF_PRO, pending="deny"), TEAM))) as served:
        yield served


def test_a_pending_payment_shows_a_page_that_refreshes_until_access(denying, simulator):
    page = look(denying, bought(denying, simulator, "pro"), "ann")

    assert page.status_code == 200
    assert "Thank you Your payment is on its way." in text_of(page)
    assert f'href="{FRONTEND}">Continue to Notes' in page.text
    assert page.headers["Refresh"] == "3; url=return?again=1"
    again = look(denying, "/return?again=1", "ann")
    assert again.headers["Refresh"] == "3; url=return?again=2"

    simulator.advance(5 * DAY)
    denying.converge(User.get_by_id("ann").stripe_customer_id)
    led_on = look(denying, "/return?again=2", "ann")

    assert (led_on.status_code, led_on.headers["Location"]) == (303, FRONTEND)


def test_access_during_a_pending_payment_is_explained_once(app, simulator):
    page = look(app, bought(app, simulator, "pro"), "ann")

    assert "you can use your plan already. We take you back to Notes" in text_of(page)
    assert page.headers["Refresh"] == f"8; url={FRONTEND}"
    assert "Look again" not in page.text
    assert look(app, "/return?again=1", "ann").headers["Location"] == FRONTEND


def test_the_waiting_page_stops_refreshing_and_always_has_a_way_out(denying, simulator):
    look(denying, bought(denying, simulator, "pro"), "ann")

    late = look(denying, "/return?again=10", "ann")

    assert "Refresh" not in late.headers
    assert "Continue to Notes" in late.text
    assert 'href="return?again=11"' in late.text
    for again in ("-1", "x", "999", "1" * 5000):
        assert look(denying, f"/return?again={again}", "ann").status_code == 200


def test_returning_while_stripe_is_down_shows_the_waiting_page(app, simulator):
    back = bought(app, simulator, "pro", "pm_card_visa")
    simulator.stop()

    page = look(app, back, "ann")

    assert "Your payment is being confirmed." in text_of(page)
    assert page.headers["Refresh"].startswith("3;")


def test_returning_while_the_database_fails_leads_to_the_product(app, simulator, monkeypatch):
    back = bought(app, simulator, "pro", "pm_card_visa")

    def refuse(*_):
        raise DatabaseUnavailable("locked")

    monkeypatch.setattr(app.billing.service, "user_of", refuse)
    monkeypatch.setattr(app.billing.service, "access", refuse)
    answer = look(app, back, "ann")

    assert (answer.status_code, answer.headers["Location"]) == (303, FRONTEND)


def test_a_return_without_sign_in_redirects_at_the_second_look(denying, simulator):
    first = look(denying, bought(denying, simulator, "pro"))
    second = look(denying, "/return?again=1")

    assert "Your payment is on its way." in text_of(first)
    assert (second.status_code, second.headers["Location"]) == (303, FRONTEND)


def test_a_paid_return_leads_to_the_product_at_once(app, simulator):
    answer = look(app, bought(app, simulator, "pro", "pm_card_visa"), "ann")

    assert (answer.status_code, answer.headers["Location"]) == (303, FRONTEND)


WELCOME = "https://app.example.com/welcome?plan=new"


def test_a_new_subscriber_lands_on_the_welcome_page(settings, prices, simulator):
    with running(replace(settings, welcome_url=WELCOME)) as app:
        page = look(app, bought(app, simulator, "pro", "pm_card_visa"))
        waited, nobody = look(app, "/return?again=1", "ann"), look(app, "/return?session_id=cs_test_unknown", "ann")

    assert (page.status_code, page.headers["Location"]) == (303, WELCOME)
    assert waited.headers["Location"] == WELCOME
    assert nobody.headers["Location"] == FRONTEND


def test_a_subscriber_whose_payment_is_on_its_way_is_led_to_the_welcome_page(settings, prices, simulator):
    with running(replace(settings, welcome_url=WELCOME)) as app:
        page = look(app, bought(app, simulator, "pro"), "ann")

    assert page.headers["Refresh"] == f"8; url={WELCOME}"
    assert f'<a class="button main" href="{WELCOME}">' in page.text


def test_leaving_an_unpaid_session_never_leads_to_the_welcome_page(settings, prices, simulator):
    with running(replace(settings, welcome_url=WELCOME)) as app:
        submit(app, "/checkout", plan="pro")
        page = look(app, f"/return?session_id={CheckoutAttempt.get().session_id}", "ann")

    assert (page.status_code, page.headers["Location"]) == (303, FRONTEND)


def test_a_returning_program_is_always_redirected(denying, simulator):
    answer = look(denying, bought(denying, simulator, "pro"), "ann", Accept="*/*")

    assert (answer.status_code, answer.headers["Location"]) == (303, FRONTEND)


def test_returning_from_an_open_session_mentions_no_payment(app):
    submit(app, "/checkout", plan="pro")

    answer = look(app, f"/return?session_id={CheckoutAttempt.get().session_id}", "ann")

    assert (answer.status_code, answer.headers["Location"]) == (303, FRONTEND)


def again_of(page, seconds):
    """Where the page looks again by itself, after so many seconds."""
    after, _, address = page.headers["Refresh"].partition("; url=")
    assert int(after) == seconds
    return f"/{address}"


def test_the_waiting_page_gives_access_to_a_user_who_paid_later(app, simulator, monkeypatch):
    url = submit(app, "/checkout", plan="pro").headers["Location"]
    back = f"/return?session_id={CheckoutAttempt.get().session_id}"
    monkeypatch.setattr("corkage.selling.attempts.RETURN_PAUSE_SECONDS", 3600)
    assert look(app, back).status_code == 303
    simulator.buy(url, "pm_card_visa")

    page = look(app, back)

    assert "Your payment is being confirmed." in text_of(page)
    assert not app.billing.access("ann").allowed
    monkeypatch.setattr("corkage.selling.attempts.RETURN_PAUSE_SECONDS", 0)
    led_on = look(app, again_of(page, 3))
    assert (led_on.status_code, led_on.headers["Location"]) == (303, FRONTEND)
    assert app.billing.access("ann").allowed


def test_the_waiting_page_gives_access_once_stripe_answers_again(app, simulator, monkeypatch):
    monkeypatch.setattr("corkage.selling.attempts.RETURN_PAUSE_SECONDS", 0)
    back = bought(app, simulator, "pro", "pm_card_visa")
    simulator.api_faults = ApiFaults(failure="error")

    first = look(app, back)
    second = look(app, again_of(first, 3))
    simulator.api_faults = ApiFaults()
    led_on = look(app, again_of(second, 3))

    assert "Your payment is being confirmed." in text_of(second)
    assert (led_on.status_code, led_on.headers["Location"]) == (303, FRONTEND)
    assert app.billing.access("ann").allowed


def test_the_waiting_page_stops_for_a_session_still_open(app, simulator, monkeypatch):
    monkeypatch.setattr("corkage.selling.attempts.RETURN_PAUSE_SECONDS", 0)
    submit(app, "/checkout", plan="pro")
    simulator.api_faults = ApiFaults(failure="error")
    page = look(app, f"/return?session_id={CheckoutAttempt.get().session_id}", "ann")
    simulator.api_faults = ApiFaults()

    answer = look(app, again_of(page, 3), "ann")

    assert (answer.status_code, answer.headers["Location"]) == (303, FRONTEND)
    assert not app.billing.access("ann").allowed


def test_the_waiting_page_names_no_session_that_is_not_ours(denying):
    page = look(denying, "/return?again=1&session_id=cs_test_of_a_stranger", "ann")

    assert page.status_code == 200
    assert "stranger" not in page.text + str(page.headers)


def test_a_custom_checkout_domain_is_reached_through_a_page(app, simulator):
    assert submit(app, "/checkout", plan="pro").status_code == 303
    simulator.world.base_url = simulator.url.replace("127.0.0.1", "localhost")

    page = submit(app, "/checkout", user="bob", plan="pro")

    url = CheckoutAttempt.get(CheckoutAttempt.user == "bob").url
    assert page.status_code == 200
    assert url.startswith("http://localhost:")
    assert page.headers["Refresh"] == f"0; url={url}"
    assert f'href="{url}"' in page.text


def test_an_error_page_is_translated_and_json_stays_english(app):
    page = look(app, "/nothing", language="ja")
    error = requests.get(f"{app.url}/nothing", headers={"Accept-Language": "ja"}, timeout=30).json()["error"]

    assert page.status_code == 404
    assert (
        "\u3053\u306e\u30a2\u30c9\u30ec\u30b9\u306b\u306f\u4f55\u3082\u3042\u308a\u307e\u305b\u3093\u3002"
        in text_of(page)
    )
    assert error == {"code": "not_found", "message": "There is nothing at this address."}


def test_an_error_page_links_to_what_is_missing(app):
    unknown, nothing_yet = submit(app, "/checkout", plan="none"), submit(app, "/portal")

    for page, status in ((unknown, 400), (nothing_yet, 409)):
        assert page.status_code == status
        assert 'href="pricing"' in page.text
        assert "See plans" in text_of(page)


def test_a_hosts_own_error_page_links_to_our_pages(app):
    class NeedsPlan(BillingError):
        http_status = 402
        sentence = "Exporting is for subscribers."

    page = app.billing.service.pages.error(
        NeedsPlan("no plan"), environ(), "https://app.example.com/in", base="/billing"
    )

    assert page.status_code == 402
    assert 'href="/billing/style.css?v=' in page.body
    assert '<a class="button main" href="/billing/pricing">See plans</a>' in page.body
    assert "This needs a plan" in page.body


PLANS_OF_THE_HOST = "https://www.example.com/plans?from=app&x=1"


def test_the_hosts_own_pricing_page_is_linked_wherever_plans_are(settings, prices):
    with running(replace(settings, pricing_url=PLANS_OF_THE_HOST)) as app:
        linked = f'href="{PLANS_OF_THE_HOST.replace("&", "&amp;")}"'
        for page in (look(app, "/account", "ann"), submit(app, "/checkout", plan="none"), submit(app, "/portal")):
            assert page.text.count(linked) == 2, "the navigation and the button"
            assert not re.search(r'href="[^"]*pricing', page.text)
        ours, left = look(app, "/pricing", "ann"), look(app, "/cancel", "ann")
        assert app.billing.pricing_url == PLANS_OF_THE_HOST
        assert f'{linked[:-1]}"' in ours.text
        assert 'href="pricing?interval=year"' in ours.text
        assert (left.status_code, left.headers["Location"]) == (303, PLANS_OF_THE_HOST)


def test_sign_in_leads_back_to_the_hosts_own_pricing_page(settings, prices):
    sign_in = "https://app.example.com/login?next={next}"
    with running(replace(settings, pricing_url=PLANS_OF_THE_HOST, sign_in_url=sign_in)) as app:
        elsewhere, account = submit_as_nobody(app), look(app, "/account")

    assert f"next={quote(PLANS_OF_THE_HOST, safe='')}" in elsewhere.text
    assert f"next={quote(OURS + '/account', safe='')}" in account.text


def submit_as_nobody(app):
    headers = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
    return requests.post(f"{app.url}/portal", headers=headers, timeout=30)


def test_a_page_at_the_mount_point_finds_its_stylesheet(app):
    asked = environ(PATH_INFO="", SCRIPT_NAME="/pay/billing", REQUEST_METHOD="GET", HTTP_ACCEPT="text/html")

    body = b"".join(app.billing.wsgi(asked, lambda *_: None)).decode()

    assert 'href="billing/style.css?v=' in body


@pytest.mark.parametrize(("path", "base"), [("/x", ""), ("/", ""), ("/a/b", "../"), ("/a/b/c/", "../../../")])
def test_a_page_at_any_depth_finds_its_stylesheet(app, path, base):
    assert f'href="{base}style.css?v=' in look(app, path).text


def every_page(app, shop):
    subscribe(app, shop)
    for path in ("/pricing", "/account", "/cancel", "/return?again=1", "/nothing", "/pricing?interval=year"):
        yield look(app, path, "ann")
        yield look(app, path)


def test_no_page_needs_or_allows_inline_scripts_or_styles(app, shop, simulator):
    pages = [page for page in every_page(app, shop) if page.status_code != 303]

    assert len(pages) == 10
    for page in pages:
        assert page.headers["Content-Security-Policy"] == (
            f"default-src 'none'; style-src 'self' {OURS}; form-action 'self' {OURS} https://checkout.stripe.com "
            f"https://billing.stripe.com https://invoice.stripe.com {simulator.url}; base-uri 'none'; "
            "frame-ancestors 'none'"
        )
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert not re.search(r"<(script|style|img|iframe)|\sstyle=|\son\w+=|javascript:", page.text)


@pytest.mark.parametrize(
    ("logo", "source"),
    [("https://cdn.example.com/a/logo.svg", "https://cdn.example.com"), ("/logo.svg", "'self'")],
)
def test_a_logo_is_allowed_from_its_own_origin_only(settings, prices, logo, source):
    with running(replace(settings, logo_url=logo)) as app:
        page = look(app)

    assert f"; img-src {source};" in page.headers["Content-Security-Policy"]
    assert f'<img src="{logo}" alt="Notes">' in page.text


def test_the_stylesheet_is_cached_for_ever_only_under_its_version(app):
    (address,) = re.findall(r'href="(style\.css\?v=\w+)"', look(app).text)

    pinned, other = look(app, f"/{address}"), look(app, "/style.css?v=old")

    assert pinned.headers["Content-Type"] == "text/css; charset=utf-8"
    assert "immutable" in pinned.headers["Cache-Control"]
    assert other.headers["Cache-Control"] == "public, max-age=300"
    assert pinned.text == other.text
    assert len(pinned.content) < 14_000
    assert not re.search(r"url\(|@import", pinned.text)


def test_neither_reading_access_nor_startup_imports_babel():
    program = (
        "import sys, corkage.cli, corkage.handlers.pages, corkage.handlers.responses, corkage.server.serve; "
        "sys.exit(any(name.split('.')[0] in ('babel', 'stripe') for name in sys.modules))"
    )

    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "views"
    made.mkdir()
    return made


def test_a_custom_template_replaces_ours_and_the_others_stay(settings, prices, folder):
    (folder / "layout.html").write_text("<title>{{name}}</title><main>{{!content}}</main> of the shop")
    with running(replace(settings, views=str(folder))) as app:
        page = look(app)

    assert page.text.startswith("<title>Notes</title>")
    assert page.text.endswith(" of the shop")
    assert "Choose your plan" in text_of(page)


def test_a_custom_stylesheet_is_added_and_changes_the_version(settings, prices, folder):
    with running(settings) as app:
        before = look(app, "/style.css").text
        version = re.search(r"v=(\w+)", look(app).text)[1]
    (folder / "style.css").write_text(".corkage { --radius: 0 }")
    with running(replace(settings, views=str(folder))) as app:
        assert look(app, "/style.css").text == before + "\n.corkage { --radius: 0 }"
        assert version not in look(app).text


PO = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\nmsgid "{}"\nmsgstr "{}"\n'


def test_custom_translations_win_and_may_add_a_language(settings, prices, folder):
    (folder / "de.po").write_text(PO.format("Choose your plan", "Was darf es sein?"))
    (folder / "it.po").write_text(PO.format("For one.", "Per una persona."))
    with running(replace(settings, views=str(folder))) as app:
        german, italian = look(app, language="de"), look(app, language="it")

    assert "Was darf es sein?" in text_of(german)
    assert "pro Monat" in text_of(german)
    assert "Per una persona." in text_of(italian)
    assert '<html lang="it" dir="ltr">' in italian.text


def test_a_language_written_from_right_to_left_has_its_direction(settings, prices, folder):
    (folder / "ar.po").write_text(PO.format("Choose your plan", "\u0627\u062e\u062a\u0631"))
    with running(replace(settings, views=str(folder))) as app:
        page, inside = look(app, language="ar"), look(app, "/pricing?fragment=1", language="ar")

    assert '<html lang="ar" dir="rtl">' in page.text
    assert inside.text.startswith('<div class="corkage view-pricing" lang="ar" dir="rtl">')


def test_a_region_has_a_catalogue_of_its_own(settings, prices, folder):
    (folder / "pt.po").write_text(PO.format("Choose your plan", "Escolha o seu plano"))
    (folder / "pt_BR.po").write_text(PO.format("For one.", "Para uma pessoa."))
    with running(replace(settings, views=str(folder))) as app:
        brazilian, portuguese = look(app, language="pt-BR"), look(app, language="pt-PT")

    assert "Escolha o seu plano" in text_of(brazilian)
    assert "Para uma pessoa." in text_of(brazilian)
    assert "For one." in text_of(portuguese)
    assert '<html lang="pt-BR" dir="ltr">' in brazilian.text


def test_a_mistake_in_a_custom_translation_does_not_break_the_page(settings, prices, folder):
    (folder / "de.po").write_text(PO.format("Signed in as %(who)s", "Hallo %(wer)s"))
    with running(replace(settings, views=str(folder))) as app:
        assert "Signed in as ann" in text_of(look(app, "/account", "ann", language="de"))


def test_broken_templates_and_catalogues_stop_startup_together(settings, folder):
    (folder / "error.html").write_text("{{ 1 + }}")
    (folder / "pricing.html").write_bytes(b"\xff")
    (folder / "style.css").write_bytes(b"\xff")
    (folder / "de.po").write_text('msgid "x')
    (folder / "pt_XX.po").write_text(PO.format("Plans", "Planos"))

    with pytest.raises(ConfigError) as refused, running(replace(settings, views=str(folder))):
        pass

    assert [re.search(r"views/(\S+) ", problem)[1] for problem in refused.value.problems] == [
        "error.html",
        "pricing.html",
        "style.css",
        "de.po",
        "pt_XX.po",
    ]
    assert "wanted the name of a language, such as de.po" in refused.value.problems[-1]


def test_an_error_is_shown_even_when_the_custom_error_template_fails(settings, prices, folder):
    (folder / "error.html").write_text("{{ 1 / 0 }}")
    with running(replace(settings, views=str(folder))) as app:
        page = look(app, "/nothing")

    assert page.status_code == 404
    assert page.text == "There is nothing at this address."
    assert page.headers["Content-Type"] == "text/plain; charset=utf-8"


def environ(**more):
    return {"QUERY_STRING": "", "HTTP_ACCEPT_LANGUAGE": "en", "PATH_INFO": "/plans", "wsgi.url_scheme": "http", **more}


@pytest.fixture
def embedded(settings, prices):
    def authenticate(environ):
        return Identity(environ["HTTP_X_USER"]) if "HTTP_X_USER" in environ else None

    with running(replace(settings, auth_secrets=(), billing_url=None), authenticate=authenticate) as served:
        yield served.billing


def test_a_host_embeds_the_plans_in_its_own_page(embedded):
    inside = embedded.fragment("pricing", environ(HTTP_X_USER="ann", QUERY_STRING="interval=year"), base="/billing")

    assert inside.startswith('<div class="corkage view-pricing" lang="en" dir="ltr">')
    assert "<h1" not in inside
    assert "$90" in inside
    assert 'action="/billing/checkout"' in inside
    assert 'href="?interval=month"' in inside
    assert 'name="from"' not in inside


def test_a_host_embeds_the_account_in_its_own_page(embedded):
    assert "You have no plan yet." in embedded.fragment("account", environ(HTTP_X_USER="ann"), base="/billing/")
    assert 'href="/billing/pricing"' in embedded.fragment("account", environ(HTTP_X_USER="ann"), base="/billing/")


def test_a_fragment_that_cannot_be_rendered_says_why(embedded):
    with pytest.raises(NotSignedIn):
        embedded.fragment("account", environ(), base="/billing")
    with pytest.raises(NotFound, match="there are pricing, account"):
        embedded.fragment("error", environ(), base="/billing")
    with pytest.raises(NotConfigured, match="BILLING_URL"):
        embedded.fragment("pricing", environ())


def test_a_product_in_any_language_fetches_a_fragment_for_its_user(app):
    inside = look(app, "/account?fragment=1", "ann", language="fr")

    assert inside.text.startswith('<div class="corkage view-account" lang="fr" dir="ltr">')
    assert f'href="{OURS}/pricing"' in inside.text
    assert "<html" not in inside.text
    assert look(app, "/account?fragment=1").status_code == 401
