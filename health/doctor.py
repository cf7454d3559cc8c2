"""The doctor: finds what is wrong, and names the command that repairs it."""

import random
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from peewee import JOIN, fn

from .. import storage
from ..access import LIVE, Terms, given_back
from ..errors import StripeError
from ..models import Customer, Price, StripeEvent, Subscription, SubscriptionItem
from ..notices import outbox
from ..sync import granted, inbox, marks, owed, timelines
from ..sync.addons import is_lonely
from ..sync.doubles import doubles
from ..sync.prices import Catalogue
from ..sync.resync import ReportingConverger
from ..sync.worker import Worker
from . import metering, refusals, server, writable

SAMPLE = 20
NAMED = 10
PATIENCE_SECONDS = 300  # if events are pending for longer, no worker runs


class Finding(NamedTuple):
    """What is wrong, and the command that repairs it. A finding without a command is only for information."""

    what: str
    repair: str | None


def examine(worker: Worker, now: float, sample: int = SAMPLE) -> list[Finding]:
    """Run every check; one compares a sample of users with Stripe. No row is changed.

    Errors  DatabaseUnavailable
    """
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _writing,
        _server,
        lambda: _refused(now),
        lambda: _doubles(worker.catalogue, now),
        lambda: _unowned(worker.converger.app),
        _unknown_prices,
        lambda: _remembered_prices(worker.catalogue),
        lambda: _unsold_prices(worker),
        lambda: _answers(worker.catalogue),
        _missing,
        lambda: _grants(now),
        lambda: _returned(worker.catalogue),
        lambda: _events(now),
        lambda: _notices(now),
        lambda: _usage(worker, now),
        lambda: _changes(worker.catalogue, now),
        lambda: _drift(worker, now, sample),
    )
    return [finding for check in checks for finding in check()]


def unavailable(reason: str, label: str) -> Finding:
    """Return the finding for a database that cannot be used."""
    return Finding(f"nothing can be written to the database: {reason}", storage.repair(reason, label))


def _writing() -> Iterator[Finding]:
    if reason := writable.try_to_write():
        yield unavailable(reason, storage.current().label)


def _server() -> Iterator[Finding]:
    yield from (Finding(*each) for each in server.examine())


def _refused(now: float) -> Iterator[Finding]:
    if found := refusals.stored_problem(now):
        yield Finding(found, refusals.REPAIR)


def _doubles(catalogue: Catalogue, now: float) -> Iterator[Finding]:
    for double in doubles(catalogue, now):
        what = f"user {double.user_id} pays for several subscriptions of one group: {', '.join(double.subscriptions)}"
        if double.spare is None:
            yield Finding(f"{what}; each gives something that the others do not, so ask the user", None)
        else:
            command = f"stripe subscriptions update {double.spare} -d cancel_at_period_end=true"
            yield Finding(f"{what}; the user loses nothing when {double.spare} ends with its period", command)


def _unowned(app: str) -> Iterator[Finding]:
    """Customers without a user who pay for a plan have no access. Those who pay for anything else are not ours."""
    query = _paying(Subscription.customer, Price.plan).where(Customer.user.is_null()).distinct()
    ours = {customer_id: plan for customer_id, plan in _rows(query) if plan}
    others = {customer_id for customer_id, _ in _rows(query)} - ours.keys()
    rows = Customer.select().where(Customer.marked_app.is_null(False))
    marked = [each for each in map(marks.of_another_app, rows) if each and each.customer_id in ours]
    for of_one in marks.by_app(marked).values():
        yield Finding(f"{marks.describe(of_one, app)}. They pay for plans of this product", marks.repair(of_one))
    elsewhere = {each.customer_id for each in marked}
    for customer_id, plan in ours.items():
        if customer_id not in elsewhere:
            what = f"{customer_id} pays for {plan} and belongs to no user"
            yield Finding(what, f"corkage user link USER {customer_id}")
    if others:
        yield Finding(f"{len(others)} customers pay for prices of no plan: they belong to another product", None)


def _missing() -> Iterator[Finding]:
    found = storage.column(Customer.select(Customer.id).where(Customer.missing_at.is_null(False)))
    if found:
        names = ", ".join(found[:NAMED]) + (" and others" if len(found) > NAMED else "")
        yield Finding(
            f'Stripe does not know {len(found)} customers, as after "delete test data": {names}. Their users buy with '
            "new ones",
            None,
        )


