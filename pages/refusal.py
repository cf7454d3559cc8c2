"""The page of a 402: why a user is refused, and the way out."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..access import Access
from ..plans import Plan
from . import N_
from .account import PLANS_ROUTE, Action, ended_at, way_out
from .state import state_of
from .words import Words

NEEDS_PLAN = N_("This needs a plan")
NEEDS_ANOTHER = N_("This needs another plan")
NO_ACCESS = N_("You have no access at the moment")
BEFORE_YOU_PAY = N_("Did you subscribe before?")
AGAIN = "yes"  # in the field `again`: they were asked whether they pay already


class Refusal(NamedTuple):
    title: str
    sentence: str
    action: Action


def ask_again(fields: Mapping[str, str], words: Words) -> Action | None:
    """Return the button by which a visitor buys who was asked whether they pay already; None where nothing is named.

    Shape   fields: plan, quantity, and the promotion code as `typed`
    """
    if not fields.get("plan"):
        return None
    named = (("plan", "plan"), ("quantity", "quantity"), ("typed", "code"))
    sent = [(name, fields[given]) for given, name in named if fields.get(given)]
    return Action(words.gettext("Go on"), "checkout", (*sent, ("again", AGAIN)), is_main=False)


def describe_refusal(access: Access, not_included: str, plans: Iterable[Plan], words: Words) -> Refusal:
    """Return what the page says to a user with this access. Only a user who has a plan reads that it does not include
    this, and how the plan stands unless all is well.

    Shape   not_included: the sentence where the plan lacks what was asked for
    """
    tone, state = state_of(access, ended_at(access.user_id) if access.reason == "ended" else None, words)
    action = way_out(access, plans, words)
    if access.allowed or access.reason == "free":
        more = "" if tone == "good" else f" {state}"
        return Refusal(words.gettext(NEEDS_ANOTHER), words.gettext(not_included) + more, action)
    title = NEEDS_PLAN if action.route == PLANS_ROUTE else NO_ACCESS
    return Refusal(words.gettext(title), state, action)
