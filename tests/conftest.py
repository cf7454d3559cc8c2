"""Fixtures: a simulated Stripe, a database file per test, and the app over real HTTP."""

import gc
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import stripe
import warm
from contract import problems
from harness import AUTH_SECRET, WEBHOOK_SECRET, App, Receiver, Shop, configured, open_shop, receiving, running, sdk
from programs import launched
from proxies import certificate_in
from pushing import Pushed
from requests.adapters import HTTPAdapter
from sampling import is_todays
from tables import make_tables, remembered
from torture import Figures

from corkage import schema, storage
from corkage import simulator as simulating
from corkage.config import Config
from corkage.simulator import Simulator
from corkage.simulator.webhooks import thin

# As PRO says: a command that serves with other plans would outdate the app of the same test, or be outdated.
PLANS = '[pro]\nname = "Pro"\nprices = ["pro_monthly"]\nfeatures = ["exports", "api"]\ngrace_days = 7\n'

# Nothing here goes through a developer's proxy.
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"

schema._create_everything = remembered(schema._create_everything)
stripe.HTTPClient.INITIAL_DELAY = 0.02  # seconds before a call is tried again, of which many tests have some
simulating.SERVER["threads"] = 6  # to start and end sixteen of them would cost each test 5 ms

PLAIN = Path(__file__).parent / "support/plain"
ENGINES = ("sqlite", "postgresql")
TWIN_DAYS, SLOW_TWIN_DAYS, ALIKE_DAYS = 6, 12, 3

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.hookimpl(optionalhook=True)  # where xdist is installed
def pytest_xdist_auto_num_workers() -> int:
    """Twice the cores for `-n auto`: many tests wait for a timer, a process or a browser."""
    return 2 * (os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)  # where xdist is installed
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let a worker that has nothing left take tests from one that has: some take a second, some a minute."""
    from xdist.scheduler import WorkStealingScheduling  # optional: only where tests run in parallel

    return WorkStealingScheduling(config, log)


@pytest.fixture
def simulator(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """A simulated Stripe. All events that a test leaves must keep Stripe's contract."""
    seed = 7 if request.node.get_closest_marker("seeded") else None
    with Simulator(seed=seed, retry_seconds=(0.05,) * 100) as started:
        yield started
    events = started.world.all("event")
    snapshots = [event for event in events if not thin.is_thin_only(event["type"])]
    thin_events = [thin.full_event(event) for event in events if not thin.is_snapshot_only(event["type"])]
    assert [problem for each in snapshots + thin_events for problem in problems(each)] == []


@pytest.fixture
def client(simulator: Simulator) -> stripe.StripeClient:
    """The real SDK, talking to the simulator."""
    return sdk(simulator)


@pytest.fixture
def shop(simulator: Simulator, client: stripe.StripeClient) -> Shop:
    return open_shop(simulator, client)


@pytest.fixture
def pushed(simulator: Simulator, tmp_path: Path) -> Any:
    """A product whose plans are pushed to Stripe; it has no database."""
    return Pushed(simulator, tmp_path)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as started:
        yield started


@pytest.fixture
def event(shop: Shop) -> stripe.Event:
    """The event of a subscription that was just bought."""
    shop.subscribe(shop.customer())
    return shop.event("customer.subscription.created")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Play every test that opens a database on both engines, unless its mark `one_engine` names one and says why."""
    if "engine" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("one_engine")
        engines = mark.args[:1] if mark else ENGINES
        marks = {"sqlite": (), "postgresql": pytest.mark.postgresql}
        metafunc.parametrize("engine", [pytest.param(each, marks=marks[each]) for each in engines])


@pytest.fixture(scope="session")
def postgresql(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The PostgreSQL server that all processes of this run share."""
    from postgres import shared  # loads psycopg, which is optional

    own = tmp_path_factory.getbasetemp()
    return shared(own.parent if hasattr(request.config, "workerinput") else own)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With CI=true, play some of the tests that both engines play on PostgreSQL, and some of `many_alike`, and the next
    day others.

    Those of `every_run` are played in full each time. ALL_ORDERS=true plays all.
    """
    left_out = {item for item in items if not is_todays(item.nodeid, _days(item))}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish() -> None:
    """Keep thousands of collected tests out of every later search for garbage: each took 0.3 s of CPU."""
    gc.collect()
    gc.freeze()


def _is_twin(item: pytest.Item) -> bool:
    """Return whether this is a test on PostgreSQL that is played on SQLite, too."""
    marks = {mark.name for mark in item.iter_markers()}
    return "postgresql" in marks and not marks & {"one_engine", "every_run"}


def _days(item: pytest.Item) -> int:
    """Return in how many days this test is played once."""
    if _is_twin(item):
        return SLOW_TWIN_DAYS if item.get_closest_marker("slow") else TWIN_DAYS
    return ALIKE_DAYS if item.get_closest_marker("many_alike") else 1


@pytest.fixture
def new_database(engine: str, request: pytest.FixtureRequest) -> Callable[[], AbstractContextManager[str]]:
    """Make a database, as BILLING_DATABASE names it: a file, or a schema on the run's server."""
    if engine == "sqlite":
        return _new_file
    return partial(request.getfixturevalue("postgresql").emptied, make_tables)


