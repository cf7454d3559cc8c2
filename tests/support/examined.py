"""What the doctor finds in a running app, without the checks of a set-up that the tests do not have."""

import time
from typing import Any, NamedTuple

from corkage.health import doctor

SETTING_UP = {"backup", "endpoint", "file modes", "mode", "portal", "room", "sync", "webhooks"}
"""What these say to a fresh database beside a simulator; test_broken_things.py has tests of each."""


class Finding(NamedTuple):
    """What is not as it should be, and the command that mends it."""

    what: str
    repair: str | None


def lines(app: Any, now: float | None = None, **options: Any) -> list[doctor.Line]:
    """Run the doctor in this process; return every line."""
    service = app.billing.service
    at = time.time() if now is None else now
    return doctor.examine(service.worker, service.config, service.watched, at, **options)


def examine(app: Any, now: float | None = None, **options: Any) -> list[Finding]:
    """Run the doctor; return what is not as it should be."""
    found = [each for each in lines(app, now, **options) if each.mark != doctor.OK and each.check not in SETTING_UP]
    return [Finding(each.what, each.repair) for each in found]
