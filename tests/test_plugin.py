"""`app.install(billing)`, `access` and `requires` in a Bottle app; the WSGI middleware; what both mount."""

import functools
import re
import time
from contextlib import closing
from dataclasses import replace

import bottle
import pytest
import requests
from elsewhere import take_away
from harness import PRO, serving

from corkage import Billing, Identity
from corkage.errors import ConfigError, InvalidToken, NotSignedIn, PaymentRequired
from corkage.plans import Plan

TEAM = Plan("team", "Team", ("team_monthly",), features=("sharing",))


def signed_in(environ):
    user = environ.get("HTTP_X_USER")
    if user == "forged":
        raise InvalidToken("it proves nothing")
    return Identity(user) if user else None


def loud(handler):
    @functools.wraps(handler)
    def louder(*args, **kwargs):
        return handler(*args, **kwargs).upper()

    return louder


class Breaking:
    """A plugin of the host's that takes each request of the routes it is applied to for its own."""

    name, api = "breaking", 2

    def apply(self, *_):
        return lambda *_, **__: bottle.HTTPResponse("broken", 418)


class Host:
    """A Bottle app with Corkage installed, asked over HTTP."""

    def __init__(self, billing, app):
        self.billing, self.app, self.url, self.ran = billing, app, "", []

    def get(self, path, user="", **headers):
        return requests.get(self.url + path, headers={"X-User": user} | headers, allow_redirects=False, timeout=30)

    def route(self, path, handler, **options):
        self.app.get(path, callback=handler, **options)
        return self

    def noting(self, access):
        self.ran.append(access)
        return f"{access.user_id or 'visitor'}: {access.reason}"


@pytest.fixture
def config(config):
    return replace(config, plans=(PRO, TEAM), auth_secrets=())


@pytest.fixture
def billing(config):
    made = Billing(config, authenticate=signed_in)
    yield made
    made.close()


@pytest.fixture
def host(billing):
    made = Host(billing, bottle.Bottle())
    made.app.install(billing)
    with serving(made.app) as made.url:
        yield made


@pytest.fixture
def ann_has_pro(billing, shop):
    shop.subscribe(customer := shop.customer("ann"))
    billing.service.worker.converger.converge(customer, time.time())
    assert billing.access("ann").plan == "pro"


def test_installing_mounts_our_routes_and_keeps_the_hosts(host):
    host.route("/<path:path>", lambda path: f"the host's own {path}")

    assert host.get("/billing/health").json()["status"] == "ok"
    assert host.get("/billing/access").json()["error"]["code"] == "not_signed_in"
    assert host.get("/billing/access", "ann").json()["reason"] == "no_subscription"
    assert host.get("/billing").text == "the host's own billing"
    assert host.get("/health").text == "the host's own health"


def test_a_handler_with_an_access_argument_gets_the_callers(host, ann_has_pro):
    host.route("/page", host.noting)

    assert host.get("/page", "ann").text == "ann: active"
    assert host.get("/page", "bob").text == "bob: no_subscription"


@pytest.mark.parametrize("user", ["", "forged"])
def test_an_open_handler_gets_a_visitor_without_access(host, user):
    host.route("/page", host.noting)

    assert host.get("/page", user).text == "visitor: not_signed_in"
    (access,) = host.ran
    assert (access.user_id, access.allowed, access.features) == ("", False, ())


def test_access_reaches_handlers_through_decorators_never_from_the_url(host, ann_has_pro):
    host.route("/loud", loud(host.noting)).route("/plain", lambda: "plain").route("/<access>/page", host.noting)
    host.route("/type", str)

    assert host.get("/loud", "ann").text == "ANN: ACTIVE"
    assert host.get("/plain").text == "plain"
    assert host.get("/type").text == ""
    assert host.get("/outer/page", "bob").text == "bob: no_subscription"


@pytest.mark.parametrize(
    ("plans", "feature", "status"),
    [
        ((), None, 200),
        (("pro",), None, 200),
        (("team",), None, 402),
        (("team", "pro"), None, 200),
        ((), "exports", 200),
        ((), "sharing", 402),
        (("pro",), "exports", 200),
        (("pro",), "sharing", 402),
        (("team",), "exports", 402),
    ],
)
def test_a_guarded_handler_admits_users_who_paid_for_it(host, ann_has_pro, plans, feature, status):
    host.route("/paid", host.billing.requires(*plans, feature=feature)(host.noting))

    assert [host.get("/paid", user).status_code for user in ("", "forged", "bob", "ann")] == [401, 401, 402, status]
    assert [access.user_id for access in host.ran] == (["ann"] if status == 200 else [])


