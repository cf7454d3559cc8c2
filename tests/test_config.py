"""Settings: read once, all problems at once, and nothing secret shown."""

import dataclasses
import os
import pprint
import tomllib
from ipaddress import ip_network
from pathlib import Path

import pytest

from corkage.config import Config, origin_of
from corkage.errors import ConfigError
from corkage.plans import read_plans

KEY = "sk_test_4eC39HqLyjWDarjtT1zdp7dc"
LIVE = "sk_live_4eC39HqLyjWDarjtT1zdp7dc"
HOOK = "whsec_5f2c9e1b7a"
AUTH = "0123456789abcdef0123456789abcdef"
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
        "app.example.com/home",
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
        BILLING_DATABASE="mysql://localhost/x",
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
        "https://<your-host>",
        "https://app.example.com:0",
        ",",
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
        ("BILLING_DATABASE", "sqlite://corkage.db", False),
        ("BILLING_DATABASE", "postgresql://billing:p%40ss@a.example,b.example:5433/shop?sslmode=require", True),
        ("BILLING_DATABASE", "postgres://[::1]:5432/shop", True),
        ("BILLING_DATABASE", "postgresql://billing:p/ss@a.example/shop", False),
        ("BILLING_DATABASE", "postgresql://billing:100%@a.example/shop", False),
        ("BILLING_DATABASE", "postgresql://a.example:port/shop", False),
        ("BILLING_AUTH_SECRET", ",", False),
        ("STRIPE_WEBHOOK_SECRET", ",", False),
        ("STRIPE_WEBHOOK_SECRET", "whsec_a,b", False),
        ("BILLING_PRICING_URL", "https://www.example.com/plans?from=app#team", True),
        ("BILLING_PRICING_URL", "/plans", False),
        ("BILLING_WELCOME_URL", "https://app.example.com/welcome?new=1", True),
        ("BILLING_WELCOME_URL", "javascript:alert(1)", False),
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
        ('[pro]\nprices = ["a"]\nfree = true\n', 3, "wanted without prices"),
        ("[pro]\nfree = true\ngranted_only = true\n", 2, "wanted without granted_only"),
        ("[pro]\nfree = false\n", 2, "wanted true"),
        ('[pro]\nprices = ["a"]\nlimits = { notes = -1 }\n', 3, "whole numbers"),
        ('[pro]\nprices = ["a"]\nlimits = { notes = "many" }\n', 3, "whole numbers"),
        ('[pro]\nprices = ["a"]\nlimits = { notes = { every = "day" } }\n', 3, 'every is "day"'),
        ('[pro]\nprices = ["a"]\nlimits = { notes = { limit = 5, every = "week" } }\n', 3, 'every is "day"'),
        ('[pro]\nprices = ["a"]\nlimits = { notes = { limit = { limit = 5 } } }\n', 3, 'every is "day"'),
        ('[pro]\nprices = ["a"]\nlimits = { notes = { meter = "" } }\n', 3, 'every is "day"'),
        ('[pro]\nprices = ["a"]\nlimits = { notes = { meter = "n", limit = 5 } }\n', 3, 'every is "day"'),
        ('[pack]\nprices = ["a"]\nadds = {}\n', 3, "whole numbers from 1"),
        ('[pack]\nprices = ["a"]\nadds = { notes = 0 }\n', 3, "whole numbers from 1"),
        ('[pack]\nprices = ["a"]\nadds = { notes = 9 }\nfeatures = ["b"]\n', 4, "features; wanted without it"),
        ('[pack]\nprices = ["a"]\nadds = { notes = 9 }\n[more]\nprices = ["b"]\nadds_to = ["pack"]\n', 6, "no plan"),
        ('[pro]\nprices = ["a"]\nlasts_days = 0\n', 3, "a whole number from 1 to 36500"),
        ('[pro]\nprices = ["a"]\nrefunded = "maybe"\n', 3, '"end" or "keep"'),
        ('[pro]\nprices = ["a"]\ngroup = "Über"\n', 3, "a name of a-z"),
        ('[more]\nprices = ["a"]\nadds_to = ["pro"]\n', 3, "'pro' is no plan to add to"),
        ('[more]\nprices = ["a"]\nadds_to = ["more"]\n', 3, "'more' is no plan to add to"),
        ('[own]\nfree = true\n[more]\nprices = ["a"]\nadds_to = ["own"]\n', 5, "'own' is no plan to add to"),
        ('[more]\nprices = ["a"]\nadds_to = [{}]\n', 3, "adds_to = [{}]; wanted"),
        ('[more]\nprices = ["a"]\nadds_to = [["pro"]]\n', 3, "adds_to = [['pro']]; wanted"),
        ('[pro]\nname = "Pro"\nprices = []\n', 3, "at least one price"),
        ('[pro]\nname = "Pro"\nprices = "a"\n', 3, "at least one price"),
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


