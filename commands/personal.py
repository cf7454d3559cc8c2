"""corkage user export, corkage user forget: what is held about a person, and its end."""

import sys
import time

import click

from ..errors import BillingError
from ..service import Service
from ..users.held import conditions_of, count_rows
from ..users.receipt import Receipt
from . import FAILED, OK, opened
from .finding import found
from .output import is_wanted, print_json


def export(user: str) -> int:
    """Print all that is held about a user, as JSON."""
    with opened() as service:
        print_json(service.export(found(user)))
    return OK


def forget(user: str, as_json: bool, yes: bool) -> int:
    """Ask, cancel what the user pays for, forget them at Stripe and here, and print the receipt."""
    with opened() as service:
        user = found(user)
        rows = sum(count_rows(conditions_of(user)).values())
        question = f"End all that {user} pays for, delete their customer at Stripe, and {rows} rows here, for ever?"
        if not is_wanted(question, yes=yes):
            print("Nothing was deleted.", file=sys.stderr)
            return FAILED
        return _forgotten(service, Receipt(user, int(time.time())), as_json=as_json)


def _forgotten(service: Service, receipt: Receipt, *, as_json: bool) -> int:
    error = None
    try:
        service.forget(receipt.user_id, receipt)
    except BillingError as raised:
        error = raised
    if as_json:
        print_json(receipt.to_dict() | ({"error": f"{error.code}: {error}"} if error else {}))
    else:
        _print(receipt)
    if error:
        again = f"{receipt.user_id} is not forgotten yet; run it again: it goes on where it was."
        click.echo(f"{again}\n{error.sentence}\n({error.code}: {error})", err=True)
    return FAILED if error else OK


def _print(receipt: Receipt) -> None:
    ended = [f"{id_}: ended" for id_ in receipt.subscriptions] + [f"{id_}: closed" for id_ in receipt.sessions]
    _print_part("at Stripe", [*ended, *(f"{id_}: {state}" for id_, state in receipt.customers.items())])
    _print_part("here", [f"{name}: {count} deleted" for name, count in receipt.rows.items()])
    if receipt.is_done:
        _print_part("what stays", receipt.stays())
        print(f"{receipt.user_id} is forgotten")


def _print_part(heading: str, lines: list[str]) -> None:
    print("\n  ".join([heading, *(lines or ["nothing"])]))
