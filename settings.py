"""What a setting is: its texts, its parser and its checks. The settings themselves are the fields of Config."""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from ipaddress import ip_network
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from .addresses import Network
from .plans import Plan, read_plans
from .storage.url import WANTED, is_server, is_url

SECRET_KEY = re.compile(r"(sk|rk)_(test|live)_[A-Za-z0-9_]+")
HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,99}")
HEADERS_WITH_A_MEANING = """
authorization cookie host forwarded x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-port x-forwarded-by
""".split()
HOST = re.compile(r"[a-z0-9_.-]+|[0-9a-f:.]+")
SHORTEST_AUTH_SECRET = 32
ADMIN_TOKEN = re.compile(r"[\x21-\x7e]{32,200}")
NOTIFY_SECRET_BYTES = range(24, 65)  # the limits of Standard Webhooks
LONGEST_NAME = 200
LONGEST_SHOWN = 100

HOW_TO_MAKE_ONE = 'python -c "import secrets; print(secrets.token_urlsafe(32))" makes one'
HOW_TO_MAKE_A_KEY = (
    "python -c \"import base64, secrets; print('whsec_' + base64.b64encode(secrets.token_bytes(32)).decode())\" "
    "makes one"
)
WANTED_NOTIFY_SECRET = (
    f"whsec_ and 24 to 64 bytes in base64, to sign notices with ({HOW_TO_MAKE_A_KEY}), or several, separated by commas"
)

PUBLISHED = frozenset(
    """
    simulated bench of_the_comparison of_somebody_else test_of_the_tests
    only-for-trying-things-out-beside-the-simulator
    a-secret-of-at-least-thirty-two-bytes
    an-operators-token-of-at-least-32-characters
    a-string-secret-at-least-256-bits-long
    """.split()  # without whsec_; the last is the example of jwt.io
)
LEAST_VARIETY = 8  # one in 30 million strings of 32 random hexadecimal digits, the weakest good secrets, has less
SHORTEST_KEY = 24


class Setting(NamedTuple):
    """How one field of Config is set from outside, and how it is documented.

    Shape   name: in the environment and the .env file; meaning: for docs/reference.md; comment: for .env.example;
            heading: opens a new part of .env.example; example: the value there, where it is not the default;
            default_text: the default in docs/reference.md, where it depends on other settings;
            text_if_unset: parsed when nothing is set, in the place of a default value;
            advice: how to get a new value for a secret that others may know
    """

    name: str
    parse: Callable[[str], Any]
    meaning: str
    comment: str = ""
    heading: str = ""
    example: str = ""
    default_text: str = ""
    text_if_unset: str = ""
    is_secret: bool = False
    advice: str = ""


class InvalidValue(ValueError):
    """A setting holds something else than was wanted. Its text says what was wanted, without the value."""


def masked(text: str) -> str:
    """Return a wrong value for the log, without its secret parts: it may have been meant for another setting."""
    text = re.sub(r"(?s)://.*@", "://***@", text)
    text = re.sub(r"(?s)(sk|rk|whsec)_.*", r"\1_***", text)
    text = re.sub(r"(?s)([?#]).*", r"\1***", text)
    return repr(text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "...")


def parse_secret_key(text: str) -> str:
    if text.startswith("pk_"):
        raise InvalidValue("Stripe's secret key, and this is the publishable one (pk_...)")
    if not SECRET_KEY.fullmatch(text):
        raise InvalidValue("Stripe's secret key (sk_test_..., sk_live_...) or a restricted one (rk_...)")
    return text


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_webhook_secrets(text: str) -> tuple[str, ...]:
    if not _list(text) or not all(re.fullmatch(r"whsec_[\x21-\x7e]+", secret) for secret in _list(text)):
        raise InvalidValue("the endpoint's signing secret (whsec_...), or several, separated by commas")
    return _list(text)


def parse_auth_secrets(text: str) -> tuple[str, ...]:
    if not _list(text) or not all(len(secret.encode()) >= SHORTEST_AUTH_SECRET for secret in _list(text)):
        raise InvalidValue(
            f"secrets of at least {SHORTEST_AUTH_SECRET} bytes each, separated by commas ({HOW_TO_MAKE_ONE})"
        )
    return _list(text)


def parse_admin_token(text: str) -> str:
    if not ADMIN_TOKEN.fullmatch(text):
        raise InvalidValue(f"a token of 32 to 200 letters, digits and signs, no blanks ({HOW_TO_MAKE_ONE})")
    return text


def parse_notify_secrets(text: str) -> tuple[str, ...]:
    if not _list(text) or not all(_is_notify_secret(secret) for secret in _list(text)):
        raise InvalidValue(WANTED_NOTIFY_SECRET)
    return _list(text)


def _is_notify_secret(text: str) -> bool:
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return False
    return text.startswith("whsec_") and len(key) in NOTIFY_SECRET_BYTES


