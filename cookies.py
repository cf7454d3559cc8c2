"""Cookies are read here, for users and for the operator.

Bottle uses Python's parser. That takes quadratic time for backslashes before 3.11.10 and 3.12.6, stops at the first
cookie that it cannot read, and raises for some.
"""

import re
from typing import Any

BLANKS = (
    " \t"  # as in RFC 9110; str.strip() trims \xa0 and \x85, too, and a cookie with such a name would pass for ours
)
VALUE = re.compile(r"[!#-+\--:<-\[\]-~]+")  # RFC 6265's cookie-octets


def values_of(name: str, environ: dict[str, Any]) -> tuple[str, ...]:
    """Return the different values of the cookies of this name, in the order of the request's header.

    Skips pairs without a value, and values with characters outside of RFC 6265. Takes linear time.
    """
    pairs = (pair.strip(BLANKS).partition("=") for pair in environ.get("HTTP_COOKIE", "").split(";"))
    return tuple(dict.fromkeys(value for called, _, value in pairs if called == name and VALUE.fullmatch(value)))
