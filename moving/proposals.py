"""Propose whose customers are, by e-mail. A proposal links nothing: an e-mail is what somebody typed once."""

import csv
import io
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from .. import storage
from ..access import LIVE
from ..gateway.states import CustomerState, SubscriptionState
from ..models import Customer, Price
from ..sync.converge import Converger
from ..sync.resync import CALLS_PER_SECOND, Progress, no_progress
from ..texts import email_key, is_user_id
from .customers import COLUMNS as MAP_COLUMNS
from .sheet import Column, Problem, as_text, read_sheet

COLUMNS = (MAP_COLUMNS[0], Column(("email", "e-mail", "email_address", "mail")))
HEADER = ("user", "customer", "email", "plans", "note")


class Paying(NamedTuple):
    """A customer who pays, and belongs to no user here. plans: what they pay for."""

    customer: CustomerState
    plans: frozenset[str]


class Proposal(NamedTuple):
    """A line of a map to look at.

    Shape   customer_id: "" where nothing or more than one thing fits, as the note says
    """

    user_id: str
    customer_id: str
    email: str
    plans: str
    note: str = ""


def read_emails(data: bytes) -> tuple[dict[str, list[str]], list[Problem]]:
    """Read a file of users and e-mails; return the users by the key of their e-mail (texts.email_key), and what is
    wrong. A user without an e-mail is left out.
    """
    rows, problems = read_sheet(data, COLUMNS)
    found: dict[str, list[str]] = {}
    for row in rows:
        user_id, email = row.values["user"], row.values["email"]
        if not is_user_id(user_id):
            problems.append(Problem(row.line, f"{user_id!r} is no user id"))
        elif email and "@" not in email:
            problems.append(Problem(row.line, f"{email!r} is no e-mail"))
        elif email and user_id not in found.setdefault(email_key(email), []):
            found[email_key(email)].append(user_id)
    return found, problems


def unowned_payers(converger: Converger, progress: Progress = no_progress) -> list[Paying]:
    """Fetch the customers who pay for a plan of ours, or are in its trial, and belong to no user here.

    Errors  StripeError as the gateway's
    """
    owners = {row.id: row.user_id for row in Customer.select(Customer.id, Customer.user)}
    customers: dict[str, CustomerState] = {}
    plans: dict[str, set[str]] = {}
    count = 0
    for page in converger.gateway.paced(CALLS_PER_SECOND).every_subscription():
        for customer, state in page.items:
            row = Customer(id=customer.id, user=owners.get(customer.id))
            held = _plans_of(converger, state)
            if state.status in LIVE and held and not customer.deleted and converger.owner_of(row, customer) is None:
                customers[customer.id] = customer
                plans.setdefault(customer.id, set()).update(held)
        count += len(page.items)
        progress("listed", count, None)
    return [Paying(each, frozenset(plans[each.id])) for each in customers.values()]


def _plans_of(converger: Converger, state: SubscriptionState) -> set[str]:
    """Return the plans that a subscription is to: as plans.toml names its prices, or as is known of them."""
    catalogue = converger.catalogue
    prices = [item.price for item in state.items]
    names = [name for each in prices for name in (each.id, each.lookup_key)]
    named = {catalogue.named[name].key for name in names if name in catalogue.named}
    is_theirs = (Price.id.in_([each.id for each in prices]), Price.plan.is_null(False))
    return named | set(storage.column(Price.select(Price.plan).where(*is_theirs)))


def propose(payers: Collection[Paying], users: Mapping[str, list[str]], app: str) -> list[Proposal]:
    """Return a line for each customer whose e-mail is that of a user. What is not the only one of its kind has its
    customer in the note, and not where `corkage import` would take it from.
    """
    fitting = [(user_id, each) for each in payers for user_id in users.get(email_key(each.customer.email or ""), ())]
    of_user = Counter(user_id for user_id, _ in fitting)
    of_customer = Counter(each.customer.id for _, each in fitting)
    return [
        _proposal(user_id, each, _doubt(each, of_user[user_id], of_customer[each.customer.id], app))
        for user_id, each in sorted(fitting, key=lambda pair: (pair[0], pair[1].customer.id))
    ]


def _doubt(payer: Paying, customers: int, users: int, app: str) -> str:
    if payer.customer.app not in (None, app):
        return f"is marked for another app, {payer.customer.app}"
    if customers > 1:
        return f"is one of {customers} customers with this e-mail: a user may have several"
    return f"is of {users} users with this e-mail" if users > 1 else ""


def _proposal(user_id: str, payer: Paying, doubt: str) -> Proposal:
    id_ = payer.customer.id
    note = f"{id_} {doubt}" if doubt else ""
    return Proposal(user_id, "" if doubt else id_, payer.customer.email or "", " ".join(sorted(payer.plans)), note)


def as_csv(proposals: Iterable[Proposal]) -> str:
    """Return the lines as a file that `corkage import` takes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(map(as_text, each) for each in proposals)
    return text.getvalue()
