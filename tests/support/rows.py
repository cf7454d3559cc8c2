"""Rows that tests write by hand, as Corkage itself would write them."""

import json
import time

from harness import PRO

from corkage import storage
from corkage.access import Access
from corkage.gateway import events
from corkage.models import NoticeDelivery, NoticeRow, StripeEvent, User
from corkage.notices import changes, outbox
from corkage.notices.notice import AccessSummary
from corkage.selling.held import held_subscription
from corkage.sync import inbox


def write_notice(user="ann", kind="access_granted", at=None):
    """Write a notice as a change of access does, and return its id."""
    at = time.time() if at is None else at
    with storage.writing():
        User.insert(id=user, created_at=0).on_conflict_ignore().execute()
        answer = AccessSummary(allowed=True, reason="active", status="active")
        outbox.owe([(changes._write(user, changes.News(kind, answer, answer), at), user)], at)
        later = '{"allowed": true, "reason": "active", "status": "active", "a_later_versions": 1}'
        NoticeRow.update(before=later, after=later).where(NoticeRow.created_at == at).execute()
    return NoticeRow.select().order_by(NoticeRow.id.desc()).get().message_id


def pending_notices():
    return NoticeDelivery.select().where(NoticeDelivery.delivered_at.is_null()).count()


def record_event(event_id, customer=None, received_at=None, kind="customer.subscription.updated", **fields):
    """Store a pending event, due when it was received; fields are columns to be set besides."""
    at = time.time() if received_at is None else received_at
    event = events.EventRef(event_id, kind, int(at), False, None, customer, None)
    inbox.record(event, "webhook", at, at)
    if fields:
        StripeEvent.update(fields).where(StripeEvent.id == event_id).execute()


def event_row(event_id):
    return StripeEvent.get_by_id(event_id)


def fail(event_id, error, now):
    """Have a stored event attempted now, and fail."""
    StripeEvent.update(next_attempt_at=now).where(StripeEvent.id == event_id).execute()
    subject = inbox.subject_of(event_id)
    assert subject is not None
    assert inbox.lease(subject, now, now + 1)
    inbox.postpone(subject, now + 1, error, now)


def renew_timelines(app):
    """Make every timeline anew, after rows were changed by hand."""
    User.update(rule=0).execute()
    app.billing.service.catalogue.timelines.renew(time.time())


def deciding_subscription(user="ann"):
    """Return the subscription that a click of the user's is about: the best that has not ended, by the plan `pro`."""
    found = held_subscription(user, {PRO.key: PRO})
    return None if found is None else found.id


def read_view(user: str) -> Access:
    """The user's access as a reader in another language finds it, by the clock of SQLite."""
    wanted = ", ".join(Access._fields)
    query = f"SELECT {wanted} FROM corkage_access WHERE user_id = ?"
    (row,) = storage.rows(query, (user,)) or storage.rows(f"SELECT {wanted} FROM corkage_access_default")
    found = dict(zip(Access._fields, row, strict=True)) | {"user_id": user}
    flags = {name: bool(found[name]) for name in ("allowed", "stale")}
    lists = {name: tuple(json.loads(found[name])) for name in ("features", "plans")}
    return Access(**found | flags | lists | {"limits": json.loads(found["limits"])})
