"""The .env file: settings are added and replaced, what else it holds stays, and only its owner may read it."""

import io
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from dotenv.parser import parse_stream

_BLANK = re.compile(r"\s*")  # as python-dotenv skips it before a setting
_PLAIN = re.compile(r"[A-Za-z0-9_./:@+,%-]*")


def with_settings(text: str, settings: Mapping[str, str]) -> str:
    """Return the text of a .env file in which these settings have these values.

    A setting that stands there is replaced wherever it stands, since the last counts; others are added at the end.
    """
    parts, seen = [], set()
    for each in parse_stream(io.StringIO(text)):  # as it is read: a value in quotes may have lines like settings
        written, name = each.original.string, each.key or ""
        seen.add(name)
        before = _BLANK.match(written)
        indent, value = before[0] if before else "", settings.get(name)
        parts.append(written if value is None else f"{indent}{name}={_quoted(value)}\n")
    if parts and not parts[-1].endswith("\n"):
        parts.append("\n")
    return "".join([*parts, *(f"{name}={_quoted(value)}\n" for name, value in settings.items() if name not in seen)])


def store_settings(path: Path, settings: Mapping[str, str]) -> None:
    """Set these in a .env file, which is made where there is none. At any moment the whole old or the whole new file is
    there; it is on disk when this returns. Its owner stays, and nobody else may read it but a group that was allowed to
    while others were not.

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
            if before:
                os.fchmod(file.fileno(), 0o600 | before.st_mode & (0 if before.st_mode & 0o007 else 0o040))
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