@contextmanager
def _new_file() -> Iterator[str]:
    with TemporaryDirectory() as folder:
        yield str(Path(folder) / "corkage.db")


@pytest.fixture
def database(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The test's own database, without a row. Where a command may be the first to open it, it has no tables either."""
    if engine == "sqlite":
        yield str(tmp_path / "corkage.db")
        return
    server = request.getfixturevalue("postgresql")
    with server.schema() if "environ" in request.fixturenames else server.emptied(make_tables) as url:
        yield url


@pytest.fixture
def config(database: str, simulator: Simulator) -> Config:
    return configured(simulator, database)


@pytest.fixture
def app(config: Config) -> Iterator[App]:
    with running(config) as served:
        yield served


@pytest.fixture
def environ(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str, database: str, simulator: Simulator
) -> dict[str, str]:
    """What the command line is configured with. Without PostgreSQL it runs as in a plain installation."""
    (tmp_path / "plans.toml").write_text(PLANS)
    is_plain = engine == "sqlite" and "postgresql" not in request.fixturenames
    paths = [*([str(PLAIN)] if is_plain else []), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("BILLING_", "STRIPE_"))},
        "STRIPE_SECRET_KEY": simulator.api_key,
        "STRIPE_API_BASE": simulator.url,
        "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "FRONTEND_URL": "https://app.example.com",
        "BILLING_AUTH_SECRET": AUTH_SECRET,
        "BILLING_SETTLE_SECONDS": "0",
        "BILLING_DATABASE": database,
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(paths),
    }


@pytest.fixture
def corkage(environ: dict[str, str], tmp_path: Path) -> Run:
    """Run a command as a user runs it; keywords are settings. It works on the database that `app` serves."""

    def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return warm.run(arguments, tmp_path, environ | changes)

    return run


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost that nobody has signed, and its key."""
    return certificate_in(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium, started once for the tests of a file."""
    with launched() as started:
        yield started


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Write the figures of a test, with how it ended."""
    report = yield
    figures = item.funcargs.get("figures") if isinstance(item, pytest.Function) else None
    if isinstance(figures, Figures) and report.when == "call":
        figures.write(report.outcome)
    return report


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """What a test of reliability counts and measures; see tests/support/torture.py."""
    (part,) = request.node.get_closest_marker("torture").args
    return Figures(part, request.node.nodeid.removeprefix("tests/"))


@pytest.fixture(autouse=True)
def _calls_are_not_spaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Stripe at the other end is ours, and allows any number of calls."""
    monkeypatch.setattr("corkage.sync.worker.CALLS_PER_SECOND", 10_000)
    monkeypatch.setattr("corkage.sync.resync.CALLS_PER_SECOND", 10_000)


@pytest.fixture(autouse=True)
def _health_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test sees at once what it has changed."""
    monkeypatch.setattr("corkage.health.kept.KEPT_SECONDS", 0.0)
    monkeypatch.setattr("corkage.health.kept.USABLE_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def asked_inside_a_transaction(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Fail every test in which Stripe is asked while a transaction is open: a slow Stripe would hold the file."""
    send, seen = HTTPAdapter.send, []

    def watched(*args: Any, **options: Any) -> Any:
        opened = storage.proxy.obj
        if opened is not None and not opened.is_closed() and opened.is_writing():
            seen.append(f"{args[1].method} {args[1].url}")
        return send(*args, **options)

    monkeypatch.setattr(HTTPAdapter, "send", watched)
    yield seen
    assert seen == []


@pytest.fixture(autouse=True)
def _one_failure_does_not_spread() -> Iterator[None]:
    """Close the file that a failed test left open: there is one per process."""
    yield
    storage.close_database()
