"""The .env file: settings are added and replaced, what else it holds stays, and only its owner may read it."""

import io
import os
import re
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dotenv.parser import Binding, parse_stream

LONGEST_WRITE_SECONDS = 60

_BLANK = re.compile(r"\s*")  # as python-dotenv skips it before a setting
_PLAIN = re.compile(r"[A-Za-z0-9_./:@+,%-]*")


def with_settings(text: str, settings: Mapping[str, str]) -> str:
    """Return the text of a .env file in which these settings have these values.

    A setting that stands there is replaced wherever it stands, since the last counts; others are added at the end.
    Where a line cannot be read, all are put before it: it may have a quote that is never closed, which the quotes of a
    value would close.
    """
    bindings = list(parse_stream(io.StringIO(text)))  # as it is read: a value in quotes may have lines like settings
    end = next((number for number, each in enumerate(bindings) if each.error), len(bindings))
    parts = [_replaced(each, settings) for each in bindings[:end]]
    if parts and not parts[-1].endswith("\n"):
        parts.append("\n")
    seen = {each.key for each in bindings[:end]}
    parts += [f"{name}={_quoted(value)}\n" for name, value in settings.items() if name not in seen]
    return "".join([*parts, *(each.original.string for each in bindings[end:] if each.key not in settings)])


def _replaced(binding: Binding, settings: Mapping[str, str]) -> str:
    written, name = binding.original.string, binding.key or ""
    before = _BLANK.match(written)
    value = settings.get(name)
    return written if value is None else f"{before[0] if before else ''}{name}={_quoted(value)}\n"


def store_settings(path: Path, settings: Mapping[str, str]) -> None:
    """Set these in a .env file, which is made where there is none. At any moment the whole old or the whole new file is
    there; it is on disk when this returns. Its owner stays, and nobody else may read it but a group that was allowed to
    while others were not. What a run that was killed has left beside it is removed.

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
    _remove_what_was_left(path, time.time() - LONGEST_WRITE_SECONDS)
    _sync_folder(path.parent)


def _remove_what_was_left(path: Path, before: float) -> None:
    """Remove what runs that were killed have written, secrets and all; not what another run may be writing."""
    left = re.compile(re.escape(path.name) + r"\.[0-9a-f]{8}\.new")
    for each in path.parent.iterdir():
        if left.fullmatch(each.name):
            with suppress(OSError):  # another run removes it, or only another user may: no reason not to go on
                if each.lstat().st_mtime < before:
                    each.unlink()


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
