"""How `corkage serve` and the other commands write their log: lines for people, or JSON for programs.

An embedding host sets up logging by itself, and may use these formatters.
"""

import datetime
import json
import logging
import threading
from typing import Any

from .clean import one_line, without_addresses
from .facts import facts_of

LONGEST_TRACEBACK = 20_000
LONGEST_TRACEBACK_LINE = 500
INDENT = "    "


class TextLines(logging.Formatter):
    """A line for each record. The lines of a traceback follow, indented: a line that begins with a blank goes on."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        line = f"{_time(record)} {record.levelname} {record.name}: {one_line(record.getMessage())}"
        more = _traceback(self, record).splitlines()
        return "\n".join([line, *(INDENT + one_line(each, LONGEST_TRACEBACK_LINE) for each in more)])


class JSONLines(logging.Formatter):
    """A JSON object for each record: time, level, logger, message, the facts it is about, and exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        found: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": one_line(record.getMessage()),
            **facts_of(record),
        }
        if traceback := _traceback(self, record):
            found["exception"] = traceback
        return json.dumps(found, default=str)


FORMATS: dict[str, type[logging.Formatter]] = {"text": TextLines, "json": JSONLines}


def set_up(level: str, style: str) -> None:
    """Log to stderr: ours from this level on, and of libraries only warnings, because they log addresses and rows.

    Nothing is changed where logging is set up already.

    Shape   level: "debug", "info", "warning" or "error"; style: of FORMATS
    """
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(FORMATS[style]())
    root.addHandler(handler)
    wanted = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(max(wanted, logging.WARNING))
    logging.getLogger("corkage").setLevel(wanted)
    logging.captureWarnings(True)
    threading.excepthook = _log_end_of_thread


def _log_end_of_thread(end: threading.ExceptHookArgs) -> None:
    """Log what ended a thread. Python would print it, in lines that are no JSON."""
    if end.exc_value is not None and end.exc_type is not SystemExit:
        name = end.thread.name if end.thread else "unknown"
        found = (end.exc_type, end.exc_value, end.exc_traceback)
        logging.getLogger("corkage").error("the thread %s ended by a bug", name, exc_info=found)


def _time(record: logging.LogRecord) -> str:
    """Return when it was logged: RFC 3339, in UTC."""
    at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = [formatter.formatException(record.exc_info)] if record.exc_info else []
    parts += [formatter.formatStack(record.stack_info)] if record.stack_info else []
    text = without_addresses("\n".join(parts))
    return text if len(text) <= LONGEST_TRACEBACK else "..." + text[-LONGEST_TRACEBACK:]
