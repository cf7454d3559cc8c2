"""Programs that tests start: Chromium, for those that look at pages, and others."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run"
).split()
INSTALL = "install Chromium (Debian: `apt-get install chromium`) for the browser tests"


def missing(what: str) -> NoReturn:
    """Skip, and say what to install; where all of it is wanted, fail."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(what)


def program(name: str, package: str) -> str:
    """Return where a program is; skip without it."""
    return (
        shutil.which(name)
        or shutil.which(name, path="/usr/sbin:/sbin")
        or missing(f"install {name} (Debian: `apt-get install {package}`)")
    )


@contextmanager
def launched() -> Iterator[Any]:
    """Run a browser, headless."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        missing(INSTALL)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()
