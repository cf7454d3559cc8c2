"""The repository holds itself to its word."""

import ast
import dataclasses
import functools
import graphlib
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
from repository import ROOT, block, tracked

from corkage import cli, config, errors, routes
from corkage.access import REASONS
from corkage.plans import WANTED, read_plans
from corkage.sync import poll

README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "docs/reference.md").read_text()
LAYERS = """
cli commands command_line setup demo server billing_app routes admin handlers service pages identity moving users
selling health sync replica gateway notices config settings plans amounts schema models access storage cookies pacing
trouble texts terminal logs addresses errors
""".split()


SMALL = {
    "__init__",
    "cookies",
    "guessable",
    "trouble",
}  # one question each: not in the picture
SOURCES = [path for path in tracked() if path.parts[0] not in ("tests", "bench", "docs")]


@functools.cache  # each file is parsed once, and asked about by several tests
def nodes_of(path):
    return tuple(ast.walk(ast.parse((ROOT / path).read_text())))


@functools.cache
def imports_of(path):
    """The modules a file imports, absolute, our own without the package's name."""
    return tuple(_imports_of(path))


def imports(path, *packages):
    """The modules of these packages that a file imports."""
    return [name for name in imports_of(path) if name.split(".")[0] in packages]


def _imports_of(path):
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = list(path.parts[: len(path.parts) - node.level]) if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            yield base if node.module else ""
            yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names if node.level)


