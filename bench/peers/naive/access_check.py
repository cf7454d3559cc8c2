"""Print how many microseconds one check of access takes: python access_check.py USER CHECKS"""

import sys
from pathlib import Path

from store import access_of, db

sys.path.append(str(Path(__file__).parent.parent))
from timing import microseconds

user, checks = sys.argv[1:]
with db:
    print(f"{microseconds(lambda: access_of(user)['allowed'], int(checks)):.3f}")
