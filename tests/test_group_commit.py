"""Group commit: threads that write at once share a commit. Nobody gets an answer before it, and each gets their own.

PostgreSQL does that by itself: there each thread commits its own statement, and must get the same answer.
"""

import http.client
import json
import os
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from urllib.parse import urlsplit

import pytest
import stripe
from elsewhere import locked
from harness import WEBHOOK_SECRET, serving, until
from hosted import by_wsgiref
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sql import statements

from corkage import storage
from corkage.errors import DatabaseUnavailable
from corkage.gateway import events
from corkage.models import StripeEvent, User
from corkage.server.serve import THREADS
from corkage.storage import sqlite
from corkage.storage.group_commit import LARGEST_GROUP, GroupCommit, Waiting
from corkage.sync import inbox

ADD = "INSERT INTO corkage_user (id, created_at) VALUES {rows} ON CONFLICT DO NOTHING"
CAREFREE = "INSERT INTO corkage_user (id, created_at) VALUES {rows}"


@pytest.fixture
def event(shop):
    shop.subscribe(shop.customer())
    return json.loads(str(shop.event("customer.subscription.created")))


@pytest.fixture
def post(app, event):
    """Send a webhook over a connection of its own; its answer is read later."""
    opened = []

    def send(name, url=app.url, signature=None):
        body = json.dumps(event | {"id": name})
        signature = signature or stripe.WebhookSignature.generate_signature_header(
            body, WEBHOOK_SECRET, int(time.time())
        )
        sent = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        opened.append(sent)
        sent.request("POST", "/webhook", body, {"Stripe-Signature": signature})
        return sent

    yield send
    for sent in opened:
        sent.close()


def answer(sent):
    """The status of the answer, and its body."""
    with sent.getresponse() as got:
        return got.status, json.loads(got.read())


def statuses(sent):
    return [answer(each)[0] for each in sent]


GROUPS = pytest.mark.one_engine("sqlite", "PostgreSQL itself lets commits share an fsync")
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND wait_event_type = 'Lock'"


LOCKED = "locked"


def has_groups():
    return isinstance(storage.current(), sqlite.Database)


def held():
    """Have everybody who writes wait, as while another writes."""
    opened = storage.current()
    return opened._write_lock if has_groups() else locked(opened.database)


def wait_for(count):
    """Wait until so many statements wait for a commit."""
    if has_groups():
        until(lambda: len(storage.current()._group_commit._waiting) == count)
    else:
        until(lambda: storage.row(_WAITING) == (count,))


def writes(seen):
    """The kinds of the statements that write, in their order."""
    kinds = [sql.split()[0] for sql in seen]
    return [kind for kind in kinds if kind in ("BEGIN", "INSERT", "COMMIT")]


def in_threads(statements):
    """Write each statement in a thread of its own, in one group where there are groups; return the error of each."""
    with ThreadPoolExecutor(max(len(statements), 1)) as pool:
        with held() if has_groups() else nullcontext():
            written = [pool.submit(storage.write, *statement) for statement in statements]
            if has_groups():
                wait_for(len(statements))
        return [each.exception(30) for each in written]


def add(name):
    """A deed of two statements: it adds a user, and returns how many there are."""

    def act(execute):
        execute(CAREFREE.replace("{rows}", "(?, 1)"), (name,))
        return execute("SELECT count(*) FROM corkage_user", ()).fetchone()[0]

    return act


def acting(deeds):
    """Call each deed in a thread of its own, in one group where there are groups; return what became of each."""
    with ThreadPoolExecutor(len(deeds)) as pool:
        with held() if has_groups() else nullcontext():
            acted = [pool.submit(storage.act, deed, str(number)) for number, deed in enumerate(deeds)]
            if has_groups():
                wait_for(len(deeds))
        return [each.exception(30) or each.result() for each in acted]


def users():
    return sorted(user.id for user in User.select())


