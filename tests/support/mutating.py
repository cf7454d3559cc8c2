"""A plugin of pytest for bin/mutate. It notes which lines each test runs; or, with changes to play, it loads the tests
once and plays those of each change in a process of its own, which is forked.

A change inside a function takes the place of the code of that function, which is loaded. A constant is assigned
wherever it was imported. Any other change needs modules that are loaded anew, so another pytest plays its tests.
"""

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import psutil
import pytest

import corkage

SECONDS = int(os.environ.get("MUTATE_SECONDS", "40"))
HANGS_SECONDS = 60  # longer than the test that takes longest
MOST_COLD = 40  # tests of a change for which modules are loaded anew: each file of tests costs a second
PR_SET_CHILD_SUBREAPER = 36
SURVIVED, NOTICED, NO_TIME, NOT_LOADED = 0, 1, 10, 11
CONSTANTS = (str, int, float, tuple, frozenset, set, dict)
ANSWERS = {SURVIVED: "survived", NO_TIME: "survived so long"}


class Job(NamedTuple):
    """A change to play. Shape: number: which it is; function: "" for a change that is in none"""

    number: int
    file: str
    function: str
    source: str
    tests: list[str]


def pytest_configure(config: pytest.Config) -> None:
    if folder := os.environ.get("PYTHON_LINES"):
        config.pluginmanager.register(Noting(folder))
    elif jobs := os.environ.get("MUTATE_JOBS"):
        config.pluginmanager.register(Playing(Path(jobs), int(os.environ["MUTATE_ANSWERS"])))
    elif "MUTATE_SECONDS" in os.environ:
        config.pluginmanager.register(Bounded())


class Noting:
    """Notes when each test begins, how long it takes, and whether it passes."""

    def __init__(self, folder: str) -> None:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "now")
        self.now, self.ended, self.passed = Path(folder, f"{worker}.test"), Path(folder, f"{worker}.seconds"), True
        os.environ["PYTHON_LINES_NOW"] = str(self.now)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        lines = sys.modules["sitecustomize"].lines
        self.now.write_text(item.nodeid)
        self.passed = True
        lines.end()
        lines.begin(item.nodeid)
        begun = time.monotonic()
        yield
        with self.ended.open("a") as out:
            out.write(json.dumps([item.nodeid, round(time.monotonic() - begun, 3), self.passed]) + "\n")
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed = self.passed and report.passed


class Playing:
    """Plays the tests of each change, and writes how each ended to the descriptor `answers`."""

    def __init__(self, jobs: Path, answers: int) -> None:
        self.jobs, self.answers = jobs, answers

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        gc.unfreeze()  # or its objects would not be found
        functions = _functions()
        gc.freeze()
        items = {item.nodeid: item for item in session.items}
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # what a child leaves behind is ours to end
        for line in self.jobs.read_text().splitlines():
            job = Job(*json.loads(line))
            with changed(job):
                answer = _answer(session, job, items, functions)
            os.write(self.answers, json.dumps([job.number, ANSWERS.get(answer, "noticed")]).encode() + b"\n")
        return True


class Bounded:
    """Begins no test when the time is up."""

    def __init__(self) -> None:
        self.until = time.monotonic() + SECONDS

    def pytest_runtest_protocol(self) -> None:
        if time.monotonic() > self.until:
            pytest.exit("the time is up", NO_TIME)


@contextlib.contextmanager
def changed(job: Job) -> Iterator[None]:
    """Change the file on the disk, for the commands that tests start, and in the end whatever they left behind."""
    path = Path(job.file)
    original = path.read_bytes()
    for each in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        each.unlink()
    try:
        path.write_text(job.source, "utf-8")
        yield
    finally:
        path.write_bytes(original)
        _end_children()


def _functions() -> dict[tuple[str, str], list[FunctionType]]:
    """Return the functions of Corkage that are loaded, by their files and names."""
    found: dict[tuple[str, str], list[FunctionType]] = {}
    for each in gc.get_objects():
        if type(each) is FunctionType and "/corkage/" in each.__code__.co_filename:
            file = each.__code__.co_filename.rpartition("/corkage/")[2]
            found.setdefault((file, each.__code__.co_qualname), []).append(each)
    return found


def _answer(session: pytest.Session, job: Job, items: dict[str, pytest.Item], functions: Any) -> int:
    chosen = [items[each] for each in job.tests if each in items]
    answer = _forked(session, job, chosen, functions)
    return _cold([each.nodeid for each in chosen[:MOST_COLD]]) if answer == NOT_LOADED else answer


def _forked(session: pytest.Session, job: Job, chosen: list[pytest.Item], functions: Any) -> int:
    pid = os.fork()
    if pid == 0:
        answer = NOTICED
        try:
            code = compile(job.source, str(Path(corkage.__file__).parent / job.file), "exec")
            is_loaded = _put(code, job.function, functions) if job.function else _assign(code, job.file)
            answer = _play(session, chosen) if is_loaded else NOT_LOADED
        finally:
            os._exit(answer)
    ended = os.pidfd_open(pid)
    try:
        if not select.select([ended], [], [], SECONDS + HANGS_SECONDS)[0]:
            os.kill(pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(ended)


def _put(code: CodeType, name: str, functions: Any) -> bool:
    """Put the code of the changed function where it is loaded; return False where it does not fit there."""
    new = next(each for each in _codes(code) if each.co_qualname == name)
    loaded = functions.get((code.co_filename.rpartition("/corkage/")[2], name), [])
    for each in loaded:
        if each.__code__.co_freevars != new.co_freevars:
            return False
        each.__code__ = new
    return bool(loaded)


def _assign(code: CodeType, file: str) -> bool:
    """Give each constant of the changed module that is another its new value, wherever it is known by its name."""
    name = ".".join(["corkage", *Path(file).with_suffix("").parts]).removesuffix(".__init__")
    if name not in sys.modules:
        return False
    old = vars(sys.modules[name])
    new = {key: old[key] for key in old if key.startswith("__")}
    exec(code, new)
    others = [key for key in new if key in old and isinstance(new[key], CONSTANTS) and repr(new[key]) != repr(old[key])]
    others = [key for key in others if " at 0x" not in repr(new[key]) and not key.startswith("__")]
    for key in others:
        for module in [vars(each) for each in sys.modules.values()]:
            if module is not old and module.get(key) is old[key]:
                module[key] = new[key]
        old[key] = new[key]
    return bool(others)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _codes(each)


def _play(session: pytest.Session, chosen: list[pytest.Item]) -> int:
    """Play the tests until one fails or the time is up."""
    until = time.monotonic() + SECONDS
    for item, following in zip(chosen, [*chosen[1:], None], strict=True):
        if time.monotonic() > until:
            return NO_TIME
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return NOTICED
    return SURVIVED


def _cold(tests: list[str]) -> int:
    """Play the tests by another pytest, since modules must be loaded anew."""
    if not tests:
        return SURVIVED
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "mutating", *tests]
    environ = {name: value for name, value in os.environ.items() if name != "MUTATE_JOBS"}
    nothing = subprocess.DEVNULL
    began = subprocess.Popen(command, env=environ, stdin=nothing, stdout=nothing, stderr=nothing)
    try:
        return began.wait(SECONDS + HANGS_SECONDS)
    except subprocess.TimeoutExpired:
        return NOTICED


def _end_children() -> None:
    """End the processes that the tests of a change have left running."""
    left = psutil.Process().children(recursive=True)
    for each in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(left, timeout=10)
