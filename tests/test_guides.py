"""The guides: each app is written out of its page as it stands there, served and used; and its own tests are run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from harness import WEBHOOK_SECRET, started, until
from host_browser import Browser

import corkage as package

pytestmark = pytest.mark.slow

GUIDES = Path(package.__file__).parent / "docs" / "guides"
PRODUCT = "http://notes.example"
SERVERS = {
    "flask": ["waitress", "--listen", "127.0.0.1:0", "--call", "app:create_app"],
    "django": ["waitress", "--listen", "127.0.0.1:0", "notes.wsgi:application"],
    "fastapi": ["uvicorn", "--port", "0", "--factory", "app:create_app"],
}


def write_out(guide, folder):
    """Write the files of a guide, as they stand there."""
    files = re.findall(
        r"<!-- file: (\S+) -->\n```\w+\n(.*?)^```", (GUIDES / f"{guide}.md").read_text(), re.DOTALL | re.MULTILINE
    )
    for name, text in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture(params=SERVERS)
def guide(request, environ, tmp_path):
    """A folder with the files of a guide, and the environment of a newcomer."""
    write_out(request.param, tmp_path)
    environ |= {"FRONTEND_URL": PRODUCT, "BILLING_URL": f"{PRODUCT}/billing"}
    environ |= {"SECRET_KEY": "x" * 50, "BILLING_AUTH_SECRET": "", "BILLING_POLL_SECONDS": "0"}
    environ["PYTHONPATH"] = os.pathsep.join([str(tmp_path), environ["PYTHONPATH"]])
    if request.param == "django":
        environ["DJANGO_SETTINGS_MODULE"] = "notes.settings"
    return request.param


@pytest.fixture
def browser(guide, environ, tmp_path, simulator):
    if guide == "django":
        command = [sys.executable, "-m", "django", "migrate", "--pythonpath", "."]
        subprocess.run(command, cwd=tmp_path, env=environ, check=True, capture_output=True, timeout=120)
    module, *options = SERVERS[guide]
    with started(options, environ, tmp_path, "http://127.0.0.1:", module=module) as (_, said):
        url = re.search(r"http://127\.0\.0\.1:\d+", said[-1])[0]
        simulator.add_webhook_endpoint(f"{url}/billing/webhook", secret=WEBHOOK_SECRET)
        yield Browser(url)


def post(browser, path, **fields):
    """Submit a form of the product's, with the hidden value of Django's where it has one."""
    hidden = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', browser.get("/").text)
    return browser.post(path, fields | ({"csrfmiddlewaretoken": hidden[1]} if hidden else {}))


def test_an_app_of_a_guide_sells_guards_shows_the_plan_and_forgets(browser, shop, simulator):
    assert "Your plan" not in browser.get("/").text
    assert browser.get("/export").status_code in (302, 303)
    assert post(browser, "/sign-in", name="ann").status_code in (302, 303)
    home = browser.get("/").text
    assert "Your plan: none" in home
    assert 'value="pro"' in home
    assert browser.get("/export").headers["Location"].endswith("/billing/pricing")
    assert browser.get("/export", Accept="application/json").json()["error"]["code"] == "payment_required"
    assert "Pro" in browser.get("/billing/pricing").text

    (action,) = re.findall(r'action="(/billing/\w+)"', home)
    bought = simulator.buy(browser.led_to(action, plan="pro"))
    until(lambda: "Your plan: pro" in browser.get("/").text)

    assert "ann's notes" in browser.get("/export").text
    assert "Buy Pro" not in browser.get("/").text
    assert "Pro" in browser.get("/billing/account").text

    deleted = post(browser, "/delete")
    assert deleted.status_code in (302, 303), deleted.text
    assert "Your plan" not in browser.get("/").text
    assert browser.get("/export").status_code in (302, 303)
    assert simulator.world.get("subscription", bought["subscription"])["status"] == "canceled"
    post(browser, "/sign-in", name="ann")
    assert "Your plan: none" in browser.get("/").text


def test_the_tests_of_a_guide_pass(guide, environ, tmp_path):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    bare = {name: value for name, value in environ.items() if not name.startswith(("BILLING_", "STRIPE_", "FRONTEND"))}

    ran = subprocess.run(command, cwd=tmp_path, env=bare, capture_output=True, text=True, timeout=300)

    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("guide", SERVERS)
def test_a_guide_is_linked(guide):
    assert f"(guides/{guide}.md)" in (GUIDES.parent / "embedding.md").read_text()


def test_every_guide_is_run():
    assert {path.stem for path in GUIDES.glob("*.md")} == set(SERVERS)