def table(heading):
    """Return the first cells of the table under a heading of the reference."""
    section = REFERENCE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)`", section, re.MULTILINE)


def test_settings_table_and_env_example_are_what_bin_reference_writes():
    checked = subprocess.run([sys.executable, ROOT / "bin/reference", "--check"], capture_output=True, text=True)

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_every_setting_is_a_field_of_config_and_stands_in_the_table():
    documented = table("Settings")
    fields = {each.name for each in dataclasses.fields(config.Config)}

    assert len(documented) >= 14
    assert documented == [setting.name for setting in config.SETTINGS.values()]
    assert set(config.SETTINGS) == fields - {"unknown_settings"}


def test_env_example_is_a_configuration_that_starts(tmp_path):
    (tmp_path / "plans.toml").write_text((ROOT / "plans.example.toml").read_text())
    example = (ROOT / ".env.example").read_text().replace("=plans.toml", f"={tmp_path}/plans.toml")
    (tmp_path / ".env").write_text(example)

    read = config.Config.from_env({}, tmp_path / ".env")

    assert read.unknown_settings == ()
    assert {name for name, default in config.DEFAULTS.items() if getattr(read, name) != default} == {
        "webhook_secrets", "stripe_api_base", "auth_secrets", "app", "name", "poll_seconds"
    }  # fmt: skip


def test_every_route_stands_in_the_reference():
    assert table("Routes") == [f"{method} {rule}" for method, rule, _ in routes.ROUTES]


def test_every_reason_stands_in_the_reference():
    assert sorted(table("Access")) == sorted(REASONS)


def test_every_command_stands_in_the_reference():
    assert {row.split()[1] for row in table("Commands")} == set(cli.CORKAGE.commands)


def error_classes(root=errors.BillingError):
    yield root
    for each in root.__subclasses__():
        yield from error_classes(each)


@pytest.mark.parametrize("error", sorted(set(error_classes()), key=lambda each: each.__name__))
def test_every_error_stands_in_the_tree_with_its_status_and_code(error):
    (line,) = [line for line in errors.__doc__.splitlines() if re.search(rf"\b{error.__name__}\b", line)]

    if error is not errors.ConfigError:
        assert line.split()[-2:] == [str(error.http_status), error.code]
    assert error.sentence.endswith(".")


def test_only_the_gateway_imports_stripe():
    assert {path.parts[0] for path in SOURCES if imports(path, "stripe")} == {"gateway"}


def test_imports_point_one_way():
    for path in SOURCES:
        mine = path.parts[0].removesuffix(".py")
        if mine not in ("simulator", "__init__"):
            assert not imports(path, *LAYERS[: LAYERS.index(mine)]), path


def test_the_core_has_no_import_circle():
    """Imports in functions and under TYPE_CHECKING count, too: imports_of() walks the whole file."""
    paths = {path.parent.parts if path.stem == "__init__" else path.with_suffix("").parts: path for path in SOURCES}
    graph = {}
    for parts, path in paths.items():
        if parts and parts[0] != "simulator":
            names = [tuple(name.split(".")) for name in imports_of(path)]
            imported = {next((name[:n] for n in (3, 2, 1) if name[:n] in paths), parts) for name in names}
            graph[parts] = imported - {parts}

    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle

    assert len(order) > 80
    assert order.index(("errors",)) < order.index(("service",)) < order.index(("billing_app",))
    assert order.index(("billing_app",)) < order.index(("commands", "serving", "serve"))  # cli loads commands by name


def test_the_simulator_imports_nothing_of_the_rest():
    for path in SOURCES:
        assert path.parts[0] != "simulator" or not imports(path, *LAYERS), path


@pytest.mark.parametrize("depth", [2, 9], ids=["folders", "modules"])
def test_the_simulator_has_no_import_circle(depth):
    """Imports in functions and under TYPE_CHECKING count, too: imports_of() walks the whole file."""
    paths = {path.parent.parts if path.stem == "__init__" else path.with_suffix("").parts: path for path in SOURCES}
    graph = {}
    for parts, path in paths.items():
        if parts[:1] == ("simulator",):
            names = [tuple(name.split(".")) for name in imports_of(path)]
            imported = {next((name[:n] for n in (4, 3, 2, 1) if name[:n] in paths), None) for name in names} - {None}
            graph.setdefault(parts[:depth], set()).update(each[:depth] for each in imported if each != parts)
            graph[parts[:depth]].discard(parts[:depth])

    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle

    assert len(order) > 15
    assert order[-1] == ("simulator", "pytest_plugin")


def test_nothing_but_the_command_line_and_its_demo_imports_the_simulator():
    for path in SOURCES:
        may = path.parts[0] in ("cli.py", "demo", "simulator") or path == Path("commands/serving/simulator.py")
        assert may or not imports(path, "simulator"), path


def test_the_environment_is_read_in_one_place():
    assert [str(path) for path in SOURCES if "os.environ" in (ROOT / path).read_text()] == ["config.py"]


CORE = [path for path in SOURCES if path.parts[0] not in ("simulator", "demo")]
TYPED = (
    "cli.py",
    "command_line",
    "commands",
    "config.py",
    "settings.py",
    "plans.py",
    "amounts.py",
    "moving",
)  # what people type, not what a request holds


def calls_of(path):
    """The calls of methods in a file, each with its receiver's and its own source, and the number of arguments."""
    for node in nodes_of(path):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield ast.unparse(node.func.value), node.func.attr, len(node.args)


def test_cookies_are_read_in_one_place():
    for path in CORE:
        attributes = {each.attr for each in nodes_of(path) if isinstance(each, ast.Attribute)}
        assert not attributes & {"get_cookie", "cookies"}, path
        assert not [name for name in imports(path, "http") if "cookie" in name.lower()], path
    assert [str(path) for path in CORE if "HTTP_COOKIE" in (ROOT / path).read_text()] == ["cookies.py"]


def test_what_a_request_says_is_trimmed_and_counted_in_ascii():
    for path in CORE:
        for receiver, method, arguments in calls_of(path) if path.parts[0] not in TYPED else ():
            is_ours = receiver.startswith(("'", '"')) or (str(path), receiver) in NO_HEADERS
            assert method not in ("isdecimal", "isdigit", "isnumeric", "isspace"), (path, receiver)
            assert is_ours or arguments or method not in ("strip", "lstrip", "rstrip", "split"), (path, receiver)


NO_HEADERS = {
    ("admin/handlers.py", "self.query[name]"),  # pasted into a field by the operator, whatever blanks came with it
    ("gateway/client.py", "text"),  # a sentence of Stripe's, for the log
}


STATUSES = {"active", "trialing", "past_due", "unpaid", "paused", "incomplete", "incomplete_expired", "canceled"}


def test_statuses_are_grouped_in_one_place():
    lists = [(path, each) for path in CORE for each in nodes_of(path) if isinstance(each, ast.Tuple | ast.Set)]
    values = [(path, {getattr(item, "value", 0) for item in each.elts}) for path, each in lists]

    assert {str(path) for path, items in values if items and items <= STATUSES} == {"access.py"}


def test_every_package_is_shipped():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    folders = {".".join(["corkage", *path.parent.parts]) for path in SOURCES}

    assert set(tools["setuptools"]["packages"]) == folders


def test_nothing_in_the_tree_names_a_machine():
    machine = re.compile(r"/(?:work|farm|root)/[a-z.]|index-url|registry\.npmjs")

    assert [path for path in tracked("*.md") + SOURCES if machine.search((ROOT / path).read_text())] == []


def test_the_readmes_example_is_the_samples_own_code():
    shown = [line for line in block("README.md", "embedding").splitlines() if line]
    sample = [line for line in textwrap.dedent((ROOT / "demo/notes.py").read_text()).splitlines() if line]

    starts = [number for number, line in enumerate(sample) if line.strip() == shown[0]]
    assert any([line[4:] for line in sample[start : start + len(shown)]] == shown for start in starts)


def test_the_reference_names_every_event_that_counts():
    listed = REFERENCE.split("<!-- events -->")[1].split("<!-- /events -->")[0]

    assert sorted(re.findall(r"`([a-z_.]+)`", listed)) == sorted(poll.TYPES)


PLANS_PAGE = (ROOT / "docs/plans.md").read_text()


def test_the_chapter_on_plans_names_every_key():
    table = PLANS_PAGE.split("<!-- keys -->\n")[1]

    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(WANTED)


@pytest.mark.parametrize("example", re.findall(r"```toml\n(.*?)```", PLANS_PAGE, re.DOTALL), ids=range(7))
def test_each_plans_toml_of_the_chapter_is_valid(example, tmp_path):
    (tmp_path / "plans.toml").write_text(example)

    assert read_plans(tmp_path / "plans.toml")


def test_each_example_of_what_you_can_sell_is_run_by_a_chapter_of_tests():
    page = (ROOT / "docs/what-you-can-sell.md").read_text()
    marked = re.findall(r"<!-- (plans|code|commands): (\w+) -->\n```", page)
    chapters = "".join(path.read_text() for path in (ROOT / "tests").glob("test_chapter_*.py"))

    assert len(marked) == page.count("```") / 2
    assert {name for _, name in marked if f'"{name}"' not in chapters and f": {name}" not in chapters} == set()


