"""corkage move-price: give all subscribers of one price another one, after a notice; and take it back."""

import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from ..health.spans import DAY
from ..notices import outbox
from . import FAILED, OK, moment, opened, written
from .output import Progress, print_json, table

if TYPE_CHECKING:
    from ..selling.price_move import Move, Payer, PriceMove

LONGEST_TABLE = 200


class Asked(NamedTuple):
    """How the command was called; see --help."""

    old: str
    new: str
    days: int
    yes: bool
    undo: bool
    as_json: bool


def move_price(old: str, new: str, days: int, yes: bool, undo: bool, as_json: bool) -> int:
    """Print who pays what, and with --yes store and make the moves; return 1 when something failed."""
    from ..selling.changes import Changes  # loads Stripe's library
    from ..selling.price_move import NothingMoved, PriceMove  # loads Stripe's library

    options = Asked(old, new, days, yes, undo, as_json)
    with opened() as service:
        worker = service.worker
        worker.check_account()
        changes = Changes(worker.gateway, service.catalogue, worker.converger)
        mover = PriceMove(worker.gateway, service.catalogue, changes)
        try:
            move = mover.find(options.old, options.new, is_undone=options.undo)
        except NothingMoved as error:
            print(f"Nothing was moved: {error}", file=sys.stderr)
            return FAILED
        return _undo(mover, move, options) if options.undo else _move(mover, move, options)


def _move(mover: "PriceMove", move: "Move", options: Asked) -> int:
    now = time.time()
    payers, at = mover.payers(move), int(now) + options.days * DAY
    to_move = [each for each in payers if each.left_out is None]
    if options.as_json:
        print_json([_as_json(each, at) for each in payers])
    else:
        _print_table(move, payers, at)
    if not options.yes:
        _say(options, f"Nothing was changed. With --yes, {len(to_move)} subscriptions are moved on {moment(at)}.")
        return OK
    if options.days and to_move and not outbox.present_receivers(now):
        print(
            "No receiver of notices is there: your product will not hear of it, and cannot warn them.", file=sys.stderr
        )
    begun = mover.begin(move, payers, at, now)
    _say(options, f"{begun} moves were stored, each with the notice price_will_change.")
    return _carry_on(mover, move, options)


def _undo(mover: "PriceMove", move: "Move", options: Asked) -> int:
    outcomes = mover.outcomes(move)
    owed, made = outcomes.get("owed", 0), outcomes.get("done", 0)
    if not options.yes:
        _say(
            options,
            f"Nothing was changed. With --yes, {owed} moves are withdrawn, and {made} subscriptions moved back.",
        )
        return OK
    withdrawn, back = mover.undo(move, time.time())
    _say(options, f"{withdrawn} moves were withdrawn, {back} subscriptions are to be moved back.")
    return _carry_on(mover, move.back, options)


def _carry_on(mover: "PriceMove", move: "Move", options: Asked) -> int:
    """Make what is due, with a progress bar, and print what became of all."""
    with Progress() as bar:
        try:
            failed = mover.carry_on(move, time.time(), bar)
        except KeyboardInterrupt:
            print(
                "\nBroken off. What was moved stays moved; the worker, or this command again, goes on.", file=sys.stderr
            )
            return FAILED
    outcomes = mover.outcomes(move)
    waiting = outcomes.pop("owed", 0)
    for outcome, count in sorted(outcomes.items()):
        _say(options, f"{count} {'moved' if outcome == 'done' else outcome}")
    if waiting:
        _say(options, f"{waiting} are still to be moved: by the worker, when it is time, or by this command")
    return FAILED if failed else OK


def _say(options: Asked, text: str) -> None:
    print(text, file=sys.stderr if options.as_json else sys.stdout)


def _print_table(move: "Move", payers: "list[Payer]", at: int) -> None:
    rows = [_row(each, at) for each in payers[:LONGEST_TABLE]]
    print(f"From {_named(move.old)} to {_named(move.new)}")
    print(*table(("user", "subscription", "pays", "will pay", "from"), rows, indent=""), sep="\n")
    if len(payers) > LONGEST_TABLE:
        print(f"and {len(payers) - LONGEST_TABLE} more; --json shows all")
    left_out = sum(each.left_out is not None for each in payers)
    print(
        f"{len(payers) - left_out} subscriptions are moved, {left_out} left out. Amounts are without tax and discounts."
    )


def _row(payer: "Payer", at: int) -> tuple[str, ...]:
    was, will = (written(each, payer.held.currency) for each in (payer.amount, payer.new_amount))
    if payer.left_out is not None:
        return payer.user_id or "-", payer.held.id, was, was, f"left out: {payer.left_out}"
    return payer.user_id or "-", payer.held.id, was, will, moment(payer.at or at)


def _as_json(payer: "Payer", at: int) -> dict[str, Any]:
    return {
        "user_id": payer.user_id,
        "subscription_id": payer.held.id,
        "currency": payer.held.currency,
        "amount": payer.amount,
        "new_amount": payer.new_amount if payer.left_out is None else payer.amount,
        "at": None if payer.left_out else payer.at or at,
        "left_out": payer.left_out,
    }


def _named(price: Any) -> str:
    return f"{price.lookup_key} ({price.id})" if price.lookup_key else str(price.id)
