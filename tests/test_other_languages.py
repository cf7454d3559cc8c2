"""Products that are not Python: the documents' own recipes, run against a running Corkage."""

import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from harness import AUTH_SECRET, running, started, until
from programs import missing
from repository import block

import corkage
from corkage import storage
from corkage.access import ACCESS_VERSION, Access
from corkage.identity import AUDIENCE
from corkage.models import AnswerRow
from corkage.plans import Plan
from corkage.schema import SCHEMA_VERSION
from corkage.storage import trying
from corkage.storage.lock import FileLock

pytestmark = [pytest.mark.slow, pytest.mark.one_engine("sqlite", "readers of the file")]

DOCS = Path(corkage.__file__).parent / "docs"
INSTALL_NODE = "install Node 22.13 or newer (`npm install node@24` does) and name it in NODE"
INSTALL_SQLITE = "install the sqlite3 program (Debian: `apt-get install sqlite3`)"
A_GROUP, A_USER = 23_456, 23_457  # of nobody on the machine
CLAIMS_NODE = 'process.stdout.write(corkageToken({ id: 7, email: "ann@example.com" }, process.env.SECRET));'
ANSWER_NODE = (
    'import { createInterface } from "node:readline";\n'
    'createInterface({ input: process.stdin }).on("line", (user) => console.log(JSON.stringify(access(user))));\n'
)


@pytest.fixture(scope="session")
def node():
    found = os.environ.get("NODE") or shutil.which("node")
    said = subprocess.run([found, "--version"], capture_output=True, text=True).stdout if found else "v0.0"
    if tuple(map(int, re.findall(r"\d+", said)[:2])) < (22, 13):
        missing(INSTALL_NODE)
    return found


@pytest.fixture(scope="session")
def sqlite3_program():
    return shutil.which("sqlite3") or missing(INSTALL_SQLITE)


def test_a_token_minted_by_the_node_recipe_signs_the_user_in(app, node, tmp_path):
    (tmp_path / "mint.mjs").write_text(block("docs/sidecar.md", "token-node") + CLAIMS_NODE)

    minted = subprocess.check_output([node, "mint.mjs"], cwd=tmp_path, env={"SECRET": AUTH_SECRET}, text=True)

    answer = requests.get(f"{app.url}/access", headers={"Authorization": f"Bearer {minted}"}, timeout=30)
    assert (answer.status_code, answer.json()["user_id"]) == (200, "7")
    assert f"`{AUDIENCE}`" in (DOCS / "sidecar.md").read_text()