@GROUPS
def test_the_rows_of_all_threads_that_wait_share_one_statement_and_its_commit(app):
    with statements() as seen:
        written = in_threads([(ADD, (f"user_{number}", 1)) for number in range(LARGEST_GROUP)])

    assert written == [None] * LARGEST_GROUP
    assert writes(seen) == ["INSERT"]
    assert User.select().count() == LARGEST_GROUP


@GROUPS
def test_statements_that_differ_share_one_commit(app):
    with statements() as seen:
        written = in_threads([(ADD, ("ann", 1)), (CAREFREE, ("bob", 1)), (ADD, ("cid", 1))])

    assert written == [None] * 3
    assert writes(seen) == ["BEGIN", *["INSERT"] * 3, "COMMIT"]
    assert users() == ["ann", "bob", "cid"]


@GROUPS
def test_more_than_the_largest_group_are_several_commits(app):
    with statements() as seen:
        written = in_threads([(ADD, (f"user_{number}", 1)) for number in range(LARGEST_GROUP + 2)])

    assert written == [None] * (LARGEST_GROUP + 2)
    assert writes(seen) == ["INSERT", "INSERT"]
    assert User.select().count() == LARGEST_GROUP + 2


def test_a_statement_that_comes_alone_is_its_own_commit(app):
    with statements() as seen:
        storage.write(ADD, ("ann", 1))
        storage.write(ADD, ("ann", 1))

    assert writes(seen) == ["INSERT", "INSERT"]


@GROUPS
def test_webhooks_that_wait_share_one_commit_and_each_is_answered(app, post):
    with statements() as seen:
        with held():
            sent = [post(f"evt_{number}") for number in range(THREADS)]
            wait_for(THREADS)
        assert statuses(sent) == [200] * THREADS

    assert writes(seen) == ["INSERT"]
    assert StripeEvent.select().count() == THREADS


@GROUPS
@pytest.mark.parametrize(("serve", "threads"), [(serving, 4), (by_wsgiref, 20)], ids=["waitress", "wsgiref"])
def test_under_a_hosts_own_server_they_share_a_commit_too(app, post, serve, threads):
    with serve(app.billing.wsgi) as url, statements() as seen:
        with held():
            sent = [post(f"evt_{number}", url) for number in range(threads)]
            wait_for(threads)
        assert statuses(sent) == [200] * threads

    assert writes(seen) == ["INSERT"]


def test_no_webhook_is_answered_before_its_commit_and_reading_goes_on(app, post):
    with held():
        sent = post("evt_held")
        wait_for(1)

        assert app.ask().json()["reason"] == "no_subscription"
        sent.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sent.sock.recv(1)
        assert StripeEvent.select().count() == 0

    sent.sock.settimeout(30)
    assert answer(sent)[0] == 200
    assert StripeEvent.get().id == "evt_held"


@pytest.mark.one_engine("sqlite", "it renames the file")
def test_when_the_file_is_gone_all_that_wait_get_503_and_none_is_stored(app, post, tmp_path):
    path = tmp_path / "corkage.db"
    with held():
        sent = [post(f"evt_{number}") for number in range(5)]
        wait_for(5)
        path.rename(tmp_path / "away.db")

    answers = [answer(each) for each in sent]
    (tmp_path / "away.db").rename(path)
    assert [(status, told["error"]["code"]) for status, told in answers] == [(503, "database_unavailable")] * 5
    assert StripeEvent.select().count() == 0
    assert answer(post("evt_next"))[0] == 200
    assert StripeEvent.get().id == "evt_next"


@pytest.mark.one_engine("sqlite", "it limits the pages of the file")
def test_a_disk_full_within_a_group_writes_none_of_it(app):
    writer = storage.current()._writer()
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages + 10}")
    written = in_threads([(ADD, ("small", 1)), (ADD, ("x" * 4096 * 20, 1)), (ADD, ("tiny", 1))])
    writer.execute("PRAGMA max_page_count = 1000000")

    assert [type(each) for each in written] == [DatabaseUnavailable] * 3
    assert "full" in str(written[0])
    assert users() == []
    assert storage.current().trouble.reason
    storage.write(ADD, ("later", 1))
    assert not storage.current().trouble.reason


