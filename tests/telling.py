"""Notices for the tests to have: written as a change of access writes them."""

import time

from corkage import storage
from corkage.models import Notice, NoticeDelivery, User
from corkage.notices import changes


def until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def write(user="ann", kind="access_granted", at=None):
    """A notice, as a change of access writes it; its id."""
    at = time.time() if at is None else at
    with storage.writing():
        User.insert(id=user, created_at=0).on_conflict_ignore().execute()
        told = '{"allowed": true, "reason": "active", "status": "active", "a_later_versions": 1}'
        changes._write(user, kind, told, told, at)
    return Notice.select().order_by(Notice.id.desc()).get().message_id


def pending():
    return NoticeDelivery.select().where(NoticeDelivery.delivered_at.is_null()).count()
