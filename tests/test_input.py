"""Input of every kind, nearly right: what is refused is refused in words, and whatever comes, the program goes on."""

import json
import random
import time
from dataclasses import replace

import psutil
import pytest
from harness import ADMIN_TOKEN, running
from mutated import Requests, ask, mutate
from samples import CUSTOMERS_FILE, EMAILS_FILE, ENV_FILE, GRANTS_FILE, PLANS_FILE
from spending import PLANS
from torture import SEED, size

from corkage.admin.session import new_session
from corkage.config import Config
from corkage.errors import ConfigError
from corkage.models import StripeEvent
from corkage.moving.customers import read_map
from corkage.moving.grants import read_grants
from corkage.moving.proposals import read_emails
from corkage.plans import read_plans

pytestmark = [pytest.mark.slow, pytest.mark.torture("input")]

LARGEST_ANSWER = 200_000
MOST_GROWN = 200_000_000  # bytes, of the simulated Stripe in the same process, too
SHEETS = {
    "customers": (read_map, CUSTOMERS_FILE),
    "e-mails": (read_emails, EMAILS_FILE),
}


@pytest.fixture
def app(config):
    with running(replace(config, plans=PLANS, admin_token=ADMIN_TOKEN, billing_url="http://127.0.0.1")) as served:
        yield served


@pytest.fixture
def events(shop, simulator):
    """The bodies of events of many kinds."""
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    shop.client.v1.subscriptions.update(subscription, params={"metadata": {"seen": "yes"}})
    shop.client.v1.subscriptions.cancel(subscription)
    shop.client.v1.customers.update(customer, params={"email": "ann@example.org"})
    return [json.dumps(each).encode() for each in simulator.world.all("event")]


def test_no_request_is_answered_with_an_error_of_ours(app, events, figures):
    cases, chance = size(1_500, long=300_000), random.Random(SEED)
    sent = Requests(chance, events, new_session(app.billing.service.config, time.time()))
    statuses, process, held = {}, psutil.Process(), 0
    for number in range(cases):
        request = next(sent)
        answer = ask(app.billing.wsgi, request)
        assert answer.status < 500, (request, answer)
        assert b"Traceback" not in answer.body
        assert len(answer.body) < LARGEST_ANSWER, request
        assert not [each for each in answer.headers if "\r" in each[1] or "\n" in each[1] or each[1] == "a=b"]
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
        if number == cases // 10:  # all that is loaded once is loaded
            held = process.memory_info().rss
    grown = max(process.memory_info().rss - held, 0)
    stored = StripeEvent.select().count()
    app.work()

    assert app.ask().status_code == 200
    assert grown < MOST_GROWN
    assert min(statuses) == 200
    waiting = StripeEvent.select().where(StripeEvent.applied_at.is_null())
    assert all(each.error for each in waiting)
    figures.note(
        cases=cases,
        events_stored=stored,
        memory_grown_MB=grown // 1_000_000,
        **{f"of_{status}": n for status, n in sorted(statuses.items())},
    )


@pytest.mark.one_engine("sqlite", "reads files alone")
def test_every_plans_toml_is_read_or_refused_in_words(tmp_path, figures):
    cases, read = size(400, long=30_000), 0
    path = tmp_path / "plans.toml"
    for data in mutations(PLANS_FILE.encode(), cases):
        path.write_bytes(data)
        read += is_read(lambda: read_plans(path))
    figures.note(cases=cases, read=read)


@pytest.mark.parametrize("nested", ["a = " + "[" * 5_000, "a = " + "{a=" * 5_000])
def test_a_plans_toml_that_is_nested_without_end_is_refused_in_words(tmp_path, nested):
    path = tmp_path / "plans.toml"
    path.write_text(f"[pro]\n{nested}")

    with pytest.raises(ConfigError, match="wanted TOML in UTF-8"):
        read_plans(path)


@pytest.mark.parametrize("value", ["14", "true", "1.5", "2026-01-01"])
def test_a_key_outside_of_any_plan_is_refused_in_words_whatever_its_value(tmp_path, value):
    path = tmp_path / "plans.toml"
    path.write_text(f"trial_days = {value}\n")

    with pytest.raises(ConfigError, match="line 1: trial_days stands outside of any plan"):
        read_plans(path)


@pytest.mark.one_engine("sqlite", "reads files alone")
def test_every_env_file_is_read_or_refused_in_words(tmp_path, figures):
    cases, read = size(200, long=50_000), 0
    (tmp_path / "plans.toml").write_text(PLANS_FILE)
    path = tmp_path / ".env"
    for data in mutations(ENV_FILE.replace("plans.toml", str(tmp_path / "plans.toml")).encode(), cases):
        path.write_bytes(data)
        read += is_read(lambda: Config.from_env({}, path))
    figures.note(cases=cases, read=read)


@pytest.mark.parametrize("kind", SHEETS)
def test_every_import_file_is_read_or_refused_line_by_line(kind, figures):
    cases, (read, sample) = size(500, long=150_000), SHEETS[kind]
    for data in mutations(sample, cases):
        is_read(lambda data=data: read(data))
    figures.note(cases=cases)


def test_every_file_of_grants_is_read_or_refused_line_by_line(app, figures):
    cases = size(300, long=50_000)
    for data in mutations(GRANTS_FILE, cases):
        is_read(lambda data=data: read_grants(data, app.billing.service.catalogue))
    figures.note(cases=cases)


def mutations(sample, cases):
    chance = random.Random(SEED)
    return (mutate(chance, sample) for _ in range(cases))


def is_read(read):
    """Return whether it was read; where it was not, look at the words."""
    problems = []
    try:
        read()
    except ConfigError as error:
        problems = error.problems
    assert all(0 < len(each) < 2_000 for each in problems), problems
    return not problems