@pytest.mark.one_engine("sqlite", "it locks the file")
def test_a_locked_file_refuses_all_that_wait(app, config):
    storage.current()._writer().execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(config.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    written = in_threads([(ADD, (f"user_{number}", 1)) for number in range(3)])
    other.execute("ROLLBACK")
    other.close()

    assert [type(each) for each in written] == [DatabaseUnavailable] * 3
    assert users() == []


def test_a_request_that_is_refused_does_not_hurt_the_others(app, post):
    with held():
        good, bad = post("evt_good"), post("evt_bad", signature="t=1,v1=0")
        assert answer(bad)[0] == 400
        wait_for(1)

    assert answer(good)[0] == 200
    assert [row.id for row in StripeEvent.select()] == ["evt_good"]


@GROUPS
def test_a_failed_commit_reaches_all_its_writers_and_no_later_one(app, monkeypatch):
    monkeypatch.setattr(storage.current(), "_execute_group", lambda *_: 1 / 0)
    written = in_threads([(ADD, (f"user_{number}", 1)) for number in range(3)])
    monkeypatch.undo()

    raised = [type(each) for each in written]
    assert ZeroDivisionError in raised
    assert set(raised) <= {ZeroDivisionError, DatabaseUnavailable}
    assert users() == []
    storage.write(ADD, ("ann", 1))


ANY_ERROR = ""

# What each statement gets, by itself or in a group: nothing, or an error of its own: its classes, by engine.
KINDS = {
    "new": (lambda number: (ADD, (f"new_{number}", 1)), None),
    "duplicate": (lambda _: (ADD, ("there", 1)), None),
    "many rows": (
        lambda number: (f"{ADD.split('VALUES')[0]} SELECT '{number}a', ? UNION SELECT '{number}b', 1", (1,)),
        None,
    ),
    "constraint": (lambda _: (CAREFREE, ("there", 1)), "IntegrityError UniqueViolation"),
    "null": (lambda number: (CAREFREE, (f"null_{number}", None)), "IntegrityError NotNullViolation"),
    "syntax": (lambda _: ("INSERT INTO corkage_user VALUE (?)", (1,)), "OperationalError SyntaxError"),
    "too few values": (lambda _: (ADD, ("one",)), "OperationalError SyntaxError"),
    # Python may raise the connection's last error in place of these.
    "no type of the engine's": (lambda _: (ADD, (object(), 1)), ANY_ERROR),
    "too large": (lambda number: (ADD, (f"large_{number}", 2**70)), ANY_ERROR),
    "no text": (lambda _: (ADD, ("\ud800", 1)), ANY_ERROR),
    "a NUL": (lambda _: (ADD, ("\0", None)), ANY_ERROR),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=8))
def test_a_bug_in_one_statement_hurts_no_other_of_its_group(app, kinds):
    with storage.writing():
        User.delete().execute()
        User.insert(id="there", created_at=1).execute()

    written = in_threads([KINDS[kind][0](number) for number, kind in enumerate(kinds)])

    for kind, got in zip(kinds, written, strict=True):
        wanted = KINDS[kind][1]
        if wanted is None:
            assert got is None, kind
        else:
            assert isinstance(got, Exception), kind
            assert wanted == ANY_ERROR or type(got).__name__ in wanted.split(), (kind, got)
    new = [f"new_{number}" for number, kind in enumerate(kinds) if kind == "new"]
    several = [f"{number}{each}" for number, kind in enumerate(kinds) if kind == "many rows" for each in "ab"]
    assert users() == sorted(["there", *new, *several])
    assert not storage.current().trouble.reason


