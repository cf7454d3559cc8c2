"""The account page: the user's plan, its state, the actions on offer, and the latest invoices."""

from collections.abc import Iterable
from typing import NamedTuple

from ..access import Access
from ..models import Customer, Grant, Price, Subscription, User
from ..plans import Plan
from ..selling.held import held_subscription
from ..sync.states import InvoiceState
from . import N_
from .pricing import feature_labels, points_of
from .state import is_paused_by_seller, state_of
from .words import Words, money, period

CARD = "payment_method_update"
CHANGE = "subscription_update"
CANCEL = "subscription_cancel"
WITHOUT_FLOW = ""
FINISH = "finish"
PLANS = "plans"

LABELS = {
    CARD: N_("Update payment method"),
    CHANGE: N_("Change plan"),
    CANCEL: N_("Cancel plan"),
    WITHOUT_FLOW: N_("Manage billing"),
    FINISH: N_("Finish payment"),
    PLANS: N_("See plans"),
}
KEEP = N_("Keep my plan")

ACTIONS = {
    "active": (CHANGE, CARD, CANCEL),
    "trialing": (CHANGE, CARD, CANCEL),
    "canceling": (WITHOUT_FLOW, CARD),
    "payment_pending": (WITHOUT_FLOW,),
    "collection_paused": (CARD, CANCEL),
    "grace": (CARD, CHANGE, CANCEL),
    "granted": (PLANS, WITHOUT_FLOW),
    "past_due": (CARD, CANCEL),
    "unpaid": (CARD, CANCEL),
    "paused": (CARD, WITHOUT_FLOW, CANCEL),
    "incomplete": (FINISH, WITHOUT_FLOW),
    "refunded": (WITHOUT_FLOW, CANCEL),
    "disputed": (WITHOUT_FLOW, CANCEL),
    "addon_only": (PLANS, WITHOUT_FLOW),
    "ended": (PLANS, WITHOUT_FLOW),
    "free": (PLANS, WITHOUT_FLOW),
    "no_subscription": (PLANS, WITHOUT_FLOW),
    "unknown_price": (PLANS, WITHOUT_FLOW),
    "unknown_status": (WITHOUT_FLOW,),
}
ACTIONS_OF_PAUSED_BY_SELLER = (WITHOUT_FLOW, CANCEL)
URGENT = ("canceling", "grace", "past_due", "unpaid", "paused", "incomplete", "addon_only", "ended", "no_subscription")

STATUSES = {
    "paid": N_("Paid"),
    "open": N_("Open"),
    "void": N_("Void"),
    "uncollectible": N_("Written off"),
}


class Action(NamedTuple):
    """A button: a link to `pricing`, or a form that posts one field to `checkout` or `portal`."""

    label: str
    route: str
    field: str
    value: str
    is_main: bool


class Account(NamedTuple):
    plan: str
    tone: str
    sentence: str
    facts: tuple[tuple[str, str], ...]
    points: tuple[str, ...]
    actions: tuple[Action, ...]
    has_customer: bool


def describe_account(access: Access, plans: tuple[Plan, ...], words: Words) -> Account:
    """Return what the page shows of a user's access. Reads the database only."""
    user = User.get_or_none(User.id == access.user_id)
    held = held_subscription(access.user_id, {each.key: each for each in plans}) if user else None
    plan = next((each for each in plans if each.key == access.plan), None)
    tone, sentence = state_of(access, ended_at(access.user_id), words)
    has_customer = user is not None and (user.stripe_customer_id is not None or held is not None)
    points = points_of(plan) if plan and access.allowed else feature_labels(access.features)
    return Account(
        plan=_name(access, plan, words),
        tone=tone,
        sentence=sentence,
        facts=_facts(access, held, words),
        points=tuple(map(words.gettext, points)),
        actions=_actions(access, plan, has_customer, words),
        has_customer=has_customer,
    )


def ended_at(user_id: str) -> int | None:
    """Return when the newest of what the user held ended, in Unix seconds; None where nothing did."""
    subscriptions = Subscription.select(Subscription.created, Subscription.ended_at).join(Customer)
    ended = list(subscriptions.where(Customer.user == user_id, Subscription.ended_at.is_null(False)).tuples())
    grants = Grant.select(Grant.created_at, Grant.ends_at).where(Grant.user == user_id, Grant.ends_at.is_null(False))
    newest = max([*ended, *grants.tuples()], default=None)
    return newest[1] if newest else None


def _name(access: Access, plan: Plan | None, words: Words) -> str:
    if plan:
        return words.gettext(plan.name)
    return access.plan or (words.gettext("No plan") if access.status is None else words.gettext("Subscription"))


def _facts(access: Access, user: Subscription | None, words: Words) -> tuple[tuple[str, str], ...]:
    """Return labels and figures, while the subscription goes on."""
    facts = []
    price = Price.get_or_none(Price.id == access.price_id)
    if user is None or price is None or access.reason in ("ended", "no_subscription"):
        return ()
    if price.unit_amount is not None and price.currency:
        amount = money(words, price.unit_amount, price.currency, is_short=True)
        facts.append(
            (words.gettext("Price"), f"{amount} {period(words, price.interval or '', price.interval_count or 1)}")
        )
    if (access.quantity or 1) > 1:
        facts.append((words.gettext("Quantity"), str(access.quantity)))
    if access.reason == "active" and not access.stale and user.current_period_end:
        facts.append((words.gettext("Next payment"), words.date(user.current_period_end)))
    if access.reason == "trialing" and not access.stale and user.trial_end:
        facts.append((words.gettext("First payment"), words.date(user.trial_end)))
    if access.reason in ("canceling", "grace") and access.until:
        facts.append((words.gettext("Access until"), words.date(access.until)))
    return tuple(facts)


def _actions(access: Access, plan: Plan | None, has_customer: bool, words: Words) -> tuple[Action, ...]:
    actions: list[Action] = []
    names = ACTIONS.get(access.reason, (WITHOUT_FLOW,))
    for name in ACTIONS_OF_PAUSED_BY_SELLER if is_paused_by_seller(access) else names:
        if name == FINISH and plan is None:
            continue
        if name in (PLANS, FINISH) or has_customer:
            is_main = not actions and access.reason in URGENT
            actions.append(_action(name, access, words, is_main=is_main))
    return tuple(actions)


def _action(name: str, access: Access, words: Words, *, is_main: bool) -> Action:
    can_keep = name == WITHOUT_FLOW and access.reason == "canceling"  # the portal's home offers that
    label = words.gettext(KEEP if can_keep else LABELS[name])
    if name == PLANS:
        return Action(label, "pricing", "", "", is_main)
    if name == FINISH:
        return Action(label, "checkout", "plan", access.plan or "", is_main)
    return Action(label, "portal", "flow", name, is_main)


class Invoice(NamedTuple):
    date: str
    amount: str
    status: str
    page_url: str
    pdf_url: str
    is_open: bool


def describe_invoices(invoices: Iterable[InvoiceState], words: Words) -> tuple[Invoice, ...]:
    """Return invoices in the visitor's language. The links are those that Stripe's API returned."""
    return tuple(
        Invoice(
            date=words.date(each.created, "medium"),
            amount=money(words, each.total, each.currency),
            status=words.gettext(STATUSES.get(each.status, each.status)),
            page_url=each.page_url or "",
            pdf_url=each.pdf_url or "",
            is_open=each.status == "open",
        )
        for each in invoices
    )
