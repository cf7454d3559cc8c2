"""Config: every setting, read once from the environment and a .env file, and checked before anything starts."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, ParamSpec
from urllib.parse import urlsplit

from . import settings
from .addresses import Network
from .errors import ConfigError
from .plans import Plan
from .settings import InvalidValue, Setting, is_guessable, masked, one_of, whole_number
from .texts import is_text

POLL_SECONDS, POLL_SECONDS_WITHOUT_WEBHOOKS = 300, 10
POLL_AS_WEBHOOKS_ALLOW = -1
KEEP_EVENTS_AT_LEAST_DAYS = 31  # Stripe lists events for 30 days: an event deleted earlier could come back as new

_Described = ParamSpec("_Described")


class Secret(str):
    """A text that stays hidden where values are printed for debugging: in a repr, a dict of settings, a traceback."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(...)"


def _as_metadata(make: Callable[_Described, Setting]) -> Callable[_Described, dict[str, Setting]]:
    return lambda *args, **options: {"setting": make(*args, **options)}


_setting = _as_metadata(Setting)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Every setting, with its default. Secrets do not show in its repr.

    The table of settings, too: .env.example and docs/reference.md are written from these fields by bin/reference.

    Shape   webhook_secrets and auth_secrets: any of them is accepted, so that rotation is ordinary;
            frontend_urls: visitors are sent back to the first;
            app: by default the host, port and path of billing_url or else of the first of frontend_urls;
            unknown_settings: the names of BILLING_... settings that nothing here reads
    Units   names say them; poll_seconds 0 means never, and its default depends on whether there is a webhook secret
    Errors  the constructor checks nothing and takes guessable secrets; from_env() checks every setting
    """

    stripe_secret_key: str = field(
        repr=False,
        metadata=_setting(
            "STRIPE_SECRET_KEY",
            settings.parse_secret_key,
            "Stripe's secret key, or a restricted one",
            "Stripe's secret key (sk_test_..., sk_live_...) or a restricted one (rk_...).",
            heading="Stripe",
            example="sk_test_simulator",
            is_secret=True,
        ),
    )
    webhook_secrets: tuple[str, ...] = field(
        default=(),
        repr=False,
        metadata=_setting(
            "STRIPE_WEBHOOK_SECRET",
            settings.parse_webhook_secrets,
            "the webhook endpoint's signing secret; several while you rotate, separated by commas; "
            "without one, webhooks are refused",
            "The webhook endpoint's signing secret; several while you rotate, separated by commas. "
            "Not set: webhooks are refused.",
            example="whsec_simulated",
            is_secret=True,
            advice="Stripe's Dashboard shows the endpoint's, and rolls it",
        ),
    )
    stripe_api_base: str | None = field(
        default=None,
        metadata=_setting(
            "STRIPE_API_BASE",
            settings.parse_origin,
            "another address of Stripe's API, such as the simulator's",
            "The address of Stripe's API. Not set: Stripe's own.",
            example="http://127.0.0.1:12111",
            default_text="Stripe",
        ),
    )
    frontend_urls: tuple[str, ...] = field(
        metadata=_setting(
            "FRONTEND_URL",
            settings.parse_urls,
            "your product's address; several separated by commas",
            "Your product's address; several separated by commas.",
            heading="Your product, and where Corkage is",
            example="http://127.0.0.1:8000",
        )
    )
    app: str = field(
        default="",
        metadata=_setting(
            "BILLING_APP",
            settings.parse_name,
            "your product's name in Stripe's metadata, which keeps it apart from others in the same account; the "
            "database remembers it ([moving](#another-address))",
            "Your product's name in Stripe's metadata, which keeps it apart from others in the same account. The "
            "database remembers it. Not set: the address in BILLING_URL or else in FRONTEND_URL, without https://.",
            default_text="the address in `BILLING_URL` or else in `FRONTEND_URL`, without `https://`",
        ),
    )
    billing_url: str | None = field(
        default=None,
        metadata=_setting(
            "BILLING_URL",
            settings.parse_url,
            "Corkage's address as visitors reach it, with the path it is mounted at",
            "Corkage's address as visitors reach it, with the path it is mounted at.",
        ),
    )
    database: str = field(
        default="corkage.db",
        repr=False,
        metadata=_setting(
            "BILLING_DATABASE",
            settings.parse_database,
            "the database file, which you move, restore or delete only while Corkage is stopped; or a "
            "[PostgreSQL](postgresql.md) server, as `postgresql://user:password@host/name`",
            "The database file. Stop Corkage before you move, restore or delete it. Or a PostgreSQL server:\n"
            "postgresql://user:password@host/name",
            heading="The database and the plans",
        ),
    )
    plans: tuple[Plan, ...] = field(
        metadata=_setting(
            "BILLING_PLANS",
            settings.parse_plans,
            "the file that lists [the plans you sell](plans.md)",
            "The file that lists the plans you sell.",
            text_if_unset="plans.toml",
        )
    )
    auth_secrets: tuple[str, ...] = field(
        default=(),
        repr=False,
        metadata=_setting(
            "BILLING_AUTH_SECRET",
            settings.parse_auth_secrets,
            "the secret with which your product signs users' tokens, at least 32 bytes; several while you rotate, "
            "separated by commas",
            "The secret with which your product signs its users' tokens, at least 32 bytes; several while you rotate, "
            "separated by commas.\n" + settings.HOW_TO_MAKE_ONE,
            heading="Who is asking",
            example="only-for-trying-things-out-beside-the-simulator",
            is_secret=True,
            advice=settings.HOW_TO_MAKE_ONE,
        ),
    )
    trusted_user_header: str | None = field(
        default=None,
        metadata=_setting(
            "BILLING_TRUSTED_USER_HEADER",
            settings.parse_header,
            "the header in which your reverse proxy names the signed-in user, such as `Remote-User`",
            "In the place of the secret, behind a reverse proxy that signs users in: the header in which it names the "
            "user, such as Remote-User, the one with the e-mail, and the proxy's addresses (docs/sidecar.md).",
        ),
    )
    trusted_email_header: str | None = field(
        default=None,
        metadata=_setting(
            "BILLING_TRUSTED_EMAIL_HEADER", settings.parse_header, "the header with the user's e-mail address"
        ),
    )
    trusted_proxies: tuple[Network, ...] = field(
        default=(),
        metadata=_setting(
            "BILLING_TRUSTED_PROXIES",
            settings.parse_networks,
            "your reverse proxies' addresses; those headers are believed from no other, and "
            "[the visitor's address](operations.md#a-proxy-in-front) is read from `X-Forwarded-For` there",
            "The addresses of your reverse proxies, such as 127.0.0.1: only they may name the user, and the visitor's "
            "address in X-Forwarded-For (docs/operations.md).",
        ),
    )
    admin_token: str = field(
        default="",
        repr=False,
        metadata=_setting(
            "BILLING_ADMIN_TOKEN",
            settings.parse_admin_token,
            "the token that opens the [operator's page](pages.md#the-operators-page), 32 to 200 characters; "
            "without it there is no such page",
            "The token that opens the operator's page /admin, 32 to 200 characters. Not set: there is no such page.",
            heading="The operator",
            is_secret=True,
            advice=settings.HOW_TO_MAKE_ONE,
        ),
    )
    metrics_token: str = field(
        default="",
        repr=False,
        metadata=_setting(
            "BILLING_METRICS_TOKEN",
            settings.parse_admin_token,
            "the token with which Prometheus reads [`/metrics`](monitoring.md#metrics), 32 to 200 characters; without "
            "it there is no such route",
            "The token with which Prometheus reads /metrics, 32 to 200 characters. Not set: there is no such route.",
            is_secret=True,
            advice=settings.HOW_TO_MAKE_ONE,
        ),
    )
    notify_url: str | None = field(
        default=None,
        repr=False,
        metadata=_setting(
            "BILLING_NOTIFY_URL",
            settings.parse_notify_url,
            "your product's address for [notices](notices.md); https, or http on this machine or a private network",
            "Your product's address for notices of changes of access; https, or http on this machine or a private "
            "network.",
            heading="Notices",
        ),
    )
    notify_secrets: tuple[str, ...] = field(
        default=(),
        repr=False,
        metadata=_setting(
            "BILLING_NOTIFY_SECRET",
            settings.parse_notify_secrets,
            "the secret that signs notices, `whsec_` and base64; several while you rotate, separated by commas",
            "The secret that signs notices; several while you rotate, separated by commas.\n"
            + settings.HOW_TO_MAKE_A_KEY,
            is_secret=True,
            advice=settings.HOW_TO_MAKE_A_KEY,
        ),
    )
    promotion_codes: bool = field(
        default=False,
        metadata=_setting(
            "BILLING_PROMOTION_CODES",
            settings.parse_switch,
            "`on`: [promotion codes](selling.md#promotion-codes) are taken, and Checkout has a field for them",
            "on: promotion codes are taken, and Checkout has a field for them.",
            heading="Selling",
            default_text="`off`",
        ),
    )
    tax: bool = field(
        default=False,
        metadata=_setting(
            "BILLING_TAX",
            settings.parse_switch,
            "`on`: Stripe Tax works out the tax; set it up at Stripe first",
            "on: Stripe Tax works out the tax; set it up at Stripe first.",
            default_text="`off`",
        ),
    )
    tax_ids: bool = field(
        default=False,
        metadata=_setting(
            "BILLING_TAX_IDS",
            settings.parse_switch,
            "`on`: businesses may enter their tax id in Checkout",
            "on: businesses may enter their tax id in Checkout.",
            default_text="`off`",
        ),
    )
    payer_prefix: str = field(
        default="",
        metadata=_setting(
            "BILLING_PAYER_PREFIX",
            settings.parse_prefix,
            "how the ids of [payers](payers.md) begin, such as `org_`; without it everybody pays for themselves",
            "How the ids of payers begin, such as organisations' (docs/payers.md); no user's id may begin so.\n"
            "Not set: everybody pays for themselves.",
        ),
    )
    stripe_slots: int = field(
        default=0,
        metadata=_setting(
            "BILLING_STRIPE_SLOTS",
            whole_number(1, 1000, "requests"),
            "how many requests may wait for Stripe at a time; half as many wait in line for some seconds, others get "
            "a 503",
            "How many requests may wait for Stripe at a time. Not set: half of the server's threads, embedded 4.",
            default_text="half of `serve --threads`; embedded 4",
        ),
    )
    worker: str = field(
        default="thread",
        metadata=_setting(
            "BILLING_WORKER",
            one_of("thread", "inline", "off"),
            "where events are applied: `thread` (in this process), `inline` (in the webhook's own request), or `off` "
            "(then run `corkage work`)",
            "Where events are applied: thread (in this process), inline (in the webhook's own request), off (then run "
            "`corkage work`).",
            heading="The worker",
        ),
    )
    settle_seconds: int = field(
        default=2,
        metadata=_setting(
            "BILLING_SETTLE_SECONDS",
            whole_number(0, 60, "seconds"),
            "how long an event waits for others of the same customer, so that a burst costs one call",
            "How many seconds an event waits for others of the same customer, so that a burst costs one call.",
        ),
    )
    poll_seconds: int = field(
        default=POLL_AS_WEBHOOKS_ALLOW,
        metadata=_setting(
            "BILLING_POLL_SECONDS",
            whole_number(0, 86_400, "seconds"),
            "how often Stripe's list of events is fetched; 0: never",
            f"How often Stripe's list of events is fetched, in seconds; 0: never. Not set: {POLL_SECONDS}, or "
            f"{POLL_SECONDS_WITHOUT_WEBHOOKS} without a webhook secret.",
            default_text=f"{POLL_SECONDS}; {POLL_SECONDS_WITHOUT_WEBHOOKS} without a webhook secret",
        ),
    )
    keep_events_days: int = field(
        default=90,
        metadata=_setting(
            "BILLING_KEEP_EVENTS_DAYS",
            whole_number(KEEP_EVENTS_AT_LEAST_DAYS, 36_500, "days"),
            f"how many days applied events, and notices, are kept, at least {KEEP_EVENTS_AT_LEAST_DAYS}",
            f"How many days applied events, and notices, are kept, at least {KEEP_EVENTS_AT_LEAST_DAYS}.",
        ),
    )
    name: str = field(
        default="",
        metadata=_setting(
            "BILLING_NAME",
            settings.parse_name,
            "your product's name on the pages",
            "Your product's name on the pages. Not set: BILLING_APP or else the host of FRONTEND_URL.",
            heading="The pages",
            default_text="`BILLING_APP` or else the host of `FRONTEND_URL`",
        ),
    )
    logo_url: str = field(
        default="",
        metadata=_setting(
            "BILLING_LOGO_URL",
            settings.parse_logo,
            "your logo: an address, or a path such as `/logo.svg`",
            "Your logo: an address, or a path such as /logo.svg.",
        ),
    )
    color: str = field(
        default="#1d6b52",
        metadata=_setting("BILLING_COLOR", settings.parse_color, "the colour of the pages", "The colour of the pages."),
    )
    views: str = field(
        default="",
        metadata=_setting(
            "BILLING_VIEWS",
            settings.parse_folder,
            "a folder of your own [templates, style and texts](pages.md)",
            "A folder of your own templates, style and translations.",
        ),
    )
    sign_in_url: str = field(
        default="",
        metadata=_setting(
            "BILLING_SIGN_IN_URL",
            settings.parse_sign_in_url,
            "where users sign in; `{next}` in it is replaced by the address to return to",
            "Where users sign in; {next} in it is replaced by the address to return to. Not set: FRONTEND_URL.",
            default_text="`FRONTEND_URL`",
        ),
    )
    pricing_url: str = field(
        default="",
        metadata=_setting(
            "BILLING_PRICING_URL",
            settings.parse_page_url,
            "your own pricing page, to which pages and errors lead instead of `/pricing`",
            "Your own pricing page, to which pages and errors lead. Not set: Corkage's.",
            default_text="Corkage's",
        ),
    )
    welcome_url: str = field(
        default="",
        metadata=_setting(
            "BILLING_WELCOME_URL",
            settings.parse_page_url,
            "where a new subscriber lands after paying",
            "Where a new subscriber lands after paying. Not set: FRONTEND_URL.",
            default_text="`FRONTEND_URL`",
        ),
    )
    log: str = field(
        default="info",
        metadata=_setting(
            "BILLING_LOG",
            one_of("debug", "info", "warning", "error"),
            "the least level that is logged: `debug`, `info`, `warning` or `error`",
            "The least level that is logged: debug, info, warning or error.",
            heading="The log",
        ),
    )
    log_format: str = field(
        default="text",
        metadata=_setting(
            "BILLING_LOG_FORMAT",
            one_of("text", "json"),
            "how `corkage serve` and the other commands [write their log](logs.md): `text` for people, or `json`, an "
            "object a line",
            "How the log is written: text for people, or json, an object a line (docs/logs.md).",
        ),
    )
    unknown_settings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        polled = POLL_SECONDS if self.webhook_secrets else POLL_SECONDS_WITHOUT_WEBHOOKS
        completed = {
            "app": self.app or self._default_app,
            "name": self.name or self.former_app,
            "poll_seconds": polled if self.poll_seconds == POLL_AS_WEBHOOKS_ALLOW else self.poll_seconds,
        }
        for name, setting in SETTINGS.items():
            if setting.is_secret:
                completed[name] = _hidden(getattr(self, name))
        for name, value in completed.items():
            object.__setattr__(self, name, value)  # frozen for everybody else

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, dotenv_path: str | Path | None = ".env") -> "Config":
        """Read the settings from the environment and, for what it leaves unset or empty, from a .env file.

        Errors  ConfigError that names every problem at once, and what was wanted
        """
        texts = _set_in(os.environ if environ is None else environ)
        if dotenv_path is not None:
            texts = _set_in(_read_dotenv(dotenv_path)) | texts
        return cls(**_Reader(texts).values(), unknown_settings=_unknown(texts))

    @property
    def livemode(self) -> bool:
        """Whether the key is of Stripe's live mode, where money moves."""
        return is_live_key(self.stripe_secret_key)

    @property
    def frontend_url(self) -> str:
        """The product's address, as visitors know it."""
        return self.frontend_urls[0]

    @property
    def former_app(self) -> str:
        """BILLING_APP or else the host of FRONTEND_URL: `app` in earlier development versions, and a name for pages."""
        is_set = self.app not in ("", self._default_app)
        return self.app if is_set else _host(self.frontend_urls)

    @property
    def _default_app(self) -> str:
        address = self.billing_url or "".join(self.frontend_urls[:1])
        return origin_of(address).partition("://")[2] + urlsplit(address).path.rstrip("/")

    @property
    def frontend_origins(self) -> frozenset[str]:
        """The origins of the product's addresses, as browsers write them."""
        return frozenset(origin_of(url) for url in self.frontend_urls)


