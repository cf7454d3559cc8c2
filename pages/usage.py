"""Usage on the account page: each limit that is counted, in a sentence and as a bar."""

from collections.abc import Iterable
from typing import NamedTuple

from ..selling.usage import Usage
from . import N_
from .words import Words

OF_LIMIT = N_("%(used)s of %(limit)s %(name)s used. Begins anew on %(date)s.")
OF_LIMIT_FOR_EVER = N_("%(used)s of %(limit)s %(name)s used.")
UNLIMITED = N_("%(used)s %(name)s used. Begins anew on %(date)s.")
UNLIMITED_FOR_EVER = N_("%(used)s %(name)s used.")
FROM_PACKS = N_("%(count)s more from packs.")


class Bar(NamedTuple):
    """A limit. most: what fills the bar, 0 where there is none to fill; more: what packs add, in words."""

    sentence: str
    value: int
    most: int
    more: str


def describe_usage(found: Iterable[Usage], words: Words) -> tuple[Bar, ...]:
    """Return what the page shows of usage: of that which the user may use, or has used."""
    return tuple(_bar(each, words) for each in found if each.limit or each.used or each.credit)


def _bar(usage: Usage, words: Words) -> Bar:
    most = usage.limit if isinstance(usage.limit, int) else 0
    facts: dict[str, object] = {
        "used": words.number(usage.used),
        "limit": words.number(most),
        "name": words.gettext(usage.name.replace("_", " ")),
    }
    if usage.resets_at is None:
        sentence = words.gettext(OF_LIMIT_FOR_EVER if most else UNLIMITED_FOR_EVER, **facts)
    else:
        sentence = words.gettext(OF_LIMIT if most else UNLIMITED, **facts, date=words.date(usage.resets_at))
    more = words.gettext(FROM_PACKS, count=words.number(usage.credit)) if usage.credit else ""
    return Bar(sentence, min(usage.used, most), most, more)
