"""Which databases are servers, and what logs call them."""

import re

SERVER = re.compile(
    r"""
    postgres(ql)?://
    ([^@/?#\s]*@)?                                               # user:password
    ((\[[0-9A-Fa-f:.]+\]|[^@/?#\s\[\]:,]*)(:\d*)?(,(?!$)|(?=[/?]|$)))*  # hosts, each with a port
    (/[^@?#\s]*)?                                                # database
    (\?[^#\s]*)?                                                # parameters
    """,
    re.VERBOSE,
)

HIDDEN = "postgresql://***"  # a URL that cannot be taken apart: any part of it may be the password
WANTED = "postgresql://user:password@host/name, with a sign such as @ / % in the password as %40 %2F %25"


def is_url(database: str) -> bool:
    """Return whether this names a PostgreSQL server, and no file."""
    return database.startswith(("postgresql://", "postgres://"))


def is_server(url: str) -> bool:
    """Return whether this is the URL of a server, in which nothing but a host can be taken for a host: signs that
    have a meaning in a URL are written with % in a password.
    """
    return bool(SERVER.fullmatch(url)) and not re.search("%(?![0-9A-Fa-f]{2})", url)


def has_password(url: str) -> bool:
    """Return whether the URL of a server holds a password, in its place or as a parameter."""
    credentials, is_there, _ = url.partition("?")[0].partition("@")
    return bool(is_there and ":" in credentials.partition("://")[2]) or "password=" in url.partition("?")[2]


def without_password(url: str) -> str:
    """Return the URL of a server as logs and errors may show it: without user, password and parameters."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}" if is_server(url) else HIDDEN
