"""Print how many microseconds one check of access takes in Corkage: python access_of_corkage.py USER CHECKS"""

import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from corkage import Billing, Config

sys.path.append(str(Path(__file__).parent))
from timing import microseconds

user, checks = sys.argv[1:]
# Without the worker's thread, which begins by importing Stripe's library beside what is timed.
with closing(Billing(replace(Config.from_env(), worker="off"))) as billing:
    print(f"{microseconds(lambda: billing.access(user).allowed, int(checks)):.3f}")
