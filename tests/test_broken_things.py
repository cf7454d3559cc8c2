"""What can break, one thing after another: the doctor names it, its command mends it, and then all is well again."""

import os
import re
import time
from dataclasses import replace

import pytest
from broken import going_live
from examined import lines
from harness import AUTH_SECRET, WEBHOOK_SECRET, receiving, running, until
from rows import record_event

from corkage import storage
from corkage.health import doctor
from corkage.health.programs import Presence
from corkage.models import Setting, StripeEvent
from corkage.setup.env_file import store_settings
from corkage.simulator import ApiFaults

pytestmark = pytest.mark.slow

SYNC = "corkage sync"
ON_A_FILE = pytest.mark.one_engine("sqlite", "a file, its folder and its companions")
AT_STRIPE = pytest.mark.one_engine("sqlite", "what Stripe holds is the same beside either engine")


@pytest.fixture
def live(config, environ, shop, simulator, tmp_path):
    with going_live(config, environ, shop, simulator, tmp_path) as started:
        yield started


def wrong_in(app, check, now=None):
    """Return what is wrong in one check, asked in this process."""
    return [each for each in lines(app, now) if (each.check, each.mark) == (check, doctor.WRONG)]


# Webhooks


@AT_STRIPE
def test_a_wrong_webhook_secret(config, environ, shop, simulator, tmp_path):
    with going_live(config, environ, shop, simulator, tmp_path, webhook_secrets=("whsec_of_another",)) as live:
        assert live.doctor() == (0, [])
        shop.subscribe(shop.customer())
        simulator.settle()

        found = live.names("webhooks")
        assert "none of the 1 webhook secrets made this signature" in found["what"]
        assert found["repair"].startswith("set STRIPE_WEBHOOK_SECRET to the signing secret")
        assert "every webhook is refused" in live.health()["problems"][0]
        port, settings = live.app.server.effective_port, live.app.billing.config
    with running(replace(settings, webhook_secrets=(WEBHOOK_SECRET,)), port=port) as again:  # and Stripe tries again
        live.app = again
        until(lambda: StripeEvent.select().where(StripeEvent.type == "customer.subscription.created").exists())
        again.work()
        live.is_well()


@AT_STRIPE
def test_no_webhook_secret_and_no_polling(live):
    store_settings(live.folder / ".env", {"STRIPE_WEBHOOK_SECRET": ""})

    found = live.names("endpoint")

    assert "no webhook is accepted without STRIPE_WEBHOOK_SECRET" in found["what"]
    live.is_well(BILLING_POLL_SECONDS="10")
    live.mend(found["repair"])
    live.is_well()


@AT_STRIPE
def test_a_missing_endpoint(live, client):
    live.is_well()
    client.v1.webhook_endpoints.delete(live.endpoint["id"])

    found = live.names("endpoint")

    assert found["what"].startswith(f"Stripe has no webhook endpoint at {live.app.url}/webhook")
    look_hourly(live)
    assert live.health()["warnings"] == [found["what"]]
    live.mend(found["repair"])
    live.is_well()


@AT_STRIPE
def test_a_disabled_endpoint(live, client):
    client.v1.webhook_endpoints.update(live.endpoint["id"], params={"disabled": True})

    found = live.names("endpoint")
    look_hourly(live)
    assert live.health()["warnings"] == [found["what"]]

    assert found["what"] == f"Stripe's endpoint {live.endpoint['id']} is disabled: no webhook comes"
    live.mend(found["repair"])
    live.is_well()
    look_hourly(live)
    assert live.health()["warnings"] == []


@AT_STRIPE
def test_an_endpoint_at_another_address(live, client):
    old = f"{live.app.url}/billing/webhook"
    client.v1.webhook_endpoints.update(live.endpoint["id"], params={"url": old})

    found = live.names("endpoint")

    assert found["what"] == f"Stripe posts to {old}, and BILLING_URL makes it {live.app.url}/webhook"
    live.mend(found["repair"])
    live.is_well()


