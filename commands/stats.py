"""corkage stats: the figures of the business, as tables or as JSON."""

import time
from collections.abc import Iterable, Sequence

from ..admin.figures import Figures, Money, Past, figures
from ..pages.currencies import in_major_units
from ..replica.revenue import COUNTED, Recurring
from . import OK, moment, opened
from .output import print_json, table


def show(months: int, as_json: bool) -> int:
    """Print the figures."""
    with opened():
        found = figures(time.time(), months)
    if as_json:
        print_json(found.to_dict())
    else:
        _print_tables(found)
    return OK


def _print_tables(found: Figures) -> None:
    print(f"At {moment(found.as_of)}, from this database alone. Months are those of UTC.")
    users = [(each.plan or "-", each.state, each.users) for each in found.users]
    _print_table("Users", ("plan", "state", "users"), users)
    columns = ("currency", "state", "subscriptions", "agreed", "charged")
    counted = [each for each in found.recurring if each.state == COUNTED]
    beside = [each for each in found.recurring if each.state != COUNTED]
    _print_table("Monthly recurring revenue", columns, map(_recurring, counted))
    _print_table("Not counted in it", columns, map(_recurring, beside))
    past = [_line(each, each.agreed, each.charged) for each in found.history]
    _print_table("Monthly recurring revenue, month by month", ("month", "currency", "agreed", "charged"), past)
    movements = [tuple(each) for each in found.movements]
    names = "month new back lost up down trials-paid trials-left trials-open"
    _print_table("Payers and trials", names.split(), movements)
    money = [
        _line(each, each.bought, each.refunded, each.disputed, each.upgraded, each.downgraded) for each in found.money
    ]
    names = "month currency bought-once refunded disputed upgrades downgrades"
    _print_table("Money", names.split(), money)
    print("\nWhat these figures cannot know")
    for sentence in found.unknown:
        print(f"- {sentence}")


def _recurring(each: Recurring) -> tuple[object, ...]:
    return (each.currency.upper(), each.state, each.subscriptions, *_amounts(each.currency, each.agreed, each.charged))


def _line(each: Past | Money, *amounts: int) -> tuple[object, ...]:
    return (each.month, each.currency.upper(), *_amounts(each.currency, *amounts))


def _amounts(currency: str, *amounts: int) -> tuple[str, ...]:
    return tuple(f"{in_major_units(each, currency):,f}" for each in amounts)


def _print_table(heading: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    print(f"\n{heading}", *table(columns, rows), sep="\n")
