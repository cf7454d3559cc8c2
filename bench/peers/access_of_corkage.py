"""Print how many microseconds one check of access takes in Corkage: python access_of_corkage.py USER CHECKS"""

import sys
from contextlib import closing
from pathlib import Path

from corkage import Billing, Config

sys.path.append(str(Path(__file__).parent))
from timing import microseconds

user, checks = sys.argv[1:]
with closing(Billing(Config.from_env())) as billing:
    print(f"{microseconds(lambda: billing.access(user).allowed, int(checks)):.3f}")
