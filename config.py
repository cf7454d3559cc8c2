"""Every setting, read once from the environment and a .env file, and checked before anything starts."""

import base64
import binascii
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from .errors import ConfigError
from .guessable import is_guessable
from .plans import Plan, read_plans

SECRET_KEY = re.compile(r"(sk|rk)_(test|live)_[A-Za-z0-9_]+")
HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,99}")
NO_USERS_HEADERS = """
authorization cookie host forwarded x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-port x-forwarded-by
""".split()
HOST = re.compile(r"[a-z0-9_.-]+|[0-9a-f:.]+")
SHORTEST_AUTH_SECRET = 32
ADMIN_TOKEN = re.compile(r"[\x21-\x7e]{32,200}")
KEEP_EVENTS_AT_LEAST_DAYS = 31  # Stripe tells events for 30 days: what we forget earlier could come back as new
POLL_SECONDS, POLL_SECONDS_WITHOUT_WEBHOOKS = 300, 10
AS_WEBHOOKS_ALLOW = -1
DEFAULT_COLOR = "#1d6b52"
LONGEST_SHOWN = 100
NOTIFY_SECRET_BYTES = range(24, 65)  # as Standard Webhooks has it

HOW_TO_MAKE_ONE = 'python -c "import secrets; print(secrets.token_urlsafe(32))" makes one'
HOW_TO_MAKE_A_KEY = (
    "python -c \"import base64, secrets; print('whsec_' + base64.b64encode(secrets.token_bytes(32)).decode())\" "
    "makes one"
)
WANTED_TO_SIGN_WITH = (
    f"whsec_ and 24 to 64 bytes in base64, to sign notices with ({HOW_TO_MAKE_A_KEY}), or several, separated by commas"
)

NONE: tuple[str, ...] = ()

Network = IPv4Network | IPv6Network

_Value = TypeVar("_Value")
_Default = TypeVar("_Default")


class Secret(str):
    """A text that stays hidden where values are printed for debugging: in a repr, a dict of settings, a traceback."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(...)"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that can be set, with what holds when it is not. Secrets do not show in its repr.

    Shape   webhook_secrets and auth_secrets: any of them is accepted, so that rotation is ordinary;
            the first of frontend_urls is where visitors are sent back to, and its host is what app is without a word;
            unknown_settings: the names of BILLING_... settings that nothing here reads
    Units   names say them; poll_seconds 0 means never, and unsaid it depends on whether there is a webhook secret
    Errors  made by hand it is taken as it is, with guessable secrets too; from_env() is where settings are checked
    """

    stripe_secret_key: str = field(repr=False)
    frontend_urls: tuple[str, ...]
    plans: tuple[Plan, ...]
    app: str = ""
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    auth_secrets: tuple[str, ...] = field(default=(), repr=False)
    trusted_user_header: str | None = None
    trusted_email_header: str | None = None
    trusted_proxies: tuple[Network, ...] = ()
    admin_token: str = field(default="", repr=False)
    notify_url: str | None = field(default=None, repr=False)
    notify_secrets: tuple[str, ...] = field(default=(), repr=False)
    stripe_api_base: str | None = None
    billing_url: str | None = None
    database: str = "corkage.db"
    worker: str = "thread"
    poll_seconds: int = AS_WEBHOOKS_ALLOW
    settle_seconds: int = 2
    keep_events_days: int = 90
    log: str = "info"
    name: str = ""
    logo_url: str = ""
    color: str = DEFAULT_COLOR
    views: str = ""
    sign_in_url: str = ""
    unknown_settings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        polled = POLL_SECONDS if self.webhook_secrets else POLL_SECONDS_WITHOUT_WEBHOOKS
        settled = {
            "stripe_secret_key": Secret(self.stripe_secret_key),
            "webhook_secrets": tuple(Secret(secret) for secret in self.webhook_secrets),
            "auth_secrets": tuple(Secret(secret) for secret in self.auth_secrets),
            "notify_secrets": tuple(Secret(secret) for secret in self.notify_secrets),
            "admin_token": Secret(self.admin_token),
            "app": self.app or _host(self.frontend_urls),
            "poll_seconds": polled if self.poll_seconds == AS_WEBHOOKS_ALLOW else self.poll_seconds,
        }
        for name, value in settled.items():
            object.__setattr__(self, name, value)  # frozen for everybody else

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, dotenv_path: str | Path | None = ".env") -> "Config":
        """Read the settings from the environment and, for what it leaves unset or empty, from a .env file.

        Errors  ConfigError that names every problem at once, and what was wanted
        """
        said = _said(os.environ if environ is None else environ)
        if dotenv_path is not None:
            said = _said(_values_of(dotenv_path)) | said
        return _Reader(said).config()

    @property
    def livemode(self) -> bool:
        """Whether the key is of Stripe's live mode, where money moves."""
        return self.stripe_secret_key.startswith(("sk_live_", "rk_live_"))

    @property
    def frontend_url(self) -> str:
        """Where the product is, as visitors know it."""
        return self.frontend_urls[0]

    @property
    def product_name(self) -> str:
        """What the pages call the product."""
        return self.name or self.app

    @property
    def frontend_origins(self) -> frozenset[str]:
        """The origins of the product's addresses, as browsers write them."""
        return frozenset(origin_of(url) for url in self.frontend_urls)


