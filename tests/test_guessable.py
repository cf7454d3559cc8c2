"""With a live key, secrets that are published or guessable are refused."""

import base64
import random
import re
import string
import subprocess
import sys

import pytest
from harness import ADMIN_TOKEN, AUTH_SECRET, WEBHOOK_SECRET
from repository import ROOT, tracked

from corkage.config import Config
from corkage.errors import ConfigError
from corkage.settings import is_guessable

PLANS = '[pro]\nname = "Pro"\nprices = ["pro_monthly"]\n'
LIVE, TEST = "sk_live_4eC39HqLyjWDarjtT1zdp7dc", "sk_test_4eC39HqLyjWDarjtT1zdp7dc"
SETTINGS = ("STRIPE_WEBHOOK_SECRET", "BILLING_AUTH_SECRET", "BILLING_ADMIN_TOKEN", "BILLING_NOTIFY_SECRET")
PRINTED = [*tracked("*.md"), *tracked(".env.example"), *tracked("demo/*"), *tracked("bench/*.py"), *tracked("docs/*")]
SECRET_LOOKING = (
    r"(whsec_[A-Za-z0-9+/=_-]+)",
    r"--webhook-secret\s+([^\s`]+)",
    r"(?:SECRET|TOKEN)=([^\s`,]+)",
    r"(?:SECRET|TOKEN)\"? ?[:=] ?\"([^\"\s]{8,})\"",
)


def published():
    texts = [(ROOT / path).read_text() for path in PRINTED if path.suffix not in (".png", ".svg")]
    found = {each for text in texts for pattern in SECRET_LOOKING for each in re.findall(pattern, text)}
    return sorted(found | {AUTH_SECRET, WEBHOOK_SECRET, ADMIN_TOKEN})


def in_base64(key):
    return "whsec_" + base64.b64encode(key).decode()


GUESSED = [
    "x" * 32,
    "ab" * 16,
    "change-me-" * 4,
    "0123456789abcdef" * 2,
    "12345678901234567890123456789012345",
    "abcdefghijklmnopqrstuvwxyz012345",
    "aaaaaaaabbbbbbbbccccccccdddddddd",
    "qazwsxqawszxqwazsxwqzasxwzqaxswq",
]
GUESSED_KEYS = [bytes(32), b"k" * 24, bytes(range(32)), b"0123456789abcdef" * 2, b"change-me" * 4]


@pytest.fixture
def read(tmp_path):
    """Read a configuration with one setting, and return what is wrong with it."""
    path = tmp_path / "plans.toml"
    path.write_text(PLANS)

    def problems(name, value, key=LIVE):
        needed = {"STRIPE_SECRET_KEY": key, "FRONTEND_URL": "https://app.example.com", "BILLING_PLANS": str(path)}
        try:
            Config.from_env(needed | {name: value}, None)
        except ConfigError as error:
            return error.problems
        return ()

    return problems


def is_refused(problems, name, value):
    (problem,) = problems
    secret = value.removeprefix("whsec_")
    return problem.startswith(f"{name}: wanted ") and (len(secret) < 8 or secret not in problem)


def test_every_secret_printed_in_the_repository_is_found():
    found = published()

    assert {"whsec_simulated", "only-for-trying-things-out-beside-the-simulator", "whsec_bench"} <= set(found)
    assert "whsec_of_the_comparison" in found


@pytest.mark.parametrize("value", published())
@pytest.mark.parametrize("name", SETTINGS)
def test_a_published_secret_is_refused_with_a_live_key(read, name, value):
    assert is_refused(read(name, value), name, value)


def fitting(value):
    """The settings that take a value of this form."""
    key = "whsec_" + value
    return [("BILLING_AUTH_SECRET", value), ("BILLING_ADMIN_TOKEN", value), ("STRIPE_WEBHOOK_SECRET", key)]


CASES = [
    *(case for value in GUESSED for case in fitting(value)),
    *((name, in_base64(key)) for key in GUESSED_KEYS for name in ("BILLING_NOTIFY_SECRET", "STRIPE_WEBHOOK_SECRET")),
    ("STRIPE_WEBHOOK_SECRET", "whsec_simulated"),
    ("STRIPE_WEBHOOK_SECRET", "whsec_x"),
    ("BILLING_AUTH_SECRET", "only-for-trying-things-out-beside-the-simulator"),
    ("BILLING_ADMIN_TOKEN", "only-for-trying-things-out-beside-the-simulator"),
]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_a_guessable_secret_is_refused_only_with_a_live_key(read, name, value):
    problems = read(name, value)

    assert is_refused(problems, name, value)
    assert "of your own beside a live key" in problems[0]
    assert read(name, value, TEST) == ()


@pytest.mark.parametrize("name", ["STRIPE_WEBHOOK_SECRET", "BILLING_AUTH_SECRET", "BILLING_NOTIFY_SECRET"])
def test_one_guessable_secret_among_several_is_refused(read, name):
    good = in_base64(random.Random(1).randbytes(32))
    bad = {"BILLING_NOTIFY_SECRET": in_base64(bytes(32))}.get(name, "whsec_" + "x" * 32)

    assert read(name, good) == ()
    assert is_refused(read(name, f"{good},{bad}"), name, bad)


def test_every_refusal_names_a_working_command_for_a_new_secret(read):
    for name, value in (*fitting("x" * 32)[:2], ("BILLING_NOTIFY_SECRET", in_base64(bytes(32)))):
        (problem,) = read(name, value)
        command = re.search(r'python -c "(.+?)" makes one', problem)[1]
        made = subprocess.check_output([sys.executable, "-c", command], text=True).strip()
        assert read(name, made) == ()
    (problem,) = read("STRIPE_WEBHOOK_SECRET", "whsec_simulated")
    assert "Dashboard" in problem


def test_random_secrets_pass():
    chance = random.Random(7)
    for _ in range(2000):
        texts = [
            chance.randbytes(16).hex(),
            base64.urlsafe_b64encode(chance.randbytes(32)).decode(),
            "whsec_" + "".join(chance.choices(string.ascii_letters + string.digits, k=32)),
            in_base64(chance.randbytes(24)),
            "".join(chance.choices(string.digits, k=40)),
        ]
        assert not [text for text in texts if is_guessable(text)]


def test_a_config_made_by_hand_is_not_checked(config):
    assert Config(stripe_secret_key=LIVE, frontend_urls=(), plans=(), webhook_secrets=("whsec_simulated",)).livemode
