"""The catalogue of the pages' messages. `python tests/catalogue.py` brings pages/locale/ up to date."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import bottle
from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_python
from babel.messages.pofile import read_po, write_po

import corkage
from corkage import errors
from corkage.access import REASONS

ROOT = Path(corkage.__file__).parent
LOCALE = ROOT / "pages/locale"
PASSING = tuple(
    f'"{name}: '
    for name in (
        "POT-Creation-Date",
        "PO-Revision-Date",
        "Last-Translator",
        "Generated-By",
        "Language-Team",
        "Report-Msgid-Bugs-To",
        "Project-Id-Version",
    )
)
SOURCES = ("admin/*.py", "pages/*.py", "handlers/*.py", "pages/templates/*.html")
LAYOUT = {"sort_output": True, "width": 110, "include_lineno": False}


def sentences(root: type[errors.BillingError] = errors.BillingError) -> Iterator[str]:
    """What errors say to people."""
    yield root.sentence
    for each in root.__subclasses__():
        yield from sentences(each)


def found_in(source: str) -> Iterator[str | tuple[str, ...]]:
    """The messages that Python code marks."""
    options = {"encoding": "utf-8"}
    for _, function, message, _ in extract_python(io.BytesIO(source.encode()), DEFAULT_KEYWORDS, (), options):
        parts = message if isinstance(message, tuple) else (message,)
        wanted = parts[: 2 if function == "ngettext" else 1]
        if all(wanted):  # what is no literal is marked where it is written
            yield wanted if len(wanted) > 1 else wanted[0]


def code_of(view: Path) -> str:
    """A view as the Python that it becomes."""
    return str(bottle.SimpleTemplate(view.read_text("utf-8")).code)


def template() -> Catalog:
    """Every message, and the files it stands in."""
    catalog = Catalog(project="Corkage", charset="utf-8", fuzzy=False)
    catalog.header_comment = "# The messages of Corkage's pages. Written by tests/catalogue.py."
    catalog.creation_date = catalog.revision_date = None
    for path in sorted(path for pattern in SOURCES for path in ROOT.glob(pattern)):
        source = path.read_text("utf-8") if path.suffix == ".py" else code_of(path)
        for message in found_in(source):
            catalog.add(message, locations=[(str(path.relative_to(ROOT)), 0)])
    for sentence in sentences():
        catalog.add(sentence, locations=[("errors.py", 0)])
    for meaning in REASONS.values():
        catalog.add(meaning, locations=[("access.py", 0)])
    return catalog


def written(catalog: Catalog) -> bytes:
    """The catalogue as a file, without what changes by itself."""
    out = io.BytesIO()
    write_po(out, catalog, **LAYOUT)
    lines = out.getvalue().decode().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(PASSING)).encode()


def untranslated(catalog: Catalog) -> list[str]:
    """The messages that lack a translation, or one of its plurals."""
    return [str(each.id) for each in catalog if each.id and not all(texts(each.string))]


def texts(string: str | tuple[str, ...] | list[str] | None) -> tuple[str, ...]:
    """A message's text, or each of its plurals; of one that was just added, an empty one."""
    return (string or "",) if isinstance(string, str | None) else tuple(string)


def main() -> None:
    catalog = template()
    (LOCALE / "corkage.pot").write_bytes(written(catalog))
    for path in sorted(LOCALE.glob("*.po")):
        with path.open("rb") as file:
            translated = read_po(file, locale=path.stem)
        translated.update(catalog, no_fuzzy_matching=True, update_header_comment=False)
        translated.obsolete.clear()
        path.write_bytes(written(translated))
        sys.stdout.write("".join(f"{path.stem}: {message}\n" for message in untranslated(translated)))


if __name__ == "__main__":
    sys.exit(main())
