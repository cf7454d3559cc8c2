"""/health, /metrics and docs/monitoring.md: what turns a load balancer away, the figures, and an alert for each."""

import json
import os
import re
import shutil
import subprocess
import threading
import time
from dataclasses import replace

import pytest
import requests
import yaml
from harness import running, until
from prometheus_client.parser import text_string_to_metric_families
from repository import ROOT
from rows import record_event, write_notice

from corkage import storage
from corkage.errors import ConfigError, DatabaseUnavailable
from corkage.gateway.watched import BOUNDS, Watched
from corkage.health import doctor, metrics, programs, standing
from corkage.health.disk import Room
from corkage.health.kept import Kept
from corkage.health.spans import size, span
from corkage.models import remember
from corkage.notices.outbox import Undelivered
from corkage.sync import jobs
from corkage.sync.inbox import Backlog

DOCUMENT = (ROOT / "docs/monitoring.md").read_text()
TOKEN = "a-token-of-prometheus-with-32-characters-or-more"
NOW = 1_800_000_000.0


def part(marker):
    return DOCUMENT.split(f"<!-- {marker} -->\n")[1].split(f"<!-- /{marker} -->")[0]


def rows_of(marker):
    """Return the cells of a table of the document, without its head."""
    lines = [line for line in part(marker).splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return [[first.strip("`"), *rest] for first, *rest in rows]


def alerts():
    return yaml.safe_load(re.search(r"```yaml\n(.*?)```", part("alerts"), re.DOTALL)[1])


def a_watched(**changes):
    """What was seen of a Stripe that answered a moment ago; changes are fields of Seen."""
    watched = Watched()
    watched.note(200, {"Date": "Fri, 15 Jan 2027 08:00:00 GMT"}, NOW - 0.2, NOW)
    return watched.seen()._replace(**{"ahead": 0.0} | changes)


def a_standing(**changes):
    """A process that is well; changes are fields of Standing or of what is stored."""
    stored = standing.Stored(NOW - 10, NOW - 100, None, NOW - 100, ())
    kept = {name: value for name, value in changes.items() if name in standing.Stored._fields}
    others = {name: value for name, value in changes.items() if name not in kept}
    well = standing.Standing(
        Backlog(0, 0, 0), Undelivered(0, 0, 0), a_watched(), Room(1, 1, 10**12), 1.0, stored._replace(**kept)
    )
    return well._replace(**others)


# The document


def test_every_check_of_the_doctor_stands_in_the_document():
    assert rows_of("checks") == [[each.name, each.about] for each in doctor.CHECKS]
    assert len({each.name for each in doctor.CHECKS}) == len(doctor.CHECKS)


def test_every_figure_stands_in_the_document():
    assert [(name, kind) for name, kind, _ in rows_of("metrics")] == list(figures().items())


def figures():
    """Return the kinds of all figures, by name, of a process and a database of which all is known."""
    process = metrics.Process(a_watched(), 0, {}, {}, 0.0, {})
    text, _ = metrics.written(process, a_standing(), [], [])
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text.decode(), re.MULTILINE))


def test_every_figure_has_an_alert_and_no_alert_is_about_anything_else():
    (group,) = alerts()["groups"]
    named = {name for rule in group["rules"] for name in re.findall(r"\bcorkage_\w+", rule["expr"])}

    assert {re.sub("_bucket$", "", name) for name in named} == set(figures())
    for rule in group["rules"]:
        assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("page", "ticket")
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"])


def test_prometheus_takes_the_alerts(tmp_path):
    promtool = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if promtool is None:
        pytest.skip("name Prometheus' promtool in PROMTOOL")
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(alerts()))

    checked = subprocess.run([promtool, "check", "rules", "rules.yml"], cwd=tmp_path, capture_output=True, text=True)

    assert checked.returncode == 0, checked.stderr


# What turns /health


def test_a_process_that_is_well_has_neither_problems_nor_warnings(config):
    assert list(standing.problems(a_standing(), NOW)) == []
    assert list(standing.warnings(a_standing(), replace(config, poll_seconds=300), NOW)) == []


