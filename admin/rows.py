"""The lines of the operator's page: users, customers, subscriptions, events and notices, described alike."""

from typing import Any, NamedTuple
from urllib.parse import quote

from ..access import CURRENT, ENDED, OWING, REASONS, Access
from ..models import Credit, Customer, Grant, Price, Purchase, StripeEvent, Subscription, SubscriptionItem
from ..pages import N_
from ..pages.page import Visit
from ..pages.state import STATES
from ..pages.words import money, period
from ..replica import granted
from .actions import ACTIONS

DASHBOARD = "https://dashboard.stripe.com/"
ROUTE = "admin"
HEALTH = {
    "worker": N_("Worker"),
    "backlog": N_("Events that wait"),
    "failing": N_("Events that fail"),
    "oldest_pending_seconds": N_("The oldest came"),
}
OWED = {
    "pending": N_("Notices that wait"),
    "failing": N_("Notices that fail"),
}


COPIES = {
    granted.MIRRORED: (N_("copied to Stripe"), "good"),
    granted.WAITING: (N_("to be copied to Stripe"), ""),
    granted.NO_CUSTOMER: (N_("only here: no customer"), "note"),
    granted.FAILED: (N_("only here: not copied"), "bad"),
}


class Line(NamedTuple):
    """A line of a list.

    Shape   url: the link of its title; badge: its state; tone: "good", "note", "bad" or none;
            about: texts, each with its link or none; error: as in the log; act: a button's label and its link;
            acts: more of them
    """

    title: str
    url: str = ""
    badge: str = ""
    tone: str = ""
    about: tuple[tuple[str, str], ...] = ()
    error: str = ""
    act: tuple[str, str] | None = None
    acts: tuple[tuple[str, str], ...] = ()