@AT_STRIPE
def test_an_endpoint_of_another_product_is_not_taken_for_ours(live, client):
    elsewhere = {"url": "https://other.example.com/webhook"}
    client.v1.webhook_endpoints.update(live.endpoint["id"], params=elsewhere)

    found = live.names("endpoint")

    assert "Stripe has no webhook endpoint at" in found["what"]
    assert live.endpoint["id"] not in found["what"] + found["repair"]


@AT_STRIPE
def test_an_endpoint_without_some_events(live, client):
    client.v1.webhook_endpoints.update(live.endpoint["id"], params={"enabled_events": ["invoice.paid"]})

    found = live.names("endpoint")

    assert re.search(r"does not send charge\.dispute\.closed, .* and \d+ others: ", found["what"])
    live.mend(found["repair"])
    live.is_well()
    assert "invoice.paid" in client.v1.webhook_endpoints.retrieve(live.endpoint["id"]).enabled_events


@AT_STRIPE
def test_an_endpoint_of_ours_that_somebody_changed(live, client):
    client.v1.webhook_endpoints.delete(live.endpoint["id"])
    live.mend("corkage push")
    (ours,) = client.v1.webhook_endpoints.list().data
    live.is_well()
    client.v1.webhook_endpoints.update(ours.id, params={"enabled_events": ["invoice.paid"]})

    found = live.names("endpoint")

    assert found["repair"] == "corkage push --overwrite"
    live.mend(found["repair"])
    live.is_well()


@AT_STRIPE
def test_an_endpoint_of_ours_whose_secret_is_not_set_here(live, client):
    client.v1.webhook_endpoints.delete(live.endpoint["id"])
    live.mend("corkage push")
    (ours,) = client.v1.webhook_endpoints.list().data
    store_settings(live.folder / ".env", {"STRIPE_WEBHOOK_SECRET": "whsec_of_another_endpoint"})

    found = live.names("endpoint")

    assert found["what"] == f"STRIPE_WEBHOOK_SECRET is not that of the endpoint {ours.id}: its webhooks are refused"
    live.mend(found["repair"])
    live.is_well()


@AT_STRIPE
@pytest.mark.parametrize(("version", "is_read"), [("2024-09-30.acacia", True), ("2024-06-20", False)])
def test_an_endpoint_of_an_old_api_version(live, simulator, version, is_read):
    with simulator.world.lock:
        live.endpoint["api_version"] = version

    code, found = live.doctor()

    assert [code, *[each["check"] for each in found]] == ([0] if is_read else [1, "endpoint"])
    if not is_read:
        assert f"sends events of the API version {version}" in found[0]["what"]
        live.mend(found[0]["repair"])
        live.is_well()


@AT_STRIPE
def test_a_thin_destination_is_an_endpoint_too(live, client, simulator):
    client.v1.webhook_endpoints.delete(live.endpoint["id"])
    made = {
        "name": "thin",
        "type": "webhook_endpoint",
        "event_payload": "thin",
        "enabled_events": ["v1.customer.subscription.updated"],
        "webhook_endpoint": {"url": f"{live.app.url}/webhook"},
    }
    client.v2.core.event_destinations.create(params=made)

    live.is_well()


@AT_STRIPE
def test_events_that_could_not_be_delivered(live, client, shop, simulator):
    live.subscriber()
    client.v1.webhook_endpoints.update(live.endpoint["id"], params={"url": "http://127.0.0.1:9/webhook"})
    before = time.time()
    until(lambda: time.time() > before + 1)
    shop.subscribe(shop.customer("bob"), user="bob")
    simulator.settle()
    client.v1.webhook_endpoints.update(live.endpoint["id"], params={"url": f"{live.app.url}/webhook"})
    simulator.deliveries.stop()  # Stripe's next try is hours away

    assert wrong_in(live.app, "deliveries", time.time() + 500) == []
    (found,) = wrong_in(live.app, "deliveries", time.time() + 700)

    assert re.match(r"\d+ events could not be delivered, the first 11 min ago, and none came since", found.what)
    assert re.fullmatch(rf"stripe events resend evt_\w+ --webhook-endpoint={live.endpoint['id']}", found.repair)