def real_test_key() -> str | None:
    """Read a key of Stripe's from the environment, for the demo, which takes no other setting."""
    return os.environ.get("STRIPE_SECRET_KEY") or None


def origin_of(url: str) -> str:
    """Write a URL's origin as browsers do: scheme, host and any port but the scheme's own, in small letters."""
    parts = urlsplit(url)
    is_default = parts.port in (None, {"http": 80, "https": 443}.get(parts.scheme))
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if is_default else f":{parts.port}")


def _host(urls: tuple[str, ...]) -> str:
    return (urlsplit(urls[0]).hostname if urls else None) or ""


def _said(values: Mapping[str, str | None]) -> dict[str, str]:
    """Keep what is set: a value of nothing but blanks counts as none."""
    return {name: value.strip() for name, value in values.items() if value and value.strip()}


def _values_of(path: str | Path) -> dict[str, str | None]:
    """Read a .env file; without one there are none. A "${...}" in a value stands for itself: it may be in a secret."""
    if not os.path.lexists(path):
        return {}
    from dotenv import dotenv_values  # not worth its time where there is nothing to read

    try:
        return dotenv_values(path, interpolate=False, encoding="utf-8")
    except (OSError, UnicodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeError) else error.strerror
        raise ConfigError([f"{path}: wanted a file of lines such as NAME=value; {reason}"]) from error


class Unwanted(ValueError):
    """A setting holds something else than was wanted. Its text says what, without the value."""


