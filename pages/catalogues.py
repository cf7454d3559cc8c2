"""The .po files, ours and a host's own: which of them serve a locale, and what they translate."""

import functools
import gettext
import io
from collections.abc import Iterator
from pathlib import Path

from babel import Locale, UnknownLocaleError
from babel.core import get_global
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po

LOCALE = Path(__file__).parent / "locale"
SOURCE = "en"  # the language that the messages themselves are in
SUBTAGS = 3  # language, script and region

_Key = tuple[str, str, str]
"""A language, its script and a region, "" for none."""


def languages() -> Iterator[str]:
    """Yield the languages that come with Corkage."""
    yield SOURCE
    yield from sorted(path.stem for path in LOCALE.glob("*.po"))


def locale_of(tag: str) -> Locale | None:
    """Return the locale of a tag, without a region or script that Babel does not know; None for an unknown language."""
    parts = tag.replace("_", "-").split("-")[:SUBTAGS]
    for length in range(len(parts), 0, -1):
        try:
            return Locale.parse("-".join(parts[:length]), sep="-")
        except (UnknownLocaleError, ValueError):
            continue
    return None


def is_served(locale: Locale, folder: Path | None) -> bool:
    """Return whether there is a catalogue for a locale, ours or in a host's own folder."""
    return locale.language == SOURCE or bool(_catalogues_of(str(locale), folder))


@functools.lru_cache(maxsize=64)
def translations_of(locale: str, folder: Path | None) -> gettext.NullTranslations:
    """Return the translations for a locale, such as "pt_BR": message by message from the nearest catalogue with it."""
    found: gettext.NullTranslations = gettext.NullTranslations()
    for path in reversed(_catalogues_of(locale, folder)):
        above = read_translations(path)
        above.add_fallback(found)
        found = above
    return found


def read_translations(path: Path) -> gettext.GNUTranslations:
    """Return the translations of a .po file. It is compiled in memory, so that no .mo file can be out of date.

    Errors  ValueError when the file is no .po file, or is not named after a language; OSError
    """
    compiled = io.BytesIO()
    locale = _named_after(path)
    if locale is None:
        raise ValueError(f"wanted the name of a language, such as de.po, pt_BR.po or zh_Hant.po, not {path.name}")
    try:
        with path.open("rb") as file:
            write_mo(compiled, read_po(file, locale=locale, abort_invalid=True))
    except PoFileError as error:
        raise ValueError(str(error)) from error
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def _named_after(path: Path) -> Locale | None:
    try:
        return Locale.parse(path.stem.replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        return None


@functools.lru_cache(maxsize=256)
def _catalogues_of(locale: str, folder: Path | None) -> list[Path]:
    """Return the .po files that serve a locale: the nearest region first and, for each, a host's own before ours."""
    indexes = [_index(each) for each in (folder, LOCALE) if each]
    return [path for key in _nearest_first(locale) for index in indexes for path in index.get(key, ())]


@functools.lru_cache(maxsize=64)
def _index(folder: Path) -> dict[_Key, list[Path]]:
    found: dict[_Key, list[Path]] = {}
    for path in sorted(folder.glob("*.po")):
        if locale := _named_after(path):
            found.setdefault(_key(locale), []).append(path)
    return found


def _nearest_first(name: str) -> Iterator[_Key]:
    """Yield the locale and what it may fall back to, as CLDR has it: es_MX, es_419, es; never another script.

    Source  unicode.org/reports/tr35/#Parent_Locales
    """
    wanted = _key(Locale.parse(name))
    while name:
        key = _key(Locale.parse(name))
        if key[1] == wanted[1]:
            yield key
        name = get_global("parent_exceptions").get(name) or name.rpartition("_")[0]


def _key(locale: Locale) -> _Key:
    return locale.language, locale.script or _likely_script(locale), locale.territory or ""


def _likely_script(locale: Locale) -> str:
    """Return the script that a language is written in where none is named: a zh.po is in simplified characters."""
    likely = get_global("likely_subtags")
    found = likely.get(f"{locale.language}_{locale.territory}") or likely.get(locale.language, "")
    return str(found).split("_")[1] if "_" in str(found) else ""
