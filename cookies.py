"""The one reader of cookies, for users and for the operator.

Bottle's own is Python's, which takes quadratic time for backslashes before 3.11.10 and 3.12.6, gives up at the first
cookie that it cannot read, and raises for some.
"""

import re
from typing import Any

BLANKS = " \t"  # what browsers and RFC 9110 trim; str.strip() trims \xa0 and \x85 too, so a planted name could pass
VALUE = re.compile(r"[!#-+\--:<-\[\]-~]+")  # RFC 6265's cookie-octets


def values_of(name: str, environ: dict[str, Any]) -> tuple[str, ...]:
    """Return the different values of the cookies of this name, in the order of the request's header.

    A pair without a value, or with one that is not of RFC 6265's characters, is passed over. Takes linear time.
    """
    pairs = (pair.strip(BLANKS).partition("=") for pair in environ.get("HTTP_COOKIE", "").split(";"))
    return tuple(dict.fromkeys(value for called, _, value in pairs if called == name and VALUE.fullmatch(value)))
