"""Files that a fuzzer plays. A target returns in a word how bytes were read; a fault is an exception."""

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from dotenv import dotenv_values
from mutated import PIECES
from repository import ROOT
from samples import CUSTOMERS_FILE, EMAILS_FILE, ENV_FILE, GRANTS_FILE, PLANS_FILE
from spending import PLANS

from corkage.config import SETTINGS, Config
from corkage.errors import ConfigError
from corkage.moving.customers import read_map
from corkage.moving.grants import read_grants
from corkage.moving.proposals import read_emails
from corkage.plans import WANTED, read_plans
from corkage.replica.prices import Catalogue
from corkage.setup import wanted
from corkage.setup.env_file import with_settings

LONGEST_SAID = 2_000  # characters of a sentence about a file

Play = Callable[[bytes], str]


class Target(NamedTuple):
    """Shape   examples: valid input, from which a fuzzer makes its own; words: what it may put in"""

    play: Play
    examples: tuple[bytes, ...]
    words: tuple[bytes, ...] = PIECES


Opened = Callable[[Path], AbstractContextManager[Target]]
"""Makes a target, in a folder of its own."""


@contextmanager
def _plans(folder: Path) -> Iterator[Target]:
    """A plans.toml. What is read can be sold, and pushed to Stripe."""
    path = folder / "plans.toml"
    config = Config(stripe_secret_key="sk_test_1", frontend_urls=("https://app.example.com",), app="app", plans=PLANS)

    def play(data: bytes) -> str:
        path.write_bytes(data)
        if (plans := _read(lambda: read_plans(path))) is None:
            return "refused"
        assert Catalogue(plans, "app").plans
        wanted.products(replace(config, plans=plans))
        return "read"

    words = tuple(f"{each} = ".encode() for each in WANTED)
    whole = (ROOT / "plans.example.toml").read_bytes()
    yield Target(play, (PLANS_FILE.encode(), whole, b"[free]\nfree = true\n"), (*words, *PIECES))


@contextmanager
def _settings(folder: Path) -> Iterator[Target]:
    """A .env file."""
    plans, path = folder / "plans.toml", folder / ".env"
    plans.write_text(PLANS_FILE)

    def play(data: bytes) -> str:
        path.write_bytes(data.replace(b"@plans@", str(plans).encode()))
        config = _read(lambda: Config.from_env({}, path))
        if config is None:
            return "refused"
        assert repr(config)
        return "read"

    whole = ENV_FILE.replace("plans.toml", "@plans@")
    lines = [f"{name}={each.example or 'on'}\n" for name, each in SETTINGS.items() if name not in whole]
    texts = (whole, *(whole + line for line in lines), whole + "".join(lines))
    words = tuple(f"{name}=".encode() for name in SETTINGS)
    yield Target(play, tuple(map(str.encode, texts)), (*words, *PIECES))


@contextmanager
def _stored_settings(_folder: Path) -> Iterator[Target]:
    """A setting in the first line, and the .env file in which it is stored: it is read again, and so are all others."""

    def play(data: bytes) -> str:
        value, _, text = data.decode("utf-8", "replace").partition("\n")
        if not value.isprintable():
            return "no_value"
        text = text.replace("\r\n", "\n").replace("\r", "\n")  # as a file is read
        before = _values(text)
        stored = _values(with_settings(text, {"BILLING_APP_NAME": value}))
        assert stored == before | {"BILLING_APP_NAME": value}, (text, value)
        return "stored"

    texts = (ENV_FILE, "", "# a comment\nexport A='b\nc'\nBILLING_APP_NAME=old # new\n", 'A="\\n"\n\nBILLING_APP_NAME')
    examples = tuple(f"{value}\n{text}".encode() for text in texts for value in ("whsec_1", 'it\'s "a" #b\\'))
    yield Target(play, examples, (b"export ", b"BILLING_APP_NAME=", b"'", b'"', b"\\'", b" #", *PIECES))


def _values(text: str) -> dict[str, str | None]:
    return dict(dotenv_values(stream=io.StringIO(text), interpolate=False))


@contextmanager
def _imports(folder: Path) -> Iterator[Target]:
    """A file of customers, of e-mails or of grants, as whichever it is read."""
    catalogue = Catalogue(PLANS, "app")
    readers = (read_map, read_emails, lambda data: read_grants(data, catalogue))

    def play(data: bytes) -> str:
        found = [_read(lambda read=read: read(data)) for read in readers]
        problems = [each[1] for each in found if each]
        for problem in (one for each in problems for one in each):
            assert problem.line > 0
            assert problem.reason
        return "refused" if all(problems) else "read"

    tabs = CUSTOMERS_FILE.replace(b",", b"\t")
    examples = (CUSTOMERS_FILE, EMAILS_FILE, GRANTS_FILE, b"\xef\xbb\xbf" + tabs.replace(b"\n", b"\r\n"))
    words = (b"user_id", b"customer_id", b"email", b"plan", b"until", b"quantity", b"reason", b"2099-01-01")
    yield Target(play, examples, (*words, *PIECES))


def _read(read: Callable[[], Any]) -> Any:
    """Return what is read, or None where it is refused in words."""
    try:
        return read()
    except ConfigError as error:
        problems = error.problems
    assert all(0 < len(each) < LONGEST_SAID for each in problems), problems
    return None


FILES: dict[str, Opened] = {
    "plans.toml": _plans,
    "settings": _settings,
    "stored settings": _stored_settings,
    "files to import": _imports,
}
