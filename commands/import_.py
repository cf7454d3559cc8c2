"""corkage import: move customers in by a map, propose one by e-mail, give what another provider gives."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import BillingError, shortened
from . import FAILED, MISCONFIGURED, OK, answer, opened
from .output import Progress, is_wanted, print_json
from .user import OPERATOR

if TYPE_CHECKING:
    from ..moving.customers import Map, Move
    from ..moving.grants import Outcome
    from ..moving.sheet import Problem

SHOWN = 20
STANDARD_INPUT = "-"
BROKEN_OFF = "\nBroken off. What was done stays; run it again to go on."


def import_(
    file: str | None,
    granted: str | None,
    propose: str | None,
    dry_run: bool,
    force: bool,
    provider: str,
    revoke_missing: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Do one of the three; return 1 where a line could not be taken."""
    try:
        if propose:
            return _propose(_read(propose), as_json)
        if granted:
            return _give(_read(granted), provider, dry_run=dry_run, revokes=revoke_missing, yes=yes, as_json=as_json)
        return _move(_read(str(file)), dry_run=dry_run, force=force, yes=yes, as_json=as_json)
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return MISCONFIGURED
    except KeyboardInterrupt:
        print(BROKEN_OFF, file=sys.stderr)
        return FAILED


def _read(name: str) -> bytes:
    return sys.stdin.buffer.read() if name == STANDARD_INPUT else Path(name).read_bytes()


def _move(data: bytes, *, dry_run: bool, force: bool, yes: bool, as_json: bool) -> int:
    from ..moving.customers import carry_out, look, read_map  # loads Stripe's library

    read = read_map(data)
    with opened() as service, Progress() as bar:
        service.worker.check_account()
        move = look(service.worker.converger, read.entries, writes=not dry_run, force=force, progress=bar)
        problems = sorted([*read.problems, *move.problems])
        if problems:
            return _refuse(problems, as_json=as_json)
        if move.taken and not dry_run and not _may_take(move, yes=yes):
            return FAILED
        try:
            carry_out(move, time.time(), bar)
        except BillingError:
            print(BROKEN_OFF, file=sys.stderr)
            raise
    _print_move(read, move, dry_run=dry_run, as_json=as_json)
    return FAILED if move.failed else OK


def _may_take(move: "Move", *, yes: bool) -> bool:
    for customer_id, owner in sorted(move.taken.items())[:SHOWN]:
        print(f"{customer_id}: from user {owner} to {move.entries[customer_id].user_id}", file=sys.stderr)
    return is_wanted(f"Take {len(move.taken)} customers from the users they belong to?", yes=yes)


def _refuse(problems: "Sequence[Problem]", *, as_json: bool) -> int:
    """Say what is wrong with each line. Nothing was changed."""
    problems = [each._replace(reason=shortened(each.reason)) for each in problems]
    if as_json:
        print_json({"problems": [each._asdict() for each in problems]})
    for each in problems:
        print(f"line {each.line}: {each.reason}", file=sys.stderr)
    print(f"lines that cannot be taken: {len(problems)}; nothing was changed", file=sys.stderr)
    return FAILED


def _print_move(read: "Map", move: "Move", *, dry_run: bool, as_json: bool) -> None:
    facts: dict[str, Any] = {
        "dry_run": dry_run,
        "customers": len(move.entries),
        "users": len({each.user_id for each in move.entries.values()}),
        "without_customer": read.empty,
        "deleted": len(move.deleted),
        "linked": len(move.to_link) if dry_run else move.linked,
        "were_linked": move.were_linked,
        "taken": len(move.taken),
        "marked": len(move.to_mark) if dry_run else move.marked,
        "subscriptions": move.report.subscriptions,
        "unowned": move.report.unowned,
        "access": {user_id: list(map(answer, both)) for user_id, both in move.report.access.items()},
        "failed": move.failed,
    }
    if as_json:
        print_json(facts | {"problems": []})
        return
    would = "would be " if dry_run else ""
    print(
        f"customers: {facts['customers']}, users: {facts['users']}; {would}linked: {facts['linked']}, linked before: "
        f"{facts['were_linked']}, {would}marked at Stripe: {facts['marked']}"
    )
    if read.empty:
        print(f"lines without a customer, which were left out: {read.empty}")
    if move.deleted:
        print(f"customers that were deleted at Stripe, and were left out: {len(move.deleted)}")
    print(f"subscriptions that Stripe lists: {facts['subscriptions']}; customers without a user: {facts['unowned']}")
    if dry_run:
        both = sorted(move.report.access.items())
        _print_some([f"  {user_id}: {answer(before)} -> {answer(after)}" for user_id, (before, after) in both])
    for customer_id, reason in sorted(move.failed.items()):
        print(f"  {customer_id} failed: {reason}", file=sys.stderr)