def parse_notify_url(text: str) -> str:
    parts = _parts(text)
    if parts.fragment:
        raise InvalidValue("an address without #")
    if parts.scheme != "https" and not _is_private(parts.hostname or ""):
        raise InvalidValue(
            "https://, since notices say who pays for what; http:// only on this machine or a private network"
        )
    return text


def _is_private(host: str) -> bool:
    """Return whether a host is this machine or on a private network, by its address or a name that is never public."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".internal"))
    return address.is_private or address.is_loopback


def _parts(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in ("http", "https") and HOST.fullmatch(parts.hostname or "") and parts.port != 0
    except ValueError:
        is_address = None
    if not is_address or parts.username is not None or not re.fullmatch(r"[\x21-\x7e]+", text) or "\\" in text:
        raise InvalidValue("an address such as https://app.example.com, without user and password")
    return parts


def parse_url(text: str) -> str:
    parts = _parts(text)
    if parts.query or parts.fragment:
        raise InvalidValue("an address without ? and #")
    return text.rstrip("/")


def parse_urls(text: str) -> tuple[str, ...]:
    if not _list(text):
        raise InvalidValue("the product's address, such as https://app.example.com (several: separated by commas)")
    return tuple(parse_url(each) for each in _list(text))


def parse_origin(text: str) -> str:
    if _parts(text).path not in ("", "/"):
        raise InvalidValue("an address without a path, such as http://127.0.0.1:12111")
    return parse_url(text)


def parse_name(text: str) -> str:
    if len(text) > LONGEST_NAME or not text.isprintable():
        raise InvalidValue("a name of 1 to 200 visible characters")
    return text


def parse_logo(text: str) -> str:
    if text.startswith("/") and not text.startswith("//") and re.fullmatch(r"[\x21-\x7e]+", text):
        return text
    _parts(text)
    return text


def parse_color(text: str) -> str:
    if not re.fullmatch(r"#[0-9A-Fa-f]{6}", text):
        raise InvalidValue("a colour such as #1d6b52")
    return text.lower()


def parse_folder(text: str) -> str:
    if not Path(text).is_dir():
        raise InvalidValue("a folder of your own views")
    return text


def parse_page_url(text: str) -> str:
    _parts(text)
    return text


def parse_sign_in_url(text: str) -> str:
    parse_page_url(text.replace("{next}", "next"))
    return text


def parse_switch(text: str) -> bool:
    return one_of("on", "off")(text) == "on"


def parse_prefix(text: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{1,50}", text):
        raise InvalidValue("1 to 50 letters, digits and signs, such as org_")
    return text


def parse_database(text: str) -> str:
    if is_url(text):
        if not is_server(text):
            raise InvalidValue(WANTED)
        return text
    if "://" in text and not text.startswith("sqlite:///"):
        raise InvalidValue("the path of a file, sqlite:///path, or postgresql://user:password@host/name")
    path = text.removeprefix("sqlite:///")
    if not path or path == ":memory:":
        raise InvalidValue("the path of a file")
    return path


def parse_header(text: str) -> str:
    if not HEADER.fullmatch(text) or text.lower() in HEADERS_WITH_A_MEANING:
        raise InvalidValue("the name of a header of the proxy's own, such as Remote-User: letters, digits and dashes")
    return text


def parse_networks(text: str) -> tuple[Network, ...]:
    try:
        found = tuple(ip_network(each) for each in _list(text))
    except ValueError as error:
        raise InvalidValue("addresses such as 127.0.0.1 or 10.0.0.0/24, separated by commas") from error
    if not found or not all(network.prefixlen for network in found):
        raise InvalidValue("the proxy's own addresses: a network of all addresses would trust anybody")
    return found


def one_of(*words: str) -> Callable[[str], str]:
    """Return a parser that takes one of these words."""

    def parse(text: str) -> str:
        if text not in words:
            raise InvalidValue(f"one of {', '.join(words)}")
        return text

    return parse


def whole_number(least: int, most: int, unit: str) -> Callable[[str], int]:
    """Return a parser that takes a whole number within these limits."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise InvalidValue(f"a whole number of {unit} from {least} to {most}")
        return int(text)

    return parse


def parse_plans(text: str) -> tuple[Plan, ...]:
    return read_plans(Path(text))


def is_guessable(secret: str) -> bool:
    """Return whether others can guess this secret. A random one is practically never reported."""
    text = secret.removeprefix("whsec_")
    return text in PUBLISHED or _is_monotonous([*map(ord, text)]) or _is_monotonous([*_key(text)])


def _key(text: str) -> bytes:
    """Return the key that a text encodes in base64; empty when it encodes none."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return key if len(key) >= SHORTEST_KEY else b""


def _is_monotonous(codes: list[int]) -> bool:
    """Return whether there are few characters, a repeated pattern, or regular steps such as the alphabet's."""
    if not codes:
        return False
    steps = {after - before for before, after in pairwise(codes)}
    repeats = any(codes[length:] == codes[:-length] for length in range(1, len(codes) // 2 + 1))
    return len(set(codes)) < LEAST_VARIETY or len(steps) < LEAST_VARIETY or repeats