FREE_CALLS = '[free]\nfree = true\nlimits = { calls = { limit = 9, every = "month" } }\n'


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        (
            "limits = { calls = 50 }",
            "'calls' has a number alone; wanted the same as in [free] limits, which has someth",
        ),
        (
            "limits = { calls = { limit = 50, every = 'day' } }",
            'has every = "day"; wanted the same as in [free] limits',
        ),
        ("limits = { calls = { limit = 50 } }", 'has every = "never"; wanted the same as in [free] limits'),
    ],
)
def test_a_limit_is_the_same_kind_of_thing_in_every_plan(tmp_path, limits, wanted):
    path = tmp_path / "plans.toml"
    path.write_text(f"{FREE_CALLS}[pro]\nprices = ['a']\n{limits}\n")

    with pytest.raises(ConfigError) as refused:
        read_plans(path)

    assert f"plans.toml, line 6: [pro] limits: {wanted}" in str(refused.value).replace("'calls' has every", "has every")


def test_a_pack_adds_to_what_is_used_up_and_not_to_a_number_alone(tmp_path):
    path = tmp_path / "plans.toml"
    path.write_text("[pro]\nprices = ['a']\nlimits = { notes = 5 }\n[pack]\nprices = ['b']\nadds = { notes = 10 }\n")

    with pytest.raises(ConfigError, match=r"\[pack\] adds: 'notes' has something to use up; wanted the same"):
        read_plans(path)


def test_a_limit_may_be_counted_in_one_plan_metered_in_another_and_unlimited_in_a_third(tmp_path):
    path = tmp_path / "plans.toml"
    path.write_text(
        FREE_CALLS
        + "[pro]\nprices = ['a']\nlimits = { calls = { meter = 'api_calls' }, notes = 5 }\n"
        + "[max]\nprices = ['b']\nlimits = { calls = 'unlimited' }\n"
        + "[pack]\nprices = ['c']\nadds = { calls = 100 }\nrefunded = 'keep'\n"
        + "[course]\nprices = ['d']\nlasts_days = 30\ndisputed = 'keep'\n"
    )

    free, pro, best, pack, course = read_plans(path)

    assert (free.limits, free.every, free.meters) == ({"calls": 9}, {"calls": "month"}, {})
    assert (pro.limits, pro.every, pro.meters) == ({"calls": "unlimited", "notes": 5}, {}, {"calls": "api_calls"})
    assert (best.limits, best.every, best.meters) == ({"calls": "unlimited"}, {}, {})
    assert (pack.adds, pack.in_group, pack.terms(3).is_pack, pack.terms(3).keeps_refunded) == (
        {"calls": 100},
        "+pack",
        True,
        True,
    )
    assert (course.terms(4).lasts_seconds, course.terms(4).keeps_disputed) == (30 * 86_400, True)