@pytest.mark.parametrize(
    ("well", "ill", "says"),
    [
        ({"idle": 300.0}, {"idle": 301.0}, "the worker's thread hangs since 5 min"),
        ({"idle": None}, {"idle": 9999.0}, "the worker's thread hangs"),
        (
            {"stripe": a_watched(refused_at=NOW - 1)},
            {"stripe": a_watched(refused_at=NOW + 1)},
            "Stripe refused STRIPE_SECRET_KEY",
        ),
        (
            {"stripe": a_watched(answered_at=0.0, refused_at=NOW - 3600)},
            {"stripe": a_watched(answered_at=0.0, refused_at=NOW - 3599)},
            "Stripe refused STRIPE_SECRET_KEY",
        ),
        (
            {"stripe": a_watched(ahead=300.0)},
            {"stripe": a_watched(ahead=301.0)},
            "this machine's clock is 301 s behind Stripe's: webhooks are refused",
        ),
        (
            {"stripe": a_watched(ahead=-300.0)},
            {"stripe": a_watched(ahead=-301.0)},
            "this machine's clock is 301 s ahead of Stripe's",
        ),
    ],
)
def test_what_a_process_itself_suffers_from_is_a_problem(well, ill, says):
    assert list(standing.problems(a_standing(**well), NOW)) == []
    (found,) = standing.problems(a_standing(**ill), NOW)
    assert found.startswith(says)


@pytest.mark.parametrize(
    ("well", "ill", "says"),
    [
        ({"room": Room(1, 1, 200_000_000)}, {"room": Room(1, 1, 199_999_999)}, "200 MB are free on the disk"),
        ({"room": Room(1, None, None)}, {"room": Room(1, 64_000_001, 10**12)}, "the write-ahead log has 64 MB"),
        ({"differing": ()}, {"differing": ("BILLING_APP",)}, "programs on this database differ in BILLING_APP"),
        (
            {"stripe": a_watched(failed_at=NOW - 1)},
            {"stripe": a_watched(failed_at=NOW + 100, answered_at=NOW - 180)},
            "Stripe does not answer, for 3 min",
        ),
        ({"stripe": a_watched(ahead=60.0)}, {"stripe": a_watched(ahead=61.0)}, "this machine's clock is 61 s behind"),
        ({"polled_at": NOW - 3600}, {"polled_at": NOW - 3601}, "Stripe's events were last polled 60 min ago"),
        ({"endpoint": None}, {"endpoint": "Stripe's endpoint we_1 is disabled"}, "Stripe's endpoint we_1 is disabled"),
        ({"events": Backlog(1, 0, 300)}, {"events": Backlog(1, 0, 301)}, "events wait, the oldest since 5 min"),
        ({"events": Backlog(1, 0, 1)}, {"events": Backlog(1, 1, 7200)}, "1 events fail, and the oldest"),
        (
            {"notices": Undelivered(1, 0, 300)},
            {"notices": Undelivered(1, 0, 301)},
            "notices wait, the oldest since 5 min",
        ),
        ({"notices": Undelivered(1, 0, 1)}, {"notices": Undelivered(2, 2, 60)}, "2 notices fail"),
    ],
)
def test_what_all_processes_suffer_from_is_a_warning(config, well, ill, says):
    config = replace(config, poll_seconds=300)
    assert list(standing.warnings(a_standing(**well), config, NOW)) == []
    (found,) = standing.warnings(a_standing(**ill), config, NOW)
    assert found.startswith(says)
    assert list(standing.problems(a_standing(**ill), NOW)) == []


def test_without_polling_no_poll_is_missed(config):
    late = a_standing(polled_at=NOW - 99_999)
    assert list(standing.warnings(late, replace(config, poll_seconds=0), NOW)) == []
    assert list(standing.warnings(late, replace(config, poll_seconds=60_000), NOW)) == []


def test_health_says_what_was_seen_without_asking_stripe(app, simulator):
    before = len(simulator.requests)
    record_event("evt_1", "cus_1", time.time() - 400)

    answer = requests.get(f"{app.url}/health", timeout=30)

    assert answer.status_code == 200
    facts = answer.json()
    assert facts["warnings"] == ["events wait, the oldest since 6 min: does a worker run?"]
    assert facts["database"]["database"] > 0
    assert facts["stripe"] == {"answered_at": None, "clock_ahead_seconds": None}
    assert len(simulator.requests) == before


def test_a_worker_that_hangs_is_a_problem_until_it_goes_on(config, monkeypatch):
    monkeypatch.setattr("corkage.health.standing.HANGING_SECONDS", 1.5)
    monkeypatch.setattr("corkage.sync.threads.LONGEST_SLEEP_SECONDS", 0.2)
    go_on, hangs = threading.Event(), threading.Event()
    with running(replace(config, worker="thread")) as app:
        begin = app.billing.service.worker.begin_due

        def hang(*arguments):
            if hangs.is_set():
                go_on.wait(30)
            return begin(*arguments)

        def problems():
            return requests.get(f"{app.url}/health", timeout=30).json()["problems"]

        monkeypatch.setattr(app.billing.service.worker, "begin_due", hang)
        until(lambda: problems() == [])
        hangs.set()
        until(lambda: [each.partition(" since")[0] for each in problems()] == ["the worker's thread hangs"])
        go_on.set()
        until(lambda: problems() == [])


