"""Rows that tests write by hand, as Corkage itself would write them."""

import time

from corkage import storage
from corkage.models import NoticeDelivery, NoticeRow, User
from corkage.notices import changes


def write_notice(user="ann", kind="access_granted", at=None):
    """Write a notice as a change of access does, and return its id."""
    at = time.time() if at is None else at
    with storage.writing():
        User.insert(id=user, created_at=0).on_conflict_ignore().execute()
        answer = '{"allowed": true, "reason": "active", "status": "active", "a_later_versions": 1}'
        changes._write(user, kind, answer, answer, at)
    return NoticeRow.select().order_by(NoticeRow.id.desc()).get().message_id


def pending_notices():
    return NoticeDelivery.select().where(NoticeDelivery.delivered_at.is_null()).count()