class _Reader:
    """Reads one setting after the other, and remembers what was wrong with each."""

    def __init__(self, said: Mapping[str, str]) -> None:
        self.said = said
        self.problems: list[str] = []
        self.read: set[str] = set()

    def config(self) -> Config:
        config = Config(
            stripe_secret_key=self.required("STRIPE_SECRET_KEY", _secret_key, is_secret=True) or "",
            webhook_secrets=self.optional("STRIPE_WEBHOOK_SECRET", _webhook_secrets, NONE, is_secret=True),
            stripe_api_base=self.optional("STRIPE_API_BASE", _origin, None),
            frontend_urls=self.required("FRONTEND_URL", _urls) or (),
            app=self.optional("BILLING_APP", _app, ""),
            billing_url=self.optional("BILLING_URL", _url, None),
            database=self.optional("BILLING_DATABASE", _database, "corkage.db"),
            plans=self.plans(),
            auth_secrets=self.optional("BILLING_AUTH_SECRET", _auth_secrets, NONE, is_secret=True),
            trusted_user_header=self.optional("BILLING_TRUSTED_USER_HEADER", _header, None),
            trusted_email_header=self.optional("BILLING_TRUSTED_EMAIL_HEADER", _header, None),
            trusted_proxies=self.optional("BILLING_TRUSTED_PROXIES", _networks, ()),
            admin_token=self.optional("BILLING_ADMIN_TOKEN", _admin_token, "", is_secret=True),
            notify_url=self.optional("BILLING_NOTIFY_URL", _notify_url, None),
            notify_secrets=self.optional("BILLING_NOTIFY_SECRET", _notify_secrets, NONE, is_secret=True),
            worker=self.optional("BILLING_WORKER", _one_of("thread", "inline", "off"), "thread"),
            poll_seconds=self.optional("BILLING_POLL_SECONDS", _seconds(86_400), AS_WEBHOOKS_ALLOW),
            settle_seconds=self.optional("BILLING_SETTLE_SECONDS", _seconds(60), 2),
            keep_events_days=self.optional("BILLING_KEEP_EVENTS_DAYS", _keep_days, 90),
            name=self.optional("BILLING_NAME", _app, ""),
            logo_url=self.optional("BILLING_LOGO_URL", _logo, ""),
            color=self.optional("BILLING_COLOR", _color, DEFAULT_COLOR),
            views=self.optional("BILLING_VIEWS", _folder, ""),
            sign_in_url=self.optional("BILLING_SIGN_IN_URL", _sign_in, ""),
            log=self.optional("BILLING_LOG", _one_of("debug", "info", "warning", "error"), "info"),
            unknown_settings=self.unknown(),
        )
        self.keep_a_live_key_off_open_lines(config)
        self.keep_a_trusted_header_whole()
        self.have_notices_signed(config)
        self.keep_guessable_secrets_from_a_live_key(config)
        if self.problems:
            raise ConfigError(self.problems)
        return config

    def required(self, name: str, parse: Callable[[str], _Value], *, is_secret: bool = False) -> _Value | None:
        """Read one setting; None stands beside a problem only, and so never reaches a Config that is handed out."""
        self.read.add(name)
        text = self.said.get(name, "")
        try:
            return parse(text)
        except Unwanted as wanted:
            there = f"it is {_shown(text)}" if text else "it is not set"
            there = "what it holds is not shown here" if text and is_secret else there
            self.problems.append(f"{name}: wanted {wanted}; {there}")
            return None

    def optional(
        self, name: str, parse: Callable[[str], _Value], default: _Default, *, is_secret: bool = False
    ) -> _Value | _Default:
        value = self.required(name, parse, is_secret=is_secret) if name in self.said else None
        return default if value is None else value

    def plans(self) -> tuple[Plan, ...]:
        path = self.optional("BILLING_PLANS", str, "plans.toml")
        try:
            return read_plans(Path(path))
        except ConfigError as error:
            self.problems.extend(error.problems)
            return ()

    def unknown(self) -> tuple[str, ...]:
        """List names that look like ours and were not read: slips of the pen, or the host's own."""
        return tuple(sorted(name for name in self.said if name.startswith("BILLING_") and name not in self.read))

    def keep_a_live_key_off_open_lines(self, config: Config) -> None:
        base = config.stripe_api_base
        if config.livemode and base and urlsplit(base).scheme != "https":
            self.problems.append(f"STRIPE_API_BASE: wanted https:// beside a live key; it is {_shown(base)}")

    def keep_a_trusted_header_whole(self) -> None:
        """Half of it is a mistake: a header that nobody may send, or a proxy that may say nothing."""
        user, email, proxies = (f"BILLING_TRUSTED_{each}" for each in ("USER_HEADER", "EMAIL_HEADER", "PROXIES"))
        for name, other, why in (
            (user, proxies, "the addresses that the header is believed from"),
            (proxies, user, "the header in which the proxy names the user, such as Remote-User"),
            (email, user, "the header in which the proxy names the user, such as Remote-User"),
        ):
            if name in self.said and other not in self.said:
                self.problems.append(f"{other}: wanted {why}, because {name} is set; it is not set")

    def have_notices_signed(self, config: Config) -> None:
        if config.notify_url and "BILLING_NOTIFY_SECRET" not in self.said:
            self.problems.append(f"BILLING_NOTIFY_SECRET: wanted {WANTED_TO_SIGN_WITH}; it is not set")

    def keep_guessable_secrets_from_a_live_key(self, config: Config) -> None:
        secrets = {
            "STRIPE_WEBHOOK_SECRET": (config.webhook_secrets, "Stripe's Dashboard shows the endpoint's, and rolls it"),
            "BILLING_AUTH_SECRET": (config.auth_secrets, HOW_TO_MAKE_ONE),
            "BILLING_ADMIN_TOKEN": ((config.admin_token,) if config.admin_token else (), HOW_TO_MAKE_ONE),
            "BILLING_NOTIFY_SECRET": (config.notify_secrets, HOW_TO_MAKE_A_KEY),
        }
        for name, (values, maker) in secrets.items():
            if config.livemode and any(map(is_guessable, values)):
                self.problems.append(
                    f"{name}: wanted secrets of your own beside a live key ({maker}); "
                    "it holds one that is published or easy to guess, and is not shown here"
                )


def _shown(text: str) -> str:
    """Write a wrong value for the log, without what may be secret in it: it may have been meant for another setting."""
    text = re.sub(r"(?s)://.*@", "://***@", text)
    text = re.sub(r"(?s)(sk|rk|whsec)_.*", r"\1_***", text)
    text = re.sub(r"(?s)([?#]).*", r"\1***", text)
    return repr(text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "...")