def test_a_wrong_endpoint_is_looked_at_again_in_minutes_and_a_right_one_in_an_hour(config, simulator):
    address = "https://pay.example.com"
    made = simulator.add_webhook_endpoint(f"{address}/webhook")

    def next_look():
        storage.execute("DELETE FROM corkage_cursor WHERE name = 'endpoint'")
        now = time.time()
        app.work(now)
        return round(jobs.next_runs(now, {"endpoint": 3600.0})["endpoint"] - now)

    with running(replace(config, billing_url=address)) as app:
        assert next_look() == 3600
        with simulator.world.lock:
            made["status"] = "disabled"
        assert next_look() == 300
        simulator.stop()
        assert next_look() == 3600
        assert "is disabled" in requests.get(f"{app.url}/health", timeout=30).json()["warnings"][-1]


# The second for which it is kept


def test_facts_are_found_once_for_all_who_ask_at_once(monkeypatch):
    monkeypatch.undo()  # the fixture that keeps nothing
    looked, go_on, kept = [], threading.Event(), Kept()
    kept.get(lambda: {"first": True})

    def look():
        looked.append(1)
        go_on.wait(10)
        return {"first": False}

    kept._found_at -= 2  # two seconds ago
    slow = threading.Thread(target=kept.get, args=(look,))
    slow.start()
    while not looked:
        time.sleep(0.001)
    assert [kept.get(look) for _ in range(5)] == [{"first": True}] * 5
    go_on.set()
    slow.join()
    assert kept.get(look) == {"first": False}
    assert len(looked) == 1


def test_an_error_is_not_kept():
    kept = Kept()

    def fail():
        raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError, match=r"^$"):
            kept.get(fail)
    assert kept.get(lambda: {"well": True}) == {"well": True}


# /metrics


@pytest.fixture
def measured(config):
    with running(replace(config, metrics_token=TOKEN)) as served:
        yield served


def values(app):
    """Return the figures by name and labels."""
    answer = requests.get(f"{app.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.text)
    return {(each.name, *sorted(each.labels.values())): each.value for family in families for each in family.samples}


def test_without_a_token_in_the_settings_there_are_no_metrics(app):
    assert requests.get(f"{app.url}/metrics", headers={"Authorization": "Bearer "}, timeout=30).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": b"Bearer \xff\xe2\x80"},
    ],
)
def test_metrics_need_their_token(measured, headers):
    answer = requests.get(f"{measured.url}/metrics", headers=headers, timeout=30)

    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="corkage"')
    assert "corkage_" not in answer.text


def test_metrics_count_what_happened(measured, shop, event, simulator):
    assert measured.deliver(event).status_code == 200
    assert measured.deliver(event, secret="whsec_of_another").status_code == 400
    assert measured.deliver(event, at=time.time() - 1000).status_code == 400
    assert requests.post(f"{measured.url}/webhook", b"{}", timeout=30).status_code == 400
    other_kind = str(event).replace('"customer.subscription.created"', '"payout.paid"').replace(event.id, "evt_other")
    assert measured.deliver(other_kind.encode()).status_code == 200
    assert requests.get(f"{measured.url}/no/such/{'x' * 50}", timeout=30).status_code == 404
    measured.ask()
    write_notice()
    remember("backup", json.dumps({"at": 1234, "file": "/backups/corkage.db"}))

    found = values(measured)

    assert found["corkage_webhooks_accepted_total",] == 2
    refused = {key[1]: value for key, value in found.items() if key[0] == "corkage_webhooks_refused_total"}
    assert refused == {"secret": 1, "age": 1, "header": 1}
    assert found["corkage_webhooks_ignored_total", "other_kind"] == 1
    assert found["corkage_events_pending",] == 1
    assert found["corkage_backup_timestamp_seconds",] == 1234
    assert found["corkage_http_requests_total", "/webhook", "200", "POST"] == 2
    assert found["corkage_http_requests_total", "/webhook", "400", "POST"] == 3
    assert found["corkage_http_requests_total", "/access", "200", "GET"] == 1
    assert found["corkage_http_requests_total", "404", "GET", "other"] == 1
    assert "no/such" not in str(found)


def test_metrics_have_the_calls_to_stripe(measured, shop):
    measured.billing.service.gateway.account_id()

    found = values(measured)

    assert found["corkage_stripe_call_seconds_count",] == 1
    assert found["corkage_stripe_call_seconds_bucket", "+Inf"] == 1
    assert found["corkage_stripe_answered_timestamp_seconds",] <= time.time()


