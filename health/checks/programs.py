"""The programs on this database: whether all have the same settings."""

from collections.abc import Iterator

from .. import programs
from .check import Check, Examination, Seen, note, wrong


def _look(examination: Examination) -> Iterator[Seen]:
    for name, found in programs.differences(examination.now).items():
        one, other, *_ = [f"process {each.pid} on {each.host}" for each in found]
        yield wrong(
            f"{one} and {other} run on this database with another {name} each",
            f"give both the same {name}, and restart the one that is wrong",
        )
    running = programs.programs(examination.now)
    own = programs.settings_of(examination.config)
    for name in sorted({name for each in running for name, digest in each.settings.items() if own.get(name) != digest}):
        yield note(f"this command has another {name} than a program that runs on this database")


CHECKS = (
    Check(
        "programs",
        "whether all programs on this database have the same `plans.toml`, secrets and `BILLING_APP`",
        "all programs on this database have the same settings",
        _look,
    ),
)