def test_one_event_many_times_at_once_is_stored_once(app, event):
    given = events.read_event(event)
    with ThreadPoolExecutor(16) as pool:
        with held():
            recorded = [pool.submit(inbox.record, given, "webhook", 1.0, 1.0) for _ in range(16)]
            wait_for(16)
        assert [each.exception(30) for each in recorded] == [None] * 16

    assert StripeEvent.select().count() == 1


def test_transactions_and_single_statements_take_turns_and_none_is_lost(app):
    def work(number):
        for each in range(20):
            if (number + each) % 2:
                storage.write(ADD, (f"{number}-{each}", 1))
            else:
                with storage.writing():
                    User.insert(id=f"{number}-{each}", created_at=1).execute()

    with ThreadPoolExecutor(8) as pool:
        for each in [pool.submit(work, number) for number in range(8)]:
            each.result(60)

    assert User.select().count() == 160


def test_a_single_statement_within_a_transaction_is_refused(app):
    def nest():
        with storage.writing():
            User.insert(id="ann", created_at=1).execute()
            storage.write(ADD, ("bob", 1))

    with pytest.raises(RuntimeError, match="must not nest"):
        nest()

    assert users() == []
    storage.write(ADD, ("bob", 1))


@GROUPS
def test_a_child_forked_while_others_wait_writes_its_own_and_not_theirs(app):
    with ThreadPoolExecutor(3) as pool:
        with held():
            written = [pool.submit(storage.write, ADD, (f"parents_{number}", 1)) for number in range(3)]
            wait_for(3)
            child = os.fork()
            if child == 0:
                with suppress(BaseException):
                    storage.write(ADD, ("childs", 1))
                    os._exit(7)
                os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            assert users() == ["childs"]
        assert [each.exception(30) for each in written] == [None] * 3

    assert users() == ["childs", "parents_0", "parents_1", "parents_2"]


def test_an_interrupt_ends_the_thread_that_commits_and_refuses_the_others():
    lock, is_first = threading.RLock(), threading.Event()

    def commit(*_):
        if not is_first.is_set():
            is_first.set()
            raise KeyboardInterrupt

    group_commit = GroupCommit(lambda _: lock, commit, LOCKED)
    with ThreadPoolExecutor(3) as pool:
        with lock:
            written = [pool.submit(group_commit.write, "", ()) for _ in range(3)]
            until(lambda: len(group_commit._waiting) == 3)
        raised = [type(each.exception(30)) for each in written]

    assert sorted(each.__name__ for each in raised) == ["DatabaseUnavailable"] * 2 + ["KeyboardInterrupt"]
    group_commit.write("", ())


def test_a_refused_statement_is_not_committed_later(monkeypatch):
    """Where groups are full, a thread may lead one that does not hold its own statement."""
    monkeypatch.setattr("corkage.storage.group_commit.LARGEST_GROUP", 1)
    lock, failures, committed = threading.RLock(), [ZeroDivisionError] * 2, []

    def commit(group, _):
        if failures:
            raise failures.pop()
        committed.extend(each.sql for each in group)

    group_commit = GroupCommit(lambda _: lock, commit, LOCKED)
    with ThreadPoolExecutor(5) as pool:
        with lock:
            written = {str(number): pool.submit(group_commit.write, str(number), ()) for number in range(5)}
            until(lambda: len(group_commit._waiting) == 5)
        refused = {sql for sql, each in written.items() if each.exception(30)}

    assert 2 <= len(refused) <= 4
    assert sorted(committed) == sorted(written.keys() - refused)
    assert not group_commit._waiting


def test_who_is_committed_does_not_wait_for_those_who_write_next():
    lock, written = threading.RLock(), []

    def commit(*_):
        lock.acquire()  # never released: another writes from now on

    group_commit = GroupCommit(lambda _: lock, commit, LOCKED)
    threads = [threading.Thread(target=lambda: written.append(group_commit.write("", ())), daemon=True) for _ in "abc"]
    with lock:
        for thread in threads:
            thread.start()
        until(lambda: len(group_commit._waiting) == 3)

    until(lambda: written == [None] * 3, seconds=5)


