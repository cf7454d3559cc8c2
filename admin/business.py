"""The figures as the operator's page shows them: facts, charts and tables, in the operator's language."""

from collections.abc import Sequence
from typing import NamedTuple

from ..pages import N_
from ..pages.page import Visit
from ..pages.words import money
from ..replica.revenue import COUNTED, Recurring
from . import charts
from .charts import Chart, Series
from .figures import Figures, Money, Past

BESIDE = {
    "trialing": N_("in a trial"),
    "canceling": N_("ends with its period"),
    "past_due": N_("payment overdue"),
    "paused": N_("paused"),
    "pending": N_("first payment pending"),
}


class Cell(NamedTuple):
    """A cell of a table, with its link or none."""

    text: str
    url: str = ""


class Table(NamedTuple):
    """A table. The first `named` columns are texts, the others numbers."""

    columns: list[str]
    rows: list[list[Cell]]
    named: int = 1


class Section(NamedTuple):
    """A part of the page. name: of its heading in the page; note: a sentence below the heading, or none."""

    name: str
    heading: str
    note: str
    facts: list[tuple[str, str]]
    chart: Chart | None
    table: Table | None


class Business:
    """Describes figures."""

    def __init__(self, visit: Visit, figures: Figures) -> None:
        self._visit, self._words, self._figures = visit, visit.words, figures
        self._months = [(self._words.month(month), self._words.month(month, is_short=True)) for month in figures.months]

    def sections(self) -> list[Section]:
        """Return the parts of the page, in their order."""
        found = self._figures
        currencies = sorted({each.currency for each in found.recurring} | {each.currency for each in found.history})
        revenue = [self._revenue(currency) for currency in currencies]
        taken = sorted({each.currency for each in found.money})
        money = [part(currency) for currency in taken for part in (self._changes, self._bought)]
        money += [
            self._disputed(currency) for currency in taken if any(each.disputed for each in self._money_in(currency))
        ]
        return [*revenue, self._payers(), self._trials(), *money, self._users()]

    def _revenue(self, currency: str) -> Section:
        _ = self._words.gettext
        states = [each for each in self._figures.recurring if each.currency == currency]
        past = {each.month: each for each in self._figures.history if each.currency == currency}
        counted = next((each for each in states if each.state == COUNTED), None) or _nothing(currency)
        listed = [past.get(month) or Past(month, currency, 0, 0, 0) for month in self._figures.months]
        series = [
            Series("first", _("Agreed"), [each.agreed for each in listed]),
            Series("second", _("Charged"), [each.charged for each in listed]),
        ]
        heading = _("Monthly recurring revenue, %(currency)s", currency=currency.upper())
        beside = [each for each in states if each.state != COUNTED]
        rows = [[_(BESIDE[each.state]), each.subscriptions, self._amount(each.agreed, currency)] for each in beside]
        return Section(
            f"revenue-{currency}",
            heading,
            _("Agreed is by the prices. Charged is after coupons and free months, as at the last invoices."),
            [
                (_("Agreed"), self._amount(counted.agreed, currency)),
                (_("Charged"), self._amount(counted.charged, currency)),
                (_("Subscriptions"), str(counted.subscriptions)),
            ],
            charts.bars(heading, self._months, series, lambda value: self._amount(value, currency)),
            _table([_("Not counted"), _("Subscriptions"), _("Agreed")], rows) if rows else None,
        )

    def _payers(self) -> Section:
        _, movements = self._words.gettext, self._figures.movements
        series = [
            Series("first", _("Came"), [each.new + each.back for each in movements]),
            Series("bad", _("Lost"), [each.lost for each in movements]),
        ]
        columns = [_("Month"), _("New"), _("Came back"), _("Lost")]
        rows = [(each.new, each.back, each.lost) for each in movements]
        chart = charts.bars(_("Payers"), self._months, series, str)
        note = _("A payer is lost with the last subscription that was paid.")
        return Section("payers", _("Payers"), note, [], chart, self._by_month(columns, rows))

    def _trials(self) -> Section:
        _, movements = self._words.gettext, self._figures.movements
        series = [
            Series("first", _("Now paying"), [each.trials_paid for each in movements]),
            Series("bad", _("Left"), [each.trials_left for each in movements]),
            Series("second", _("Undecided"), [each.trials_open for each in movements]),
        ]
        rows = list(zip(*(each.values for each in series), strict=True))
        columns = [_("Month"), *(each.label for each in series)]
        chart = charts.bars(_("Trials that ended"), self._months, series, str)
        return Section("trials", _("Trials that ended"), "", [], chart, self._by_month(columns, rows))

    def _changes(self, currency: str) -> Section:
        _, listed = self._words.gettext, self._money_in(currency)
        series = [
            Series("first", _("Upgrades"), [each.upgraded for each in listed]),
            Series("bad", _("Downgrades"), [each.downgraded for each in listed]),
        ]
        rows = [[(each.upgraded, each.upgraded_count), (each.downgraded, each.downgraded_count)] for each in listed]
        heading = _("Upgrades and downgrades, %(currency)s", currency=currency.upper())
        note = _("By how much they changed a month's revenue, and how many there were.")
        return self._of_money(Section(f"changes-{currency}", heading, note, [], None, None), currency, series, rows)

    def _bought(self, currency: str) -> Section:
        _, listed = self._words.gettext, self._money_in(currency)
        series = [
            Series("first", _("Bought once"), [each.bought for each in listed]),
            Series("bad", _("Refunded"), [each.refunded for each in listed]),
        ]
        rows = [[(each.bought, each.bought_count), (each.refunded, each.refunded_count)] for each in listed]
        heading = _("Bought once and refunded, %(currency)s", currency=currency.upper())
        return self._of_money(Section(f"bought-{currency}", heading, "", [], None, None), currency, series, rows)

    def _disputed(self, currency: str) -> Section:
        _, listed = self._words.gettext, self._money_in(currency)
        series = [Series("bad", _("Disputes lost"), [each.disputed for each in listed])]
        rows = [[(each.disputed, each.disputed_count)] for each in listed]
        heading = _("Disputes lost, %(currency)s", currency=currency.upper())
        return self._of_money(Section(f"disputed-{currency}", heading, "", [], None, None), currency, series, rows)

    def _of_money(
        self, section: Section, currency: str, series: Sequence[Series], rows: Sequence[Sequence[tuple[int, int]]]
    ) -> Section:
        """Return a section with a chart and a table of amounts, each with how many it is made of."""
        texts = [[f"{self._amount(amount, currency)} ({count})" for amount, count in row] for row in rows]
        is_empty = not any(value for each in series for value in each.values)
        columns = [self._words.gettext("Month"), *(each.label for each in series)]
        chart = charts.bars(section.heading, self._months, series, lambda value: self._amount(value, currency))
        return section._replace(chart=chart, table=None if is_empty else self._by_month(columns, texts))

    def _money_in(self, currency: str) -> list[Money]:
        return [each for each in self._figures.money if each.currency == currency]

    def _users(self) -> Section:
        _ = self._words.gettext
        rows = [
            [Cell(each.plan or "-"), Cell(each.state, self._link(each.state)), Cell(str(each.users))]
            for each in self._figures.users
        ]
        table = Table([_("Plan"), _("State"), _("Users")], rows, named=2)
        return Section("users", _("Users by plan and state"), "", [], None, table if rows else None)

    def _link(self, state: str) -> str:
        return self._visit.link("admin", reason=state)

    def _by_month(self, columns: list[str], rows: Sequence[Sequence[object]]) -> Table | None:
        """Return a table with a row for each month, the present one first; None where all is zero."""
        if not any(value for row in rows for value in row):
            return None
        named = [[name, *row] for (name, _), row in zip(self._months, rows, strict=True)]
        return _table(columns, named[::-1])

    def _amount(self, amount: int, currency: str) -> str:
        return money(self._words, amount, currency, is_short=True)


def _nothing(currency: str) -> Recurring:
    return Recurring(COUNTED, currency, 0, 0, 0, 0, 0)


def _table(columns: list[str], rows: Sequence[Sequence[object]]) -> Table:
    return Table(columns, [[Cell(str(value)) for value in row] for row in rows])
