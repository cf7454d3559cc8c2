"""The peers: how each is installed, prepared, started, and asked what a check of access costs."""

import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .installing import bytes_of, install_corkage, install_node, install_requirements, python_in, site_packages
from .settings import HERE, start_environ

TUTORIAL_EVENTS = (
    "checkout.session.completed",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "invoice.paid",
    "invoice.payment_failed",
)
ALL_EVENTS = ("*",)
WITHOUT_CHECKOUT = TUTORIAL_EVENTS[1:]
"""For dj-stripe: it reads a Checkout Session again with its `line_items`, which the simulator does not expand. It
learns whose a customer is from the customer's metadata as well, so only one more call for each purchase is missing."""
WITH_ALL_OF_INVOICES = (
    *WITHOUT_CHECKOUT,
    "invoice.created",
    "invoice.finalized",
    "invoice.updated",
    "invoice.payment_succeeded",
)
"""Nearer to the every event that dj-stripe's own `stripe_listen` asks for, as far as the simulator goes: it does not
expand the `sources` of customers either, which dj-stripe wants at customer.created and customer.updated."""


@dataclass(frozen=True)
class Peer:
    """One of those that are compared. `into` is a folder of its own, outside the tree, the same in every call.

    Shape   name: as the tables have it; folder: where its program is;
            events: what its webhook endpoint is sent
    """

    name: str
    folder: Path
    events: tuple[str, ...]
    _install: Callable[[Path, Path], None]
    _command: Callable[[Path, Path, int], list[str]]
    _access_check: Callable[[Path, Path], list[str]]
    _installed: Callable[[Path], Iterable[Path]]
    _prepare: Callable[[Path, Path, Mapping[str, str], Iterable[str]], None] = lambda *_: None

    def install(self, into: Path) -> None:
        """Make its environment, unless it is there."""
        self._install(self.folder, into)

    def prepare(self, into: Path, environ: Mapping[str, str], users: Iterable[str] = ()) -> None:
        """Do what a deployment does once before the start, with a new database, and sign up these users.

        Only dj-stripe needs it: it migrates, and links a customer to a user that is there already.
        """
        self._prepare(self.folder, into, environ, users)

    def command(self, into: Path, port: int) -> list[str]:
        """Return what starts it, with the environment of `start_environ` for the same port, in `into` as the folder."""
        return self._command(self.folder, into, port)

    def access_check(self, into: Path, user: str, checks: int) -> list[str]:
        """Return what prints the microseconds of one check in process, the median of blocks; in the same environment.

        The user must be let in, by what the database holds.
        """
        return [*self._access_check(self.folder, into), user, str(checks)]

    def installed_bytes(self, into: Path) -> int:
        """Tell what was installed takes on the disk: node_modules, or site-packages without pip and setuptools."""
        return bytes_of(self._installed(into))


def _install_djstripe(folder: Path, into: Path) -> None:
    """Migrate an empty file once: dj-stripe's migrations take the better part of a minute on SQLite."""
    install_requirements(folder, into)
    migrated = into / "migrated.db"
    if not migrated.exists():
        _manage(folder, into, start_environ(0, into / "migrating.db", ""), "prepare")
        (into / "migrating.db").rename(migrated)


def _prepare_djstripe(folder: Path, into: Path, environ: Mapping[str, str], users: Iterable[str]) -> None:
    if not Path(environ["DATABASE"]).exists():
        shutil.copy(into / "migrated.db", environ["DATABASE"])
    _manage(folder, into, environ, "prepare", given="\n".join(users))


def _manage(folder: Path, into: Path, environ: Mapping[str, str], command: str, given: str = "") -> None:
    arguments = [python_in(into), str(folder / "manage.py"), command]
    subprocess.run(arguments, cwd=into, env=dict(environ), input=given, text=True, check=True)


EXPRESS = Peer(
    "express",
    HERE / "express",
    TUTORIAL_EVENTS,
    _install=install_node,
    _command=lambda _folder, into, _port: ["node", str(into / "server.js")],
    _access_check=lambda _folder, into: ["node", str(into / "access_check.js")],
    _installed=lambda into: [into / "node_modules"],
)
DJSTRIPE = Peer(
    "dj-stripe",
    HERE / "djstripe",
    WITHOUT_CHECKOUT,
    _install=_install_djstripe,
    _prepare=_prepare_djstripe,
    _command=lambda folder, into, _port: [python_in(into), str(folder / "serve.py")],
    _access_check=lambda folder, into: [python_in(into), str(folder / "manage.py"), "access_check"],
    _installed=site_packages,
)
NAIVE = Peer(
    "naive",
    HERE / "naive",
    TUTORIAL_EVENTS,
    _install=install_requirements,
    _command=lambda folder, into, _port: [python_in(into), str(folder / "app.py")],
    _access_check=lambda folder, into: [python_in(into), str(folder / "access_check.py")],
    _installed=site_packages,
)
CORKAGE = Peer(
    "corkage",
    HERE,
    ALL_EVENTS,
    _install=lambda _folder, into: install_corkage(into),
    _command=lambda _folder, into, port: [str(into / "venv" / "bin" / "corkage"), "serve", "--port", str(port)],
    _access_check=lambda folder, into: [python_in(into), str(folder / "access_of_corkage.py")],
    _installed=site_packages,
)

PEERS = (EXPRESS, DJSTRIPE, NAIVE)
EVERYBODY = (CORKAGE, *PEERS)
