"""What other users of the machine see of a command while it runs: its arguments, which hold no secret."""

from contextlib import closing
from pathlib import Path

import pytest
import warm
from harness import started
from in_terminal import typed

from corkage.billing_app import Billing
from corkage.config import SETTINGS
from corkage.storage.url import has_password

pytestmark = [pytest.mark.slow, pytest.mark.one_engine("sqlite", "what stands in the arguments of a command")]

WARNING = "stands on the command line, where every user of this machine may read it"
SECRET = "hunter2-of-the-test"


@pytest.fixture
def filled(config, tmp_path):
    """A database with ann, which nobody has open."""
    with closing(Billing(config)) as billing:
        billing.grant("ann", "pro")
    return config.database


def arguments_of(process):
    return Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")


def test_a_server_shows_none_of_its_settings(environ, tmp_path):
    secrets = [environ[each.name] for each in SETTINGS.values() if each.is_secret and environ.get(each.name)]
    with started(["serve", "--port", "0"], environ, tmp_path, "serving on") as (process, _):
        shown = arguments_of(process)

    assert len(secrets) >= 3
    assert not [each for each in secrets if each in " ".join(shown)]
    assert shown[-4:-1] == ["serve", "--port", "0"]


@pytest.mark.parametrize(
    ("url", "holds"),
    [
        (f"postgresql://me:{SECRET}@127.0.0.1:9/name", True),
        (f"postgres://127.0.0.1:9/name?user=me&password={SECRET}", True),
        ("postgresql://me@127.0.0.1:9/name", False),
        ("postgresql://127.0.0.1:9/name", False),
        ("postgresql://127.0.0.1:9/name?sslmode=prefer", False),
    ],
)
def test_a_password_in_the_url_of_a_move_is_warned_of_with_the_other_way(filled, corkage, url, holds):
    said = corkage("move-database", url)

    assert has_password(url) == holds
    assert (f"The password {WARNING}" in said.stderr) == holds
    assert ("`corkage move-database -` asks for the URL" in said.stderr) == holds
    assert SECRET not in said.stdout + said.stderr


def test_the_url_of_a_move_is_read_from_a_pipe(filled, environ, tmp_path):
    def fed(text):
        (tmp_path / "input").write_text(text)
        with (tmp_path / "input").open() as given, (tmp_path / "said").open("w+") as said:
            files = (given.fileno(), said.fileno(), said.fileno())
            return warm.begin(["move-database", "-"], tmp_path, environ, files).wait(60), (
                tmp_path / "said"
            ).read_text()

    refused, said = fed(f"postgresql://me:{SECRET}@127.0.0.1:9/name\n")
    assert said.startswith("Nothing was moved: ")
    assert (refused, SECRET in said, WARNING in said) == (1, False, False)

    nothing, said = fed("")
    assert (nothing, "wanted the path of a file" in said) == (2, True)

    assert fed(f"{tmp_path}/moved.db\n")[0] == 0
    assert (tmp_path / "moved.db").stat().st_mode & 0o777 == 0o640


def test_the_url_of_a_move_is_asked_for_without_an_echo(filled, environ, tmp_path):
    printed = typed(["move-database", "-"], [f"postgresql://me:{SECRET}@127.0.0.1:9/name"], tmp_path, environ)

    assert "Where to: postgresql://user:password@host/name, or a file: " in printed
    assert "Nothing was moved" in printed
    assert SECRET not in printed


@pytest.mark.parametrize(("key", "is_warned"), [("sk_live_of_the_test", True), ("sk_test_of_the_test", False)])
def test_a_live_key_on_the_command_line_is_warned_of_with_the_other_way(simulator, environ, tmp_path, key, is_warned):
    nothing_set = {name: text for name, text in environ.items() if not name.startswith(("BILLING_", "STRIPE_"))}
    asked = ["init", "--key", key, "--frontend-url", "https://app.example.com", "--api-base", simulator.url, "--yes"]

    said = warm.run(asked, tmp_path, nothing_set)

    assert (f"The key {WARNING}" in said.stderr) == is_warned
    assert ("without --key you are asked for it, and STRIPE_SECRET_KEY may hold it" in said.stderr) == is_warned
    assert key not in said.stdout + said.stderr