@pytest.mark.parametrize(("content", "wanted"), [(b"[pro\n", "line 1"), (b"\xff", "TOML"), (b"", "at least one plan")])
def test_a_file_that_is_no_toml_is_told_so(tmp_path, content, wanted):
    path = tmp_path / "plans.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=wanted):
        read_plans(path)


def problem_of(environ):
    (problem,) = problems_of(environ)
    return problem


def plan_problems(environ, text):
    """The problems of this plans.toml, each as its line and its words."""
    path = Path(environ["BILLING_PLANS"])
    path.write_text(text, "utf-8")
    found = [problem.removeprefix(f"{path}, line ").partition(": ") for problem in problems_of(environ)]
    return [(int(line), words) for line, _, words in found]


def test_a_config_made_by_hand_has_the_same_defaults(environ, plans):
    by_hand = Config(
        stripe_secret_key=SECRETS[0], frontend_urls=("https://app.example.com/home",), plans=read_plans(plans)
    )

    assert by_hand == read(environ)


def test_a_publishable_key_is_told_apart(environ):
    assert "publishable" in problem_of(environ | {"STRIPE_SECRET_KEY": "pk_test_4eC39HqLyjWDarjtT1zdp7dc"})


@pytest.mark.parametrize(
    ("key", "live"), [("sk_live_a", True), ("rk_live_a", True), ("sk_test_a", False), ("rk_test_b_live_c", False)]
)
def test_the_key_tells_the_mode(environ, key, live):
    assert Config.from_env(environ | {"STRIPE_SECRET_KEY": key}, dotenv_path=None).livemode is live


def test_a_live_key_never_travels_over_plain_http(environ):
    open_line = {"STRIPE_API_BASE": "http://stripe.example"}

    assert problem_of(environ | open_line | {"STRIPE_SECRET_KEY": LIVE}).startswith("STRIPE_API_BASE: wanted https")
    assert Config.from_env(environ | open_line, dotenv_path=None)
    assert Config.from_env(
        environ | {"STRIPE_API_BASE": "https://stripe.example", "STRIPE_SECRET_KEY": LIVE}, dotenv_path=None
    )


