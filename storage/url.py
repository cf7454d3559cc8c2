"""Which databases are servers, and what logs call them."""

import re

HIDDEN = "postgresql://***"  # a URL that cannot be taken apart: any part of it may be the password
_URL = re.compile(r"(?s)(postgres(?:ql)?://)(?:[^/@]*@)?([\w.:,%\[\]-]*(?:/[^/?#@]*)?)(?:\?.*)?")


def is_url(database: str) -> bool:
    """Return whether this names a PostgreSQL server, and no file."""
    return database.startswith(("postgresql://", "postgres://"))


def without_password(url: str) -> str:
    """Return the URL of a server as logs and errors may show it: without user, password and options."""
    found = _URL.fullmatch(url)
    return found[1] + found[2] if found else HIDDEN
