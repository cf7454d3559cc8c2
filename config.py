"""Every setting, read once from the environment and a .env file, and checked before anything starts."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

import dotenv

from .errors import ConfigError
from .plans import Plan, read_plans

SECRET_KEY = re.compile(r"(sk|rk)_(test|live)_[A-Za-z0-9_]+")
SHORTEST_AUTH_SECRET = 32
KEEP_EVENTS_AT_LEAST_DAYS = 31  # Stripe tells events for 30 days: what we forget earlier could come back as new

NONE: tuple[str, ...] = ()

_Value = TypeVar("_Value")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that can be set. Secrets do not show in its repr.

    Shape   webhook_secrets and auth_secrets: any of them is accepted, so that rotation is ordinary;
            the first of frontend_urls is where visitors are sent back to
    Units   names say them; poll_seconds 0 means never
    """

    stripe_secret_key: str = field(repr=False)
    frontend_urls: tuple[str, ...]
    plans: tuple[Plan, ...]
    app: str
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    auth_secrets: tuple[str, ...] = field(default=(), repr=False)
    stripe_api_base: str | None = None
    billing_url: str | None = None
    database: str = "corkage.db"
    worker: str = "thread"
    poll_seconds: int = 300
    settle_seconds: int = 2
    keep_events_days: int = 90
    log: str = "info"
    unknown_settings: tuple[str, ...] = ()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, dotenv_path: str | None = ".env") -> "Config":
        """Read the settings from the environment and, for what it does not say, from a .env file.

        Errors  ConfigError that names every problem at once, and what was wanted
        """
        said = dict(os.environ if environ is None else environ)
        if dotenv_path is not None:
            said = {name: value or "" for name, value in dotenv.dotenv_values(dotenv_path).items()} | said
        return _Reader(said).config()

    @property
    def livemode(self) -> bool:
        """Whether the key is of Stripe's live mode, where money moves."""
        return "_live_" in self.stripe_secret_key

    @property
    def frontend_url(self) -> str:
        """Where the product is, as visitors know it."""
        return self.frontend_urls[0]

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


class Unwanted(ValueError):
    """A setting holds something else than was wanted. Its text says what, without the value."""


class _Reader:
    """Reads one setting after the other, and remembers what was wrong with each."""

    def __init__(self, said: Mapping[str, str]) -> None:
        self.said = said
        self.problems: list[str] = []
        self.read: set[str] = set()

    def config(self) -> Config:
        secret_key = self.setting("STRIPE_SECRET_KEY", _secret_key, None, secret=True)
        webhook_secrets = self.setting("STRIPE_WEBHOOK_SECRET", _webhook_secrets, NONE, secret=True)
        frontend_urls = self.setting("FRONTEND_URL", _urls, None)
        config = Config(
            stripe_secret_key=secret_key or "",
            webhook_secrets=webhook_secrets,
            stripe_api_base=self.setting("STRIPE_API_BASE", _origin, None, required=False),
            frontend_urls=frontend_urls or (),
            app=self.setting("BILLING_APP", _app, urlsplit((frontend_urls or ("",))[0]).hostname or ""),
            billing_url=self.setting("BILLING_URL", _url, None, required=False),
            database=self.setting("BILLING_DATABASE", _database, "corkage.db"),
            plans=self.plans(),
            auth_secrets=self.setting("BILLING_AUTH_SECRET", _auth_secrets, NONE, secret=True),
            worker=self.setting("BILLING_WORKER", _one_of("thread", "inline", "off"), "thread"),
            poll_seconds=self.setting("BILLING_POLL_SECONDS", _seconds(86_400), 300 if webhook_secrets else 10),
            settle_seconds=self.setting("BILLING_SETTLE_SECONDS", _seconds(60), 2),
            keep_events_days=self.setting("BILLING_KEEP_EVENTS_DAYS", _keep_days, 90),
            log=self.setting("BILLING_LOG", _one_of("debug", "info", "warning", "error"), "info"),
            unknown_settings=tuple(sorted(n for n in self.said if n.startswith("BILLING_") and n not in self.read)),
        )
        if self.problems:
            raise ConfigError(self.problems)
        return config

    def setting(
        self,
        name: str,
        parse: Callable[[str], _Value],
        default: _Value | None,
        *,
        required: bool = True,
        secret: bool = False,
    ) -> _Value:
        """Read one setting. With a default of None it is required, unless said otherwise."""
        self.read.add(name)
        text = self.said.get(name, "").strip()
        try:
            if text:
                return parse(text)
            if default is None and required:
                parse("")
        except ValueError as unwanted:
            shown = "it is not set" if not text else "what it holds is not shown here" if secret else f"it is {text!r}"
            self.problems.append(f"{name}: wanted {unwanted}; {shown}")
        return default  # type: ignore[return-value]  # None only beside a problem, which ends in a ConfigError

    def plans(self) -> tuple[Plan, ...]:
        path = self.setting("BILLING_PLANS", str, "plans.toml")
        try:
            return read_plans(Path(path))
        except ConfigError as error:
            self.problems.extend(error.problems)
            return ()


def _secret_key(text: str) -> str:
    if text.startswith("pk_"):
        raise Unwanted("Stripe's secret key, and this is the publishable one (pk_...)")
    if not SECRET_KEY.fullmatch(text):
        raise Unwanted("Stripe's secret key (sk_test_..., sk_live_...) or a restricted one (rk_...)")
    return text


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _webhook_secrets(text: str) -> tuple[str, ...]:
    if not all(re.fullmatch(r"whsec_[\x21-\x7e]+", secret) for secret in _list(text)):
        raise Unwanted("the endpoint's signing secret (whsec_...), or several, separated by commas")
    return _list(text)


def _auth_secrets(text: str) -> tuple[str, ...]:
    if not all(len(secret.encode()) >= SHORTEST_AUTH_SECRET for secret in _list(text)):
        raise Unwanted(
            f"secrets of at least {SHORTEST_AUTH_SECRET} bytes each, separated by commas "
            '(python -c "import secrets; print(secrets.token_urlsafe(32))" makes one)'
        )
    return _list(text)


def _parts(text: str) -> SplitResult:
    wanted = "an address such as https://app.example.com"
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError as error:
        raise Unwanted(wanted) from error
    if not is_address or parts.username is not None or not re.fullmatch(r"[\x21-\x7e]+", text) or "\\" in text:
        raise Unwanted(wanted)
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


def _database(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if separator and scheme != "sqlite":
        raise Unwanted("a path, or sqlite:///path: SQLite is the one database of this version")
    path = rest.removeprefix("/") if separator else text
    if not path or path == ":memory:":
        raise Unwanted("the path of a file")
    return path


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