def _propose(data: bytes, as_json: bool) -> int:
    from ..moving.proposals import as_csv, propose, read_emails, unowned_payers  # loads Stripe's library

    users, problems = read_emails(data)
    if problems:
        return _refuse(sorted(problems), as_json=as_json)
    with opened() as service, Progress() as bar:
        service.worker.check_account()
        payers = unowned_payers(service.worker.converger, bar)
        found = propose(payers, users, service.config.app)
    if as_json:
        print_json([each._asdict() for each in found])
    else:
        click.echo(as_csv(found), nl=False)
    fitting, sure = {each.email for each in found}, sum(not each.note for each in found)
    strangers = sum((each.customer.email or "") not in fitting for each in payers)
    print(
        f"customers who pay and belong to no user: {len(payers)}; with the e-mail of one user: {sure}, of none: "
        f"{strangers}. Nothing was linked, since an e-mail proves nothing: look at each line, then import the file.",
        file=sys.stderr,
    )
    return OK


def _give(data: bytes, provider: str, *, dry_run: bool, revokes: bool, yes: bool, as_json: bool) -> int:
    from ..moving import grants

    if provider == OPERATOR:
        print(f"--provider: {OPERATOR} is who gives by hand, with corkage user grant", file=sys.stderr)
        return MISCONFIGURED
    now = time.time()
    with opened() as service, Progress() as bar:
        given, problems = grants.read_grants(data, service.catalogue)
        if problems:
            return _refuse(sorted(problems), as_json=as_json)
        missing = grants.missing_from(given, provider, now)
        question = f"End {len(missing)} grants of {provider} that the file does not have?"
        if revokes and missing and not dry_run and not is_wanted(question, yes=yes):
            return FAILED
        outcome = grants.give_all(
            service.catalogue,
            given,
            provider,
            now,
            revoked=missing if revokes else (),
            writes=not dry_run,
            progress=bar,
        )
    outcome.missing = [] if revokes else missing
    _print_outcome(outcome, provider, dry_run=dry_run, as_json=as_json)
    return OK


def _print_outcome(outcome: "Outcome", provider: str, *, dry_run: bool, as_json: bool) -> None:
    counts = {name: getattr(outcome, name) for name in ("new", "changed", "same", "ended", "over", "revoked")}
    missing = [{"user": user_id, "plan": plan} for user_id, plan in outcome.missing]
    if as_json:
        print_json({"dry_run": dry_run, "provider": provider, **counts, "missing": missing})
        return
    would = "would be " if dry_run else ""
    print(
        f"grants of {provider}: {outcome.new} {would}new, {outcome.changed} {would}changed, "
        f"{outcome.ended} {would}ended, {outcome.same} as they were"
    )
    if outcome.over:
        print(f"lines about what has ended, which were left out: {outcome.over}")
    if outcome.revoked:
        print(f"{would}revoked, since the file does not have them: {outcome.revoked}")
    kept = "which the file does not have; --revoke-missing ends it"
    _print_some([f"  {user_id} keeps {plan}, {kept}" for user_id, plan in outcome.missing])


def _print_some(lines: Sequence[str]) -> None:
    for line in lines[:SHOWN]:
        print(line)
    if len(lines) > SHOWN:
        print(f"  and {len(lines) - SHOWN} more; --json has them all")
