"""The files of this repository, and the fenced blocks of its documents."""

import subprocess
from pathlib import Path

import corkage

ROOT = Path(corkage.__file__).parent


def block(document: str, marker: str) -> str:
    """Return the fenced block after a marker of a document."""
    text = (ROOT / document).read_text()
    return text.split(f"<!-- {marker} -->\n```")[1].split("\n", 1)[1].split("\n```")[0] + "\n"


def tracked(pattern: str = "*.py") -> list[Path]:
    """Return the files that git tracks; in a copy without git, all that are there."""
    listed = subprocess.run(["git", "ls-files", pattern], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.split() if listed.returncode == 0 else [
        str(path.relative_to(ROOT)) for path in ROOT.rglob(pattern) if ".venv" not in path.parts
    ]  # fmt: skip
    return [Path(name) for name in names]
