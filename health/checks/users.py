"""Users and customers: who pays twice, who pays and has nothing, what only an operator can bring to an end."""

import shlex
from collections import Counter
from collections.abc import Container, Iterator

from ... import storage
from ...access import Terms, given_back
from ...errors import StripeError
from ...models import Customer, Price, Subscription, User
from ...replica import granted, marks, owed
from ...replica.addons import is_lonely
from ...replica.doubles import doubles
from ...replica.marks import Marked
from ...texts import email_key
from .check import NAMED, Check, Examination, Seen, note, wrong
from .paying import paying, rows


def _doubles(examination: Examination) -> Iterator[Seen]:
    for double in doubles(examination.worker.catalogue, examination.now):
        what = f"user {double.user_id} pays for several subscriptions of one group: {', '.join(double.subscriptions)}"
        if double.spare is None:
            yield note(f"{what}; each gives something that the others do not, so ask the user")
        else:
            command = f"stripe subscriptions update {double.spare} -d cancel_at_period_end=true"
            yield wrong(f"{what}; the user loses nothing when {double.spare} ends with its period", command)


def _unowned(examination: Examination) -> Iterator[Seen]:
    """Customers without a user who pay for a plan have no access. Those who pay for anything else are not ours."""
    query = paying(Subscription.customer, Price.plan).where(Customer.user.is_null()).distinct()
    found = rows(query)
    ours = {customer_id: plan for customer_id, plan in found if plan}
    elsewhere = {each.customer_id for each in _marked(ours)}
    users = _users_by_email() if ours else {}  # reads all users
    for customer_id, plan in ours.items():
        if customer_id not in elsewhere:
            email = _email(examination, customer_id)
            user = users.get(email_key(email))
            known = f", the e-mail of user {user}" if user else ""
            name = f"{customer_id} ({email}{known})" if email else customer_id
            yield wrong(f"{name} pays for {plan} and belongs to no user", f"corkage user link USER {customer_id}")
    others = {customer_id for customer_id, _ in found} - ours.keys()
    if others:
        yield note(f"{len(others)} customers pay for prices of no plan: they belong to another product")


def _users_by_email() -> dict[str, str]:
    """Return the user of each e-mail that only one has, by what stands for it in comparisons."""
    found: dict[str, list[str]] = {}
    for user_id, email in rows(User.select(User.id, User.email).where(User.email.is_null(False))):
        found.setdefault(email_key(email), []).append(user_id)
    return {key: users[0] for key, users in found.items() if len(users) == 1}


def _email(examination: Examination, customer_id: str) -> str:
    """Return the customer's e-mail, where Stripe's list of payers has it. It is for the operator to see who that is."""
    try:
        payers = examination.at_stripe["payers"]
    except StripeError:
        return ""
    customers = (each["customer"] for each in payers)
    return next((each.get("email") or "" for each in customers if each["id"] == customer_id), "")


def _marked(ours: Container[str]) -> list[Marked]:
    found = Customer.select().where(Customer.marked_app.is_null(False))
    return [each for each in map(marks.of_another_app, found) if each and each.customer_id in ours]


def _other_apps(examination: Examination) -> Iterator[Seen]:
    paid = paying(Subscription.customer).where(Customer.user.is_null(), Price.plan.is_null(False))
    for of_one in marks.by_app(_marked(set(storage.column(paid.distinct())))).values():
        what = marks.describe(of_one, examination.worker.converger.app)
        yield wrong(f"{what}. They pay for plans of this product", marks.repair(of_one))


def _missing(_: Examination) -> Iterator[Seen]:
    found = storage.column(Customer.select(Customer.id).where(Customer.missing_at.is_null(False)))
    if found:
        names = ", ".join(found[:NAMED]) + (" and others" if len(found) > NAMED else "")
        yield note(
            f'Stripe does not know {len(found)} customers, as after "delete test data": {names}. Their users buy with '
            "new ones"
        )


