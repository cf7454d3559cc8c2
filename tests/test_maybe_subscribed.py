"""A payer who is not linked yet is asked before they pay twice, and no stranger learns whether an e-mail pays."""

import logging
import time
from dataclasses import replace

import jwt
import pytest
import requests
from buying import bearer, click, pay, url_of
from harness import AUTH_SECRET, PRO, is_error, running
from moving_in import move_in, owners, stranger

from corkage.errors import MaybeSubscribed
from corkage.identity import Identity, mint_token
from corkage.models import CheckoutAttempt, Customer, User
from corkage.plans import Plan
from corkage.sync.resync import resync

ASKED = MaybeSubscribed.sentence
COURSE = Plan("course", "Course", ("course_monthly",), group="school")


@pytest.fixture
def config(config):
    return replace(config, billing_url="https://billing.example.com")


def sync(app):
    resync(app.billing.service.worker.converger, time.time())


def buy(app, user="ann", email="ann@example.com", *, verified=False, page=False, **fields):
    minted = mint_token(AUTH_SECRET, user, email=email, email_verified=verified, now=time.time(), lifetime_seconds=600)
    headers = bearer(minted) | ({"Accept": "text/html", "Sec-Fetch-Site": "same-origin"} if page else {})
    body = {"plan": "pro"} | fields
    return requests.post(f"{app.url}/checkout", body, headers=headers, allow_redirects=False, timeout=30)


def test_who_may_pay_already_is_asked_and_buys_only_after_that(app, shop, simulator):
    stranger(shop, "Ann@Example.com")
    sync(app)
    before = len(simulator.requests)

    assert is_error(buy(app, verified=True), 409, "maybe_subscribed")
    assert len(simulator.requests) == before
    assert CheckoutAttempt.select().count() == 0

    pay(url_of(buy(app, verified=True, again="yes")))
    assert len(simulator.world.all("subscription")) == 2


def test_a_page_asks_in_the_visitors_language_and_its_button_goes_on(app, shop):
    stranger(shop, "ann@example.com")
    sync(app)

    page = buy(app, page=True, verified=True, **{"from": "pages"})

    assert page.status_code == 409
    assert ASKED in page.text
    for field in ('name="plan" value="pro"', 'name="again" value="yes"', 'name="from" value="pages"'):
        assert field in page.text
    assert "ann@example.com" not in page.text
    assert "cus_" not in page.text
    assert "Haben Sie schon einmal abonniert?" in _in_german(app)
    assert buy(app, page=True, verified=True, again="yes").status_code in (200, 303)


def _in_german(app):
    minted = mint_token(AUTH_SECRET, "ann", email="ann@example.com", now=time.time(), lifetime_seconds=600)
    headers = bearer(minted) | {"Accept": "text/html", "Accept-Language": "de", "Sec-Fetch-Site": "same-origin"}
    return requests.post(f"{app.url}/checkout", {"plan": "pro"}, headers=headers, timeout=30).text


@pytest.mark.parametrize("sender", [{"HX-Request": "true"}, {"Accept": "text/vnd.turbo-stream.html, text/html"}])
def test_turbo_and_htmx_are_led_to_the_page_that_asks(app, shop, sender):
    stranger(shop, "ann@example.com")
    sync(app)

    answer = click(app, "/checkout", body={"plan": "pro", "quantity": "1"}, **sender)
    where = (answer.headers.get("HX-Redirect") or answer.headers["Location"]).rpartition("/")[2]
    page = requests.get(requests.compat.urljoin(f"{app.url}/", where), headers={"Accept": "text/html"}, timeout=30)

    assert page.status_code == 200
    assert ASKED in page.text
    assert 'name="plan" value="pro"' in page.text
    assert 'name="again" value="yes"' in page.text


def test_a_stranger_cannot_learn_by_an_unverified_email_whether_it_pays(app, shop):
    """All that anybody can see is the same for an e-mail that pays and for one that does not."""
    stranger(shop, "payer@example.com")
    sync(app)

    seen = []
    for user, email in (("eve", "payer@example.com"), ("joe", "nobody@example.com")):
        answer = buy(app, user, email)
        seen.append((answer.status_code, answer.text, sorted(answer.headers), User.get_by_id(user).said_email))

    assert seen[0][:-1] == seen[1][:-1]
    assert seen[0][0] == 409
    assert [each[-1] for each in seen] == ["payer@example.com", "nobody@example.com"]


def test_who_has_another_verified_email_is_not_asked(app, shop):
    stranger(shop, "payer@example.com")
    sync(app)

    assert buy(app, "joe", "joe@example.com", verified=True).status_code == 200


def test_without_an_email_nobody_is_asked(app, shop):
    stranger(shop, "payer@example.com")
    sync(app)

    assert buy(app, "joe", None).status_code == 200


