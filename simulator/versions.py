"""Stripe's API versions that events can be rendered in: those that changed what a receiver reads, and the newest."""

from .errors import invalid
from .world import API_VERSION

ACACIA = "2024-09-30.acacia"
BASIL = "2025-03-31.basil"
CLOVER = "2025-09-30.clover"
DAHLIA = "2026-03-25.dahlia"
ENDIVE = "2026-09-30.endive"
VERSIONS = (ACACIA, BASIL, CLOVER, DAHLIA, ENDIVE, API_VERSION)
"""Oldest first; they sort as texts, too."""


def check_version(version: str | None, param: str) -> None:
    """Refuse a version that events cannot be rendered in; None is the account's own.

    Errors  ApiError: Stripe knows the monthly versions between these too, and refuses all that it does not know
    """
    if version not in (None, *VERSIONS):
        raise invalid(
            f"Invalid Stripe API version: {version}. (The simulator renders events in {', '.join(VERSIONS)}.)", param
        )
