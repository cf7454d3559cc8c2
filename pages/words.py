"""The visitor's language: translations, dates and numbers."""

import copy
import gettext
import re
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from babel import Locale
from babel.dates import format_date, format_datetime, format_skeleton, format_timedelta
from babel.numbers import format_decimal, format_percent, get_currency_symbol

from ..cookies import BLANKS
from ..logs.facts import logger
from . import N_
from .catalogues import SOURCE, is_served, locale_of, translations_of
from .currencies import decimals, in_major_units

MOST_TAGS = 20
QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")  # as RFC 9110 has it: no "nan", no "1e9"

ALWAYS_00 = frozenset(("ISK", "UGX"))  # sent with two decimals that must be 00, and written without
CURRENCY = "\u00a4"  # the place of the symbol in a pattern
NO_BREAK_SPACE = "\u00a0"
FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"

PER = {"day": N_("per day"), "week": N_("per week"), "month": N_("per month"), "year": N_("per year")}
EVERY = {
    "day": lambda words, count: words.ngettext("every %(count)d day", "every %(count)d days", count),
    "week": lambda words, count: words.ngettext("every %(count)d week", "every %(count)d weeks", count),
    "month": lambda words, count: words.ngettext("every %(count)d month", "every %(count)d months", count),
    "year": lambda words, count: words.ngettext("every %(count)d year", "every %(count)d years", count),
}

log = logger("corkage.pages")


def isolated(text: str) -> str:
    """Return a text that has its own direction, whatever stands around it."""
    return f"{FIRST_STRONG_ISOLATE}{text}{POP_ISOLATE}"


class Words:
    """A language, with a region's formats of dates and numbers."""

    def __init__(self, locale: Locale, translations: gettext.NullTranslations) -> None:
        self.locale = locale
        self._translations = translations

    @property
    def tag(self) -> str:
        """The language as HTML names it, such as "en-GB"."""
        return "-".join(filter(None, (self.locale.language, self.locale.script, self.locale.territory)))

    @property
    def direction(self) -> str:
        """The direction that the language is written in, as HTML names it: "ltr" or "rtl"."""
        return self.locale.text_direction

    def gettext(self, message: str, **values: object) -> str:
        """Return the translation, with the values filled in; the message itself where there is none."""
        translated = self._translations.gettext(message) if message else ""
        return self._isolated(translated, message, _filled(translated, message, values))

    def ngettext(self, one: str, many: str, count: int, **values: object) -> str:
        """Return the translation for a number; `count` is among the values."""
        original, translated = one if count == 1 else many, self._translations.ngettext(one, many, count)
        return self._isolated(translated, original, _filled(translated, original, {"count": count, **values}))

    def _isolated(self, translated: str, original: str, filled: str) -> str:
        """Return a text, set apart where it was left in English on a page from right to left: its full stop stays at
        its end.
        """
        is_foreign = self.direction == "rtl" and filled != "" and translated == original
        return isolated(filled) if is_foreign else filled

    def date(self, moment: int, length: Literal["medium", "long"] = "long") -> str:
        """Return the day, in UTC, of a moment in Unix seconds."""
        return format_date(datetime.fromtimestamp(moment, UTC), length, locale=self.locale)

    def month(self, month: str, *, is_short: bool = False) -> str:
        """Return a month such as "2026-11", short as its number alone."""
        first = datetime.strptime(f"{month}-01", "%Y-%m-%d").replace(tzinfo=UTC)
        return format_date(first, "L", self.locale) if is_short else format_skeleton("yMMM", first, locale=self.locale)

    def moment(self, moment: float) -> str:
        """Return the day and the time, in UTC, of a moment in Unix seconds."""
        return f"{format_datetime(datetime.fromtimestamp(moment, UTC), 'medium', locale=self.locale)} UTC"

    def ago(self, seconds: float) -> str:
        """Return how long ago something was or, below zero, how long it is until then."""
        return format_timedelta(-timedelta(seconds=seconds), add_direction=True, locale=self.locale)

    def number(self, value: int) -> str:
        return format_decimal(value, locale=self.locale)

    def percent(self, share: float) -> str:
        return format_percent(share, locale=self.locale)


def _filled(translated: str, original: str, values: dict[str, Any]) -> str:
    try:
        return translated % values if values else translated
    except (KeyError, TypeError, ValueError):  # a fault in a host's own translation
        log.warning("a translation of %r cannot be filled in: %r", original, translated)
        return original % values


def choose(wanted: str | None, accepted: str, folder: Path | None = None) -> Words:
    """Return the language for a visitor: the wanted one, else the first accepted one that exists, else English.

    Shape   wanted: a language tag; accepted: an Accept-Language header; folder: a host's own translations
    """
    for tag in filter(None, [wanted, *_accepted(accepted)]):
        locale = locale_of(tag)
        if locale and is_served(locale, folder):
            return Words(locale, translations_of(str(locale), folder))
    return Words(Locale(SOURCE), translations_of(SOURCE, folder))


def _accepted(header: str) -> list[str]:
    """Return the languages of an Accept-Language header, the most wanted first."""
    weighed = []
    for part in header.split(",")[:MOST_TAGS]:
        tag, _, parameters = part.partition(";")
        quality = parameters.strip(BLANKS).removeprefix("q=") or "1"
        if QUALITY.fullmatch(quality):
            weighed.append((-float(quality), tag.strip(BLANKS)))
    return [tag for weight, tag in sorted(weighed, key=lambda each: each[0]) if weight < 0]


def money(words: Words, amount: int, currency: str, *, is_short: bool = False) -> str:
    """Return an amount in the visitor's language; short leaves out decimals that are all zero.

    Units   amount in Stripe's minor units of the currency, any case
    """
    code = currency.upper()
    value = in_major_units(amount, code)
    digits = decimals(code)
    if code in ALWAYS_00 or (is_short and value == value.to_integral_value()):
        digits = 0
    pattern = copy.copy(words.locale.currency_formats["standard"])
    pattern.frac_prec = (digits, digits)
    symbol = get_currency_symbol(code, words.locale)
    shown = isolated(symbol) if words.direction == "rtl" else symbol  # "US$", not "$US"
    pattern.prefix = tuple(_spaced(each, symbol, -1).replace(CURRENCY, shown) for each in pattern.prefix)
    pattern.suffix = tuple(_spaced(each, symbol, 0).replace(CURRENCY, shown) for each in pattern.suffix)
    written: str = pattern.apply(value, words.locale, currency=code, currency_digits=False)
    return written


def _spaced(affix: str, symbol: str, side: int) -> str:
    """Return what stands before or after a number, with a no-break space where letters would touch a digit: "CHF 10".

    Shape   side: the end of the affix, and of the currency's symbol, at which the number stands
    Source  CLDR's currencySpacing, which Babel leaves out: unicode.org/reports/tr35/tr35-numbers.html#Currencies
    """
    if affix[side:][:1] != CURRENCY or unicodedata.category(symbol[side])[0] in "SZ":  # a sign such as $, or a blank
        return affix
    return affix + NO_BREAK_SPACE if side else NO_BREAK_SPACE + affix


def period(words: Words, interval: str, count: int) -> str:
    """Return how often a price is paid: "per month", "every 3 months". Empty for an unknown interval."""
    if interval not in PER:
        return ""
    return words.gettext(PER[interval]) if count == 1 else EVERY[interval](words, count)
