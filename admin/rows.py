"""What the operator's page shows: users, events, notices and what is known of each, as lines that look alike."""

from typing import Any, NamedTuple
from urllib.parse import quote

from ..access import REASONS, Access
from ..models import Customer, Price, StripeEvent, Subscription
from ..pages.money import money, period
from ..pages.page import Visit
from ..pages.state import STATES
from ..pages.words import N_

DASHBOARD = "https://dashboard.stripe.com/"
ROUTE = "admin"


class Act(NamedTuple):
    """What an operator may do: the question, what it means, the button, and what it is done to."""

    title: str
    meaning: str
    button: str
    fields: tuple[str, ...]


ACTS = {
    "sync": Act(
        N_("Fetch this user from Stripe?"),
        N_("All that Stripe holds of this user now is read, and what differs here is set right."),
        N_("Fetch from Stripe"),
        ("user",),
    ),
    "link": Act(
        N_("Give this customer to this user?"),
        N_("What the customer pays for counts for this user from then on, and for nobody else."),
        N_("Link a customer"),
        ("user", "customer"),
    ),
    "replay": Act(
        N_("Apply this event again?"),
        N_("An event only says where to look: what it points at is read from Stripe as it is now."),
        N_("Replay"),
        ("event",),
    ),
    "resend": Act(
        N_("Tell of this change again?"),
        N_("All who are told of changes hear of this one once more, with the same id."),
        N_("Tell again"),
        ("notice",),
    ),
}
FIELDS = {
    "user": N_("User"),
    "customer": N_("Stripe customer"),
    "event": N_("Event"),
    "notice": N_("Notice"),
}
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


class Line(NamedTuple):
    """A thing on a list.

    Shape   url: where its title leads; badge: its state; tone: "good", "note", "bad" or none;
            about: what is known of it, each with where that leads; error: in the words of the log;
            act: a button's label, and where it leads
    """

    title: str
    url: str = ""
    badge: str = ""
    tone: str = ""
    about: tuple[tuple[str, str], ...] = ()
    error: str = ""
    act: tuple[str, str] | None = None