SETTINGS: dict[str, Setting] = {
    each.name: each.metadata["setting"] for each in fields(Config) if "setting" in each.metadata
}
DEFAULTS: dict[str, Any] = {each.name: each.default for each in fields(Config) if each.default is not MISSING}


def real_test_key() -> str | None:
    """Return Stripe's key from the environment, for the demo, which takes no other setting."""
    return os.environ.get("STRIPE_SECRET_KEY") or None


def is_set_outside(name: str) -> bool:
    """Return whether the environment sets this setting, which then wins over the .env file."""
    return bool((os.environ.get(name) or "").strip())


def stored_settings(path: str | Path) -> dict[str, str]:
    """Return what a .env file sets; nothing where there is none.

    Errors  ConfigError
    """
    return _set_in(_read_dotenv(path))


def origin_of(url: str) -> str:
    """Return a URL's origin as browsers write it: scheme, host and any port but the scheme's own, in lower case."""
    parts = urlsplit(url)
    is_default = parts.port in (None, {"http": 80, "https": 443}.get(parts.scheme))
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if is_default else f":{parts.port}")


def _host(urls: tuple[str, ...]) -> str:
    return (urlsplit(urls[0]).hostname if urls else None) or ""


def _hidden(value: Any) -> Any:
    return Secret(value) if isinstance(value, str) else tuple(map(Secret, value))


