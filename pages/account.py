"""The account page: what the user holds, how each thing stands, the actions on offer, and the latest invoices."""

import json
from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

from ..access import ENDED, Access, Holding, Plans, Terms, access_of
from ..gateway.states import InvoiceState
from ..models import ChangeRow, Customer, Grant, Price, Subscription, User
from ..plans import Plan
from ..replica.standing import Standing, standings_of
from . import N_
from .pricing import feature_labels, points_of
from .purchases import Bought, describe_purchases
from .state import is_paused_by_seller, state_of
from .words import Words, money, period

CARD = "payment_method_update"
CHANGE = "subscription_update"
CANCEL = "subscription_cancel"
WITHOUT_FLOW = ""
FINISH = "finish"
PLANS = "plans"
PLANS_ROUTE = "pricing"

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
NOT_PAID = N_("Not paid")  # for an open invoice that nobody is asked to pay


class Action(NamedTuple):
    """A button: a link to `pricing`, or a form that posts its fields to `checkout` or `portal`."""

    label: str
    route: str
    fields: tuple[tuple[str, str], ...]
    is_main: bool


class Card(NamedTuple):
    """A subscription with all its items, a grant, or what stands in their place where there is none."""

    plan: str
    tone: str
    sentence: str
    facts: tuple[tuple[str, str], ...]
    points: tuple[str, ...]
    actions: tuple[Action, ...]


class Account(NamedTuple):
    cards: tuple[Card, ...]
    has_customer: bool
    purchases: tuple[Bought, ...] = ()


class _Part(NamedTuple):
    """What one card is about: a thing that goes on with what it gives by itself, or without one the whole answer."""

    access: Access
    standing: Standing | None


def describe_account(access: Access, plans: tuple[Plan, ...], terms: Plans, words: Words, now: float) -> Account:
    """Return what the page shows of a user's access: a card for each thing that goes on, the best first. Reads the
    database only.

    Shape   access: the user's; terms: those of all plans, with what the plans gave that were taken out of the file
    """
    going_on = _going_on(access.user_id, terms, now)
    parts = [_Part(_by_itself(each, access, now), each) for each in going_on] or [_Part(access, None)]
    user = User.get_or_none(User.id == access.user_id)
    is_paying = any(each.kind == "subscription" for each in going_on)
    has_customer = is_paying or (user is not None and user.stripe_customer_id is not None)
    by_key = {each.key: each for each in plans}
    cards = []
    for number, part in enumerate(parts):
        names = _action_names(part, is_only=number == 0 and not is_paying)
        ended = None if part.standing else ended_at(access.user_id)
        cards.append(_card(part, by_key, names if has_customer else _without_customer(names), words, ended))
    return Account(tuple(cards), has_customer, describe_purchases(access.user_id, by_key, terms, words, now))


def describe_member(access: Access, plans: Iterable[Plan], words: Words) -> Account:
    """Return what the page shows to a user for whom somebody else pays, and buys: the plan, and whether it is in force.

    Shape   access: the payer's, as a member may see it
    """
    card = _card(_Part(access, None), {each.key: each for each in plans}, (), words, None)
    return Account((card,), has_customer=False)


def ended_at(user_id: str) -> int | None:
    """Return when the newest of what the user held ended, in Unix seconds; None where nothing did."""
    subscriptions = Subscription.select(Subscription.created, Subscription.ended_at).join(Customer)
    ended = list(subscriptions.where(Customer.user == user_id, Subscription.ended_at.is_null(False)).tuples())
    grants = Grant.select(Grant.created_at, Grant.ends_at).where(Grant.user == user_id, Grant.ends_at.is_null(False))
    newest = max([*ended, *grants.tuples()], default=None)
    return newest[1] if newest else None


def way_out(access: Access, plans: Iterable[Plan], words: Words) -> Action:
    """Return the main button for a user who is refused something: the first that the account page has for the reason.

    A user who is let in lacks only another plan.
    """
    part = _Part(access, None)
    plan = next((each for each in plans if each.key == access.plan), None)
    names = (PLANS,) if access.allowed else _action_names(part, is_only=True)
    return _actions(part, plan, names, words)[0]._replace(is_main=True)


def _going_on(user_id: str, terms: Plans, now: float) -> list[Standing]:
    found = [each for each in standings_of(user_id, terms, now) if each.is_ours and _is_shown(each)]
    return sorted(found, key=lambda each: _order(each, terms))