class Describer:
    """Describes rows in the operator's language, with links into the page and into Stripe's Dashboard."""

    def __init__(self, visit: Visit, livemode: bool, now: float) -> None:
        self.visit, self.words, self.now = visit, visit.words, now
        self._dashboard = DASHBOARD if livemode else f"{DASHBOARD}test/"

    def at_stripe(self, kind: str, id_: str) -> str:
        """Return the address in Stripe's Dashboard."""
        return f"{self._dashboard}{kind}/{quote(id_, safe='')}"

    def user(self, access: Access, email: str | None) -> Line:
        until = self.words.gettext("until %(date)s", date=self.words.date(access.until)) if access.until else ""
        return Line(
            access.user_id,
            self.visit.link(ROUTE, user=access.user_id),
            access.reason,
            STATES[access.reason].tone,
            _plain(email, access.plan, until),
        )

    def facts(self, access: Access, user: Any) -> list[tuple[str, str]]:
        """Return labels and values of the answer and of the user. Unknown ones are left out."""
        _, words = self.words.gettext, self.words
        named = (
            (_("Plan"), access.plan),
            (_("Plans"), ", ".join(access.plans) if len(access.plans) > 1 else None),
            (_("Features"), ", ".join(access.features)),
            (_("Limits"), ", ".join(f"{name} {limit}" for name, limit in access.limits.items())),
            (_("Until"), words.moment(access.until) if access.until else None),
            (_("E-mail"), user and user.email),
            (_("Name"), user and user.name),
            (_("Known since"), user and words.date(user.created_at)),
            (_("Trial used"), words.date(user.trial_used_at) if user and user.trial_used_at else None),
        )
        return [(label, value) for label, value in named if value]

    def meaning(self, access: Access) -> str:
        """Return what the reason means, without the Markdown of the reference."""
        meaning = REASONS[access.reason]
        return self.words.gettext(meaning).replace("`", "")

    def customer(self, customer: Customer, is_first: bool) -> Line:
        _ = self.words.gettext
        fetched = (
            _("Fetched on %(moment)s", moment=self.words.moment(customer.fetched_at)) if customer.fetched_at else ""
        )
        badge = _("Used for checkout") if is_first else ""
        if customer.deleted_at or customer.missing_at:
            badge = _("Deleted at Stripe") if customer.deleted_at else _("Unknown to Stripe")
        return Line(customer.id, self.at_stripe("customers", customer.id), badge, "", _plain(fetched))

    def subscription(self, row: Subscription, items: list[tuple[SubscriptionItem, Price | None]], user_id: str) -> Line:
        """Describe a subscription, with buttons for what may be done with it."""
        status = row.status
        tone = "good" if status in CURRENT else "bad" if status in OWING else "note"
        about = _plain(*(self._price(row, *each) for each in items), *self._dates(row))
        acts = tuple(self._act(name, user=user_id, subscription=row.id) for name in _acts_on(row))
        return Line(row.id, self.at_stripe("subscriptions", row.id), status, tone, about, acts=acts)

    def purchase(self, row: Purchase, price: Price | None, credit: list[Credit]) -> Line:
        """Describe what was bought once, with what is left of a pack."""
        _, words = self.words.gettext, self.words
        times = f"{row.quantity} x " if (row.quantity or 1) > 1 else ""
        name = times + ((price.lookup_key if price else None) or row.price_id)
        paid = f"{name}, {money(words, row.amount, row.currency)}"
        left = [f"{each.name} {each.left}/{each.amount}" for each in credit]
        about = _plain(paid, words.date(row.created), *left)
        url = self.at_stripe("payments", row.payment_intent) if row.payment_intent else ""
        badge = row.returned or _("paid")
        return Line(row.id, url, badge, "bad" if row.returned else "good", about)

    def grant(self, row: Grant) -> Line:
        """Describe a grant. One that has not ended has a button that ends it."""
        _, words = self.words.gettext, self.words
        is_over = row.ends_at is not None and row.ends_at <= self.now
        day = "" if row.ends_at is None else words.date(row.ends_at)
        ends = _("ended on %(date)s", date=day) if is_over else _("ends on %(date)s", date=day)
        who, since = row.given_by or _("your product"), words.date(row.created_at)
        given = _("given by %(who)s on %(date)s", who=who, date=since)
        quantity = f"x {row.quantity}" if (row.quantity or 1) > 1 else None
        about = _plain(given, quantity, ends if day else _("without an end"), row.reason)
        act = None if is_over else self._act("revoke", user=row.user_id, plan=row.plan)
        badge, tone = (_("ended"), "note") if is_over else (_("granted"), "good")
        return Line(row.plan, "", badge, tone, about, act=act)

    def in_use(self, each: granted.InUse) -> Line:
        """Describe a running grant of any user, with whether Stripe has a copy."""
        row = each.grant
        line = self.grant(row)
        about = ((row.user_id, self.visit.link(ROUTE, user=row.user_id)), *line.about)
        badge, tone = COPIES[each.copy]
        return line._replace(badge=self.words.gettext(badge), tone=tone, about=about, error=each.error)

    def event(self, row: StripeEvent, owner: str | None = None) -> Line:
        belongs_to = (owner, self.visit.link(ROUTE, user=owner)) if owner else (row.customer_id or "", "")
        received = self.words.gettext("received %(ago)s", ago=self.words.ago(self.now - row.received_at))
        is_failing = row.applied_at is None and row.attempts
        badge = row.outcome or ("failing" if is_failing else "pending")
        tone = "bad" if is_failing else "note" if row.applied_at is None else ""
        about = ((row.id, ""), belongs_to, (received, ""), (self._tries(row), ""))
        act = self._act("replay", event=row.id)
        shown = tuple(each for each in about if each[0])
        return Line(row.type, self.at_stripe("events", row.id), badge, tone, shown, row.error or "", act)

    def notice(self, notice: Any, delivery: Any, owner: str | None = None) -> Line:
        _ = self.words.gettext
        is_pending = delivery is not None and delivery.delivered_at is None
        is_failing = is_pending and delivery.attempts
        badge = (
            "failing" if is_failing else "pending" if is_pending else delivery.outcome if delivery else _("no receiver")
        )
        about = (
            (notice.message_id, ""),
            (owner or "", self.visit.link(ROUTE, user=owner or "")),
            (delivery.receiver if delivery else "", ""),
            (self.words.ago(self.now - notice.created_at), ""),
            (self._tries(delivery) if delivery else "", ""),
        )
        act = self._act("resend", notice=notice.message_id)
        tone = "bad" if is_failing else "note" if is_pending else ""
        error = (delivery.error or "") if delivery else ""
        return Line(notice.kind, "", badge, tone, tuple(each for each in about if each[0]), error, act)

    def health(self, facts: dict[str, Any]) -> list[tuple[str, str]]:
        """Return labels and values of what /health answers."""
        _ = self.words.gettext
        values = facts | {"oldest_pending_seconds": self._oldest(facts)}
        shown = [(_(label), str(values[name])) for name, label in HEALTH.items() if values[name] != ""]
        shown += [(_(label), str(facts["notices"][name])) for name, label in OWED.items()]
        left = [
            (_("Webhooks that changed nothing: %(reason)s", reason=why), str(n)) for why, n in facts["left"].items()
        ]
        return shown + left

    def _act(self, name: str, **target: str) -> tuple[str, str]:
        return self.words.gettext(ACTIONS[name].button), self.visit.link(ROUTE, do=name, **target)

    def _oldest(self, facts: dict[str, Any]) -> str:
        seconds = facts["oldest_pending_seconds"]
        return self.words.ago(seconds) if seconds else ""

    def _tries(self, row: Any) -> str:
        """Return the number of failed attempts, and when the next one is due."""
        if not row.attempts or getattr(row, "applied_at", None) or getattr(row, "delivered_at", None):
            return ""
        next_ = self.words.ago(self.now - row.next_attempt_at)
        return self.words.ngettext(
            "%(count)d try, the next %(next)s", "%(count)d tries, the next %(next)s", row.attempts, next=next_
        )

    def _price(self, row: Subscription, item: SubscriptionItem, price: Price | None) -> str:
        """Return an item's price and quantity. Its amount is known only in the price's own currency."""
        times = f"{item.quantity} x " if (item.quantity or 1) > 1 else ""
        name = times + ((price.lookup_key if price else None) or item.price_id)
        if price is None or price.unit_amount is None or price.currency != (row.currency or price.currency):
            return name
        often = period(self.words, price.interval or "", price.interval_count or 1)
        return f"{name}, {money(self.words, price.unit_amount, price.currency or '')} {often}"

    def _dates(self, row: Subscription) -> list[str]:
        _, date = self.words.gettext, self.words.date
        return [
            text
            for text, moment in (
                (_("trial ends on %(date)s", date=date(row.trial_end or 0)), row.trial_end),
                (_("period ends on %(date)s", date=date(row.current_period_end or 0)), row.current_period_end),
                (_("unpaid since %(date)s", date=date(row.unpaid_since or 0)), row.unpaid_since),
                (_("ends on %(date)s", date=date(row.cancel_at or 0)), row.cancel_at),
                (_("ended on %(date)s", date=date(row.ended_at or 0)), row.ended_at),
            )
            if moment
        ]


def _acts_on(row: Subscription) -> list[str]:
    """Return the actions that a subscription in this state allows."""
    if row.status in ENDED:
        return []
    if row.status not in CURRENT:
        return ["resume", "cancel_now"] if row.status == "paused" else ["cancel_now"]
    is_going_on = row.cancel_at is None
    trial = ["extend_trial"] if row.status == "trialing" else []
    return ["change", *(["change_later", *trial, "cancel"] if is_going_on else ["resume"]), "cancel_now"]


def _plain(*texts: str | None) -> tuple[tuple[str, str], ...]:
    """Return texts without links, for a line. Unknown ones are left out."""
    return tuple((text, "") for text in texts if text)