class Describer:
    """Puts rows in the operator's language, with links into the page and into Stripe's Dashboard."""

    def __init__(self, visit: Visit, livemode: bool, now: float) -> None:
        self.visit, self.words, self.now = visit, visit.words, now
        self._dashboard = DASHBOARD if livemode else f"{DASHBOARD}test/"

    def at_stripe(self, kind: str, id_: str) -> str:
        """Write where Stripe's Dashboard shows it."""
        return f"{self._dashboard}{kind}/{quote(id_, safe='')}"

    def user(self, access: Access, email: str | None) -> Line:
        until = self.words.gettext("until %(date)s", date=self.words.date(access.until)) if access.until else ""
        return Line(
            access.user_id,
            self.visit.link(ROUTE, user=access.user_id),
            access.reason,
            STATES[access.reason].tone,
            _told(email, access.plan, until),
        )

    def facts(self, access: Access, user: Any) -> list[tuple[str, str]]:
        """Tell what the answer rests on, and what is known of the user; leaving out what is not known."""
        _, words = self.words.gettext, self.words
        named = (
            (_("Plan"), access.plan),
            (_("Features"), ", ".join(access.features)),
            (_("Until"), words.moment(access.until) if access.until else None),
            (_("E-mail"), user and user.email),
            (_("Name"), user and user.name),
            (_("Known since"), user and words.date(user.created_at)),
            (_("Trial used"), words.date(user.trial_used_at) if user and user.trial_used_at else None),
        )
        return [(label, value) for label, value in named if value]

    def meaning(self, access: Access) -> str:
        """Tell what the reason means, without the marks that the README has for it."""
        meaning = REASONS[access.reason]
        return self.words.gettext(meaning).replace("`", "")

    def customer(self, customer: Customer, is_first: bool) -> Line:
        _ = self.words.gettext
        fetched = (
            _("Fetched on %(moment)s", moment=self.words.moment(customer.fetched_at)) if customer.fetched_at else ""
        )
        badge = _("Deleted at Stripe") if customer.deleted_at else _("Used for checkout") if is_first else ""
        return Line(customer.id, self.at_stripe("customers", customer.id), badge, "", _told(fetched))

    def subscription(self, row: Subscription, price: Price | None) -> Line:
        status = row.subscription_status or ""
        tone = "good" if status in ("active", "trialing") else "bad" if status in ("past_due", "unpaid") else "note"
        about = _told(self._price(row, price), *self._dates(row))
        return Line(row.id, self.at_stripe("subscriptions", row.id), status, tone, about)

    def event(self, row: StripeEvent, owner: str | None = None) -> Line:
        whose = (owner, self.visit.link(ROUTE, user=owner)) if owner else (row.customer_id or "", "")
        received = self.words.gettext("received %(ago)s", ago=self.words.ago(self.now - row.received_at))
        is_failing = row.applied_at is None and row.attempts
        badge = row.outcome or ("failing" if is_failing else "pending")
        tone = "bad" if is_failing else "note" if row.applied_at is None else ""
        about = ((row.id, ""), whose, (received, ""), (self._tries(row), ""))
        act = self._act("replay", event=row.id)
        shown = tuple(each for each in about if each[0])
        return Line(row.type, self.at_stripe("events", row.id), badge, tone, shown, row.error or "", act)

    def notice(self, notice: Any, delivery: Any, owner: str | None = None) -> Line:
        _ = self.words.gettext
        is_pending = delivery is not None and delivery.delivered_at is None
        is_failing = is_pending and delivery.attempts
        badge = (
            "failing" if is_failing else "pending" if is_pending else delivery.outcome if delivery else _("nobody told")
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
        """Put the facts of /health in words."""
        _ = self.words.gettext
        told = facts | {"oldest_pending_seconds": self._oldest(facts)}
        shown = [(_(label), str(told[name])) for name, label in HEALTH.items() if told[name] != ""]
        shown += [(_(label), str(facts["notices"][name])) for name, label in OWED.items()]
        left = [
            (_("Webhooks that changed nothing: %(reason)s", reason=why), str(n)) for why, n in facts["left"].items()
        ]
        return shown + left

    def _act(self, what: str, **to: str) -> tuple[str, str]:
        button = ACTS[what].button
        return self.words.gettext(button), self.visit.link(ROUTE, do=what, **to)

    def _oldest(self, facts: dict[str, Any]) -> str:
        seconds = facts["oldest_pending_seconds"]
        return self.words.ago(seconds) if seconds else ""

    def _tries(self, row: Any) -> str:
        """Tell how often it was tried in vain, and when it is tried next."""
        if not row.attempts or getattr(row, "applied_at", None) or getattr(row, "delivered_at", None):
            return ""
        next_ = self.words.ago(self.now - row.next_attempt_at)
        return self.words.ngettext(
            "%(count)d try, the next %(next)s", "%(count)d tries, the next %(next)s", row.attempts, next=next_
        )

    def _price(self, row: Subscription, price: Price | None) -> str:
        if price is None or price.unit_amount is None:
            return row.stripe_price_id or ""
        often = period(self.words, price.interval or "", price.interval_count or 1)
        return f"{price.lookup_key or price.id}, {money(self.words, price.unit_amount, price.currency or '')} {often}"

    def _dates(self, row: Subscription) -> list[str]:
        _, date = self.words.gettext, self.words.date
        return [
            text
            for text, moment in (
                (_("trial ends on %(date)s", date=date(row.trial_end or 0)), row.trial_end),
                (_("period ends on %(date)s", date=date(row.current_period_end or 0)), row.current_period_end),
                (_("unpaid since %(date)s", date=date(row.past_due_since or 0)), row.past_due_since),
                (_("ends on %(date)s", date=date(row.cancel_at or 0)), row.cancel_at),
                (_("ended on %(date)s", date=date(row.ended_at or 0)), row.ended_at),
            )
            if moment
        ]


def _told(*texts: str | None) -> tuple[tuple[str, str], ...]:
    """Make of texts what a line is about, without those that are not known."""
    return tuple((text, "") for text in texts if text)