def is_live_key(key: str) -> bool:
    """Return whether the key is of Stripe's live mode."""
    return key.startswith(("sk_live_", "rk_live_"))


def _set_in(values: Mapping[str, str | None]) -> dict[str, str]:
    """Return what is set: a value of nothing but blanks counts as not set."""
    return {name: value.strip() for name, value in values.items() if value and value.strip()}


def _unknown(texts: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names that look like settings of ours and are not: misspelt, or the host's own."""
    known = {setting.name for setting in SETTINGS.values()}
    return tuple(sorted(name for name in texts if name.startswith("BILLING_") and name not in known))


def _read_dotenv(path: str | Path) -> dict[str, str | None]:
    """Return what a .env file sets, if there is one. A "${...}" stands for itself: it may be part of a secret."""
    if not os.path.lexists(path):
        return {}
    from dotenv import dotenv_values  # slow to load, and not needed where there is no file

    try:
        return dotenv_values(path, interpolate=False, encoding="utf-8")
    except (OSError, UnicodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeError) else error.strerror
        raise ConfigError([f"{path}: wanted a file of lines such as NAME=value; {reason}"]) from error


class _Reader:
    """Parses every setting, checks them against each other, and collects the problems."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts
        self.problems: list[str] = []

    def values(self) -> dict[str, Any]:
        """Return the values of the fields that are set.

        Errors  ConfigError
        """
        values: dict[str, Any] = {}
        for name, setting in SETTINGS.items():
            if setting.name in self.texts or name not in DEFAULTS:
                values |= self._parsed(name, setting)
        is_live = is_live_key(values.get("stripe_secret_key", ""))
        self.problems += [
            *(_problems_of_a_live_key(values) if is_live else ()),
            *_problems_of_trusted_headers(self.texts),
            *_problems_of_notices(self.texts, values),
        ]
        if self.problems:
            raise ConfigError(self.problems)
        return values

    def _parsed(self, name: str, setting: Setting) -> dict[str, Any]:
        text = self.texts.get(setting.name, setting.text_if_unset)
        try:
            if not is_text(text):
                raise InvalidValue("a text in UTF-8, without NUL")
            return {name: setting.parse(text)}
        except ConfigError as error:  # a file with problems of its own
            self.problems += error.problems
        except InvalidValue as wanted:
            held = "what it holds is not shown here" if setting.is_secret else f"it is {masked(text)}"
            self.problems.append(f"{setting.name}: wanted {wanted}; {held if text else 'it is not set'}")
        return {}


def _problems_of_a_live_key(values: dict[str, Any]) -> Iterator[str]:
    base = values.get("stripe_api_base")
    if base and urlsplit(base).scheme != "https":
        yield f"STRIPE_API_BASE: wanted https:// beside a live key; it is {masked(base)}"
    for name, setting in SETTINGS.items():
        held = values.get(name, ()) if setting.advice else ()
        if any(map(is_guessable, (held,) if isinstance(held, str) else held)):
            yield (
                f"{setting.name}: wanted secrets of your own beside a live key ({setting.advice}); "
                "it holds one that is published or easy to guess, and is not shown here"
            )


def _problems_of_trusted_headers(texts: Mapping[str, str]) -> Iterator[str]:
    """Half of it is a mistake: a header that is believed from no address, or an e-mail without a user."""
    user, email, proxies = (f"BILLING_TRUSTED_{each}" for each in ("USER_HEADER", "EMAIL_HEADER", "PROXIES"))
    for name, other, wanted in (
        (user, proxies, "the addresses that the header is believed from"),
        (email, user, "the header in which the proxy names the user, such as Remote-User"),
    ):
        if name in texts and other not in texts:
            yield f"{other}: wanted {wanted}, because {name} is set; it is not set"


def _problems_of_notices(texts: Mapping[str, str], values: dict[str, Any]) -> Iterator[str]:
    if values.get("notify_url") and "BILLING_NOTIFY_SECRET" not in texts:
        yield f"BILLING_NOTIFY_SECRET: wanted {settings.WANTED_NOTIFY_SECRET}; it is not set"
