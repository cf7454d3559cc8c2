"""A process of a rolling change, which makes answers by its plans and its rule until it is ended."""

import time
from typing import Any

from corkage import Billing, Config, Plan
from corkage.errors import Outdated
from corkage.replica import timelines

A_BATCH = 20


def make(database: str, feature: str, version: int, started: Any) -> None:
    """Make answers, and say on the pipe when it begins.

    Shape   feature: what its plan gives; version: of its rule. A newer rule gives a feature more
    """
    timelines.RULE_VERSION = version
    if version > 1:
        by_first_rule = timelines.timeline
        timelines.timeline = lambda *given: [
            each._replace(features=(*each.features, f"by rule {version}")) for each in by_first_rule(*given)
        ]
    config = Config(
        stripe_secret_key="sk_test_nobody",
        frontend_urls=("https://app.example.com",),
        plans=(Plan("pro", "Pro", ("pro_monthly",), features=(feature,)),),
        database=database,
    )
    billing = Billing(config)
    made = billing.service.catalogue.timelines
    started.send("started")
    while True:
        try:
            done = made.renew_some(time.time(), A_BATCH)
        except Outdated:
            done = 0
        time.sleep(0 if done else 0.01)