def _is_shown(standing: Standing) -> bool:
    """Return whether a thing has a card. What was bought once has one while it lets in; then it is listed only."""
    return standing.answer.allowed if standing.kind == "purchase" else not standing.has_ended


def _order(standing: Standing, terms: Plans) -> tuple[bool, bool, bool, int]:
    plan = terms.get(standing.answer.plan or "", Terms())
    return bool(plan.adds_to), not standing.answer.allowed, standing.kind == "grant", -plan.rank


def _by_itself(standing: Standing, access: Access, now: float) -> Access:
    """Return what a thing gives by itself. An add-on without its plan lets nobody in."""
    own = access_of(access.user_id, standing.answer, now)
    if own.allowed and own.plan is not None and own.plan not in access.plans:
        return own._replace(allowed=False, reason="addon_only", until=None)
    return own


def _card(part: _Part, plans: Mapping[str, Plan], action_names: Iterable[str], words: Words, ended: int | None) -> Card:
    access = part.access
    plan = plans.get(access.plan or "")
    tone, sentence = state_of(access, ended, words)
    points = [point for key in access.plans if key in plans for point in points_of(plans[key])]
    labels = dict.fromkeys(points) if plan and access.allowed else feature_labels(access.features)
    return Card(
        plan=_name(access, plan, words),
        tone=tone,
        sentence=sentence,
        facts=_facts(part, plans, words),
        points=tuple(map(words.gettext, labels)),
        actions=_actions(part, plan, action_names, words),
    )


def _name(access: Access, plan: Plan | None, words: Words) -> str:
    if plan:
        return words.gettext(plan.name)
    return access.plan or (words.gettext("No plan") if access.status is None else words.gettext("Subscription"))


def _facts(part: _Part, plans: Mapping[str, Plan], words: Words) -> tuple[tuple[str, str], ...]:
    """Return labels and figures of a subscription."""
    access, standing = part
    if standing is not None and standing.kind == "purchase":
        return _facts_of_purchase(standing.id, words)
    if standing is None or standing.kind != "subscription":
        return ()
    row = Subscription.get_by_id(standing.id)
    facts = _prices(standing.items, row.currency, plans, words)
    if len(standing.items) == 1 and (access.quantity or 1) > 1:
        facts.append((words.gettext("Quantity"), str(access.quantity)))
    if access.reason == "active" and not access.stale and row.current_period_end:
        facts.append((words.gettext("Next payment"), words.date(row.current_period_end)))
    if access.reason == "trialing" and not access.stale and row.trial_end:
        facts.append((words.gettext("First payment"), words.date(row.trial_end)))
    if access.reason in ("canceling", "grace") and access.until:
        facts.append((words.gettext("Access until"), words.date(access.until)))
    return (*facts, *_coming_price(standing, row.currency, words))


def _coming_price(standing: Standing, currency: str | None, words: Words) -> list[tuple[str, str]]:
    """Return the price that the subscription will have, and from when on, where it is to be moved to another."""
    is_owed = (ChangeRow.subscription_id == standing.id, ChangeRow.kind == "move_price", ChangeRow.done_at.is_null())
    row = ChangeRow.select().where(*is_owed).order_by(ChangeRow.not_before).first()
    wish = json.loads(row.wish) if row else {}
    held = [each for each in standing.items if each.price_id == wish.get("old") and each.cancel_at is None]
    price = Price.get_or_none(Price.id == wish["new"]) if held else None
    cost, paid_in = price.amount_in(currency) if price else (None, "")
    if row is None or price is None or cost is None:
        return []
    often = period(words, price.interval or "", price.interval_count or 1)
    label = words.gettext("Price from %(date)s", date=words.date(row.not_before))
    return [(label, f"{money(words, cost, paid_in, is_short=True)} {often}")]


def _facts_of_purchase(purchase_id: str, words: Words) -> tuple[tuple[str, str], ...]:
    """Return the subscription that was ended for it, if there is one."""
    replaced = Subscription.select(Subscription.ended_at).where(Subscription.replaced_by == purchase_id)
    ended = [row.ended_at or 0 for row in replaced.where(Subscription.ended_at.is_null(False))]
    return ((words.gettext("In place of a subscription that ended on"), words.date(max(ended))),) if ended else ()