def _grants(now: float) -> Iterator[Finding]:
    """Grants that only this database has: a backup saves them, and nothing else."""
    copies = Counter(each.copy for each in granted.in_use(now))
    if failed := copies[granted.FAILED]:
        what = f"{failed} grants could not be mirrored at Stripe, `corkage user grants --only-here` says why"
        yield Finding(what, "put that right; the worker tries again by itself")
    if alone := copies[granted.NO_CUSTOMER]:
        what = f"{alone} grants are only in this database, since their users have no customer at Stripe: back it up"
        yield Finding(f"{what}; `corkage user grants --only-here` lists them", None)


def _changes(catalogue: Catalogue, now: float) -> Iterator[Finding]:
    """Changes that Stripe has not made yet, and subscriptions that should have ended by themselves, and could not."""
    for row in owed.failing(NAMED):
        change = f"{row.kind} of {row.subscription_id}, user {row.user_id},"
        yield Finding(f"{change} is not made at Stripe after {row.attempts} tries: {row.error}", None)
    for row in owed.refused_ends(NAMED):
        id_, is_addon = row.subscription_id, row.kind == owed.END_ADDON
        if is_addon and not is_lonely(row.user_id, id_, catalogue.timelines.plans, now):
            continue
        why = "to an add-on, without a plan that it adds to" if is_addon else "replaced by what they bought for good"
        yield Finding(
            f"user {row.user_id} pays for {id_}, which is {why}; it could not be canceled: {row.error}",
            f"corkage user cancel {shlex.quote(row.user_id)} --subscription {id_}{'' if is_addon else ' --now'}",
        )


def _returned(catalogue: Catalogue) -> Iterator[Finding]:
    """Subscriptions that give nothing because money went back, and that Stripe will charge for again."""
    going_on = (Subscription.returned.is_null(False), Subscription.cancel_at.is_null())
    query = _paying(Subscription.id, Subscription.returned, Price.plan).where(*going_on)
    for subscription_id, returned, plan in _rows(query.order_by(Subscription.id)):
        became = given_back(returned, catalogue.timelines.plans.get(plan or "", Terms()))
        if became:
            what = f"what was last paid for {subscription_id} is {became}, and Stripe will charge for it again"
            yield Finding(what, f"stripe subscriptions cancel {subscription_id}")


def _unknown_prices() -> Iterator[Finding]:
    query = _paying(SubscriptionItem.price_id, fn.COUNT(Subscription.id)).where(
        Customer.user.is_null(False), Price.plan.is_null()
    )
    for price_id, count in _rows(query.group_by(SubscriptionItem.price_id)):
        yield Finding(
            f"no plan names {price_id}, and {count} subscriptions of users have it: they get no features",
            f'name it in plans.toml (retired = ["{price_id}"] when it is no longer sold), and restart',
        )


def _unsold_prices(worker: Worker) -> Iterator[Finding]:
    """Prices without a button on the pricing page."""
    try:
        troubles = worker.catalogue.fetch_troubles(worker.gateway)
    except StripeError:
        return  # the comparison with Stripe reports it
    for plan, name, trouble in troubles:
        yield Finding(
            f"plan {plan} cannot be sold at {name}, and shows no button for it: {trouble}",
            f"put it right in Stripe's Dashboard, or take it out of plans.toml, [{plan}] prices, and restart",
        )


def _remembered_prices(catalogue: Catalogue) -> Iterator[Finding]:
    """Prices of which only this database knows the plan; and those that are so once their lookup key has moved."""
    paid = _paying(SubscriptionItem.price_id).where(Customer.user.is_null(False))
    rows = list(Price.select().where(Price.plan.is_null(False), Price.plan_at_stripe.is_null(), Price.id.in_(paid)))
    for row in rows:
        if not catalogue.is_named(row):
            yield Finding(
                f"{row.id} stands for {row.plan}, and only this database knows: plans.toml and Stripe do not say so",
                f'name it in plans.toml, under [{row.plan}]: retired = ["{row.id}"], and restart',
            )
    outside = storage.column(paid.where(~Subscription.ours))  # what was sold by us says its plan
    for row in rows:
        if row.id in outside and row.lookup_key and row.id not in catalogue.named and catalogue.is_named(row):
            yield Finding(
                f'before you move the lookup key {row.lookup_key}: name its price under retired = ["{row.id}"], or run '
                f'stripe prices update {row.id} -d "metadata[corkage_plan]={row.plan}"',
                None,
            )


