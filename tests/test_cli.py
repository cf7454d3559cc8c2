"""The command line, run as a user runs it."""

import errno
import http.client
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
import requests
import stripe
from elsewhere import elsewhere, hold
from harness import AUTH_SECRET, WEBHOOK_SECRET, started, until

from corkage.billing_app import Billing
from corkage.cli import main
from corkage.identity import mint_token
from corkage.models import remember_once
from corkage.server.serve import DRAIN_SECONDS, _drain, make_server
from corkage.simulator import ApiFaults

pytestmark = pytest.mark.slow
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def port_in(said):
    """The port that a server says it took: one that is picked here may be somebody else's by then."""
    return int(re.search(r"http://127\.0\.0\.1:(\d+)", said[-1])[1])


def test_serve_takes_webhooks_answers_and_stops_gracefully(environ, tmp_path, shop, simulator):
    with started(["serve", "--port", "0"], environ, tmp_path, "serving on") as (process, said):
        port = port_in(said)
        simulator.add_webhook_endpoint(f"http://127.0.0.1:{port}/webhook", secret=WEBHOOK_SECRET)
        shop.subscribe(shop.customer(email="ann@example.com"))
        simulator.settle()
        token = subprocess.check_output(
            [sys.executable, "-m", "corkage.cli", "token", "ann"], cwd=tmp_path, env=environ, text=True
        ).strip()
        until(lambda: ask(port, token).json()["allowed"])
        assert ask(port, token).json()["reason"] == "active"
    log = "".join(said)
    assert process.returncode == 0
    assert "Logging error" not in log
    assert "converged" in log
    assert log.rstrip().endswith("stopped")
    for secret in (AUTH_SECRET, WEBHOOK_SECRET, simulator.api_key, token, "ann@example.com"):
        assert secret not in log


def ask(port, token):
    return requests.get(f"http://127.0.0.1:{port}/access", headers={"Authorization": f"Bearer {token}"}, timeout=30)


def test_a_webhook_in_flight_is_answered_and_stored_before_stopping(environ, tmp_path, shop):
    shop.subscribe(shop.customer())
    environ["BILLING_POLL_SECONDS"] = "0"
    other = elsewhere(environ["BILLING_DATABASE"])
    with other as file, started(["serve", "--port", "0"], environ, tmp_path, "serving on") as (process, said):
        hold(file)
        sent = http.client.HTTPConnection("127.0.0.1", port_in(said), timeout=60)
        body = str(shop.event("customer.subscription.created"))
        sign = stripe.WebhookSignature.generate_signature_header
        sent.request("POST", "/webhook", body, {"Stripe-Signature": sign(body, WEBHOOK_SECRET, int(time.time()))})
        # What was sent after the webhook is answered, so the webhook is at hand.
        assert requests.get(f"http://127.0.0.1:{sent.port}/style.css", timeout=30).status_code == 200
        process.send_signal(signal.SIGTERM)
        while "stopping" not in said[-1]:
            said.append(process.stdout.readline())
            assert said[-1], "".join(said)
        file.execute("ROLLBACK")
        assert sent.getresponse().status == 200
        sent.close()
        stored = file.execute("SELECT count(*) FROM corkage_stripe_event").fetchone()
    assert (process.returncode, stored) == (0, (1,))