def test_a_guard_works_without_the_argument_and_without_the_plugin(billing, ann_has_pro):
    host = Host(billing, bottle.Bottle())
    host.route("/plain", billing.requires("pro")(lambda: "plain")).route("/paid", billing.requires()(host.noting))

    with serving(host.app) as host.url:
        assert host.get("/plain", "ann").text == "plain"
        assert host.get("/paid", "ann").text == "ann: active"
        assert host.get("/plain", "bob").status_code == 402


def test_a_refusal_is_json_for_programs_and_a_linked_page_for_browsers(host):
    host.route("/paid", host.billing.requires("pro")(host.noting))

    refused = host.get("/paid", "bob")
    page, stranger = (host.get("/paid", user, Accept="text/html") for user in ("bob", ""))

    assert refused.json()["error"]["code"] == "payment_required"
    assert refused.json()["error"]["pricing_url"] == host.billing.pricing_url
    assert (page.status_code, stranger.status_code) == (402, 401)
    assert f'<a class="button main" href="{host.billing.pricing_url}">See plans</a>' in page.text
    assert "bob" not in page.text
    assert "Please sign in" in stranger.text


def refused(host, user):
    """Return what the 402 page says to a user, and its first button."""
    page = host.get("/paid", user, Accept="text/html").text
    title, sentence = re.search(r'class="title">(.*?)</h1>\s*<p>(.*?)</p>', page).groups()
    return title, sentence, page.split('class="actions">')[1].split('<a class="button" ')[0]


def hidden(button):
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', button))


@pytest.fixture
def ungracious(config):
    made = Billing(replace(config, plans=(replace(PRO, grace_days=0), TEAM)), authenticate=signed_in)
    app = Host(made, bottle.Bottle())
    app.app.install(made)
    app.route("/paid", made.requires("pro")(app.noting))
    with serving(app.app) as app.url:
        yield app
    made.close()


def converge(host, customer):
    host.billing.service.worker.converger.converge(customer, time.time())


def test_a_failed_payment_is_said_and_the_payment_method_can_be_updated(ungracious, shop, simulator):
    shop.subscribe(customer := shop.customer("ann"))
    shop.use_card(customer, "pm_card_chargeCustomerFail")
    simulator.advance_to("renewal")
    converge(ungracious, customer)

    title, sentence, button = refused(ungracious, "ann")

    assert title == "You have no access at the moment"
    assert sentence == "Your last payment failed. Update your payment method to get access again."
    assert hidden(button) == {"flow": "payment_method_update", "from": "pages"}
    assert '<form method="post" action="/billing/portal">' in button
    assert '<button class="button main" type="submit">Update payment method</button>' in button
    assert "See plans" not in button
    posted = requests.post(
        f"{ungracious.url}/billing/portal",
        hidden(button),
        headers={"X-User": "ann", "Sec-Fetch-Site": "same-origin", "Accept": "text/html"},
        allow_redirects=False,
        timeout=30,
    )
    assert (posted.status_code, simulator.requests[-1].path) == (303, "/v1/billing_portal/sessions")


def test_an_unfinished_first_payment_can_be_finished_from_the_refusal(ungracious, shop):
    customer = shop.customer("ann", card="pm_card_chargeCustomerFail")
    shop.subscribe(customer, payment_behavior="allow_incomplete")
    converge(ungracious, customer)

    _, sentence, button = refused(ungracious, "ann")

    assert sentence == "Your first payment did not go through. Your access begins when it does."
    assert hidden(button) == {"plan": "pro", "from": "pages"}
    assert 'action="/billing/checkout"' in button
    assert "Finish payment" in button


def test_a_refusal_speaks_of_a_plan_to_its_holder_only(ungracious, shop):
    ungracious.route("/paid", ungracious.billing.requires("team")(ungracious.noting))
    subscription = shop.subscribe(customer := shop.customer("ann"))
    converge(ungracious, customer)

    holder, stranger = refused(ungracious, "ann"), refused(ungracious, "bob")
    shop.client.v1.subscriptions.cancel(subscription)
    converge(ungracious, customer)
    ended = refused(ungracious, "ann")

    includes = "This is for subscribers, and your plan does not include it."
    assert holder[:2] == ("This needs another plan", includes)
    assert stranger[:2] == ("This needs a plan", "You have no plan yet.")
    assert ended[0] == "This needs a plan"
    assert re.fullmatch(r"Your plan ended on \w+ \d+, \d{4}\.", ended[1])
    for _, _, button in (holder, stranger, ended):
        assert '<a class="button main" href="/billing/pricing">See plans</a>' in button