def _answers(catalogue: Catalogue) -> Iterator[Finding]:
    if catalogue.timelines.is_outdated():
        yield Finding(
            "the answers are made by a process with another plans.toml or another version of Corkage than this one",
            "restart the server with this plans.toml, or run this command with the server's",
        )
    elif waiting := timelines.waiting():
        yield Finding(
            f"{waiting} users still have answers by an earlier plans.toml; the worker is replacing them", None
        )


def _events(now: float) -> Iterator[Finding]:
    failing = inbox.backlog(now).failing
    if failing:
        yield Finding(f"{failing} events fail, `corkage events` says why", "corkage events replay --failed")
    waiting = [row for row in inbox.in_state("pending", 1) if row.next_attempt_at < now - PATIENCE_SECONDS]
    if waiting:
        yield Finding(
            f"events wait, the first has been due for {now - waiting[0].next_attempt_at:.0f} s: does a worker run?",
            "corkage work --once",
        )


def _notices(now: float) -> Iterator[Finding]:
    failing = outbox.backlog(now).failing
    if failing:
        yield Finding(
            f"{failing} notices are not delivered, `corkage notices` says why", "corkage notices resend --failing"
        )
    for row in outbox.waiting_since(now - PATIENCE_SECONDS):
        process = "a process that has the callbacks" if row.receiver == "callbacks" else "a worker"
        what = f"notices to {row.receiver} wait, the first has been due for {now - row.next_attempt_at:.0f} s"
        yield Finding(f"{what}: does {process} run?", "start it; `corkage notices` lists them")


def _usage(worker: Worker, now: float) -> Iterator[Finding]:
    yield from (Finding(*each) for each in metering.examine(worker.gateway, worker.catalogue.plans.values(), now))


def _drift(worker: Worker, now: float, sample: int) -> Iterator[Finding]:
    """Compare some users' customers with Stripe, but not those with pending events, which other checks report."""
    customers = _customers_without_pending_events()
    reporting = ReportingConverger(worker.converger, writes=False)
    try:
        worker.check_account()
        reporting.converge_all(_sample(customers, sample), now)
    except StripeError as error:
        yield Finding(f"the comparison with Stripe failed: {error.code}: {error}", "corkage doctor, again")
    report = reporting.report
    for user_id, (before, after) in report.access.items():
        other = ", ".join(name for name in before._fields if getattr(before, name) != getattr(after, name))
        what = f"the replica says {before.reason}, Stripe says {after.reason}; different: {other}"
        yield Finding(f"user {user_id}: {what}", "corkage sync")
    differ = report.new + report.changed
    if differ and not report.access:
        yield Finding(f"{differ} subscriptions differ from Stripe; access is not affected", "corkage sync")
    for customer_id in report.missing:
        yield Finding(f"Stripe does not know {customer_id}", "corkage sync")
    for customer_id, reason in report.failed.items():
        yield Finding(f"{customer_id} cannot be compared with Stripe: {reason}", "corkage sync")


def _sample(customers: list[str], size: int) -> list[str]:
    return random.sample(customers, min(size, len(customers)))


def _customers_without_pending_events() -> list[str]:
    pending = StripeEvent.select(StripeEvent.customer_id).where(
        StripeEvent.applied_at.is_null(), StripeEvent.customer_id.is_null(False)
    )
    return storage.column(
        Customer.select(Customer.id).where(
            Customer.user.is_null(False),
            Customer.fetched_at.is_null(False),
            Customer.missing_at.is_null(),
            Customer.id.not_in(pending),
        )
    )


def _paying(*columns: Any) -> Any:
    return (
        Subscription.select(*columns)
        .join(Customer, on=(Subscription.customer == Customer.id))
        .join(SubscriptionItem, on=(SubscriptionItem.subscription == Subscription.id))
        .join(Price, JOIN.LEFT_OUTER, on=(SubscriptionItem.price_id == Price.id))
        .where(Subscription.status.in_(LIVE))
    )


def _rows(query: Any) -> list[Any]:
    with storage.reading():
        return list(query.tuples())