def is_refused(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def test_stopping_refuses_newcomers_at_once_and_ends_soon_while_stripe_hangs(environ, tmp_path, shop, simulator):
    shop.subscribe(shop.customer())
    body = str(shop.event("customer.subscription.created"))
    signature = stripe.WebhookSignature.generate_signature_header(body, WEBHOOK_SECRET, int(time.time()))
    environ |= {"BILLING_POLL_SECONDS": "0", "BILLING_URL": "https://billing.example.com"}
    token = mint_token(AUTH_SECRET, "bob", now=time.time())
    with started(["serve", "--port", "0"], environ, tmp_path, "serving on") as (process, said):
        simulator.api_faults = ApiFaults("hang")
        port = port_in(said)
        kept, click = (http.client.HTTPConnection("127.0.0.1", port, timeout=30) for _ in range(2))
        kept.request("GET", "/style.css")
        assert kept.getresponse().read()
        url = f"http://127.0.0.1:{port}"
        assert requests.post(f"{url}/webhook", body, headers={"Stripe-Signature": signature}, timeout=30).ok
        before = len(simulator.requests)
        click.request("POST", "/checkout", "plan=pro", FORM | {"Authorization": f"Bearer {token}"})
        until(lambda: any("/prices" in each.path for each in simulator.requests[before:]))  # the click is at Stripe
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()

        until(lambda: is_refused(port))
        assert process.poll() is None
        try:
            kept.request("GET", "/style.css")
            answer = kept.getresponse()
            assert (answer.status, answer.headers["Connection"]) == (200, "close")
        except OSError:  # on a machine so slow that the time for what is at hand is over
            assert time.monotonic() - begun > DRAIN_SECONDS
        assert process.wait(30) == 0
        seconds = time.monotonic() - begun
        kept.close()
        click.close()
        simulator.api_faults = ApiFaults()
    with elsewhere(environ["BILLING_DATABASE"]) as file:
        assert file.execute("SELECT count(*) FROM corkage_stripe_event").fetchone() == (1,)
    assert DRAIN_SECONDS <= seconds < 12 + 3  # generous: the machine may be slow
    assert "Traceback" not in said[-1]


def test_the_worker_beside_ends_soon_while_stripe_hangs(environ, tmp_path, simulator):
    with started(["work"], environ, tmp_path, "applying what is due") as (process, said):
        simulator.api_faults = ApiFaults("hang")
        until(lambda: any(each.path == "/v1/prices" for each in simulator.requests))
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        assert process.wait(30) == 0
        assert time.monotonic() - begun < 12
        simulator.api_faults = ApiFaults()
    assert "Traceback" not in said[-1]


def test_repeated_signals_do_not_cut_off_requests_in_flight(environ, tmp_path, shop, simulator):
    shop.subscribe(shop.customer())
    body = str(shop.event("customer.subscription.created"))
    signature = stripe.WebhookSignature.generate_signature_header(body, WEBHOOK_SECRET, int(time.time()))
    environ |= {"BILLING_POLL_SECONDS": "0", "BILLING_LOG": "info"}
    with started(["serve", "--port", "0"], environ, tmp_path, "serving on") as (process, said):
        simulator.api_faults = ApiFaults(path="/v1/subscriptions", latency_seconds=2)  # the worker waits for it
        url = f"http://127.0.0.1:{port_in(said)}/webhook"
        assert requests.post(url, body, headers={"Stripe-Signature": signature}, timeout=30).status_code == 200
        until(lambda: any(each.path == "/v1/subscriptions" and each.method == "GET" for each in simulator.requests))
        for again in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            process.send_signal(again)
            time.sleep(0.2)

    assert process.returncode == 0, said[-1]
    assert said[-1].rstrip().endswith("stopped")
    assert "Traceback" not in said[-1]


def test_serve_stops_at_sigterm_when_a_script_runs_it_in_the_background(environ, tmp_path):
    # Without job control a shell starts what is in the background with SIGINT ignored.
    shell = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
    with started(["serve", "--port", "0"], environ, tmp_path, "serving on", shell) as (process, said):
        pass

    assert process.returncode == 0
    assert "".join(said).rstrip().endswith("stopped")


def test_a_stop_in_the_moment_in_which_the_loop_accepts_is_not_lost(config, monkeypatch):
    """What is raised in that moment waitress logs, and goes on: a stop by an exception once hung for ever."""
    accepts, may_go_on = threading.Event(), threading.Event()

    def accept_slowly():
        accepts.set()
        may_go_on.wait(30)

    with closing(Billing(config)) as billing:
        server = make_server(billing, "127.0.0.1", 0)
        monkeypatch.setattr(server, "handle_accept", accept_slowly)
        loop = threading.Thread(target=server.run)
        stopping = threading.Thread(target=_drain, args=(server, billing))
        loop.start()
        stopping.start()
        assert accepts.wait(30)
        may_go_on.set()
        stopping.join(30)
        loop.join(30)
        assert not loop.is_alive()
        server.trigger.close()


def test_a_taken_port_is_a_clear_error(corkage):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = corkage("serve", "--port", str(port))

    assert refused.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_wrong_configuration_stops_startup_with_every_problem(corkage):
    refused = corkage("serve", STRIPE_SECRET_KEY="", FRONTEND_URL="", BILLING_WORKER="maybe")

    assert refused.returncode == 2
    assert [line.split(":")[0] for line in refused.stderr.splitlines()[1:]] == [
        "- STRIPE_SECRET_KEY",
        "- FRONTEND_URL",
        "- BILLING_WORKER",
    ]


def test_user_link_and_show_print_the_answer_and_its_rows(corkage, shop):
    customer = shop.customer(user=None)
    subscription = shop.subscribe(customer, user=None)

    before = corkage("user", "show", "ann")
    linked = corkage("user", "link", "ann", customer)
    shown = corkage("user", "show", "ann")
    shop.client.v1.subscriptions.cancel(subscription)
    worked = corkage("user", "link", "ann", customer)

    assert (before.returncode, before.stderr) == (1, "Error: no such user: ann\n")
    assert linked.stdout == shown.stdout
    assert shown.stdout.startswith(f"{customer}: fetched ")
    assert (
        f"subscription {subscription}: pro pro_monthly\n  by itself: yes, active (paid, and going on)" in shown.stdout
    )
    assert "  at Stripe: active, period ends " in shown.stdout
    assert "\nann: yes, active (paid, and going on)\n  plan: pro\n  features: exports, api\n" in shown.stdout
    assert "\nann: no, ended" in worked.stdout


def test_user_show_prints_each_holding_with_what_it_gives_and_why(corkage, shop, simulator, tmp_path):
    storage = simulator.add_price("storage_monthly", 200)["id"]
    with (tmp_path / "plans.toml").open("a") as plans:
        plans.write('limits = { notes = 500 }\n[storage]\nprices = ["storage_monthly"]\nadds_to = ["pro"]\n')
        plans.write("limits = { gb = 100 }\n[free]\nfree = true\nfeatures = ['notes']\n")
    customer = shop.customer()
    paid, added = shop.subscribe(customer), shop.subscribe(customer, items=[{"price": storage, "quantity": 3}])
    failed = shop.subscribe(shop.customer(card="pm_card_chargeCustomerFail"), payment_behavior="allow_incomplete")
    corkage("sync")

    shown, unknown = corkage("user", "show", "ann").stdout, corkage("user", "show", "nobody")

    addon = "by itself: yes, active (paid, and going on)\n  plan: storage\n  quantity: 3\n  limits: gb 300\n"
    assert f"subscription {added}: storage storage_monthly x 3\n  {addon}" in shown
    assert f"subscription {paid}: pro pro_monthly\n  by itself: yes, active" in shown
    assert f"subscription {failed}: pro pro_monthly\n  by itself: no, incomplete" in shown
    answer = shown.partition("\nann: yes, active")[2]
    assert "plan: pro\n  plans: pro, storage, free\n" in answer
    assert "features: exports, api, notes\n  limits: gb 300, notes 500\n" in answer
    assert (unknown.returncode, unknown.stdout, unknown.stderr) == (1, "", "Error: no such user: nobody\n")


def test_linking_a_mistyped_customer_fails_with_a_sentence(corkage):
    refused = corkage("user", "link", "ann", "cus_typo")

    assert refused.returncode == 1
    assert "unknown_customer" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_work_once_applies_what_is_due(corkage, app, shop):
    shop.subscribe(shop.customer())
    app.deliver(shop.event("customer.subscription.created"))

    # Without polling: a polled event of the same second costs the same customer a second fetch.
    worked = corkage("work", "--once", BILLING_DATABASE=app.billing.config.database, BILLING_POLL_SECONDS="0")

    assert worked.stdout == "1 customers converged, 0 failed\n"
    assert app.billing.access("ann").allowed


def test_work_runs_until_it_is_stopped(environ, tmp_path, app, shop):
    environ = environ | {"BILLING_DATABASE": app.billing.config.database, "BILLING_LOG": "info"}
    shop.subscribe(shop.customer())
    app.deliver(shop.event("customer.subscription.created"))

    with started(["work"], environ, tmp_path, "converged") as (process, said):
        pass

    assert process.returncode == 0
    assert any("applying what is due" in line for line in said)
    assert said[-1].rstrip().endswith("stopped")
    assert app.billing.access("ann").allowed


def test_work_refuses_the_key_of_another_account_at_startup(corkage, app):
    remember_once("account", "acct_another")

    refused = corkage("work", BILLING_DATABASE=app.billing.config.database)

    assert refused.returncode == 2
    assert "acct_another" in refused.stderr


def test_an_unknown_setting_is_logged_as_a_warning(corkage):
    assert "BILLING_DATABSE is set" in corkage("user", "show", "ann", BILLING_DATABSE="x").stderr


def test_a_token_needs_a_secret(corkage):
    refused = corkage("token", "ann", BILLING_AUTH_SECRET="")

    assert refused.returncode == 2
    assert "BILLING_AUTH_SECRET" in refused.stderr


@pytest.mark.parametrize("wrong", [("",), ("x" * 201,), ("ann", "--seconds", "86401"), ("ann", "--seconds", "-1")])
def test_the_token_command_refuses_what_the_server_would_refuse(wrong, monkeypatch, capsys):
    status = main(["token", *wrong])

    said = capsys.readouterr()
    assert (status, said.out) == (2, "")
    assert "1 to" in said.err


def test_the_simulator_runs_alone_and_prints_how_to_reach_it(environ, tmp_path):
    arguments = ["simulator", "--port", "0", "--webhook", "http://127.0.0.1:1/webhook", "--webhook-secret", "whsec_x"]
    with started(arguments, environ, tmp_path, "STRIPE_WEBHOOK_SECRET") as (process, said):
        text = "".join(said)
        url = re.search(r"STRIPE_API_BASE=(\S+)", text)[1]
        key = re.search(r"STRIPE_SECRET_KEY=(\S+)", text)[1]
        client = stripe.StripeClient(key, base_addresses={"api": url})
        assert client.v1.webhook_endpoints.list().data[0].url == "http://127.0.0.1:1/webhook"
        assert "simulation" in text
        assert f"{url}/control" in text
        assert requests.get(f"{url}/control", timeout=30).status_code == 200
    assert process.returncode == 0


def test_running_billing_app_py_runs_the_command_line(environ, tmp_path):
    import corkage.billing_app

    shown = subprocess.run(
        [sys.executable, corkage.billing_app.__file__, "user", "show", "ann"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (shown.returncode, shown.stderr) == (1, "Error: no such user: ann\n")


@pytest.mark.parametrize("command", ["simulator", "demo"])
def test_a_port_that_cannot_be_had_is_said_in_one_sentence(corkage, command):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = corkage(command, "--port", str(port), STRIPE_SECRET_KEY="")

    assert refused.returncode == 1
    assert refused.stdout == ""
    said = f"Cannot listen on 127.0.0.1:{port}: Address already in use; choose another with --port\n"
    assert refused.stderr == said


@pytest.mark.parametrize("port", ["65536", "99999", "-1", "http"])
def test_a_port_that_does_not_exist_is_refused(corkage, port):
    refused = corkage("simulator", "--port", port)

    assert refused.returncode == 2
    assert "65535" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_host_that_is_unknown_is_said_in_one_sentence(corkage):
    refused = corkage("simulator", "--host", "nowhere.invalid", "--port", "0")

    assert refused.returncode == 1
    assert refused.stderr.startswith("Cannot listen on nowhere.invalid:0: ")
    assert len(refused.stderr.splitlines()) == 1


PLANS = """
[pro]
name = "Pro"
prices = ["pro_monthly", "pro_yearly"]

[team]
name = "Team"
prices = ["price_1Team"]
retired = ["price_1Old"]
"""


def prices_of(folder, environ, *arguments):
    """Start a simulator that sells PLANS; return what it printed, and its prices."""
    (folder / "plans.toml").write_text(PLANS)
    command = ["simulator", "--port", "0", "--plans", "plans.toml", *arguments]
    with started(command, environ, folder, "sells Team") as (_process, said):
        url = re.search(r"STRIPE_API_BASE=(\S+)", "".join(said))[1]
        prices = requests.get(f"{url}/v1/prices?expand[]=data.product", auth=("sk_test_x", ""), timeout=30)
    return "".join(said), prices.json()["data"]


def test_the_simulator_sells_what_plans_toml_says(environ, tmp_path):
    said, found = prices_of(tmp_path, environ)

    sold = [
        (each["lookup_key"] or each["id"], each["product"]["name"], each["unit_amount"], each["recurring"]["interval"])
        for each in reversed(found)
    ]
    assert sold == [
        ("pro_monthly", "Pro", 900, "month"),
        ("pro_yearly", "Pro", 9000, "year"),
        ("price_1Team", "Team", 1900, "month"),
    ]
    assert len({each["product"]["id"] for each in found}) == 2
    assert "sells Pro: $9.00 per month, $90.00 per year" in said


def test_a_kept_simulator_does_not_sell_twice(environ, tmp_path):
    _said, first = prices_of(tmp_path, environ, "--file", "state.json")
    _said, again = prices_of(tmp_path, environ, "--file", "state.json")

    assert [each["id"] for each in again] == [each["id"] for each in first]
    assert {each["product"]["id"] for each in again} == {each["product"]["id"] for each in first}


def test_a_mistake_in_plans_toml_stops_the_simulator(corkage, tmp_path):
    (tmp_path / "plans.toml").write_text("[pro]\nname = 'Pro'\n")
    refused = corkage("simulator", "--port", "0", "--plans", str(tmp_path / "plans.toml"))

    assert refused.returncode == 2
    assert "[pro] has no prices" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_unknown_api_version_stops_the_simulator(corkage):
    refused = corkage("simulator", "--port", "0", "--api-version", "2020-08-27")

    assert refused.returncode == 2
    assert "It supports 2024-09-30.acacia to" in refused.stderr
    assert "Traceback" not in refused.stderr