@pytest.mark.parametrize(
    ("frontend", "billing", "app"),
    [
        ("https://app.example.com", "", "app.example.com"),
        ("https://app.example.com:443/", "", "app.example.com"),
        ("http://App.example.com:8000/Shop", "", "app.example.com:8000/Shop"),
        ("https://app.example.com", "https://app.example.com/billing/", "app.example.com/billing"),
        ("https://app.example.com", "http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_the_app_is_the_address_of_corkage_or_else_of_the_product(environ, frontend, billing, app):
    urls = {"FRONTEND_URL": f"{frontend}, https://b.example", "BILLING_URL": billing}

    assert (read(environ, **urls).app, read(environ, **urls).name) == (app, "app.example.com")
    assert read(environ, BILLING_APP="shop", **urls).app == "shop"


def test_every_frontend_is_an_origin(environ):
    config = read(environ, FRONTEND_URL="http://Shop.example:8000/x, https://b.example")

    assert config.frontend_origins == {"http://shop.example:8000", "https://b.example"}


@pytest.mark.parametrize(
    ("text", "path"), [("sqlite:///a/b.db", "a/b.db"), ("sqlite:////var/b.db", "/var/b.db"), ("a b.db", "a b.db")]
)
def test_a_database_url_becomes_a_path(environ, text, path):
    assert Config.from_env(environ | {"BILLING_DATABASE": text}, dotenv_path=None).database == path


def test_another_database_is_refused_in_words_and_without_its_password(environ):
    problem = problem_of(environ | {"BILLING_DATABASE": "mysql://billing:hunter2@db.example/x?password=hunter3"})

    assert "the path of a file, sqlite:///path, or postgresql://user:password@host/name" in problem
    assert "mysql://***@db.example" in problem
    assert "hunter" not in problem


def test_a_url_in_which_the_password_cannot_be_told_from_the_host_is_refused_without_it(environ):
    problem = problem_of(environ | {"BILLING_DATABASE": "postgresql://billing:hunter2@hunter3@db.example/x"})

    assert "with a sign such as @ / % in the password as %40 %2F %25" in problem
    assert "hunter" not in problem


def test_no_secret_shows_where_a_config_is_printed(environ):
    secret = {"STRIPE_SECRET_KEY": KEY, "STRIPE_WEBHOOK_SECRET": HOOK, "BILLING_AUTH_SECRET": AUTH}
    config = Config.from_env(environ | secret, dotenv_path=None)
    other = dataclasses.replace(config, auth_secrets=("another-" + AUTH,))

    printed = [repr(config), str(config), f"{config}", pprint.pformat(config), repr(dataclasses.asdict(config))]
    printed += [repr(vars(config)), repr(dataclasses.astuple(config)), repr(dataclasses.asdict(other)), repr(other)]
    for text in printed:
        assert not any(each in text for each in secret.values())
    assert (config.stripe_secret_key, config.webhook_secrets, config.auth_secrets) == (KEY, (HOOK,), (AUTH,))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STRIPE_SECRET_KEY", f"x{KEY}"),
        ("STRIPE_SECRET_KEY", f"{KEY} {LIVE}"),
        ("STRIPE_WEBHOOK_SECRET", f"{HOOK},hunter2"),
        ("BILLING_AUTH_SECRET", "hunter2"),
        ("FRONTEND_URL", KEY),
        ("FRONTEND_URL", "https://admin:hunter2@app.example.com/"),
        ("BILLING_URL", "https://app.example.com/?token=hunter2"),
        ("STRIPE_API_BASE", LIVE),
        ("BILLING_WORKER", HOOK),
        ("BILLING_POLL_SECONDS", f"a\n{LIVE}\nhunter2"),
    ],
)
def test_no_secret_shows_in_a_problem_even_where_it_was_put_by_mistake(environ, name, value):
    with pytest.raises(ConfigError) as refused:
        Config.from_env(environ | {name: value}, dotenv_path=None)

    for secret in (KEY, LIVE, HOOK, "4eC39Hq", "hunter2"):
        assert secret not in str(refused.value)
        assert secret not in repr(refused.value)


def test_a_trusted_header_is_off_unless_header_and_proxies_are_set(environ):
    header, proxies = {"BILLING_TRUSTED_USER_HEADER": "Remote-User"}, {"BILLING_TRUSTED_PROXIES": "10.0.0.0/24,::1"}

    assert read(environ).trusted_user_header is None
    assert read(environ, **header, **proxies).trusted_proxies == (ip_network("10.0.0.0/24"), ip_network("::1/128"))
    assert problems_of(environ, **header) == (
        "BILLING_TRUSTED_PROXIES: wanted the addresses that the header is believed from, because "
        "BILLING_TRUSTED_USER_HEADER is set; it is not set",
    )
    for more in ({}, proxies):
        (problem,) = problems_of(environ, **more, BILLING_TRUSTED_EMAIL_HEADER="Remote-Email")
        assert problem.startswith("BILLING_TRUSTED_USER_HEADER: wanted the header in which the proxy names the user")


def test_proxies_alone_name_no_user(environ):
    believed = read(environ, BILLING_TRUSTED_PROXIES="10.0.0.0/24")

    assert (believed.trusted_user_header, believed.trusted_proxies) == (None, (ip_network("10.0.0.0/24"),))


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("USER_HEADER", "HTTP_REMOTE_USER", "letters, digits and dashes"),
        ("USER_HEADER", "Remote-User:", "letters, digits and dashes"),
        ("USER_HEADER", "X-Forwarded-For", "of the proxy's own"),
        ("EMAIL_HEADER", "Cookie", "of the proxy's own"),
        ("PROXIES", "localhost", "addresses such as"),
        ("PROXIES", "10.0.0.1/24", "addresses such as"),
        ("PROXIES", "10.0.0.1:80", "addresses such as"),
        ("PROXIES", "10.0.0.1,0.0.0.0/0", "would trust anybody"),
        ("PROXIES", "::/0", "would trust anybody"),
        ("PROXIES", ",", "the proxy's own addresses"),
    ],
)
def test_a_trusted_header_that_cannot_be_is_refused(environ, name, value, wanted):
    whole = {"USER_HEADER": "Remote-User", "EMAIL_HEADER": "Remote-Email", "PROXIES": "127.0.0.1"} | {name: value}

    (problem,) = problems_of(environ, **{f"BILLING_TRUSTED_{key}": text for key, text in whole.items()})

    assert problem.startswith(f"BILLING_TRUSTED_{name}: wanted ")
    assert wanted in problem


