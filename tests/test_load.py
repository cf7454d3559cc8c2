import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import examined
import filled
import psutil
import pytest
import requests
from elsewhere import elsewhere
from harness import ADMIN_TOKEN, APP, DAY, WEBHOOK_SECRET, running, until
from served import served
from soaking import Wish, soaked
from steps import steps
from torture import size

from corkage import storage
from corkage.gateway.events import read_event
from corkage.replica import revenue, stale
from corkage.sync import jobs

pytestmark = [pytest.mark.slow, pytest.mark.torture("load")]

# Size: users by the million

SIZES = {
    "sqlite": ((100, 1_000), (10_000, 100_000, 1_000_000)),
    "postgresql": ((1_000,), (3_000, 30_000, 300_000)),
}
"""Users in the database, in the short form and in the long one. There are ten times as many events."""
TIMES = size(2, long=20)
MARGIN = 1_000  # steps: what is a statement more, since another second has begun
COUNTED = ("corkage_user", "corkage_answer")  # once, for the page of users
LARGE = (*COUNTED, "corkage_subscription", "corkage_stripe_event", "corkage_notice_delivery")
A_STRANGERS = {"Stripe-Signature": f"t=1,v1={'0' * 64}"}


class Cost(NamedTuple):
    """What something costs at one size: seconds, the median of some tries; steps of SQLite's, and those of its longest
    transaction.
    """

    seconds: float
    steps: int
    locked: int