@GROUPS
def test_functions_that_wait_share_one_commit_with_statements_and_each_gets_its_result(app):
    with statements() as seen, ThreadPoolExecutor(3) as pool:
        with held():
            counted = [pool.submit(storage.act, add(name), name) for name in ("ann", "bob")]
            written = pool.submit(storage.write, ADD, ("cid", 1))
            wait_for(3)
        assert written.result(30) is None

    assert sorted(each.result(30) for each in counted) in ([1, 2], [1, 3], [2, 3])
    assert writes(seen) == ["BEGIN", *["INSERT"] * 3, "COMMIT"]
    assert users() == ["ann", "bob", "cid"]


def test_a_function_that_comes_alone_is_one_transaction_and_its_result_is_on_disk(app):
    storage.write(ADD, ("first", 1))
    with statements() as seen:
        assert storage.act(add("ann"), "ann") == 2

    assert [sql.split()[0] for sql in seen] == ["BEGIN", "INSERT", "SELECT", "COMMIT"]
    assert users() == ["ann", "first"]


def test_a_function_that_fails_undoes_what_it_wrote_and_nothing_of_the_others(app):
    def fails_late(execute):
        add("half")(execute)
        add("half")(execute)

    outcomes = acting([add("ann"), fails_late, add("bob")])

    assert "Unique" in type(outcomes[1]).__name__ or "Integrity" in type(outcomes[1]).__name__
    assert all(isinstance(each, int) for each in (outcomes[0], outcomes[2]))
    assert users() == ["ann", "bob"]
    assert not storage.current().trouble.reason


def test_a_function_that_fails_alone_writes_nothing(app):
    def fails_late(execute):
        add("half")(execute)
        execute("SELECT * FROM corkage_nothing_of_the_kind", ())

    (outcome,) = acting([fails_late])

    assert isinstance(outcome, Exception)
    assert users() == []
    assert storage.act(add("ann"), "ann") == 1


def test_a_function_within_a_transaction_is_refused(app):
    with pytest.raises(RuntimeError, match="must not nest"), storage.writing():
        storage.act(add("ann"), "ann")

    assert users() == []


@pytest.mark.one_engine("sqlite", "it renames the file")
def test_when_the_file_is_gone_functions_are_refused_and_do_nothing(app, tmp_path):
    path = tmp_path / "corkage.db"
    path.rename(tmp_path / "away.db")
    outcomes = acting([add("ann"), add("bob")])
    (tmp_path / "away.db").rename(path)

    assert [type(each) for each in outcomes] == [DatabaseUnavailable] * 2
    assert users() == []


def test_an_interrupt_of_a_thread_that_waits_leaves_the_others_a_leader(monkeypatch):
    """A signal may end a thread in its wait, in the moment that it is chosen to lead."""
    lock, committed = threading.RLock(), []
    group_commit = GroupCommit(lambda _: lock, lambda group, _: committed.extend(each.sql for each in group), LOCKED)
    waiting = Waiting.wait

    def interrupted(self, *seconds):
        waiting(self, *seconds)
        if self.sql == "interrupted" and not self.is_done:
            raise KeyboardInterrupt

    monkeypatch.setattr(Waiting, "wait", interrupted)
    monkeypatch.setattr("corkage.storage.group_commit.LARGEST_GROUP", 1)
    with ThreadPoolExecutor(3) as pool:
        written = []
        with lock:
            for number, sql in enumerate(("first", "interrupted", "last")):
                written.append(pool.submit(group_commit.write, sql, ()))
                until(lambda wanted=number + 1: len(group_commit._waiting) == wanted)
        raised = [type(each.exception(30)) for each in written]

    assert raised == [type(None), KeyboardInterrupt, type(None)]
    assert committed == ["first", "last"]
    group_commit.write("later", ())