def test_a_long_value_is_shortened(environ):
    assert len(problem_of(environ | {"BILLING_LOG": "x" * 10_000})) < 300


def test_a_dotenv_file_gives_way_to_a_set_environment_variable(environ, tmp_path):
    path = tmp_path / "settings"
    path.write_text(
        '\ufeffBILLING_WORKER=off\n# a reason\nexport BILLING_LOG="error"\nBILLING_APP=shop\nBILLING_TYPO=1\n'
    )
    config = Config.from_env(environ | {"BILLING_LOG": "debug", "BILLING_APP": ""}, dotenv_path=path)

    assert (config.log, config.worker, config.app) == ("debug", "off", "shop")
    assert config.unknown_settings == ("BILLING_TYPO",)


def test_a_dotenv_value_is_taken_to_the_letter(environ, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "elsewhere")
    path = tmp_path / "settings"
    path.write_text("BILLING_AUTH_SECRET='${HOME}" + AUTH + "'\n")

    assert Config.from_env(environ, dotenv_path=path).auth_secrets == ("${HOME}" + AUTH,)


def test_a_dotenv_file_is_looked_for_where_the_program_runs(environ, tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("BILLING_LOG=error\n")
    monkeypatch.chdir(tmp_path)

    assert Config.from_env(environ).log == "error"
    assert read(environ).log == "info"
    assert Config.from_env(environ, dotenv_path="none.env").log == "info"


def test_a_dotenv_file_that_is_not_text_is_named(environ, tmp_path):
    path = tmp_path / "settings"
    path.write_bytes(b"BILLING_LOG=\xff\xfehunter2\n")
    with pytest.raises(ConfigError) as refused:
        Config.from_env(environ, dotenv_path=path)

    assert str(path) in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_the_process_environment_is_read_and_left_unchanged(environ, tmp_path, monkeypatch):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("BILLING_LOG=error\n")
    before = dict(os.environ)

    assert Config.from_env().stripe_secret_key == SECRETS[0]
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("prize = 1", "prize is not known"),
        ("trial_days = -1", "from 0 to 730"),
        ("trial_days = 731", "from 0 to 730"),
        ("trial_days = 1.0", "from 0 to 730"),
        ("trial_days = true", "from 0 to 730"),
        ('trial_days = "7"', "from 0 to 730"),
        ("grace_days = 366", "from 0 to 365"),
        ('features = "api"', "a list of texts"),
        ("features = [1]", "a list of texts"),
        ('features = ["api", "api"]', "without doubles"),
        ('features = [" api"]', "blanks"),
        ('features = [""]', "a list of texts"),
        ('retired = ["a\\nb"]', "a list of texts"),
        ('pending = "maybe"', '"allow" or "deny"'),
        ("pending = []", '"allow" or "deny"'),
        ("deeper = {}", "deeper is not known"),
        ('retired = ["pro_monthly"]', "[pro] prices already"),
    ],
)
def test_a_wrong_key_of_a_plan_is_named_with_its_line(environ, line, words):
    text = f'# what we sell\n\n[pro]\nname = "Pro"\nprices = [\n  "pro_monthly", # one\n]\n\n{line}\n'

    ((at, found),) = plan_problems(environ, text)

    assert at == 9
    assert found.startswith("[pro] ")
    assert words in found