class Place:
    """A running app on a filled database, and somebody at the operator's page."""

    def __init__(self, app, shop, users):
        self.app, self.users = app, users
        self.customer = shop.customer()
        shop.subscribe(self.customer)
        self.event = json.loads(str(shop.event("customer.subscription.created")))
        form, headers = {"do": "sign_in", "token": ADMIN_TOKEN}, {"Sec-Fetch-Site": "same-origin"}
        answer = requests.post(f"{app.url}/admin", form, headers=headers, allow_redirects=False, timeout=60)
        self.headers = {"Accept": "text/html", "Cookie": answer.headers["Set-Cookie"].split(";")[0]}

    def deliver(self, number):
        body = json.dumps(self.event | {"id": f"evt_load_{number}"}).encode()
        assert self.app.deliver(body).status_code == 200

    def ask(self, number):
        assert self.app.ask(filled.user(number * self.users // TIMES)).json()["allowed"]

    def health(self, _):
        assert requests.get(f"{self.app.url}/health", timeout=600).status_code == 200

    def look(self, shows, **query):
        answer = requests.get(f"{self.app.url}/admin", query, headers=self.headers, timeout=600)
        assert answer.status_code == 200
        assert shows in answer.text

    def refuse(self):
        """Deliver what a stranger makes up."""
        for _ in range(3):
            answer = requests.post(f"{self.app.url}/webhook", b"{}", headers=A_STRANGERS, timeout=60)
            assert answer.status_code == 400

    def waited_for(self):
        """What somebody waits for, and how often to do it."""
        work, last = self.app.billing.service.worker, self.users - 1
        yield "webhook", self.deliver, TIMES
        yield "converge", lambda _: self.app.converge(self.customer), TIMES
        yield "access", self.ask, TIMES
        yield "health", self.health, TIMES
        self.refuse()
        yield "health while a stranger's webhooks are refused", self.health, TIMES
        yield "worker's look", lambda _: work.work_once(time.time()), TIMES
        yield "search by id", lambda _: self.look(filled.email(7), q=filled.user(7)), TIMES
        yield "page of a user", lambda _: self.look("invoice.paid", user=filled.user(last)), TIMES
        yield "list of applied events", lambda _: self.look("evt_", show="events", state="applied"), TIMES
        yield "export of a user", lambda _: self.app.billing.export(filled.user(7)), TIMES
        yield "forgetting a user", lambda _: self.app.billing.forget("ann"), 1

    def reading_all(self):
        """What reads all users, subscriptions or events, and how often to do it."""
        now = time.time()
        yield "daily pruning", lambda _: jobs.prune(now, filled.KEEP_DAYS), 1
        yield "hourly look at waits", lambda _: stale.shorten_waits(now), 1
        yield "daily revenue", lambda _: revenue.keep(now), 1
        yield "count of users", lambda _: self.look("user_0"), 1
        yield "search by e-mail", lambda _: self.look(filled.email(7), q=filled.email(7)), 1
        yield "search by a part of a name", lambda _: self.look("", q="nobody at all"), 1
        yield "figures", lambda _: self.look("", show="figures"), 1
        yield "doctor", lambda _: examined.lines(self.app), 1


def cost(counter, act, times):
    taken = []
    for number in range(times):
        counter.begin()
        began = time.perf_counter()
        act(number)
        taken.append(time.perf_counter() - began)
    return Cost(statistics.median(taken), counter.count, counter.longest)


def make(config, users):
    """Make the tables, and fill them as for so many users."""
    with running(config):
        (rule,) = storage.row("SELECT value FROM corkage_setting WHERE name = 'rule'")
    filled.fill(config.database, users, json.loads(rule)[0], "price_filled", int(time.time()))


def costs_at(config, users, shop, counter):
    """Return what is waited for, and what reads all, each with what it costs at this size."""
    with running(config) as app:
        all_read = costs_of(Place(app, shop, users).reading_all(), counter)
        app.work()  # what is due once a day
    scanned = scans(config.database)
    began = time.perf_counter()
    counter.begin()
    with running(config) as app:
        start = Cost(time.perf_counter() - began, counter.count, counter.longest)
        waited_for = costs_of(Place(app, shop, users).waited_for(), counter)
    more = {table: count - scanned[table] for table, count in scans(config.database).items()}
    assert all(count <= (table in COUNTED) for table, count in more.items()), more
    return {"start": start} | waited_for, all_read


def costs_of(deeds, counter):
    return {name: cost(counter, act, times) for name, act, times in deeds}


def scans(database):
    """How often a server has read a table from end to end, for each that is large. A file counts steps instead."""
    if not storage.is_url(database):
        return {}
    with elsewhere(database) as connection:
        others = "SELECT 1 FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()"
        until(lambda: not connection.execute(others).fetchall())  # with its end each adds what it has counted
        found = (
            "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE schemaname = current_schema() AND relname IN {}"
        )
        return dict(connection.execute(found.format(LARGE)).fetchall())


def test_what_is_waited_for_does_not_grow_with_users_and_events(
    config, engine, shop, new_database, figures, monkeypatch
):
    sizes, waited_for, all_read, megabytes = SIZES[engine][size(0, long=1)], [], [], []
    monkeypatch.setattr("corkage.service.MANY_USERS", 50)
    monkeypatch.setattr("corkage.sync.jobs.BATCH", size(10, long=jobs.BATCH))  # of which there are several
    with steps() as counter:
        for users in sizes:
            with new_database() as database:
                at_this = replace(config, database=database, admin_token=ADMIN_TOKEN)
                make(at_this, users)
                megabytes.append(size_of(database) / 1e6)
                found = costs_at(at_this, users, shop, counter)
                waited_for.append(found[0])
                all_read.append(found[1])
    figures.note(users=shown(sizes, ",d"), megabytes=shown(megabytes, ",.0f"))
    for name in waited_for[0]:
        few, many = waited_for[0][name], waited_for[-1][name]
        figures.note(**{f"{name} ms": shown([1e3 * each[name].seconds for each in waited_for], ",.1f")})
        assert many.steps <= 1.2 * few.steps + MARGIN, name
        assert many.locked <= 1.2 * few.locked + MARGIN, name
    for name in all_read[0]:
        few, many = all_read[0][name], all_read[-1][name]
        figures.note(**{f"{name} s": shown([each[name].seconds for each in all_read], ",.2f")})
        assert many.steps <= 1.2 * few.steps * sizes[-1] / sizes[0], name
        assert many.locked <= 1.2 * few.locked + MARGIN, name


def size_of(database):
    if not storage.is_url(database):
        return Path(database).stat().st_size
    with elsewhere(database) as connection:
        tables = "SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
        return int(connection.execute(f"SELECT sum(pg_total_relation_size(oid)) FROM ({tables}) AS t").fetchone()[0])


def shown(values, how):
    return ", ".join(format(each, how) for each in values)


# Soak: hours of load, pressed together

NOTICES = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
SECONDS = {"sqlite": size(6, long=600), "postgresql": size(6, long=120)}
WEBHOOKS, READS = size(30, long=300), size(90, long=1200)  # a second: each minute is six of 50 and 200
MOST_LOG_BYTES = 12_000_000  # it is emptied at 4 MB, and what one transaction adds comes before that
CUSTOMERS = 10  # whose events are delivered again and again
MOST_THREADS, MOST_HANDLES = 50, 150


class Use(NamedTuple):
    """What a process has in use."""

    memory: int
    handles: int
    threads: int
    log: int


class Life:
    """What subscribers do meanwhile: some come and buy, and the others' months go by."""

    def __init__(self, shop):
        self.shop, self.bought, self.renewed = shop, 0, 0
        self.clocks = shop.client.v1.test_helpers.test_clocks
        self.now = int(time.time())
        self.clock = self.clocks.create(params={"frozen_time": self.now}).id
        self.renewing = [self.buy(test_clock=self.clock) for _ in range(3)]

    def buy(self, **params):
        user = f"buyer{self.bought}"
        self.bought += 1
        return self.shop.subscribe(self.shop.customer(user, **params), user=user)

    def renew(self):
        """Let a month go by for those of the test clock."""
        self.now += 32 * DAY
        self.clocks.advance(self.clock, params={"frozen_time": self.now})
        self.renewed += len(self.renewing)

    def period_ends(self):
        """When the periods of those end, at Stripe."""
        found = (self.shop.client.v1.subscriptions.retrieve(each) for each in self.renewing)
        return {each.id: each["items"].data[0].current_period_end for each in found}


def in_use(server):
    process = psutil.Process(server.process.pid)
    log = 0 if storage.is_url(server.path) else Path(f"{server.path}-wal").stat().st_size
    return Use(process.memory_info().rss, process.num_fds(), process.num_threads(), log)


def live(server, life, seconds):
    """Live for so long; return what the server had in use, from second to second."""
    began, used = time.monotonic(), []
    while time.monotonic() < began + seconds:
        life.buy()
        if len(used) % size(3, long=10) == 0:
            life.renew()
        used.append(in_use(server))
        time.sleep(max(0.0, began + len(used) - time.monotonic()))
    return used


def test_an_hour_of_load_leaves_memory_handles_threads_and_the_log_as_they_were(
    environ, engine, shop, simulator, receiver, tmp_path, figures
):
    notices = {"BILLING_NOTIFY_URL": receiver.url, "BILLING_NOTIFY_SECRET": NOTICES, "BILLING_APP": APP}
    paces = {"BILLING_POLL_SECONDS": "30", "BILLING_SETTLE_SECONDS": "2"}
    with served(environ | notices | paces, tmp_path) as server:
        simulator.add_webhook_endpoint(f"{server.url}/webhook", secret=WEBHOOK_SECRET)
        time.sleep(1)  # what was bought in the second in which the database was made is no news
        life = Life(shop)
        for _ in range(CUSTOMERS):
            life.buy()
        users = [f"buyer{number}" for number in range(life.bought)]
        events = [json.loads(str(each)) for each in shop.client.v1.events.list(params={"limit": 100}).data]
        wanted = [each for each in events if read_event(each).is_wanted]
        with soaked(Wish(server.url, SECONDS[engine], wanted, [*users, "nobody"], WEBHOOKS, READS)) as outcome:
            used = live(server, life, SECONDS[engine])
            done = outcome()
        until(lambda: server.health()["backlog"] == 0, 120)
        receiver.has_got(life.bought)  # each purchase is a notice
        ends = life.period_ends()
        until(lambda: period_ends(server, ends) == ends, 60)
        assert (done.failed, server.problems()) == ([], "")
        webhooks, reads = (sum(part.answers for part in parts) for parts in (done.webhooks, done.reads))
        assert stored(server, "evt_soak_%") == webhooks
        assert "Traceback" not in server.log()
        figures.note(
            seconds=SECONDS[engine], webhooks=webhooks, reads=reads, purchases=life.bought, renewals=life.renewed
        )
        figures.note(notices=len(receiver.got), **flat(used), **as_quick(done))


def flat(used):
    """Hold that nothing grows: the last fifth beside the second, after what a start takes. Return figures."""
    fifth = max(1, len(used) // 5)
    early, late = most(used[fifth : 2 * fifth]), most(used[-fifth:])
    assert late.log <= MOST_LOG_BYTES
    assert late.threads <= MOST_THREADS
    assert late.handles <= MOST_HANDLES
    if size(0, long=1):
        assert late.memory <= 1.15 * early.memory
        assert late.threads <= early.threads + 3
        assert late.handles <= early.handles + 10
    in_megabytes = {"memory MB": (early.memory, late.memory), "WAL MB": (early.log, late.log)}
    return {name: shown([each / 1e6 for each in both], ".1f") for name, both in in_megabytes.items()} | {
        "handles": shown([early.handles, late.handles], "d"),
        "threads": shown([early.threads, late.threads], "d"),
    }


def most(used):
    return Use(*map(max, zip(*used, strict=True)))


def as_quick(done):
    """Return how long 99 % of the answers took late, divided by early; in the long form hold that it did not grow."""
    figures = {}
    for kind in ("webhooks", "reads"):
        parts = [part.p99_seconds for part in getattr(done, kind)]
        early, late = statistics.median(parts[1:4]), statistics.median(parts[7:])
        figures[f"p99 of {kind} ms"] = f"{early * 1e3:.1f}, {late * 1e3:.1f}: {late / early:.2f} x"
        if size(0, long=1):
            assert late <= 2 * early
    return figures


def stored(server, pattern):
    with elsewhere(server.path) as connection:
        return connection.execute(f"SELECT count(*) FROM corkage_stripe_event WHERE id LIKE '{pattern}'").fetchone()[0]


def period_ends(server, ids):
    """When the periods of these subscriptions end, as they are stored."""
    names = ", ".join(f"'{each}'" for each in ids)
    query = f"SELECT id, current_period_end FROM corkage_subscription WHERE id IN ({names})"
    with elsewhere(server.path) as connection:
        return dict(connection.execute(query).fetchall())