# The key


@AT_STRIPE
def test_a_revoked_key(live, simulator):
    live.subscriber()
    simulator.api_faults = ApiFaults(revoked_keys=(simulator.api_key,))

    code, found = live.doctor()
    assert live.app.billing.service.watched.seen().refused_at == 0
    record_event("evt_of_ann", "cus_ann")
    live.app.work()

    assert code == 1
    assert [each["what"] for each in found if each["check"] == "key"] == [
        "Stripe does not know STRIPE_SECRET_KEY, or it was revoked: nothing can be bought"
    ]
    assert {each["mark"] for each in found if each["check"] != "key"} == {"not checked"}
    assert "Stripe refused STRIPE_SECRET_KEY" in live.health()["problems"][0]
    simulator.api_faults = ApiFaults()
    live.mend("corkage events replay --failed")
    live.app.billing.service.gateway.account_id()
    live.is_well()


@AT_STRIPE
def test_a_restricted_key_without_a_permission(live, simulator):
    may = [
        f"{name}_write"
        for name in (
            "customer checkout_session customer_portal subscription invoice plan product event refund dispute webhook "
            "accounts_kyc_basic core"
        ).split()
    ]
    simulator.api_faults = ApiFaults(restricted_key_may=tuple(may))
    key = {"STRIPE_SECRET_KEY": "rk_test_simulator"}
    live.is_well(**key)

    for name, said in (("refund", "Charges and Refunds: Read"), ("subscription", "Subscriptions: Write")):
        less = tuple(each.replace(f"{name}_write", f"{name}_none") for each in may)
        simulator.api_faults = ApiFaults(restricted_key_may=less)
        found = [each for each in live.doctor(**key)[1] if each["check"] == "permissions"]
        assert [each["what"] for each in found] == [f"the key lacks 1 of the permissions that it needs: {said}"]
    simulator.api_faults = ApiFaults(restricted_key_may=(*(each for each in may if each != "webhook_write"),))
    code, found = live.doctor(**key)
    assert (code, found) == (0, [])  # what only the doctor reads is a note


@AT_STRIPE
def test_trying_the_permissions_changes_nothing(live, simulator):
    simulator.api_faults = ApiFaults(restricted_key_may=None)
    before = simulator.world.to_state()

    live.is_well(STRIPE_SECRET_KEY="rk_test_simulator")

    after = simulator.world.to_state()
    assert {name: each for name, each in before.items() if name == "objects"} == {
        name: each for name, each in after.items() if name == "objects"
    }


def test_a_key_of_the_other_mode(live):
    live.is_well()

    mixed = live.run("doctor", STRIPE_SECRET_KEY="sk_live_1234567890", STRIPE_API_BASE="")

    assert mixed.returncode == 2
    assert "live" in mixed.stderr
    assert "sk_live_1234567890" not in mixed.stdout + mixed.stderr


@AT_STRIPE
@pytest.mark.parametrize(("seconds", "is_wrong", "is_ill"), [(50, False, False), (70, True, False), (3600, True, True)])
def test_a_clock_that_is_behind(live, simulator, seconds, is_wrong, is_ill):
    simulator.api_faults = ApiFaults(date_ahead_seconds=seconds)

    code, found = live.doctor()
    live.app.billing.service.gateway.account_id()
    facts = live.health()

    assert [code, *[(each["check"], each["repair"]) for each in found]] == (
        [1, ("clock", "timedatectl set-ntp true")] if is_wrong else [0]
    )
    assert bool(facts["problems"]) == is_ill
    assert bool(facts["problems"] or facts["warnings"]) == is_wrong
    simulator.api_faults = ApiFaults(date_ahead_seconds=1)  # the clock is set
    live.app.billing.service.gateway.account_id()
    live.is_well()


def test_a_simulators_own_clock_is_no_problem(live, simulator):
    simulator.advance(40 * 86_400)

    live.is_well()


# What is sold