def test_the_readme_is_short_and_has_each_page_of_the_docs():
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}

    assert len(README.splitlines()) <= 150
    assert pages <= set(re.findall(r"\]\(([^)#]+)\)", README))


def test_the_architecture_page_draws_the_tree_as_it_is():
    drawn = (ROOT / "docs/architecture.md").read_text().split("<!-- tree -->")[1].split("\n\n")[0]
    names = {name.removesuffix(".py") for name in re.findall(r"[\w.]+(?=/)|\w+\.py", drawn)}
    below = {"templates", "locale", "serving", "database"}  # folders of pages/ and of commands/

    assert names - below == {path.parts[0].removesuffix(".py") for path in SOURCES} - SMALL


def test_the_security_page_has_every_route():
    page = (ROOT / "docs/security.md").read_text()

    assert {f"{method} {rule}" for method, rule, _ in routes.ROUTES} <= set(
        re.findall(r"`((?:GET|POST) [/\w.]+)`", page)
    )


@pytest.mark.parametrize(("page", "least"), [("docs/security.md", 80), ("docs/reliability.md", 25)])
def test_a_page_of_claims_names_tests_that_are_there(page, least):
    named = re.findall(r"\[`(\w+)`\]\(\.\./([\w/.]+)\)", (ROOT / page).read_text())

    assert len(named) >= least
    assert [name for name, path in named if f"def {name}(" not in (ROOT / path).read_text()] == []


def test_the_readmes_picture_is_there():
    for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (ROOT / name).stat().st_size > 10_000


def test_links_within_the_repository_lead_somewhere():
    for path in tracked("*.md"):
        for name, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", (ROOT / path).read_text()):
            target = ROOT / path.parent / name if name else ROOT / path
            assert target.exists(), f"{path}: {name}"
            assert not anchor or anchor in anchors(target), f"{path}: {name}#{anchor}"


@functools.cache
def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
