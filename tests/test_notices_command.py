"""corkage notices: what is pending for each receiver and why, and resending. /health and the doctor count it."""

import time

import pytest
import requests
from examined import Finding, examine
from harness import DAY
from rows import pending_notices, write_notice

from corkage.models import NoticeDelivery, NoticeReceiver
from corkage.notices import outbox

pytestmark = pytest.mark.slow

ADDRESS = {
    "BILLING_NOTIFY_URL": "http://127.0.0.1:1/hook",
    "BILLING_NOTIFY_SECRET": "whsec_" + "A" * 40,
}


@pytest.fixture
def receivers(app):
    for name in ("callbacks", "url"):
        outbox.register(name, time.time())


def change(message, receiver, **fields):
    (row,) = [row for row in NoticeDelivery.select() if row.notice.message_id == message and row.receiver == receiver]
    NoticeDelivery.update(fields).where(
        NoticeDelivery.notice == row.notice_id, NoticeDelivery.receiver == receiver
    ).execute()


def test_notices_are_listed_by_state_and_receiver_with_errors(corkage, receivers):
    now = time.time()
    message = write_notice("ann", at=now - 5.5 * 3600)
    change(message, "url", attempts=3, error="answered 500", next_attempt_at=now + 3.5 * 3600)
    change(message, "callbacks", delivered_at=now, outcome="called")
    other = write_notice("bob", at=now - 7200)

    listed = corkage("notices").stdout.splitlines()
    delivered = corkage("notices", "--state", "delivered", "--limit", "1").stdout.splitlines()

    assert listed == [
        f"failing  {message}  access_granted  ann  to url  5 h ago  3 tries, next in 3 h  answered 500",
        f"pending  {other}  access_granted  bob  to callbacks  2 h ago  next in 0 s",
        f"pending  {other}  access_granted  bob  to url  2 h ago  next in 0 s",
    ]
    assert delivered == [f"delivered  {message}  access_granted  ann  to callbacks  5 h ago  called"]


def test_without_a_receiver_the_command_says_what_to_set(corkage, app):
    write_notice()

    assert corkage("notices").stdout.splitlines() == [
        "no failing notices",
        "no pending notices",
        "no receiver: set BILLING_NOTIFY_URL, or register a callback with billing.on()",
    ]
    refused = corkage("notices", "resend", "--since", "1h")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "no receiver" in refused.stderr


def test_one_notice_or_all_since_a_time_are_resent_to_all_receivers(corkage, app):
    now = time.time()
    old, new = write_notice("ann", at=now - 2 * DAY), write_notice("bob", at=now - 60)
    assert pending_notices() == 0
    outbox.register("url", now)

    one = corkage("notices", "resend", old)
    assert (one.returncode, one.stdout) == (0, "1 notices will be delivered again\n")
    assert [row.notice.message_id for row in NoticeDelivery.select()] == [old]
    change(old, "url", delivered_at=now, outcome="answered 200", attempts=4)

    assert corkage("notices", "resend", "--since", "3d").stdout == "2 notices will be delivered again\n"
    assert {row.notice.message_id: (row.attempts, row.outcome) for row in NoticeDelivery.select()} == {
        old: (0, None),
        new: (0, None),
    }


def test_resending_failing_notices_makes_them_due_at_once(corkage, receivers):
    now = time.time()
    change(write_notice("ann"), "url", attempts=9, error="answered 500", next_attempt_at=now + 3600)

    assert corkage("notices", "resend", "--failing").stdout == "1 notices are due now\n"

    assert NoticeDelivery.select().where(NoticeDelivery.next_attempt_at > time.time()).count() == 0


@pytest.mark.parametrize("asked", [("ntc_typo",), ("--since", "1h")])
def test_resending_an_unknown_notice_says_so(corkage, receivers, asked):
    answer = corkage("notices", "resend", *asked)

    assert answer.returncode == 1
    assert "there is no such notice" in answer.stderr


def test_a_process_with_the_setting_is_a_receiver_from_its_start(corkage, app):
    assert "no receiver" not in corkage("notices", **ADDRESS).stdout
    assert [row.name for row in NoticeReceiver.select()] == ["url"]


def test_health_counts_undelivered_notices(app, receivers):
    now = time.time()
    assert requests.get(f"{app.url}/health", timeout=30).json()["notices"] == {
        "pending": 0,
        "failing": 0,
        "oldest_pending_seconds": 0,
    }
    change(write_notice("ann", at=now - 100), "url", attempts=1)

    health = requests.get(f"{app.url}/health", timeout=30)

    assert health.status_code == 200
    assert health.json()["notices"]["pending"] == 2
    assert health.json()["notices"]["failing"] == 1
    assert 99 <= health.json()["notices"]["oldest_pending_seconds"] <= 130


def test_doctor_reports_failing_notices_and_absent_receivers(app, shop, receivers):
    now = time.time()
    failing = write_notice("ann", at=now - 1000)
    change(failing, "url", attempts=4, error="answered 500", next_attempt_at=now + 60)
    change(failing, "callbacks", delivered_at=now)
    change(write_notice("ann", "access_revoked", at=now - 900), "callbacks", delivered_at=now)

    timelines = app.billing.service.catalogue.timelines
    timelines.renew(now)
    (finding,) = examine(app, now)
    assert finding == Finding(
        "1 notices are not delivered, `corkage notices` says why", "corkage notices resend --failing"
    )

    write_notice("bob", at=now - 302)
    timelines.renew(now)
    findings = [each.what for each in examine(app, now)[1:]]
    assert findings == [
        "notices to callbacks wait, the first has been due for 302 s: does a process that has the callbacks run?",
        "notices to url wait, the first has been due for 302 s: does a worker run?",
    ]
    assert len(examine(app, now - 3)) == 1