@AT_STRIPE
@pytest.mark.parametrize("kind", ["price", "product"])
def test_an_archived_price_or_product(live, client, shop, kind):
    live.is_well()
    product = client.v1.prices.retrieve(shop.price).product
    {"price": client.v1.prices, "product": client.v1.products}[kind].update(
        shop.price if kind == "price" else product, params={"active": False}
    )

    found = live.names("prices")

    assert "plan pro cannot be sold at pro_monthly, and shows no button for it: " in found["what"]
    assert "is archived" in found["what"]
    live.mend(found["repair"])
    live.is_well()


@AT_STRIPE
def test_a_price_that_stripe_does_not_have(live, client, shop):
    client.v1.prices.update(shop.price, params={"lookup_key": "another"})

    found = live.names("prices")

    assert "Stripe has no price of that key or id" in found["what"]
    client.v1.prices.update(shop.price, params={"lookup_key": "pro_monthly"})
    live.is_well()


@AT_STRIPE
def test_a_portal_that_does_not_offer_what_is_sold(live, client, shop):
    live.is_well()
    product = client.v1.prices.retrieve(shop.price).product
    yearly = {"product": product, "currency": "usd", "unit_amount": 9000, "recurring": {"interval": "year"}}
    client.v1.prices.create(params={**yearly, "lookup_key": "pro_yearly"})
    plans = live.folder / "plans.toml"
    plans.write_text(plans.read_text().replace('["pro_monthly"]', '["pro_monthly", "pro_yearly"]'))

    (found,) = [each for each in live.doctor()[1] if each["check"] == "portal"]

    assert found["what"] == "the customer portal does not offer what is sold: pro_monthly, pro_yearly"
    live.mend(found["repair"])
    assert {each["check"] for each in live.doctor()[1]} == {"answers"}  # the server has not read the file anew


@AT_STRIPE
def test_a_portal_without_cancelling(live, client):
    default = client.v1.billing_portal.configurations.list(params={"is_default": True}).data[0].id
    features = {"subscription_cancel": {"enabled": False}}
    client.v1.billing_portal.configurations.update(default, params={"features": features})

    found = live.names("portal")

    assert found["what"] == "in the customer portal users cannot cancel"
    live.mend(found["repair"])
    live.is_well()


@AT_STRIPE
def test_a_portal_that_was_never_set_up(live, simulator):
    simulator.rules.portal_is_saved = False

    found = live.names("portal")

    assert found["what"].startswith("the customer portal is not set up")
    live.mend(found["repair"])
    live.is_well()


# The file and the machine


@ON_A_FILE
def test_a_dotenv_that_everybody_can_read(live):
    dotenv = live.folder / ".env"
    dotenv.chmod(0o644)

    found = live.names("file modes")

    assert str(dotenv) in found["what"]
    live.mend(found["repair"])
    assert dotenv.stat().st_mode & 0o777 == 0o600
    live.is_well()


@ON_A_FILE
def test_a_database_that_everybody_can_read(live):
    path = live.app.billing.config.database
    os.chmod(path, 0o644)

    found = live.names("file modes")

    assert path in found["repair"]
    live.mend(found["repair"])
    assert os.stat(path).st_mode & 0o007 == 0
    live.is_well()


@ON_A_FILE
def test_a_log_that_everybody_can_read_is_made_as_private_as_its_database_by_whatever_opens_it(live):
    path = f"{live.app.billing.config.database}-wal"
    os.chmod(path, 0o644)

    live.is_well()

    assert os.stat(path).st_mode & 0o007 == 0


@ON_A_FILE
def test_a_disk_that_is_nearly_full(app, monkeypatch):
    monkeypatch.setattr("corkage.health.disk.LEAST_FREE_BYTES", 10**18)

    (found,) = wrong_in(app, "room")

    assert found.what.endswith(f"are free on the disk of {app.billing.config.database}")
    assert found.repair.startswith("df -h ")
    monkeypatch.setattr("corkage.health.disk.LEAST_FREE_BYTES", 1)
    assert wrong_in(app, "room") == []


