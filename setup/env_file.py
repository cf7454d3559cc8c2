"""The .env file: settings are added and replaced, what else it holds stays, and only its owner may read it."""

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=")
_PLAIN = re.compile(r"[A-Za-z0-9_./:@+,%-]*")


def with_settings(text: str, settings: Mapping[str, str]) -> str:
    """Return the text of a .env file in which these settings have these values.

    A setting that stands there is replaced wherever it stands, since the last counts; others are added at the end.
    """
    lines, seen = [], set()
    for line in text.splitlines():
        found = _LINE.match(line)
        name = found[1] if found else ""
        seen.add(name)
        lines.append(f"{name}={_quoted(settings[name])}" if name in settings else line)
    lines += [f"{name}={_quoted(value)}" for name, value in settings.items() if name not in seen]
    return "\n".join([*lines, ""])


def store_settings(path: Path, settings: Mapping[str, str]) -> None:
    """Set these in a .env file, which is made where there is none. At any moment the whole old or the whole new file is
    there; it is on disk when this returns. Its owner stays, and nobody else may read it.

    Errors  OSError
    """
    path = path.resolve()  # a link stays a link
    before = path.stat() if path.exists() else None
    text = path.read_text("utf-8") if before else ""
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            if before and (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), before.st_uid, before.st_gid)  # a service may read it as another user
            file.write(with_settings(text, settings))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
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