def _secret_key(text: str) -> str:
    if text.startswith("pk_"):
        raise Unwanted("Stripe's secret key, and this is the publishable one (pk_...)")
    if not SECRET_KEY.fullmatch(text):
        raise Unwanted("Stripe's secret key (sk_test_..., sk_live_...) or a restricted one (rk_...)")
    return text


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _webhook_secrets(text: str) -> tuple[str, ...]:
    if not _list(text) or not all(re.fullmatch(r"whsec_[\x21-\x7e]+", secret) for secret in _list(text)):
        raise Unwanted("the endpoint's signing secret (whsec_...), or several, separated by commas")
    return _list(text)


def _auth_secrets(text: str) -> tuple[str, ...]:
    if not _list(text) or not all(len(secret.encode()) >= SHORTEST_AUTH_SECRET for secret in _list(text)):
        raise Unwanted(
            f"secrets of at least {SHORTEST_AUTH_SECRET} bytes each, separated by commas ({HOW_TO_MAKE_ONE})"
        )
    return _list(text)


def _admin_token(text: str) -> str:
    if not ADMIN_TOKEN.fullmatch(text):
        raise Unwanted(f"a token of 32 to 200 letters, digits and signs, no blanks ({HOW_TO_MAKE_ONE})")
    return text


def _notify_secrets(text: str) -> tuple[str, ...]:
    if not _list(text) or not all(_is_notify_secret(secret) for secret in _list(text)):
        raise Unwanted(WANTED_TO_SIGN_WITH)
    return _list(text)


def _is_notify_secret(text: str) -> bool:
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return False
    return text.startswith("whsec_") and len(key) in NOTIFY_SECRET_BYTES


def _notify_url(text: str) -> str:
    parts = _parts(text)
    if parts.fragment:
        raise Unwanted("an address without #")
    if parts.scheme != "https" and not _is_near(parts.hostname or ""):
        raise Unwanted("https://, since it says who pays for what; http:// only on this machine or a private network")
    return text


def _is_near(host: str) -> bool:
    """Whether a host is this machine, or of a private network: by its address, or by a name no public one has."""
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
        raise Unwanted("an address such as https://app.example.com, without user and password")
    return parts


def _url(text: str) -> str:
    parts = _parts(text)
    if parts.query or parts.fragment:
        raise Unwanted("an address without ? and #")
    return text.rstrip("/")


def _urls(text: str) -> tuple[str, ...]:
    if not _list(text):
        raise Unwanted("the product's address, such as https://app.example.com (several: separated by commas)")
    return tuple(_url(each) for each in _list(text))


def _origin(text: str) -> str:
    if _parts(text).path not in ("", "/"):
        raise Unwanted("an address without a path, such as http://127.0.0.1:12111")
    return _url(text)


def _app(text: str) -> str:
    if len(text) > 200 or not text.isprintable():
        raise Unwanted("a name of 1 to 200 visible characters")
    return text


def _logo(text: str) -> str:
    if text.startswith("/") and not text.startswith("//") and re.fullmatch(r"[\x21-\x7e]+", text):
        return text
    _parts(text)
    return text


def _color(text: str) -> str:
    if not re.fullmatch(r"#[0-9A-Fa-f]{6}", text):
        raise Unwanted("a colour such as #1d6b52")
    return text.lower()


def _folder(text: str) -> str:
    if not Path(text).is_dir():
        raise Unwanted("a folder of your own views")
    return text


def _sign_in(text: str) -> str:
    _parts(text.replace("{next}", "next"))
    return text


def _database(text: str) -> str:
    if "://" in text and not text.startswith("sqlite:///"):
        raise Unwanted("a path, or sqlite:///path: only SQLite is available in this version")
    path = text.removeprefix("sqlite:///")
    if not path or path == ":memory:":
        raise Unwanted("the path of a file")
    return path


def _header(text: str) -> str:
    if not HEADER.fullmatch(text) or text.lower() in NO_USERS_HEADERS:
        raise Unwanted("the name of a header of the proxy's own, such as Remote-User: letters, digits and dashes")
    return text


def _networks(text: str) -> tuple[Network, ...]:
    try:
        found = tuple(ip_network(each) for each in _list(text))
    except ValueError as error:
        raise Unwanted("addresses such as 127.0.0.1 or 10.0.0.0/24, separated by commas") from error
    if not found or not all(network.prefixlen for network in found):
        raise Unwanted("the proxy's own addresses: a network of all addresses would trust anybody")
    return found


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise Unwanted(f"one of {', '.join(words)}")
        return text

    return parse


def _whole_number(least: int, most: int, unit: str) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise Unwanted(f"a whole number of {unit} from {least} to {most}")
        return int(text)

    return parse


def _seconds(most: int) -> Callable[[str], int]:
    return _whole_number(0, most, "seconds")


_keep_days = _whole_number(KEEP_EVENTS_AT_LEAST_DAYS, 36_500, "days")
