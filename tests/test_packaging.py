"""The package: what is in the wheel, beside which hosts it lives, and under which folder names."""

import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import corkage

pytestmark = pytest.mark.slow

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
    # An sdist, and a wheel made of it: so the sdist holds all that a build needs.
    subprocess.run([sys.executable, "-m", "build", "--outdir", out, tree], check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_the_sdist_holds_the_package_its_texts_and_its_licence(wheel):
    with tarfile.open(next(wheel.parent.glob("*.tar.gz"))) as sdist:
        names = {name.split("/", 1)[-1] for name in sdist.getnames()}

    assert {"pyproject.toml", "README.md", "LICENSE", "models.py", "pages/locale/de.po", "gateway/gateway.py"} <= names
    assert not [name for name in names if name.endswith((".env", ".db")) or name.startswith((".venv", ".git/"))]


def test_the_wheel_holds_the_package_and_neither_tests_nor_bench(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}

    assert {name for name in tops if not name.endswith(".dist-info")} == {"corkage"}
    wanted_files = "models.py handlers/webhook.py gateway/gateway.py simulator/api/prices.py py.typed"
    wanted_pages = "pages/words.py pages/locale/de.po pages/templates/style.css pages/templates/pricing.html"
    for wanted in f"{wanted_files} {wanted_pages}".split():
        assert f"corkage/{wanted}" in names
    assert not [name for name in names if re.search(r"/(tests|bench|bin|docs|\.ci)/|conftest|\.env|\.toml$", name)]


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
import corkage.cli, corkage.handlers, corkage.models, corkage.simulator, corkage.gateway.gateway
assert models.HOST and config.HOST and handlers.HOST and errors.HOST
assert corkage.models.User
from corkage.pages.catalogues import languages
from corkage.pages.words import choose
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


@pytest.mark.parametrize("folder", ["main", "corkage-main"])
def test_the_tests_pass_whatever_the_checkouts_folder_is_called(tmp_path, folder):
    tree = copy_of_the_tree(tmp_path / folder)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "corkage").symlink_to(tree)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not postgresql"]
    result = subprocess.run(
        [*command, "tests/test_config.py", "tests/test_access_view.py", "-k", "not every_cell"],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "link")},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert result.returncode == 0, result.stdout[-3000:]
    assert re.search(r"^\d+ passed", result.stdout, re.MULTILINE)


def pins_of(name):
    """Return the pinned versions of a requirements file by package, and its other lines."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#")]
    pinned = [line for line in lines if re.fullmatch(r"[a-z0-9-]+==\S+( ; .+)?", line)]
    return dict(line.split(" ;")[0].split("==") for line in pinned), [line for line in lines if line not in pinned]


def test_requirements_pin_what_runs_corkage_and_nothing_else():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins, others = pins_of("requirements.txt")

    assert others == ["-e ."]
    assert_within(pins, project["dependencies"])
    needed_by_those = {"certifi", "charset-normalizer", "idna", "typing-extensions", "urllib3"}
    assert pins.keys() == {Requirement(text).name.lower() for text in project["dependencies"]} | needed_by_those


def test_the_lock_has_the_same_versions_each_with_its_hashes():
    lock = (ROOT / "requirements-lock.txt").read_text()
    locked = re.findall(
        r"^([a-z0-9-]+)==([^\s;]+)[^\n]*((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", lock, re.MULTILINE
    )

    assert {name: version for name, version, _ in locked} == pins_of("requirements.txt")[0]
    assert lock.count("==") == len(locked)


def test_test_requirements_begin_with_what_runs_corkage_and_pin_the_rest():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = (ROOT / "requirements-test.txt").read_text()
    pins, others = pins_of("requirements-test.txt")

    assert text.startswith("-r requirements.txt\n")
    assert others == ["-r requirements.txt"]
    assert not pins.keys() & pins_of("requirements.txt")[0].keys()
    assert_within(pins, [*extras["test"], *extras["testing"], *extras["postgresql"]])


def test_what_a_package_ships_types_for_has_no_other_types_installed():
    """Both would be files of the same names: which of them are there depends on what is installed first."""
    stubs = [name for name in pins_of("requirements-test.txt")[0] if name.startswith("types-")]
    files = {name: distribution(name.removeprefix("types-")).files or () for name in stubs}

    assert stubs
    assert [name for name, theirs in files.items() if any(path.parts[0].endswith("-stubs") for path in theirs)] == []


def assert_within(pins, wanted):
    for text in wanted:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[requirement.name.lower()]), text