@ON_A_FILE
def test_a_write_ahead_log_that_a_reader_keeps_from_being_emptied(live, monkeypatch, shop):
    monkeypatch.setattr("corkage.health.disk.LARGEST_WAL_BYTES", 30_000)
    live.subscriber()

    (found,) = wrong_in(live.app, "log size")
    assert live.health()["warnings"][0].startswith("the write-ahead log has ")

    live.mend(found.repair)
    assert wrong_in(live.app, "log size") == []
    assert live.health()["warnings"] == []


@ON_A_FILE
def test_a_damaged_file(app, shop):
    app.converge(shop.customer())
    storage.execute("CREATE INDEX one_too_many ON corkage_customer (id)")
    storage.execute("PRAGMA writable_schema = on")
    storage.execute("UPDATE sqlite_master SET rootpage = 3 WHERE name = 'one_too_many'")

    (found,) = wrong_in(app, "integrity")

    assert found.what.startswith("the file is damaged: ")
    assert found.repair.endswith("and restore a backup")


@ON_A_FILE
def test_a_file_too_large_to_look_through_is_a_note(app, monkeypatch):
    monkeypatch.setattr("corkage.health.checks.database.LONGEST_LOOK_SECONDS", -1.0)
    monkeypatch.setattr("corkage.health.checks.database.STEPS", 1)

    (found,) = [each for each in lines(app) if each.check == "integrity"]

    assert (found.mark, found.repair) == ("note", None)
    assert "too large to be looked through" in found.what


@ON_A_FILE
@pytest.mark.parametrize(("hours", "mark"), [(47, "ok"), (49, "note")])
def test_a_backup_is_a_line_and_an_old_one_a_note(app, hours, mark):
    (never,) = [each for each in lines(app) if each.check == "backup"]
    row = f'{{"at": {int(time.time()) - hours * 3600}, "file": "/backups/corkage.db"}}'
    Setting.insert(name="backup", value=row).execute()

    (found,) = [each for each in lines(app) if each.check == "backup"]

    assert (never.mark, never.what.partition(":")[0]) == ("note", "none was made yet")
    assert found.mark == mark
    assert found.what.endswith(" ago: /backups/corkage.db")


def test_two_programs_with_other_settings_on_one_database(live):
    other = another_program(live, plans=(), webhook_secrets=("whsec_of_another",))

    code, found = live.doctor()

    assert code == 1
    named = [re.search(r"with another (\S+) each", each["what"])[1] for each in found]
    assert named == ["BILLING_PLANS", "STRIPE_WEBHOOK_SECRET"]
    assert "whsec_" not in str(found)
    assert live.health()["warnings"] == [
        "programs on this database differ in BILLING_PLANS, STRIPE_WEBHOOK_SECRET: corkage doctor names them"
    ]
    storage.write("DELETE FROM corkage_setting WHERE name = ?", (other._name,))
    live.is_well()


def test_a_program_that_was_killed_is_not_counted(live, monkeypatch):
    another_program(live, pid=2**22 + 1, webhook_secrets=("whsec_of_another",))  # no process has this number

    live.is_well()


# What waits, fails or differs


def test_events_without_a_worker(live):
    customer, _ = live.subscriber()
    record_event("evt_waits", customer, time.time() - 400, "customer.updated")

    found = live.names("events")

    assert "does a worker run?" in found["what"]
    assert live.health()["warnings"] == ["events wait, the oldest since 6 min: does a worker run?"]
    live.mend(found["repair"])
    live.is_well()
    assert live.health()["warnings"] == []


def test_events_that_fail(live, shop, simulator):
    customer, _ = live.subscriber()
    simulator.api_faults = ApiFaults(failure="error")
    record_event("evt_fails", customer, time.time() - 10_000, "customer.updated")
    live.app.work()
    simulator.api_faults = ApiFaults()

    found = live.names("events")

    assert found["what"].startswith("1 events fail, the oldest since 2 h: stripe_failed")
    assert any(each.startswith("1 events fail, ") for each in live.health()["warnings"])
    live.mend(found["repair"])
    live.is_well()


