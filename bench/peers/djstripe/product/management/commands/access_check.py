"""Print how many microseconds one check of access takes."""

import sys
from argparse import ArgumentParser
from pathlib import Path

from django.core.management import BaseCommand

from product.access import access_of

sys.path.append(str(Path(__file__).parents[4]))
from timing import microseconds


class Command(BaseCommand):
    """Time the function that the view asks."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user")
        parser.add_argument("checks", type=int)

    def handle(self, *_args: object, user: str, checks: int, **_options: object) -> None:
        self.stdout.write(f"{microseconds(lambda: access_of(user)['allowed'], checks):.3f}")
