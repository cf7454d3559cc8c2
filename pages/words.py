"""The words of the pages in the visitor's language, and dates and numbers as they are written there."""

import functools
import gettext
import io
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime, format_timedelta
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po
from babel.numbers import format_percent

from ..cookies import BLANKS

LOCALE = Path(__file__).parent / "locale"
SOURCE = "en"  # the language that the messages themselves are in
MOST_TAGS = 20
QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")  # as RFC 9110 has it: no "nan", no "1e9"

N_ = str
"""Marks a message that is translated elsewhere, so that it is found for the catalogue."""

log = logging.getLogger("corkage.pages")


class Words:
    """One language, with the region's way to write dates and numbers."""

    def __init__(self, locale: Locale, translations: gettext.NullTranslations) -> None:
        self.locale = locale
        self._translations = translations

    @property
    def tag(self) -> str:
        """The language as HTML names it, such as "en-GB"."""
        return "-".join(filter(None, (self.locale.language, self.locale.script, self.locale.territory)))

    def gettext(self, message: str, **values: object) -> str:
        """Say it in this language, with the values filled in; what the catalogue lacks, as it stands."""
        return _filled(self._translations.gettext(message), message, values) if message else ""

    def ngettext(self, one: str, many: str, count: int, **values: object) -> str:
        """Say it as this language counts; `count` is among the values."""
        original = one if count == 1 else many
        return _filled(self._translations.ngettext(one, many, count), original, {"count": count, **values})

    def date(self, moment: int, length: Literal["medium", "long"] = "long") -> str:
        """Write the day, in UTC, of a moment in Unix seconds."""
        return format_date(datetime.fromtimestamp(moment, UTC), length, locale=self.locale)

    def moment(self, moment: float) -> str:
        """Write a day and a time, in UTC."""
        return f"{format_datetime(datetime.fromtimestamp(moment, UTC), 'medium', locale=self.locale)} UTC"

    def ago(self, seconds: float) -> str:
        """Write how long ago something was or, below zero, how long it is until then."""
        return format_timedelta(-timedelta(seconds=seconds), add_direction=True, locale=self.locale)

    def percent(self, share: float) -> str:
        return format_percent(share, locale=self.locale)


def _filled(translated: str, original: str, values: dict[str, Any]) -> str:
    try:
        return translated % values if values else translated
    except (KeyError, TypeError, ValueError):  # a host's own translation, with a slip in it
        log.warning("a translation of %r cannot be filled in: %r", original, translated)
        return original % values


def choose(wanted: str | None, accepted: str, folder: Path | None = None) -> Words:
    """Choose the words for a visitor: the wanted language, else the first accepted one that there is, else English.

    Shape   wanted: a language tag; accepted: an Accept-Language header; folder: where a host's own catalogues are
    """
    for tag in filter(None, [wanted, *_accepted(accepted)]):
        locale = _locale(tag)
        if locale and (locale.language == SOURCE or _catalogues(locale.language, folder)):
            return Words(locale, _translations(locale.language, folder))
    return Words(Locale(SOURCE), _translations(SOURCE, folder))


def _accepted(header: str) -> list[str]:
    """List the languages of an Accept-Language header, the most wanted first."""
    weighed = []
    for part in header.split(",")[:MOST_TAGS]:
        tag, _, parameters = part.partition(";")
        quality = parameters.strip(BLANKS).removeprefix("q=") or "1"
        if QUALITY.fullmatch(quality):
            weighed.append((-float(quality), tag.strip(BLANKS)))
    return [tag for weight, tag in sorted(weighed, key=lambda each: each[0]) if weight < 0]


def _locale(tag: str) -> Locale | None:
    """Find what Babel knows of a tag; of a region that it does not know, the language."""
    for name in (tag, tag.partition("-")[0]):
        try:
            return Locale.parse(name, sep="-")
        except (UnknownLocaleError, ValueError):
            continue
    return None


def _catalogues(language: str, folder: Path | None) -> list[Path]:
    """List the catalogues of a language: a host's own goes first, message by message."""
    places = [path / f"{language}.po" for path in (folder, LOCALE) if path]
    return [path for path in places if path.is_file()]


@functools.lru_cache(maxsize=64)
def _translations(language: str, folder: Path | None) -> gettext.NullTranslations:
    found: gettext.NullTranslations = gettext.NullTranslations()
    for path in reversed(_catalogues(language, folder)):
        above = read_catalogue(path)
        above.add_fallback(found)
        found = above
    return found


def read_catalogue(path: Path) -> gettext.GNUTranslations:
    """Read a .po file as it is: nothing has to be compiled beforehand, and what is read is what was written.

    Errors  ValueError for what is no such file, or of no language that there is; OSError
    """
    compiled = io.BytesIO()
    try:
        with path.open("rb") as file:
            write_mo(compiled, read_po(file, locale=path.stem, abort_invalid=True))
    except (PoFileError, UnknownLocaleError) as error:
        raise ValueError(str(error)) from error
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def languages() -> Iterator[str]:
    """The languages that come with Corkage."""
    yield SOURCE
    yield from sorted(path.stem for path in LOCALE.glob("*.po"))