@contextmanager
def a_reader(node, folder, database):
    """Run Node's recipe as a product's process, and ask it again and again."""
    program = block("docs/access-view.md", "view-node").replace("/var/lib/corkage/corkage.db", str(database))
    (folder / "ask.mjs").write_text(program + ANSWER_NODE)
    process = subprocess.Popen(
        [node, "ask.mjs"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )

    def ask(user):
        process.stdin.write(f"{user}\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline() or process.stderr.read())

    try:
        yield ask
    finally:
        process.communicate(timeout=30)


def in_python(app, user="ann"):
    access = app.billing.access(user)._asdict()
    return {name: access[name] for name in ("allowed", "reason", "plan", "plans", "features", "limits", "until")}


def test_node_reads_the_view_while_corkage_serves_and_writes(app, shop, node, config, tmp_path):
    nobody = {"allowed": False, "reason": "no_subscription", "plan": None, "until": None}
    nobody |= {"plans": [], "features": [], "limits": {}}
    with a_reader(node, tmp_path, config.database) as ask:
        assert ask("ann") == nobody
        subscription = shop.subscribe(shop.customer())
        app.deliver(shop.event("customer.subscription.created"))
        app.work()
        assert ask("ann") == in_python(app) | {"plans": ["pro"], "features": ["exports", "api"]}
        assert ask("ann")["allowed"] is True
        assert ask("eve' OR '1' = '1") == nobody

        with trying():  # in the midst of a write the answer is the one before
            AnswerRow.update(reason="unpaid").execute()
            assert ask("ann")["reason"] == "active"

        shop.client.v1.subscriptions.cancel(subscription)
        app.deliver(shop.event("customer.subscription.deleted"))
        app.work()
        assert (ask("ann")["allowed"], ask("ann")["reason"], ask("ann")["features"]) == (False, "ended", [])


def test_node_reads_what_the_free_plan_gives_to_a_user_without_a_row(config, node, tmp_path):
    free = Plan("free", free=True, name="Free", features=("read",), limits={"notes": 5})
    with running(replace(config, plans=(free, *config.plans))), a_reader(node, tmp_path, config.database) as ask:
        nobody = ask("ann")

    assert (nobody["allowed"], nobody["reason"], nobody["plans"]) == (False, "free", ["free"])
    assert (nobody["features"], nobody["limits"]) == (["read"], {"notes": 5})


def shell(database):
    """The sqlite3 shell's recipe as arguments, for a file."""
    return [
        "sh",
        "-c",
        block("docs/access-view.md", "view-shell").replace("/var/lib/corkage/corkage.db", str(database)),
    ]


def subscribed(app, shop):
    shop.subscribe(shop.customer())
    app.deliver(shop.event("customer.subscription.created"))
    app.work()


def test_the_sqlite3_program_reads_the_view_while_corkage_serves(app, shop, sqlite3_program, config):
    subscribed(app, shop)

    (row,) = json.loads(subprocess.check_output(shell(config.database), text=True))

    lists = {name: tuple(json.loads(row[name])) for name in ("plans", "features")}
    assert row | lists | {"limits": json.loads(row["limits"])} == in_python(app)


def test_a_reader_following_the_document_cannot_write(app, sqlite3_program, config):
    delete = [sqlite3_program, "-readonly", config.database, "DELETE FROM corkage_setting"]

    refused = subprocess.run(delete, capture_output=True, text=True)

    assert "readonly database" in refused.stderr
    assert app.ask().status_code == 200


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_database_files_are_not_readable_by_everybody(config, shop, umask):
    before = os.umask(umask)
    try:
        with running(config) as app:
            subscribed(app, shop)
            modes = {
                path.name: stat.S_IMODE(path.stat().st_mode) for path in Path(config.database).parent.glob("*.db*")
            }
    finally:
        os.umask(before)

    assert modes == dict.fromkeys(("corkage.db", "corkage.db-wal", "corkage.db-shm"), 0o640 & ~umask)


def test_an_existing_database_keeps_its_permissions(config):
    Path(config.database).touch(mode=0o600)
    with running(config):
        assert stat.S_IMODE(Path(config.database).stat().st_mode) == 0o600


@pytest.fixture
def folder():
    """A folder as the document makes it, which others of its group may enter. pytest's own are for one user."""
    if os.geteuid() != 0:
        pytest.skip("run as root to try it as a second system user")
    path = Path(tempfile.mkdtemp())
    os.chown(path, 0, A_GROUP)
    path.chmod(0o2750)
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize(("groups", "reads"), [([A_GROUP], True), ([], False)], ids=["of the group", "a stranger"])
def test_another_system_user_reads_the_database_by_its_group_only(config, shop, sqlite3_program, folder, groups, reads):
    as_user = {"user": A_USER, "group": A_USER, "extra_groups": groups, "cwd": "/"}
    with running(replace(config, database=str(folder / "corkage.db"))) as app:
        subscribed(app, shop)
        found = subprocess.run(shell(folder / "corkage.db"), capture_output=True, text=True, **as_user)
    stopped = subprocess.run(shell(folder / "corkage.db"), capture_output=True, text=True, **as_user)

    for each in (found, stopped):
        assert bool(each.stdout) is reads
        assert ("unable to open database" in each.stderr) is not reads


ONE_USER = "SELECT allowed, reason FROM corkage_access WHERE user_id = 'active'"
OPENED_EACH_TIME = f"""
import os, sqlite3, sys
from contextlib import closing
os.setgroups([{A_GROUP}]), os.setgid({A_USER}), os.setuid({A_USER})
while True:
    with closing(sqlite3.connect("file:" + sys.argv[1] + "?mode=ro", uri=True, timeout=5)) as file:
        print(*file.execute("{ONE_USER}").fetchone(), flush=True)
"""
OPENED_ONCE = f"""
import {{ DatabaseSync }} from "node:sqlite";
process.setgroups([{A_GROUP}]), process.setgid({A_USER}), process.setuid({A_USER});
const database = new DatabaseSync(process.argv[2], {{ readOnly: true }});
database.exec("PRAGMA busy_timeout = 5000");
const wanted = database.prepare("{ONE_USER}");
setInterval(() => console.log(Object.values(wanted.get()).join(" ")), 1);
"""
SHELL = f"""while :; do sqlite3 -readonly -separator " " -cmd ".timeout 5000" "$0" "{ONE_USER}"; done"""


class Reader:
    """A program of another system user that reads on and on, and what it printed."""

    def __init__(self, arguments, **as_user):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(arguments, text=True, cwd="/", start_new_session=True, **pipes, **as_user)
        self.lines, self.errors = [], []
        outputs = ((self.process.stdout, self.lines), (self.process.stderr, self.errors))
        self.threads = [threading.Thread(target=to.extend, args=(said,)) for said, to in outputs]
        for each in self.threads:
            each.start()

    def has_read_again(self):
        count = len(self.lines) + 5
        until(lambda: len(self.lines) > count or self.errors)

    def end(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        for each in self.threads:
            each.join()
        self.process.communicate()


@pytest.fixture(params=["opened each time", "opened once", "the shell"])
def reader(request, folder, node, sqlite3_program):
    """Start a reader. One that has the file open keeps SQLite from taking -wal and -shm away: each kind by itself."""
    (folder / "once.mjs").write_text(OPENED_ONCE)
    as_user = {
        "user": A_USER,
        "group": A_USER,
        "extra_groups": [A_GROUP],
        "env": {"PATH": os.environ["PATH"], "HOME": "/"},
    }
    path = str(folder / "corkage.db")
    kinds = {
        "opened each time": lambda: Reader([sys.executable, "-c", OPENED_EACH_TIME, path]),
        "opened once": lambda: Reader([node, str(folder / "once.mjs"), path]),
        "the shell": lambda: Reader(["/bin/sh", "-c", SHELL, path], **as_user),
    }
    with ExitStack() as ends:

        def start():
            started = kinds[request.param]()
            ends.callback(started.end)
            return started

        yield start


def test_a_reader_of_another_user_goes_on_while_corkage_is_upgraded_stopped_and_started(
    environ, tmp_path, folder, reader
):
    """It is never refused, and reads no other answer; the first start upgrades the file."""
    database = folder / "corkage.db"
    environ |= {"BILLING_DATABASE": str(database), "BILLING_WORKER": "off"}
    database.touch(mode=0o640)
    with closing(FileLock(str(database))) as lock, closing(sqlite3.connect(database)) as file:
        file.execute("PRAGMA journal_mode = wal")
        file.executescript((Path(__file__).parent / "support" / "schema_1.sql").read_text())
        lock.keep_companions()
    companions = [(folder / name).open("rb") for name in ("corkage.db-wal", "corkage.db-shm")]
    reading = reader()
    reading.has_read_again()

    for _ in range(3):
        with started(["serve", "--port", "0"], environ, tmp_path, "serving on"):
            reading.has_read_again()
        reading.has_read_again()

    assert (set(reading.lines), reading.errors) == ({"1 active\n"}, [])
    for each in companions:
        with each:
            assert os.fstat(each.fileno()).st_nlink == 1  # none was taken away, were it for a moment
    with closing(sqlite3.connect(database)) as file:
        ((version,),) = file.execute("SELECT value FROM corkage_setting WHERE name = 'schema_version'")
        assert int(version) == SCHEMA_VERSION


def documented(marker):
    section = (DOCS / "access-view.md").read_text().split(f"<!-- {marker} -->\n")[1].split("\n\n")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_the_document_names_the_columns_of_the_view_in_their_order():
    assert documented("columns") == list(Access._fields)


def test_the_view_has_a_documented_version_and_its_columns(app):
    promised = "user_id allowed reason plan price_id quantity features until status cancel_at stale".split()
    (version,) = storage.current().of_thread().execute(block("docs/access-view.md", "version")).fetchone()

    assert version == str(ACCESS_VERSION) == "2"
    assert list(Access._fields)[: len(promised)] == promised  # what is added comes after these
    assert f"This is version {ACCESS_VERSION} of the view." in (DOCS / "access-view.md").read_text()