def test_notices_that_fail(config, environ, shop, simulator, tmp_path):
    secret = "whsec_" + "A" * 43 + "="
    with receiving() as receiver:
        address = {"notify_url": receiver.url, "notify_secrets": (secret,)}
        receiver.answers = ["500 Internal Server Error"] * 2
        with going_live(config, environ, shop, simulator, tmp_path, **address) as live:
            live.environ |= {"BILLING_NOTIFY_URL": receiver.url, "BILLING_NOTIFY_SECRET": secret}
            live.subscriber()
            live.app.billing.service.receivers.deliver_due()

            found = live.names("notices")

            assert found["what"] == "1 notices are not delivered, `corkage notices` says why"
            assert "notices fail" in live.health()["warnings"][0]
            receiver.answers = []
            live.mend(found["repair"])
            live.app.billing.service.receivers.deliver_due()
            live.is_well()


@pytest.mark.parametrize("count", [1, 12])
def test_payers_at_stripe_whom_nobody_here_knows(live, client, simulator, count):
    client.v1.webhook_endpoints.update(live.endpoint["id"], params={"disabled": True})
    for number in range(count):
        customer = live.shop.customer(f"user-{number}")
        age(simulator, live.shop.subscribe(customer, user=f"user-{number}"))
    client.v1.webhook_endpoints.update(live.endpoint["id"], params={"disabled": False})

    found = live.names("payers")

    assert found["what"] == f"{count} customers pay at Stripe, and nobody here knows them"
    live.mend(found["repair"])
    live.is_well()
    assert live.app.billing.access("user-0").allowed


def test_payers_of_another_product_are_not_missed(live, client, simulator):
    client.v1.webhook_endpoints.update(live.endpoint["id"], params={"disabled": True})
    subscription = live.shop.subscribe(live.shop.customer(None), price=live.shop.other_price, user=None)
    age(simulator, subscription)
    client.v1.webhook_endpoints.update(live.endpoint["id"], params={"disabled": False})

    live.is_well()


def test_a_customer_who_pays_and_belongs_to_nobody(live, shop):
    customer = shop.customer(None, email="ann@example.com")
    shop.subscribe(customer, user=None)
    live.arrive()

    found = live.names("unowned")

    assert found["what"] == f"{customer} (ann@example.com) pays for pro and belongs to no user"
    live.mend(found["repair"].replace("USER", "ann"))
    live.is_well()


def test_many_customers_who_belong_to_nobody_are_folded(live, shop):
    for _ in range(13):
        shop.subscribe(shop.customer(None), user=None)
    live.arrive()

    short, whole = live.run("doctor"), live.run("doctor", "--all")

    assert short.stdout.count("belongs to no user") == 10
    assert "unowned: and 3 more like these; --all shows them" in short.stdout
    assert whole.stdout.count("belongs to no user") == 13
    assert len([each for each in live.doctor()[1] if each["check"] == "unowned"]) == 13
    assert short.stdout.endswith("problems: 13\n")


def test_a_user_who_pays_twice(live, shop, simulator):
    customer, _ = live.subscriber()
    shop.subscribe(customer)
    live.arrive()

    found = live.names("doubles")

    assert found["what"].startswith("user ann pays for several subscriptions of one group")
    live.mend(found["repair"])
    live.arrive()
    live.is_well()
    assert live.app.billing.access("ann").allowed


def test_a_subscription_that_stripe_has_given_up_on(live, simulator, shop):
    customer, subscription = live.subscriber()
    shop.use_card(customer, "pm_card_chargeCustomerFail")
    simulator.advance_to("renewal")
    simulator.give_up(subscription, "unpaid")
    live.arrive()

    found = live.names("unpaid")

    assert found["what"].startswith(f"{subscription} of user ann is unpaid, and Stripe has given up collecting")
    assert found["repair"] == f"corkage user cancel ann --subscription {subscription} --now"
    live.mend(found["repair"])
    live.arrive()
    live.is_well()