def test_programs_are_told_the_reason_of_a_refusal(host, ann_has_pro):
    host.route("/paid", host.billing.requires("team")(host.noting))

    errors = [host.get("/paid", user).json()["error"] for user in ("ann", "bob")]

    assert [each.pop("reason") for each in errors] == ["active", "no_subscription"]
    assert (
        errors
        == [
            {
                "code": "payment_required",
                "message": "This is for subscribers, and your plan does not include it.",
                "pricing_url": "/billing/pricing",
            }
        ]
        * 2
    )
    with pytest.raises(PaymentRequired) as raised:
        host.billing.admit("ann", "team")
    assert raised.value.access == host.billing.access("ann")


def test_a_refusal_without_the_address_of_our_routes_has_no_form(config, shop, simulator):
    made = Billing(replace(config, plans=(replace(PRO, grace_days=0), TEAM)), authenticate=signed_in)
    host = Host(made, bottle.Bottle())
    host.route("/paid", made.requires("pro")(host.noting))
    shop.subscribe(customer := shop.customer("ann"))
    shop.use_card(customer, "pm_card_chargeCustomerFail")
    simulator.advance_to("renewal")
    converge(host, customer)

    with closing(made), serving(host.app) as host.url:
        _, sentence, button = refused(host, "ann")

    assert sentence.startswith("Your last payment failed.")
    assert "<form" not in button
    assert f'href="{config.frontend_url}">See plans</a>' in button


def test_a_refusal_links_to_pricing_or_without_its_url_to_the_product(config):
    product, address = config.frontend_url, "https://app.example.com/pay"

    def led_to(install=False, **changes):
        billing = Billing(replace(config, **changes), authenticate=signed_in)
        if install:
            bottle.Bottle().install(billing)
        billing.close()
        return billing.pricing_url

    assert led_to() == product
    assert led_to(install=True) == "/billing/pricing"
    assert led_to(billing_url=address) == f"{address}/pricing"


@pytest.mark.parametrize(
    ("plans", "feature", "said"),
    [
        (("por",), None, "no plan is called 'por'; plans.toml has pro, team"),
        ((), "export", "no plan has the feature 'export'; plans.toml has api, exports, sharing"),
        (("exports",), "pro", r"(?s)'exports'.*'pro'"),
        ((len,), None, "no plan is called <built-in function len>"),
    ],
)
def test_a_guard_with_an_unknown_name_fails_at_import(billing, plans, feature, said):
    with pytest.raises(ConfigError, match=said):
        billing.requires(*plans, feature=feature)
    with pytest.raises(ConfigError, match=said):
        billing.admit("ann", *plans, feature=feature)


def test_a_mounted_route_takes_as_large_a_body_as_its_own(host):
    """Bottle puts the path of the mount in front of the route's."""

    def post(path, size):
        own = {"X-User": "ann", "Sec-Fetch-Site": "same-origin"}
        return requests.post(f"{host.url}/billing/{path}", "1" * size, headers=own, timeout=30).status_code

    answers = {size: post("webhook", size) for size in (20_000, 1024 * 1024 + 1)}
    forms = {size: post("checkout", size) for size in (16_000, 17_000)}

    assert answers == {20_000: 400, 1024 * 1024 + 1: 413}
    assert forms == {16_000: 400, 17_000: 413}


def test_without_a_database_no_guarded_handler_runs(host, ann_has_pro, caplog):
    host.route("/paid", host.billing.requires("pro")(host.noting)).route("/page", host.noting)
    take_away(host.billing.config.database)

    answers = [host.get(path, "ann") for path in ("/paid", "/page")]

    assert [(each.status_code, each.headers["Retry-After"]) for each in answers] == [(503, "5")] * 2
    assert [each.json()["error"]["code"] for each in answers] == ["database_unavailable"] * 2
    assert host.ran == []
    assert "the database is unavailable, trying again" in caplog.text


def test_an_error_of_corkage_in_a_handler_becomes_the_response(host):
    host.route("/manage", lambda: bottle.redirect(host.billing.portal_url("ann")))

    assert (host.get("/manage").status_code, host.get("/manage").json()["error"]["code"]) == (409, "no_billing_account")


def test_any_host_can_check_access_in_python(billing, ann_has_pro):
    assert billing.admit("ann", "pro", feature="exports") == billing.access("ann")
    with pytest.raises(PaymentRequired, match="'bob' has no_subscription"):
        billing.admit("bob")
    for nobody in (None, ""):
        with pytest.raises(NotSignedIn):
            billing.admit(nobody, "pro")