def test_a_long_file_without_a_fault_is_read_once(tmp_path, monkeypatch):
    prices = [f'{{ lookup_key = "k{n}", unit_amount = {n + 1}, currency = "usd" }},' for n in range(1000)]
    (tmp_path / "plans.toml").write_text("\n".join(["[pro]", "prices = [", *prices, "]"]))
    reads, loads = [], tomllib.loads
    monkeypatch.setattr(tomllib, "loads", lambda text: reads.append(1) or loads(text))

    (plan,) = read_plans(tmp_path / "plans.toml")

    assert (len(plan.wanted_prices), len(reads)) == (1000, 1)


def test_all_faults_of_the_plans_are_told_in_the_order_of_their_lines(environ):
    found = plan_problems(
        environ,
        '[a]\nname = "A"\nprices = ["x"]\n[b]\nname = "B"\nprices = ["x"]\n[c]\ngroup = 7\ngrace_days = 9999\n',
    )

    assert [line for line, _ in found] == [6, 7, 8, 9]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[a]\nname = """\n[b]\nprices = 1\n"""\nprices = ["x"]\n', 2),
        ('[a]\nname = "A"\nprices = [\n  "x",\n  # [b]\n]\n[b]\nname = "B"\nprices = ["y"]\ngrace_days = -1\n', 10),
        ('a.name = "A"\na.prices = ["x"]\na.grace_days = -1\n', 3),
    ],
)
def test_a_faults_line_is_right_where_text_looks_like_a_table(environ, text, line):
    ((at, _),) = plan_problems(environ, text)

    assert at == line


def test_a_plans_file_made_by_notepad_is_read(plans):
    plans.write_text("\ufeff" + PLANS, "utf-8")

    assert [plan.key for plan in read_plans(plans)] == ["pro", "team"]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("BILLING_NAME", "Notes & more", "x" * 201),
        ("BILLING_LOGO_URL", "https://cdn.example.com/logo.svg?v=2", "javascript:alert(1)"),
        ("BILLING_LOGO_URL", "/logo.svg", "//elsewhere.example.com/logo.svg"),
        ("BILLING_LOGO_URL", "/logo.svg", "logo.svg"),
        ("BILLING_COLOR", "#AbCdEf", "red; } body { display: none"),
        ("BILLING_COLOR", "#123456", "#123"),
        ("BILLING_VIEWS", ".", "./nowhere"),
        ("BILLING_SIGN_IN_URL", "https://app.example.com/in?next={next}", "/in"),
        ("BILLING_SIGN_IN_URL", "https://app.example.com/in", "javascript:alert(1)"),
    ],
)
def test_what_the_pages_look_like_is_checked_at_the_start(environ, name, good, bad):
    field = name.removeprefix("BILLING_").lower()

    assert getattr(read(environ, **{name: good}), field) == (good.lower() if name == "BILLING_COLOR" else good)
    assert problem_of(environ | {name: bad}).startswith(f"{name}: wanted ")


def test_pages_name_the_product_as_set_or_as_at_stripe(environ):
    assert read(environ).name == "app.example.com"
    assert read(environ, BILLING_APP="notes").name == "notes"
    assert read(environ, BILLING_APP="notes", BILLING_NAME="Notes").name == "Notes"


def test_a_plans_texts_for_people_are_read_and_checked(environ, plans):
    plans.write_text(PLANS + 'description = "For two."\npoints = ["One", "Two"]\n')
    team = read(environ).plans[1]
    assert (team.description, team.points) == ("For two.", ("One", "Two"))

    plans.write_text(PLANS + 'description = ""\npoints = "One"\n')
    assert [problem.split("] ")[1].split(" ")[0] for problem in problems_of(environ)] == ["description", "points"]
