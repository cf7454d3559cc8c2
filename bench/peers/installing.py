"""Environments of their own, made on demand outside the tree, and what they take on the disk."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SHIPPED = ("*.py", "*.html", "*.typed", "pyproject.toml", "README.md", "LICENSE")
NOT_SHIPPED = {"bench", "tests", "docs", "build", "dist", "node_modules", "venv"}
PIPS_OWN = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence", "wheel")


def python_in(into: Path) -> str:
    return str(into / "venv" / "bin" / "python")


def install_requirements(folder: Path, into: Path) -> None:
    """Make a virtual environment of what is pinned, unless there is one of the same."""
    pinned = folder / "requirements.txt"
    _once(into, _digest([pinned]), lambda: _pip_install(into, "-r", str(pinned)))


def install_corkage(into: Path) -> None:
    """Install the tree as it stands, as a wheel with what it needs to run; again when the tree has changed."""
    sources = sorted(_sources())
    _once(into, _digest(sources), lambda: _install_copy_of(sources, into))


def install_node(folder: Path, into: Path) -> None:
    """Install what is locked, unless it is there, and the program beside it, where node looks for its modules."""
    lock = folder / "package-lock.json"
    _once(into, _digest([lock]), lambda: _npm_install(folder, into))
    for program in folder.glob("*.js"):
        shutil.copy(program, into)


def site_packages(into: Path) -> Iterator[Path]:
    """List what a virtual environment holds besides what installs it."""
    (folder,) = (into / "venv" / "lib").glob("python*/site-packages")
    return (entry for entry in folder.iterdir() if not entry.name.startswith(PIPS_OWN))


def bytes_of(entries: Iterable[Path]) -> int:
    """Add up what files take on the disk, in whole blocks, as du does."""
    files = (file for entry in entries for file in (entry.rglob("*") if entry.is_dir() else [entry]))
    return sum(file.lstat().st_blocks * 512 for file in files if not file.is_dir() or file.is_symlink())


def _once(into: Path, digest: str, make: Callable[[], None]) -> None:
    """Make what is not there; what was broken off, or is of something else, is made anew."""
    mark = into / "installed"
    if mark.exists() and mark.read_text() == digest:
        return
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    make()
    mark.write_text(digest)


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for file in files:
        digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for pattern in SHIPPED:
        for file in ROOT.rglob(pattern):
            folders = file.relative_to(ROOT).parts[:-1]
            if not any(name in NOT_SHIPPED or name.startswith(".") for name in folders):
                yield file


def _install_copy_of(sources: list[Path], into: Path) -> None:
    """Build from a copy: setuptools leaves what it builds beside the sources."""
    with tempfile.TemporaryDirectory() as copy:
        for source in sources:
            target = Path(copy) / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        _pip_install(into, copy)


def _pip_install(into: Path, *what: str) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(into / "venv")], check=True)
    pip = [python_in(into), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *what], check=True)


def _npm_install(folder: Path, into: Path) -> None:
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(folder / name, into)
    command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, cwd=into, env=os.environ | _building(), check=True)
    _drop_what_building_leaves(into / "node_modules" / "better-sqlite3" / "build")


def _building() -> dict[str, str]:
    """Have better-sqlite3 built where node's headers are at hand; elsewhere it downloads what its makers have built."""
    node = shutil.which("node")
    prefix = Path(node).resolve().parent.parent if node else Path()
    if not (prefix / "include" / "node" / "node.h").exists():
        return {}
    return {"npm_config_nodedir": str(prefix), "npm_config_build_from_source": "true"}


def _drop_what_building_leaves(build: Path) -> None:
    """Keep the module alone, as the download is: an installed size is to be that which its users have."""
    module = (build / "Release" / "better_sqlite3.node").read_bytes()
    shutil.rmtree(build)
    (build / "Release").mkdir(parents=True)
    (build / "Release" / "better_sqlite3.node").write_bytes(module)