def test_the_hosts_plugins_do_not_apply_to_our_routes(host):
    host.app.install(Breaking())
    host.route("/own", lambda: "own")

    assert host.get("/own").status_code == 418
    assert host.get("/billing/health").status_code == 200
    assert host.get("/billing/nothing").json()["error"]["code"] == "not_found"


def test_the_routes_are_mounted_at_the_path_of_billing_url(config):
    billing = Billing(replace(config, billing_url="https://app.example.com/pay/here"), authenticate=signed_in)
    host = Host(billing, bottle.Bottle())
    host.app.install(billing)

    with serving(host.app) as host.url:
        assert host.get("/pay/here/health").status_code == 200
        assert host.get("/billing/health").status_code == 404
    billing.close()


def test_a_billing_url_without_a_path_cannot_be_mounted(config):
    billing = Billing(replace(config, billing_url="https://billing.example.com"), authenticate=signed_in)
    app = bottle.Bottle()

    with pytest.raises(ConfigError, match=r"https://billing\.example\.com/billing"):
        app.install(billing)
    with pytest.raises(ConfigError, match="BILLING_URL"):
        billing.middleware(app)

    assert app.routes == app.plugins[2:] == []
    billing.close()


def test_installing_twice_is_refused_and_manual_mounts_stay(billing):
    host = Host(billing, bottle.Bottle())
    host.app.mount("/by/hand/", billing.wsgi)
    host.app.install(billing)

    with pytest.raises(ConfigError, match="installed in this app already"):
        host.app.install(billing)

    with serving(host.app) as host.url:
        assert host.get("/by/hand/health").status_code == 200
        assert host.get("/billing/health").status_code == 404


def test_one_billing_serves_two_apps_and_closes_with_either(billing):
    apps = bottle.Bottle(), bottle.Bottle()
    for app in apps:
        app.install(billing)
        with serving(app) as url:
            assert requests.get(f"{url}/billing/health", timeout=30).status_code == 200

    apps[0].close()

    with pytest.raises(RuntimeError, match="no database is open"):
        billing.access("ann")


def test_the_middleware_takes_only_requests_below_its_path(billing):
    def product(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode()]

    host = Host(billing, None)
    with serving(billing.middleware(product, path="/pay")) as host.url:
        assert host.get("/pay/health").json()["status"] == "ok"
        assert host.get("/pay").json()["about"].startswith("Billing for ")
        assert host.get("/payment/health").text == "|/payment/health"
        assert host.get("/billing/health").text == "|/billing/health"
        assert host.get("/").text == "|/"


FREE = Plan("free", "Free", free=True, features=("notes",), limits={"notes": 50})
STORAGE = Plan("storage", "Storage", ("storage_monthly",), features=("sharing",), adds_to=("pro",))


@pytest.mark.parametrize(
    ("given", "plans", "feature", "status"),
    [
        ((), (), "notes", 200),
        ((), ("free",), None, 200),
        ((), ("free",), "notes", 200),
        ((), (), None, 402),
        ((), ("pro",), None, 402),
        ((), ("pro", "free"), "exports", 402),
        (("pro",), (), "notes", 200),
        (("pro",), ("free",), None, 200),
        (("pro", "team"), ("pro",), None, 200),
        (("pro", "team"), (), "exports", 200),
        (("pro", "storage"), ("storage",), None, 200),
        (("pro", "storage"), (), "sharing", 200),
        (("storage",), ("storage",), None, 402),
        (("storage",), (), "sharing", 402),
    ],
)
def test_a_guard_looks_in_all_plans_and_the_free_one_lets_in_by_name(config, given, plans, feature, status):
    with closing(Billing(replace(config, plans=(FREE, PRO, TEAM, STORAGE)), authenticate=signed_in)) as billing:
        for plan in given:
            billing.grant("ann", plan)
        host = Host(billing, bottle.Bottle())
        host.app.install(billing)
        host.route("/paid", billing.requires(*plans, feature=feature)(host.noting))
        with serving(host.app) as host.url:
            assert host.get("/paid", "ann").status_code == status
            assert host.get("/paid").status_code == 401
        assert len(host.ran) == (status == 200)
        if status == 402:
            with pytest.raises(PaymentRequired):
                billing.admit("ann", *plans, feature=feature)
        else:
            assert billing.admit("ann", *plans, feature=feature) == billing.access("ann")
