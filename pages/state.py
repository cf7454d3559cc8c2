"""What each reason of an access answer means to the user, in a sentence."""

from typing import NamedTuple

from ..access import Access
from . import N_
from .words import Words


class State(NamedTuple):
    """The sentence for a reason.

    Shape   tone: "good", "note" or "bad"; dated: the sentence when a date is known; plain: the one without
    """

    tone: str
    dated: str
    plain: str


STATES = {
    "active": State("good", N_("Your plan renews on %(date)s."), N_("Your plan is active.")),
    "trialing": State(
        "good",
        N_("Your free trial ends on %(date)s. Your first payment is due then."),
        N_("You are in a free trial."),
    ),
    "canceling": State(
        "note",
        N_("Your plan is canceled and ends on %(date)s. Until then, nothing changes."),
        N_("Your plan is canceled and ends soon."),
    ),
    "payment_pending": State(
        "note",
        N_("Your first payment is on its way. You have access meanwhile."),
        N_("Your first payment is on its way. That can take a few days; your access begins when it arrives."),
    ),
    "collection_paused": State(
        "note",
        N_("Payments for your plan are paused. You have access until %(date)s."),
        N_("Payments for your plan are paused. You have access meanwhile."),
    ),
    "grace": State(
        "bad",
        N_("Your last payment failed. Access ends on %(date)s unless you update your payment method."),
        N_("Your last payment failed. Please update your payment method."),
    ),
    "granted": State(
        "good",
        N_("This plan was given to you, until %(date)s."),
        N_("This plan was given to you. There is nothing to pay."),
    ),
    "past_due": State("bad", "", N_("Your last payment failed. Update your payment method to get access again.")),
    "unpaid": State(
        "bad",
        "",
        N_("Several payments failed. Update your payment method and pay the open invoice to get access again."),
    ),
    "paused": State("note", "", N_("Your plan is paused. Add a payment method to go on.")),
    "incomplete": State("bad", "", N_("Your first payment did not go through. Your access begins when it does.")),
    "refunded": State("note", "", N_("Your last payment was refunded, and your access ended with it.")),
    "disputed": State("bad", "", N_("Your last payment was disputed with your bank, and your access ended with it.")),
    "addon_only": State("note", "", N_("You have an add-on, but no plan that it adds to. Choose a plan to use it.")),
    "ended": State("note", N_("Your plan ended on %(date)s."), N_("Your plan has ended.")),
    "free": State("good", "", N_("You are on the free plan.")),
    "no_subscription": State("note", "", N_("You have no plan yet.")),
    "unknown_price": State("note", "", N_("What you subscribed to is not one of our plans, and opens nothing here.")),
    "unknown_status": State("note", "", N_("We cannot tell the state of your plan at the moment.")),
}
NEVER_BEGAN = State("note", "", N_("Your first payment did not go through in time, so your plan never began."))
PAUSED_BY_SELLER = State("note", "", N_("Your plan is paused, and nothing is charged. You have no access meanwhile."))
ADDON_ENDS = State(
    "note",
    N_("You have no plan that this adds to. It ends on %(date)s, unless you choose a plan again."),
    N_("You have no plan that this adds to. It ends soon, unless you choose a plan again."),
)
BOUGHT = State("good", N_("This is yours until %(date)s."), N_("This is yours. There is nothing more to pay."))
STALE = State(
    "note",
    N_(
        "Your plan was due to change on %(date)s. We are waiting for word from our payment provider; "
        "nothing changes meanwhile."
    ),
    N_("We are waiting for word from our payment provider; nothing changes meanwhile."),
)


def state_of(access: Access, ended_at: int | None, words: Words) -> tuple[str, str]:
    """Return the tone and the sentence for an answer.

    Units   ended_at in Unix seconds: when what was held ended, if it did
    """
    state = _state(access)
    moment = ended_at if access.reason == "ended" else access.until
    if state is ADDON_ENDS:
        moment = access.cancel_at
    is_dated = (
        bool(state.dated) and (access.allowed or state is ADDON_ENDS or access.reason == "ended") and moment is not None
    )
    if not is_dated or moment is None:
        return state.tone, words.gettext(state.plain)
    return state.tone, words.gettext(state.dated, date=words.date(moment))


def is_paused_by_seller(access: Access) -> bool:
    """Return whether collection was paused, rather than that Stripe lacks a payment method after a trial."""
    return access.reason == "paused" and access.status != "paused"


def _state(access: Access) -> State:
    if access.status == "incomplete_expired":
        return NEVER_BEGAN
    if is_paused_by_seller(access):
        return PAUSED_BY_SELLER
    if access.reason == "addon_only" and access.cancel_at is not None:
        return ADDON_ENDS
    if access.reason == "active" and access.status is None:  # bought once
        return BOUGHT
    if access.allowed and access.stale and access.reason in ("active", "trialing", "canceling"):
        return STALE
    return STATES.get(access.reason, STATES["unknown_status"])
