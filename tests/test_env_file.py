"""The .env file, as `corkage init` and `corkage push` write it."""

import io
import os
import stat
import time

import pytest
from dotenv import dotenv_values

from corkage.setup.env_file import store_settings, with_settings


def test_a_setting_is_replaced_where_it_stands_and_others_stay():
    text = "# mine\nA=1\n\nexport B='two'\nC=3\n"

    assert with_settings(text, {"B": "new", "D": "4"}) == "# mine\nA=1\n\nB=new\nC=3\nD=4\n"


def test_a_setting_that_stands_twice_has_one_value_afterwards(tmp_path):
    (tmp_path / ".env").write_text("A=1\nA=2")

    store_settings(tmp_path / ".env", {"A": "3"})

    assert dotenv_values(tmp_path / ".env") == {"A": "3"}


def test_a_commented_setting_stays_a_comment():
    assert with_settings("# A=1\n", {"A": "2"}) == "# A=1\nA=2\n"


@pytest.mark.parametrize(
    "value", ["plain", "with blank", "it's", 'say "hi"', "back\\slash", "#no comment", "a=b", "$HOME", ""]
)
def test_every_value_is_read_back_as_it_was(tmp_path, value):
    store_settings(tmp_path / ".env", {"A": value})

    assert dotenv_values(tmp_path / ".env", interpolate=False) == {"A": value}


def test_only_its_owner_may_read_it_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        store_settings(tmp_path / ".env", {"A": "1"})
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_a_file_that_everybody_could_read_is_closed(tmp_path):
    (tmp_path / ".env").write_text("A=1\n")
    (tmp_path / ".env").chmod(0o644)

    store_settings(tmp_path / ".env", {"A": "2"})

    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_a_group_that_may_read_it_still_may(tmp_path):
    (tmp_path / ".env").write_text("A=1\n")
    (tmp_path / ".env").chmod(0o660)  # as of a service that runs with the group's rights

    store_settings(tmp_path / ".env", {"A": "2"})

    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o640


@pytest.mark.parametrize("value", ["'one\nA=two\n'", '"\x0cA=1"', "x\u2028A=1", "y\x85A=1"])
def test_a_part_of_another_value_is_no_setting(tmp_path, value):
    (tmp_path / ".env").write_text(f"B={value}\nA=1", "utf-8")
    before = dotenv_values(tmp_path / ".env", interpolate=False)

    store_settings(tmp_path / ".env", {"A": "new", "C": "3"})

    assert dotenv_values(tmp_path / ".env", interpolate=False) == before | {"A": "new", "C": "3"}


@pytest.mark.parametrize("more", ["", "B=2\n", "A=1\nB=2", "A=1\nA='x'\n"])
@pytest.mark.parametrize("quote", ['"', "'"])
def test_a_quote_that_is_never_closed_swallows_no_setting(more, quote):
    text = f"C={quote}open\n{more}"
    new = {"A": 'it\'s "new"', "D": quote}

    assert values(with_settings(text, new)) == values(text) | new


def values(text):
    return dict(dotenv_values(stream=io.StringIO(text), interpolate=False))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to another user")
def test_a_file_of_the_service_stays_the_services(tmp_path):
    (tmp_path / ".env").write_text("A=1\n")
    os.chown(tmp_path / ".env", 4321, 4321)

    store_settings(tmp_path / ".env", {"A": "2"})

    found = (tmp_path / ".env").stat()
    assert (found.st_uid, found.st_gid) == (4321, 4321)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "shared.env").write_text("A=1\n")
    (tmp_path / ".env").symlink_to("shared.env")

    store_settings(tmp_path / ".env", {"A": "2"})

    assert (tmp_path / ".env").is_symlink()
    assert (tmp_path / "shared.env").read_text() == "A=2\n"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("A=1\n")

    def full(_descriptor):
        raise OSError("the disk is full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="full"):
        store_settings(tmp_path / ".env", {"A": "2"})

    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [(".env", "A=1\n")]


def test_what_a_killed_run_left_is_removed_by_the_next_and_what_another_writes_now_is_not(tmp_path):
    left, written, backup = (tmp_path / f".env.{each}" for each in ("0123abcd.new", "4567abcd.new", "backup.new"))
    for path in (left, written, backup):
        path.write_text("STRIPE_WEBHOOK_SECRET=whsec_1\n")
    for path in (left, backup):
        os.utime(path, (time.time() - 120,) * 2)

    store_settings(tmp_path / ".env", {"A": "1"})

    assert sorted(each.name for each in tmp_path.iterdir()) == [".env", written.name, backup.name]
