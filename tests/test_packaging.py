"""The package: what is in the wheel, beside which hosts it lives, and under which folder names."""

import os
import re
import shutil
import site
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import corkage

ROOT = Path(corkage.__file__).parent


def copy_of_the_tree(folder):
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    tree = copy_of_the_tree(tmp_path_factory.mktemp("tree"))
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", out, tree], check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_the_package_and_neither_tests_nor_bench(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}

    assert {name for name in tops if not name.endswith(".dist-info")} == {"corkage"}
    wanted_files = "models.py handlers/webhook.py sync/gateway.py simulator/api/prices.py py.typed"
    wanted_pages = "pages/words.py pages/locale/de.po pages/templates/style.css pages/templates/pricing.html"
    for wanted in f"{wanted_files} {wanted_pages}".split():
        assert f"corkage/{wanted}" in names
    assert not [name for name in names if re.search(r"/(tests|bench|\.ci)/|conftest|\.env|\.toml$", name)]


def unpacked(wheel, folder):
    """An environment with the wheel in it, beside what this one has installed."""
    environment = folder / "venv"
    venv.create(environment, with_pip=False)
    packages = next((environment / "lib").glob("python*/site-packages"))
    zipfile.ZipFile(wheel).extractall(packages)
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return environment / "bin" / "python", packages


HOST_PROGRAM = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
import models, config, handlers, errors
import corkage.cli, corkage.handlers, corkage.models, corkage.simulator, corkage.sync.gateway
assert models.HOST and config.HOST and handlers.HOST and errors.HOST
assert corkage.models.User
from corkage.pages.words import choose, languages
assert list(languages()) == ["en", "de", "es", "fr", "ja"]
assert choose("de", "").gettext("Plans") == "Tarife"
print(corkage.__file__)
"""


def test_the_wheel_lives_beside_a_host_with_modules_of_the_same_names(wheel, tmp_path):
    python, packages = unpacked(wheel, tmp_path)
    host = tmp_path / "host"
    for name in ("models.py", "config.py", "handlers/__init__.py", "tests/__init__.py", "errors.py"):
        (host / name).parent.mkdir(parents=True, exist_ok=True)
        (host / name).write_text("HOST = True\n")

    ran = subprocess.run([python, "-c", HOST_PROGRAM], cwd=host, capture_output=True, text=True, timeout=60)

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(str(packages))


HOST_TEST = """
import corkage

def test_of_a_host(stripe_simulator):
    assert corkage.__file__.startswith({packages!r})
    stripe_simulator.advance(1)
"""


def test_the_wheel_brings_hosts_tests_their_fixture(wheel, tmp_path):
    python, packages = unpacked(wheel, tmp_path)
    (entry_points,) = packages.glob("*.dist-info/entry_points.txt")
    assert "[pytest11]\ncorkage = corkage.simulator.pytest_plugin" in entry_points.read_text()
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "test_host.py").write_text(HOST_TEST.format(packages=str(packages)))

    command = [python, "-m", "pytest", "-q", "-W", "error"]
    ran = subprocess.run(command, cwd=tmp_path / "host", capture_output=True, text=True, timeout=60)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"^1 passed", ran.stdout, re.MULTILINE)


def test_the_product_itself_does_not_load_pytest():
    program = "import sys, corkage.cli, corkage.simulator; sys.exit('pytest' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


@pytest.mark.parametrize("folder", ["main", "corkage", "corkage-main"])
def test_the_tests_pass_whatever_the_checkouts_folder_is_called(tmp_path, folder):
    tree = copy_of_the_tree(tmp_path / folder)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "corkage").symlink_to(tree)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_config.py"]
    result = subprocess.run(
        [*command, "tests/test_access_view.py"],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "link")},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert result.returncode == 0, result.stdout[-3000:]
    assert re.search(r"^\d+ passed", result.stdout, re.MULTILINE)


def test_requirements_pin_everything_within_the_ranges_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    pins = {re.split("==", line)[0]: re.split(r"==|\s;", line)[1].strip() for line in lines[:-1]}

    assert lines[-1] == "-e ."
    assert all(re.fullmatch(r"[a-z0-9-]+==\S+( ; .+)?", line) for line in lines[:-1])
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *extras["test"], *extras["testing"]]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(pins[wanted.name.lower()]), text
