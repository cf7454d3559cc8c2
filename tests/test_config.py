"""Settings: read once, all problems at once, and nothing secret shown."""

import pytest

from corkage.config import Config, origin_of
from corkage.errors import ConfigError
from corkage.plans import read_plans

SECRETS = ("sk_test_verysecret", "whsec_verysecret", "verysecret-verysecret-verysecret-1")
PLANS = """
[pro]
name = "Pro"
prices = ["pro_monthly", "pro_yearly"]
features = ["exports"]
trial_days = 14
grace_days = 7
retired = ["price_1Old"]

[team]
name = "Team"
prices = ["team_monthly"]
pending = "deny"
"""


@pytest.fixture
def plans(tmp_path):
    path = tmp_path / "plans.toml"
    path.write_text(PLANS)
    return path


@pytest.fixture
def environ(plans):
    return {
        "STRIPE_SECRET_KEY": SECRETS[0],
        "FRONTEND_URL": "https://app.example.com/home/",
        "BILLING_PLANS": str(plans),
    }


def read(environ, **changes):
    return Config.from_env({k: v for k, v in (environ | changes).items() if v is not None}, dotenv_path=None)


def problems_of(environ, **changes):
    with pytest.raises(ConfigError) as refused:
        read(environ, **changes)
    return refused.value.problems


def test_what_is_required_is_enough_and_the_rest_has_defaults(environ):
    config = read(environ)

    assert (config.app, config.frontend_url, config.frontend_origins) == (
        "app.example.com",
        "https://app.example.com/home",
        frozenset({"https://app.example.com"}),
    )
    assert (config.worker, config.settle_seconds, config.keep_events_days, config.log) == ("thread", 2, 90, "info")
    assert (config.webhook_secrets, config.auth_secrets, config.livemode) == ((), (), False)
    assert [plan.key for plan in config.plans] == ["pro", "team"]
    assert config.plans[0].prices == ("pro_monthly", "pro_yearly")
    assert (config.plans[0].pending, config.plans[1].pending) == ("allow", "deny")


@pytest.mark.parametrize(("secret", "seconds"), [(None, 10), ("whsec_a", 300)])
def test_polling_is_eager_where_no_webhook_secret_is_set(environ, secret, seconds):
    assert read(environ, STRIPE_WEBHOOK_SECRET=secret).poll_seconds == seconds


def test_secrets_are_lists_and_never_shown(environ):
    config = read(environ, STRIPE_WEBHOOK_SECRET=f"whsec_a, {SECRETS[1]},", BILLING_AUTH_SECRET=SECRETS[2])

    assert config.webhook_secrets == ("whsec_a", SECRETS[1])
    assert "verysecret" not in f"{config!r} {config}"


def test_all_problems_come_at_once_and_hold_no_secret(tmp_path):
    problems = problems_of(
        {},
        STRIPE_SECRET_KEY="verysecret",
        STRIPE_WEBHOOK_SECRET="verysecret",
        BILLING_AUTH_SECRET="verysecret",
        BILLING_WORKER="threads",
        BILLING_POLL_SECONDS="-1",
        BILLING_SETTLE_SECONDS="soon",
        BILLING_KEEP_EVENTS_DAYS="30",
        BILLING_DATABASE="postgresql://localhost/x",
        BILLING_LOG="loud",
        BILLING_PLANS=str(tmp_path / "none.toml"),
    )

    named = {problem.split(":")[0] for problem in problems}
    assert named == {
        "STRIPE_SECRET_KEY",
        "STRIPE_WEBHOOK_SECRET",
        "FRONTEND_URL",
        "BILLING_AUTH_SECRET",
        "BILLING_WORKER",
        "BILLING_POLL_SECONDS",
        "BILLING_SETTLE_SECONDS",
        "BILLING_KEEP_EVENTS_DAYS",
        "BILLING_DATABASE",
        "BILLING_LOG",
        "BILLING_PLANS",
    }
    assert all("wanted" in problem for problem in problems)
    assert "verysecret" not in "\n".join(problems)


@pytest.mark.parametrize(
    "value",
    [
        "app.example.com",
        "ftp://app.example.com",
        "https://",
        "https://user:pass@app.example.com",
        "https://app.example.com:99999",
        "https://app.example.com/?next=1",
        "https://app.example.com/#top",
        "https://app.example.com\\@evil.example",
        "https://app example.com",
        "javascript:alert(1)",
        "//app.example.com",
        "https://[::1",
    ],
)
def test_an_address_that_is_none_is_refused(environ, value):
    (problem,) = problems_of(environ, FRONTEND_URL=value)

    assert problem.startswith("FRONTEND_URL: wanted")


