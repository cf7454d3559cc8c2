"""A process of a rolling change, which makes answers by its plans and its rule until it is ended.

Arguments: the database, the feature that its plan gives, the version of its rule. A newer rule gives a feature more.
"""

import sys
import time

from corkage import Billing, Config, Plan
from corkage.errors import Outdated
from corkage.sync import timelines

A_BATCH = 20


def main(database: str, feature: str, version: int) -> None:
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
    sys.stdout.write("started\n")
    sys.stdout.flush()
    while True:
        try:
            done = made.renew_some(time.time(), A_BATCH)
        except Outdated:
            done = 0
        time.sleep(0 if done else 0.01)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
