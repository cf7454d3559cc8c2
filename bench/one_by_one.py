"""Corkage with a commit for each event, which its threads wait for one after the other."""

import sys

from corkage import cli
from corkage.storage import group_commit

if __name__ == "__main__":
    group_commit.LARGEST_GROUP = 1
    sys.exit(cli.main(["serve", "--port", "0"]))
