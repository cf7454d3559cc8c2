"""What a user would pick instead of Corkage, and Corkage itself, all installed, started and asked the same way."""

from .catalogue import (
    ALL_EVENTS,
    CORKAGE,
    EVERYBODY,
    EXPRESS,
    NAIVE,
    PEERS,
    TUTORIAL_EVENTS,
    WITH_ALL_OF_INVOICES,
    Peer,
)
from .settings import AUTH_SECRET, SECRET_KEY, USER_KEY, WEBHOOK_SECRET, metadata_of, start_environ

__all__ = [
    "ALL_EVENTS",
    "AUTH_SECRET",
    "CORKAGE",
    "EVERYBODY",
    "EXPRESS",
    "NAIVE",
    "PEERS",
    "SECRET_KEY",
    "TUTORIAL_EVENTS",
    "USER_KEY",
    "WEBHOOK_SECRET",
    "WITH_ALL_OF_INVOICES",
    "Peer",
    "metadata_of",
    "start_environ",
]