@pytest.mark.parametrize("error", [DatabaseUnavailable("disk I/O error"), ConfigError(["a table is gone"])])
def test_a_database_that_cannot_be_read_leaves_the_figures_of_the_process(measured, monkeypatch, error):
    def unreadable(*_):
        raise error

    monkeypatch.setattr("corkage.handlers.metrics.standing_of", unreadable)

    found = values(measured)

    assert found["corkage_problems",] == 1
    assert ("corkage_events_pending",) not in found


# What is seen of Stripe


def test_the_times_of_calls_are_counted_in_their_bounds():
    watched = Watched()
    for seconds in (0.0, 0.1, 0.11, 10.0, 10.1):
        watched.note(200, {}, NOW, NOW + seconds)

    seen = watched.seen()

    assert (seen.calls, len(seen.taken)) == (5, len(BOUNDS) + 1)
    assert (seen.taken[0], seen.taken[1], seen.taken[-2], seen.taken[-1]) == (2, 1, 1, 1)


def test_errors_are_counted_by_status_and_do_not_count_as_answers():
    watched = Watched()
    watched.note(401, {}, NOW, NOW + 1)
    watched.note(500, {}, NOW, NOW + 2)
    watched.note_failure(NOW, NOW + 3)
    watched.note(429, {}, NOW, NOW + 4)

    seen = watched.seen()

    assert seen.errors == {"401": 1, "500": 1, "unreachable": 1, "429": 1}
    assert (seen.refused_at, seen.failed_at, seen.answered_at) == (NOW + 1, NOW + 3, NOW + 4)


@pytest.mark.parametrize(
    ("headers", "ahead"),
    [
        ({"Date": "Fri, 15 Jan 2027 08:01:40 GMT"}, 100.5),
        ({"Date": "Fri, 15 Jan 2027 08:01:40 GMT", "Server": "simulator"}, None),
        ({"Date": "yesterday"}, None),
        ({}, None),
    ],
)
def test_stripes_clock_is_read_from_the_date_and_a_simulators_is_not(headers, ahead):
    watched = Watched()
    watched.note(200, headers, NOW, NOW)

    assert watched.seen().ahead == ahead


# Programs on one database


def test_a_program_says_its_settings_once_a_minute_and_takes_them_back(app, config, monkeypatch):
    presence = programs.Presence(config)
    presence.say()
    mine = [each for each in programs.programs(time.time()) if each.name == presence._name]
    assert [each.settings for each in mine] == [programs.settings_of(config)]
    storage.write("DELETE FROM corkage_setting WHERE name = ?", (presence._name,))
    presence.say()
    assert presence._name not in {each.name for each in programs.programs(time.time())}

    presence._next_at = time.monotonic()
    presence.say()
    assert presence._name in {each.name for each in programs.programs(time.time())}
    presence.take_back()
    presence.take_back()
    assert presence._name not in {each.name for each in programs.programs(time.time())}


def test_programs_on_other_machines_are_gone_after_a_quarter_of_an_hour(app, config):
    presence = programs.Presence(config)
    presence._host, presence._name = "another", "program:another:1"
    presence.say()

    def names(at):
        return {each.host for each in programs.programs(at)}

    assert "another" in names(time.time() + 890)
    assert "another" not in names(time.time() + 910)


def test_a_program_in_the_place_of_one_that_was_killed_takes_it_over(app, config):
    programs.Presence(replace(config, payer_prefix="org_")).say()
    programs.Presence(config).say()

    assert [each.settings for each in programs.programs(time.time())] == [programs.settings_of(config)]
    assert programs.differences(time.time()) == {}


def test_settings_are_stored_as_digests(app, config):
    stored = str(storage.rows("SELECT value FROM corkage_setting WHERE name LIKE 'program:%'"))

    assert "STRIPE_WEBHOOK_SECRET" in stored
    for secret in (*config.webhook_secrets, *config.auth_secrets, config.stripe_secret_key):
        assert secret not in stored


def test_the_order_of_secrets_is_no_difference(config):
    one = replace(config, webhook_secrets=("whsec_a", "whsec_b"))
    other = replace(config, webhook_secrets=("whsec_b", "whsec_a"))

    assert programs.settings_of(one) == programs.settings_of(other)
    assert programs.settings_of(one) != programs.settings_of(replace(config, webhook_secrets=("whsec_a",)))


@pytest.mark.parametrize(
    ("seconds", "said"), [(-1, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d")]
)
def test_lengths_of_time_for_people(seconds, said):
    assert span(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (3.4e9, "3.4 GB"), (2e15, "2e+03 TB")]
)
def test_sizes_for_people(count, said):
    assert size(count) == said
