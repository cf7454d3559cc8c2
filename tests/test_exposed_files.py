"""Files that others may use are said at the start; a link to nothing and a broken row stop it, in words."""

import logging
import os
import subprocess
import sys

import pytest
from elsewhere import elsewhere

from corkage import storage
from corkage.billing_app import Billing
from corkage.errors import ConfigError
from corkage.health.files import exposed
from corkage.models import remember

ON_FILES = pytest.mark.one_engine("sqlite", "permissions and links of files")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def warnings(caplog):
    return [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]


@ON_FILES
@pytest.mark.parametrize(("mode", "may"), [(0o644, "read"), (0o604, "read"), (0o646, "change"), (0o666, "change")])
def test_a_database_that_others_may_use_is_said_at_the_start_with_what_ends_it(config, here, caplog, mode, may):
    Billing(config).close()
    os.chmod(config.database, mode)

    Billing(config).close()

    (said,) = warnings(caplog)
    assert said.startswith(f"every user of this machine may {may} the database {config.database}, which holds e-mails")
    command = said.rpartition(": ")[2]
    subprocess.run(command, shell=True, check=True)
    assert exposed(config.database) == []


@ON_FILES
def test_companions_that_others_may_read_are_said_too_also_behind_a_link(config, here):
    billing = Billing(config)
    with elsewhere(config.database):
        billing.access("ann")
        os.chmod(f"{config.database}-wal", 0o644)
        (here / "a link").symlink_to(config.database)
        (found,) = exposed(str(here / "a link"))
        assert found.repair == f"chmod o= {config.database}-wal"
    billing.close()


@ON_FILES
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660])
def test_files_for_the_owner_and_the_group_are_not_said(config, here, caplog, mode):
    Billing(config).close()
    os.chmod(config.database, mode)
    (here / ".env").touch(mode)
    (here / ".env").chmod(mode)

    Billing(config).close()

    assert warnings(caplog) == []


def test_settings_that_others_may_read_are_said_at_the_start(config, here, caplog):
    (here / ".env").touch()
    (here / ".env").chmod(0o644)

    Billing(config).close()

    assert warnings(caplog) == ["every user of this machine may read .env, which holds secret keys: chmod 600 .env"]
    (here / ".env").chmod(0o602)
    assert [each.what.split()[6] for each in exposed(config.database)] == ["change"]


def test_nothing_is_said_of_files_that_are_not_there(here):
    assert exposed(str(here / "corkage.db"), str(here)) == []
    assert exposed("postgresql://db.example.com/corkage", str(here)) == []


@ON_FILES
@pytest.mark.parametrize("target", ["nowhere.db", "/nowhere/corkage.db"])
def test_a_link_to_nothing_stops_the_start_and_makes_no_file(config, here, target):
    link = here / "corkage.db"
    link.symlink_to(target)

    with pytest.raises(ConfigError) as refused:
        Billing(config)

    where = here / target
    assert f"BILLING_DATABASE: {config.database} cannot be opened" in str(refused.value)
    assert f"it is a link to {where}, where there is no file" in str(refused.value)
    assert not where.exists()
    assert [each.name for each in here.iterdir()] == ["corkage.db"]


@ON_FILES
def test_a_link_to_a_database_is_followed(config, here):
    Billing(config).close()
    (here / "corkage.db").rename(here / "real.db")
    (here / "corkage.db").symlink_to("real.db")

    Billing(config).close()


@ON_FILES
@pytest.mark.parametrize("force", [(), ("--force",)])
def test_a_backup_at_a_link_overwrites_nothing_that_it_leads_to_but_by_force(config, here, corkage, force):
    Billing(config).close()
    (here / "notes").write_text("somebody's")
    (here / "notes").chmod(0o644)
    (here / "monday.db").symlink_to("notes")

    said = corkage("backup", "monday.db", *force)

    assert said.returncode == (0 if force else 1)
    assert (here / "monday.db").is_symlink()
    is_kept = (here / "notes").read_bytes() == b"somebody's"
    assert is_kept != bool(force)
    assert (here / "notes").stat().st_mode & 0o777 == (0o600 if force else 0o644)


@ON_FILES
def test_a_database_that_is_restored_is_as_private_as_the_one_before_whatever_the_backup_is(config, here, corkage):
    Billing(config).close()
    assert corkage("backup", "monday.db").returncode == 0
    (here / "monday.db").chmod(0o666)
    (here / "corkage.db").unlink()

    assert corkage("restore", "monday.db", "--yes").returncode == 0
    assert (here / "corkage.db").stat().st_mode & 0o777 == 0o640

    for each in here.glob("corkage.db*"):
        each.chmod(0o600)
    (here / "corkage.db").write_bytes(b"damaged" * 1000)
    assert corkage("restore", "monday.db", "--yes").returncode == 0
    assert {each.stat().st_mode & 0o777 for each in here.glob("corkage.db*")} == {0o600}


@ON_FILES
@pytest.mark.parametrize("target", ["nowhere.db", "/nowhere/corkage.db"])
def test_a_database_is_not_moved_to_a_link_to_nothing(config, here, corkage, target):
    Billing(config).close()
    (here / "new.db").symlink_to(target)

    said = corkage("move-database", "new.db")

    assert said.returncode == 1
    assert "it is a link to" in said.stderr
    assert not (here / target).exists()


@ON_FILES
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_database_that_is_moved_to_a_file_is_private(config, here, environ, umask):
    Billing(config).close()
    command = [sys.executable, "-m", "corkage.cli", "move-database", "new.db"]
    subprocess.run(command, cwd=here, env=environ, umask=umask, check=True)

    modes = {each.stat().st_mode & 0o777 for each in here.glob("new.db*")}
    assert modes == {0o640 & ~umask}


@pytest.mark.parametrize("version", ["", "three", "-1", "1.5", "\u0663", "1" * 16, "4; DROP"])
def test_a_schema_version_that_is_no_number_stops_the_start_in_words(config, version):
    Billing(config).close()
    billing = Billing(config)
    remember("schema_version", version)
    billing.close()

    with pytest.raises(ConfigError) as refused:
        Billing(config)

    assert "as schema_version in corkage_setting; wanted a whole number" in str(refused.value)
    assert repr(version)[:50] in str(refused.value)
    with elsewhere(config.database) as other:
        assert other.execute("SELECT value FROM corkage_setting WHERE name = 'schema_version'").fetchone() == (version,)
    assert storage.proxy.obj is None