def test_the_operator_reads_whose_it_may_be_and_the_command_and_of_others_nothing(app, shop, caplog):
    customer = stranger(shop, "ann@example.com")
    sync(app)
    caplog.set_level(logging.WARNING, "corkage.checkout")

    buy(app, "joe", "joe@example.com")
    assert caplog.messages == []
    buy(app, "ann", "ANN@example.com")

    (said,) = caplog.messages
    assert f"corkage user link ann {customer}" in said
    assert "does not say is verified" in said
    assert "@" not in said


@pytest.mark.parametrize("arrange", ["linked", "canceled", "deleted", "no subscription", "another product"])
def test_while_nobody_pays_without_a_user_nobody_is_asked(app, shop, arrange):
    price = shop.other_price if arrange == "another product" else None
    customer = shop.customer(None, email="ann@example.com") if arrange == "no subscription" else None
    customer = customer or stranger(shop, "ann@example.com", price)
    sync(app)
    if arrange == "linked":
        move_in(app, {"bob": customer}, time.time())
    if arrange == "canceled":
        held = shop.client.v1.subscriptions.list(params={"customer": customer}).data[0].id
        shop.client.v1.subscriptions.cancel(held)
    if arrange == "deleted":
        shop.client.v1.customers.delete(customer)
    sync(app)

    assert buy(app).status_code == 200
    assert buy(app, "eve", "ann@example.com", verified=True).status_code == 200


def test_who_was_linked_after_that_is_led_to_the_portal(app, shop, simulator):
    customer = stranger(shop, "ann@example.com")
    sync(app)
    assert buy(app).status_code == 409

    app.billing.service.worker.converger.link("ann", customer, time.time())

    assert "/p/session/" in url_of(buy(app)) or "billing" in url_of(buy(app))
    assert len(simulator.world.all("subscription")) == 1
    assert owners() == {customer: "ann"}


def test_a_plan_of_another_group_is_sold_without_a_question(config, shop):
    product = shop.client.v1.products.create(params={"name": "Course"}).id
    price = {"product": product, "currency": "usd", "unit_amount": 900, "lookup_key": "course_monthly"}
    shop.client.v1.prices.create(params=price | {"recurring": {"interval": "month"}})
    stranger(shop, "ann@example.com")
    with running(replace(config, plans=(PRO, COURSE))) as app:
        sync(app)

        assert buy(app, plan="course").status_code == 200
        assert buy(app, plan="pro").status_code == 409


def test_a_subscriber_is_led_to_what_they_have_and_not_asked(app, shop):
    stranger(shop, "payer@example.com")
    shop.subscribe(shop.customer())
    sync(app)

    assert buy(app).status_code == 200


def test_the_hosts_own_code_gets_an_error_that_it_can_answer(app, shop):
    stranger(shop, "ann@example.com")
    sync(app)
    asked = {"billing_url": "https://billing.example.com"}
    identity = Identity("ann", "ann@example.com", email_verified=True)

    with pytest.raises(MaybeSubscribed):
        app.billing.checkout_url(identity, "pro", **asked)
    assert app.billing.checkout_url(identity, "pro", again=True, **asked)


def test_webhooks_alone_are_enough_to_know_of_a_payer(app, shop):
    customer = stranger(shop, "ann@example.com")
    app.deliver(shop.event("customer.subscription.created"))
    app.work(time.time() + 1)

    assert Customer.get_by_id(customer).unowned_email
    assert buy(app).status_code == 409


def test_an_email_itself_is_not_stored_for_a_customer_without_user(app, shop):
    customer = stranger(shop, "ann@example.com")
    sync(app)

    row = Customer.get_by_id(customer)
    assert "ann" not in str(row.__data__)
    move_in(app, {"ann": customer}, time.time())
    assert Customer.get_by_id(customer).unowned_email is None


@pytest.mark.parametrize("claim", ["true", 1, "yes", [True]])
def test_a_claim_that_is_not_true_verifies_no_email(app, shop, claim):
    stranger(shop, "payer@example.com")
    sync(app)
    claims = {"sub": "joe", "aud": "corkage", "exp": int(time.time()) + 60, "email": "joe@example.com"}
    minted = jwt.encode(claims | {"email_verified": claim}, AUTH_SECRET, "HS256")

    answer = requests.post(f"{app.url}/checkout", {"plan": "pro"}, headers=bearer(minted), timeout=30)

    assert is_error(answer, 409, "maybe_subscribed")


def test_whether_an_email_is_verified_is_true_or_false():
    assert not Identity("ann").email_verified
    with pytest.raises(ValueError, match="email_verified is True or False"):
        Identity("ann", email_verified="yes")
