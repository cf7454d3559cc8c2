"""Which databases are servers, and what logs call them."""

from urllib.parse import urlsplit


def is_url(database: str) -> bool:
    """Return whether this names a PostgreSQL server, and no file."""
    return database.startswith(("postgresql://", "postgres://"))


def without_password(url: str) -> str:
    """Return the URL of a server as logs and errors may show it: without user, password and options."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
