"""`corkage init`: from an empty folder to settings, plans and an endpoint; and again, without harm."""

import os
import re
import stat

import pytest
from dotenv import dotenv_values
from in_terminal import typed

from corkage.config import Config
from corkage.simulator import ApiFaults

PRODUCT, ADDRESS = "http://127.0.0.1:9", "http://127.0.0.1:9/billing"


@pytest.fixture
def environ(tmp_path):
    """No settings at all."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BILLING_", "STRIPE_"))}
    return kept | {"PYTHONUNBUFFERED": "1"}


@pytest.fixture
def flags(simulator):
    flags = {
        "--key": simulator.api_key,
        "--api-base": simulator.url,
        "--frontend-url": PRODUCT,
        "--billing-url": ADDRESS,
    }
    return [each for pair in flags.items() for each in pair]


def settings(tmp_path):
    return dotenv_values(tmp_path / ".env", interpolate=False)


def test_an_empty_folder_has_settings_plans_and_an_endpoint_afterwards(corkage, flags, simulator, tmp_path):
    done = corkage("init", *flags, "--yes")

    assert (done.returncode, done.stderr) == (0, "The endpoint's secret is in .env, as STRIPE_WEBHOOK_SECRET.\n")
    (endpoint,) = simulator.world.all("webhook_endpoint")
    assert settings(tmp_path)["STRIPE_WEBHOOK_SECRET"] == endpoint["secret"]
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    environ = settings(tmp_path) | {"BILLING_PLANS": str(tmp_path / "plans.toml")}
    config = Config.from_env(environ, None)
    assert (config.frontend_url, config.billing_url) == (PRODUCT, ADDRESS)
    assert [price.unit_amount for price in config.plans[0].wanted_prices] == [900, 9000]


def test_a_place_where_nothing_can_be_written_is_named(corkage, flags, tmp_path):
    (tmp_path / ".env").symlink_to("nowhere/file")

    done = corkage("init", *flags, "--yes")

    assert done.returncode == 1
    assert re.search(r"nowhere/file\S* cannot be written: No such file or directory$", done.stderr.strip())


def test_no_secret_is_printed(corkage, flags, simulator, tmp_path):
    done = corkage("init", *flags, "--yes")

    printed = done.stdout + done.stderr
    secrets = [
        settings(tmp_path)[name] for name in ("STRIPE_WEBHOOK_SECRET", "BILLING_AUTH_SECRET", "BILLING_ADMIN_TOKEN")
    ]
    assert [each for each in (*secrets, simulator.api_key) if each in printed] == []
    assert len(set(secrets)) == 3
    assert min(map(len, secrets)) >= 32


def test_a_second_run_changes_nothing(corkage, flags, simulator, tmp_path):
    corkage("init", *flags, "--yes")
    before = [(tmp_path / name).read_text() for name in (".env", "plans.toml")]
    endpoints = [dict(each) for each in simulator.world.all("webhook_endpoint")]

    for again in (["init", "--yes"], ["init", *flags, "--yes"]):
        done = corkage(*again)
        assert (done.returncode, done.stdout.splitlines()[:2]) == (
            0,
            [".env is as it was.", "plans.toml is as it was."],
        )
    assert [(tmp_path / name).read_text() for name in (".env", "plans.toml")] == before
    assert simulator.world.all("webhook_endpoint") == endpoints


def test_what_stands_in_the_env_file_stays(corkage, flags, tmp_path):
    mine = "# mine\nBILLING_NAME=Notes\nBILLING_AUTH_SECRET=a-secret-of-at-least-thirty-two-bytes\n"
    (tmp_path / ".env").write_text(mine)
    (tmp_path / "plans.toml").write_text('[gold]\nprices = ["gold"]\n')

    assert corkage("init", *flags, "--yes").returncode == 0

    assert (tmp_path / ".env").read_text().startswith(mine)
    assert (tmp_path / "plans.toml").read_text() == '[gold]\nprices = ["gold"]\n'


def test_a_key_that_stripe_does_not_know_writes_nothing(corkage, flags, tmp_path, simulator):
    flags[1] = "sk_live_nobodys"

    done = corkage("init", *flags, "--yes")

    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    assert "STRIPE_SECRET_KEY" in done.stderr
    assert "nobodys" not in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [("--key", "pk_test_1", "the publishable one"), ("--frontend-url", "app", "FRONTEND_URL: wanted"),
     ("--billing-url", "ftp://x", "BILLING_URL: wanted"), ("--currency", "dollars", "three letters")],
)  # fmt: skip
def test_a_wrong_value_is_not_written(corkage, flags, tmp_path, option, value, wanted):
    done = corkage("init", *flags, option, value, "--yes")

    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert wanted in done.stderr


def test_without_a_terminal_what_is_missing_is_named(corkage, tmp_path):
    done = corkage("init", "--yes")

    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "STRIPE_SECRET_KEY is not set, and nobody can be asked: give --key" in done.stderr


def test_without_yes_and_without_a_terminal_no_endpoint_is_made(corkage, flags, simulator):
    done = corkage("init", *flags)

    assert (done.returncode, simulator.world.all("webhook_endpoint")) == (1, [])


def test_without_an_address_of_its_own_it_polls_and_says_so(corkage, flags, simulator):
    done = corkage("init", *flags[:-2], "--yes")

    assert done.returncode == 0
    assert "asks Stripe every 10 s" in done.stdout
    assert simulator.world.all("webhook_endpoint") == []


def test_the_amount_and_the_currency_are_those_asked_for(corkage, flags, tmp_path):
    corkage("init", *flags, "--amount", "500", "--currency", "EUR", "--yes")

    plans = (tmp_path / "plans.toml").read_text()
    assert 'unit_amount = 500, currency = "eur", interval = "month"' in plans
    assert 'unit_amount = 5000, currency = "eur", interval = "year"' in plans


def test_a_restricted_keys_permissions_are_listed_with_a_link(corkage, flags):
    printed = corkage("init", *flags, "--yes").stdout

    assert "  Customers            Write  serve\n" in printed
    assert "  Webhook Endpoints    Write  init, push\n" in printed
    (link,) = [line.strip() for line in printed.splitlines() if "dashboard" in line]
    assert link.startswith(
        "https://dashboard.stripe.com/test/apikeys/create?name=Corkage&permissions[]=rak_customer_write"
    )
    assert "Billing Meters" not in printed


def test_a_restricted_key_with_these_permissions_is_enough_and_one_less_is_named(corkage, flags, simulator):
    flags[1] = "rk_test_restricted"
    may = ("webhook_write", "product_write", "plan_write", "customer_portal_write")
    simulator.api_faults = ApiFaults(restricted_key_may=may)
    assert corkage("init", *flags, "--yes").returncode == 0
    assert corkage("push", "--yes").returncode == 0

    simulator.api_faults = ApiFaults(restricted_key_may=may[1:])
    done = corkage("init", "--yes")
    assert (done.returncode, "rak_webhook_read" in done.stderr) == (1, True)


def test_a_lost_secret_is_not_replaced_by_yes_alone(corkage, flags, simulator, tmp_path):
    corkage("init", *flags, "--yes")
    (endpoint,) = simulator.world.all("webhook_endpoint")
    left = [line for line in (tmp_path / ".env").read_text().splitlines() if "WEBHOOK" not in line]
    (tmp_path / ".env").write_text("\n".join(left) + "\n")

    done = corkage("init", "--yes")

    assert (done.returncode, "its secret is not set here" in done.stderr) == (1, True)
    assert [each["id"] for each in simulator.world.all("webhook_endpoint")] == [endpoint["id"]]


def test_a_lost_secret_is_replaced_when_somebody_says_so(corkage, flags, simulator, tmp_path, environ):
    corkage("init", *flags, "--yes")
    (before,) = simulator.world.all("webhook_endpoint")
    left = [line for line in (tmp_path / ".env").read_text().splitlines() if "WEBHOOK" not in line]
    (tmp_path / ".env").write_text("\n".join(left) + "\n")

    typed(["init"], ["y", "y"], tmp_path, environ)

    (after,) = simulator.world.all("webhook_endpoint")
    assert before["id"] != after["id"]
    assert settings(tmp_path)["STRIPE_WEBHOOK_SECRET"] == after["secret"]


def test_on_a_terminal_it_asks_and_does_not_echo_the_key(simulator, tmp_path, environ):
    answers = [simulator.api_key, "app", PRODUCT, ADDRESS, "y"]

    printed = typed(["init", "--api-base", simulator.url], answers, tmp_path, environ)

    assert settings(tmp_path)["STRIPE_SECRET_KEY"] == simulator.api_key
    assert (settings(tmp_path)["FRONTEND_URL"], settings(tmp_path)["BILLING_URL"]) == (PRODUCT, ADDRESS)
    assert simulator.api_key not in printed
    assert "FRONTEND_URL: wanted" in printed  # of the wrong answer, and asked again