def _grants(examination: Examination) -> Iterator[Seen]:
    """Grants that only this database has: a backup saves them, and nothing else."""
    copies = Counter(each.copy for each in granted.in_use(examination.now))
    if failed := copies[granted.FAILED]:
        what = f"{failed} grants could not be mirrored at Stripe, `corkage user grants --only-here` says why"
        yield wrong(what, "put that right; the worker tries again by itself")
    if alone := copies[granted.NO_CUSTOMER]:
        what = f"{alone} grants are only in this database, since their users have no customer at Stripe: back it up"
        yield note(f"{what}; `corkage user grants --only-here` lists them")


def _changes(examination: Examination) -> Iterator[Seen]:
    """Changes that Stripe has not made yet, and subscriptions that should have ended by themselves, and could not."""
    catalogue = examination.worker.catalogue
    for row in owed.failing(NAMED):
        change = f"{row.kind} of {row.subscription_id}, user {row.user_id},"
        yield note(f"{change} is not made at Stripe after {row.attempts} tries: {row.error}")
    for row in owed.refused_ends(NAMED):
        id_, is_addon = row.subscription_id, row.kind == owed.END_ADDON
        if is_addon and not is_lonely(row.user_id, id_, catalogue.timelines.plans, examination.now):
            continue
        why = "to an add-on, without a plan that it adds to" if is_addon else "replaced by what they bought for good"
        yield wrong(
            f"user {row.user_id} pays for {id_}, which is {why}; it could not be canceled: {row.error}",
            _cancel(row.user_id, id_, now=not is_addon),
        )


def _cancel(user_id: str, subscription_id: str, *, now: bool) -> str:
    return f"corkage user cancel {shlex.quote(user_id)} --subscription {subscription_id}{' --now' if now else ''}"


def _returned(examination: Examination) -> Iterator[Seen]:
    """Subscriptions that give nothing because money went back, and that Stripe will charge for again."""
    going_on = (Subscription.returned.is_null(False), Subscription.cancel_at.is_null())
    query = paying(Subscription.id, Subscription.returned, Price.plan).where(*going_on)
    plans = examination.worker.catalogue.timelines.plans
    for subscription_id, returned, plan in rows(query.order_by(Subscription.id)):
        became = given_back(returned, plans.get(plan or "", Terms()))
        if became:
            what = f"what was last paid for {subscription_id} is {became}, and Stripe will charge for it again"
            yield wrong(what, f"stripe subscriptions cancel {subscription_id}")


def _unpaid(_: Examination) -> Iterator[Seen]:
    """Stripe collects no more: each later invoice stays a draft, and only the latest one, once it is paid, counts."""
    query = Subscription.select(Subscription.id, Customer.user).join(Customer).where(Subscription.status == "unpaid")
    for subscription_id, user_id in rows(query.where(Customer.user.is_null(False)).order_by(Subscription.id)):
        yield wrong(
            f"{subscription_id} of user {user_id} is unpaid, and Stripe has given up collecting: it comes back when "
            "the user pays on their account page, and never by itself",
            _cancel(user_id, subscription_id, now=True),
        )


CHECKS = (
    Check("doubles", "users who pay for several subscriptions of one group", "nobody pays twice", _doubles),
    Check(
        "unowned",
        "customers who pay for a plan and belong to no user, with their e-mails",
        "every customer who pays for a plan belongs to a user",
        _unowned,
    ),
    Check(
        "other apps",
        "customers who pay for a plan and are marked for another `BILLING_APP`",
        "nobody pays under another name of this product",
        _other_apps,
    ),
    Check("missing", "customers that Stripe does not know any more", "Stripe knows every customer", _missing),
    Check(
        "given back",
        "subscriptions that go on though what was last paid was refunded or disputed",
        "nothing goes on that was given back",
        _returned,
    ),
    Check(
        "unpaid",
        "subscriptions that Stripe has given up collecting for, and that cannot come back by themselves",
        "Stripe has given up on no subscription",
        _unpaid,
    ),
    Check("grants", "grants that only this database has", "every grant is mirrored at Stripe", _grants),
    Check(
        "changes",
        "changes that Stripe has not made, and ends of subscriptions that Stripe refused",
        "Stripe has made every change",
        _changes,
    ),
)