def _prices(
    items: Iterable[Holding], currency: str | None, plans: Mapping[str, Plan], words: Words
) -> list[tuple[str, str]]:
    """Return what each item costs, add-ons last. Of several each is called by its plan, and says how many there are."""
    is_addon = {key: bool(plan.adds_to) for key, plan in plans.items()}
    priced = sorted(
        items, key=lambda each: (is_addon.get(each.plan or "", False), each.plan or "", each.price_id or "")
    )
    facts = []
    for item in priced:
        price = Price.get_or_none(Price.id == item.price_id)
        cost, paid_in = price.amount_in(currency) if price else (None, "")
        if price is None or cost is None or not paid_in:
            continue
        amount = money(words, cost, paid_in, is_short=True)
        costs = f"{amount} {period(words, price.interval or '', price.interval_count or 1)}"
        plan = plans.get(item.plan or "")
        label = words.gettext(plan.name) if plan and len(priced) > 1 else words.gettext("Price")
        times = f"{item.quantity} x " if len(priced) > 1 and (item.quantity or 1) > 1 else ""
        facts.append((label, times + costs))
    return facts


def _action_names(part: _Part, *, is_only: bool) -> tuple[str, ...]:
    """Return the names of the card's buttons. What is no subscription has some only where there is none beside it."""
    if part.standing is None or part.standing.kind == "subscription":
        is_paused = is_paused_by_seller(part.access)
        return ACTIONS_OF_PAUSED_BY_SELLER if is_paused else ACTIONS.get(part.access.reason, (WITHOUT_FLOW,))
    return ACTIONS["granted"] if is_only else ()


def _without_customer(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in (PLANS, FINISH))


def _actions(part: _Part, plan: Plan | None, names: Iterable[str], words: Words) -> tuple[Action, ...]:
    actions: list[Action] = []
    for name in names:
        if name != FINISH or plan is not None:
            is_main = not actions and part.access.reason in URGENT
            actions.append(_action(name, part, words, is_main=is_main))
    return tuple(actions)


def _action(name: str, part: _Part, words: Words, *, is_main: bool) -> Action:
    access, standing = part
    can_keep = name == WITHOUT_FLOW and access.reason == "canceling"  # the portal's home offers that
    label = words.gettext(KEEP if can_keep else LABELS[name])
    if name == PLANS:
        return Action(label, PLANS_ROUTE, (), is_main)
    if name == FINISH:
        return Action(label, "checkout", (("plan", access.plan or ""),), is_main)
    about = (("subscription", standing.id),) if standing and standing.kind == "subscription" else ()
    return Action(label, "portal", (("flow", name), *about), is_main)


class Invoice(NamedTuple):
    """An invoice on the page.

    Shape   is_to_pay: it is open, and paying it helps; not so when its subscription has ended, or when a later invoice
            has replaced it
    """

    date: str
    amount: str
    status: str
    page_url: str
    pdf_url: str
    is_to_pay: bool


def describe_invoices(invoices: Iterable[InvoiceState], words: Words) -> tuple[Invoice, ...]:
    """Return invoices in the visitor's language. The links are those that Stripe's API returned.

    Subscriptions are read from the database. No call is made.
    """
    found = tuple(invoices)
    of_open = {each.subscription_id for each in found if each.status == "open"}
    over = Subscription.select(Subscription.id).where(Subscription.id.in_(of_open), Subscription.status.in_(ENDED))
    ended = {row.id for row in over}
    return tuple(_invoice(each, words, is_to_pay=_is_to_pay(each, ended)) for each in found)


def _is_to_pay(invoice: InvoiceState, ended: Container[str]) -> bool:
    if invoice.status != "open" or invoice.subscription_id is None:
        return invoice.status == "open"
    return invoice.is_latest and invoice.subscription_id not in ended


def _invoice(invoice: InvoiceState, words: Words, *, is_to_pay: bool) -> Invoice:
    is_left = invoice.status == "open" and not is_to_pay
    return Invoice(
        date=words.date(invoice.created, "medium"),
        amount=money(words, invoice.total, invoice.currency),
        status=words.gettext(NOT_PAID if is_left else STATUSES.get(invoice.status, invoice.status)),
        page_url=invoice.page_url or "",
        pdf_url=invoice.pdf_url or "",
        is_to_pay=is_to_pay,
    )
