"""The .env file: settings are added and replaced, what else it holds stays, and only its owner may read it."""

import os
import re
import secrets
from pathlib import Path

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=")
_PLAIN = re.compile(r"[A-Za-z0-9_./:@+,%-]*")


def with_settings(text: str, settings: dict[str, str]) -> str:
    """Return the text of a .env file in which these settings have these values.

    A setting that stands there is replaced where it stands; others are added at the end.
    """
    left, lines = dict(settings), []
    for line in text.splitlines():
        found = _LINE.match(line)
        name = found[1] if found else ""
        lines.append(f"{name}={_quoted(left.pop(name))}" if name in left else line)
    lines += [f"{name}={_quoted(value)}" for name, value in left.items()]
    return "\n".join([*lines, ""])


def store_settings(path: Path, settings: dict[str, str]) -> None:
    """Set these in a .env file, which is made where there is none. At any moment the whole old or the whole new file is
    there; it is on disk when this returns.

    Errors  OSError
    """
    text = path.read_text("utf-8") if path.exists() else ""
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(with_settings(text, settings))
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _quoted(value: str) -> str:
    """Return a value as python-dotenv reads it."""
    if _PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