@pytest.mark.parametrize(
    ("name", "value", "passes"),
    [
        ("STRIPE_SECRET_KEY", "rk_live_abc", True),
        ("STRIPE_SECRET_KEY", "pk_test_abc", False),
        ("STRIPE_API_BASE", "http://127.0.0.1:12111", True),
        ("STRIPE_API_BASE", "http://127.0.0.1:12111/v1", False),
        ("BILLING_AUTH_SECRET", "x" * 32, True),
        ("BILLING_AUTH_SECRET", "x" * 31, False),
        ("BILLING_AUTH_SECRET", "ä" * 16, True),
        ("BILLING_KEEP_EVENTS_DAYS", "31", True),
        ("BILLING_KEEP_EVENTS_DAYS", "30", False),
        ("BILLING_POLL_SECONDS", "0", True),
        ("BILLING_POLL_SECONDS", "86401", False),
        ("BILLING_SETTLE_SECONDS", "60", True),
        ("BILLING_SETTLE_SECONDS", "61", False),
        ("BILLING_DATABASE", "sqlite:////var/lib/corkage.db", True),
        ("BILLING_DATABASE", ":memory:", False),
        ("BILLING_APP", "x" * 200, True),
        ("BILLING_APP", "x" * 201, False),
    ],
)
def test_each_boundary_has_two_sides(environ, name, value, passes):
    if passes:
        read(environ, **{name: value})
    else:
        assert [problem.split(":")[0] for problem in problems_of(environ, **{name: value})] == [name]


def test_a_live_key_says_so(environ):
    assert read(environ, STRIPE_SECRET_KEY="sk_live_abc").livemode


def test_an_empty_setting_counts_as_not_set(environ):
    assert read(environ, BILLING_WORKER=" ", BILLING_AUTH_SECRET="").worker == "thread"


def test_a_setting_nobody_knows_is_remembered_by_name_only(environ):
    config = read(environ, BILLING_DATABSE="secret", BILLING_PLAN="x", OTHER="y")

    assert config.unknown_settings == ("BILLING_DATABSE", "BILLING_PLAN")


def test_the_environment_wins_over_the_env_file(environ, tmp_path):
    path = tmp_path / ".env"
    path.write_text("BILLING_WORKER=off\nBILLING_LOG=error\nBILLING_SETTLE_SECONDS=\n")

    config = Config.from_env(environ | {"BILLING_LOG": "debug"}, dotenv_path=str(path))

    assert (config.worker, config.log, config.settle_seconds) == ("off", "debug", 2)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://App.Example.com:443/x", "https://app.example.com"),
        ("http://app.example.com:80", "http://app.example.com"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
    ],
)
def test_origins_are_written_as_browsers_do(url, origin):
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    ("text", "line", "wanted"),
    [
        ('[pro]\nname = "Pro"\n', 1, "has no prices"),
        ('[pro]\nprices = ["a"]\n', 1, "has no name"),
        ('[pro]\nname = "Pro"\nprices = []\n', 3, "at least one text"),
        ('[pro]\nname = "Pro"\nprices = "a"\n', 3, "at least one text"),
        ('[pro]\nname = "Pro"\nprices = ["a", "a"]\n', 3, "without doubles"),
        ('[pro]\nname = "Pro"\nprices = ["a"]\ntrial_days = "14"\n', 4, "a whole number from 0 to 730"),
        ('[pro]\nname = "Pro"\nprices = ["a"]\ngrace_days = true\n', 4, "a whole number from 0 to 365"),
        ('[pro]\nname = "Pro"\nprices = ["a"]\ngrace_days = 366\n', 4, "a whole number from 0 to 365"),
        ('[pro]\nname = "Pro"\nprices = ["a"]\npending = "maybe"\n', 4, '"allow" or "deny"'),
        ('[pro]\nname = "Pro"\nprice = "a"\nprices = ["b"]\n', 3, "wanted one of name, prices"),
        ('[pro]\nname = ""\nprices = ["a"]\n', 2, "wanted a text"),
        ('[a]\nname="A"\nprices=["x"]\n\n[b]\nname="B"\nprices=["x"]\n', 7, "each price once"),
        ('[a]\nname="A"\nprices=["x"]\nretired=["x"]\n', 4, "each price once"),
        ('["Pro Plan"]\nname = "Pro"\nprices = ["a"]\n', 1, "small letters"),
        ('name = "Pro"\n', 1, "outside of any plan"),
    ],
)
def test_a_fault_in_plans_toml_names_its_line_and_what_was_wanted(tmp_path, text, line, wanted):
    path = tmp_path / "plans.toml"
    path.write_text(text)

    with pytest.raises(ConfigError) as refused:
        read_plans(path)

    assert f"plans.toml, line {line}: " in str(refused.value)
    assert wanted in str(refused.value)


@pytest.mark.parametrize(("content", "wanted"), [(b"[pro\n", "line 1"), (b"\xff", "TOML"), (b"", "at least one plan")])
def test_a_file_that_is_no_toml_is_told_so(tmp_path, content, wanted):
    path = tmp_path / "plans.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=wanted):
        read_plans(path)