def test_a_customer_that_stripe_does_not_know(live, simulator):
    customer, subscription = live.subscriber()
    live.subscriber("bob")
    with simulator.world.lock:
        simulator.world.remove("customer", customer)
        simulator.world.remove("subscription", subscription)

    code, found = live.doctor()

    assert (code, {each["check"] for each in found}, {each["repair"] for each in found}) == (1, {"drift"}, {SYNC})
    assert f"Stripe does not know {customer}" in [each["what"] for each in found]
    live.mend(SYNC)
    live.is_well()


def test_a_replica_that_differs_from_stripe(live, client, shop):
    _, subscription = live.subscriber()
    client.v1.webhook_endpoints.update(live.endpoint["id"], params={"disabled": True})
    client.v1.subscriptions.cancel(subscription)
    client.v1.webhook_endpoints.update(live.endpoint["id"], params={"disabled": False})

    found = live.names("drift")

    assert found["what"].startswith("user ann: the replica says active, Stripe says ended")
    live.mend(found["repair"])
    live.is_well()


# The doctor itself


def test_a_stripe_that_is_down_is_said_by_each_check_that_needs_it(live):
    began = time.monotonic()

    code, found = live.doctor(STRIPE_API_BASE="http://127.0.0.1:9")

    assert code == 2
    assert {each["mark"] for each in found} == {"not checked"}
    assert {"key", "clock", "endpoint", "portal", "prices", "payers", "drift"} <= {each["check"] for each in found}
    assert all("stripe_unavailable" in each["what"] for each in found)
    assert time.monotonic() - began < 30


def test_a_check_with_a_bug_is_a_line_and_the_others_go_on(app, shop, monkeypatch):
    def broken(_examination):
        raise KeyError("no such thing")
        yield

    checks = (doctor.CHECKS[0], doctor.CHECKS[1]._replace(look=broken), *doctor.CHECKS[2:])
    monkeypatch.setattr(doctor, "CHECKS", checks)

    found = lines(app)

    assert [each.what for each in found if each.mark == "not checked"] == ["could not be looked at: bug: KeyError"]
    assert {each.check for each in found} >= {"write", "events", "usage"}
    assert doctor.exit_code(found) == 2


@pytest.mark.parametrize("mark", ["ok", "note", "wrong", "not checked"])
def test_the_exit_code_is_that_of_the_worst_line(mark):
    code = {"ok": 0, "note": 0, "wrong": 1, "not checked": 2}[mark]
    assert doctor.exit_code([doctor.Line("a", "ok", ""), doctor.Line("b", mark, "")]) == code
    assert doctor.exit_code([doctor.Line("a", "wrong", ""), doctor.Line("b", mark, "")]) == 1


def test_no_secret_is_printed(live):
    live.app.deliver(b"{}", secret="whsec_of_another_one")

    done = live.run("doctor", "--json", STRIPE_SECRET_KEY="rk_test_very_secret")

    for secret in ("rk_test_very_secret", WEBHOOK_SECRET, AUTH_SECRET):
        assert secret not in done.stdout + done.stderr


@pytest.mark.parametrize(("repair", "live", "printed"), [
    ("stripe subscriptions cancel sub_1", True, "stripe subscriptions cancel --live sub_1"),
    ("stripe subscriptions cancel sub_1", False, "stripe subscriptions cancel sub_1"),
    ("corkage sync", True, "corkage sync"),
])  # fmt: skip
def test_stripes_own_commands_name_live_mode(repair, live, printed):
    assert doctor._in_mode(repair, livemode=live) == printed


def another_program(live, pid=0, **settings):
    """Have a process that lives say with which settings it runs on the same database."""
    other = Presence(replace(live.app.billing.config, **settings))
    other._pid = pid or os.getppid()
    other._name += f":{other._pid}"
    other.say()
    return other


def age(simulator, subscription):
    """Have a subscription be an hour old."""
    with simulator.world.lock:
        simulator.world.get("subscription", subscription)["created"] -= 3600


def look_hourly(live):
    """Have the worker look at Stripe's endpoint, as it does each hour."""
    storage.execute("DELETE FROM corkage_cursor WHERE name = 'endpoint'")
    live.app.work()
