"""GET and POST /admin: the operator's page. It reads, and repairs what the operator has said yes to."""

import logging
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import bottle

from ..access import REASONS
from ..errors import BillingError, NotFound
from ..handlers.csrf import refuse_all_but_own_page
from ..handlers.health import health_of
from ..handlers.responses import read_form
from ..models import Customer, Price, User
from ..notices import outbox
from ..service import Service
from ..sync import inbox
from . import queries
from .actions import REPAIRS, repair
from .session import check_form, cookie_header, form_token, is_token, new_session, session_of, shows_session

LIMIT = 50
LONGEST_QUERY = 4000
KEPT = ("user", "q", "reason", "after", "show", "state", "do", "event", "customer", "notice")
TYPED = ("q", "event", "customer", "notice")  # may come with blanks around; a user's id may hold some of its own
STATES = ("applied", "delivered")  # beside what waits and fails, which is always shown

log = logging.getLogger("corkage.admin")


class Desk:
    """What a request to the operator's page is about, and how it is answered."""

    def __init__(self, service: Service) -> None:
        from .rows import Describer

        self.service, self.environ, self.now = service, bottle.request.environ, time.time()
        self.visit = service.pages.visit(self.environ)
        self.words = self.visit.words
        self.describe = Describer(self.visit, service.config.livemode, self.now)
        self.session = session_of(service.config, self.environ, self.now)
        asked = parse_qs(self.environ.get("QUERY_STRING", "")[:LONGEST_QUERY])
        self.asked = {name: asked[name][0] for name in KEPT if name in asked}
        self.asked |= {name: self.asked[name].strip() for name in TYPED if name in self.asked}

    def page(self, view: str, title: str, status: int = 200, **values: Any) -> bottle.HTTPResponse:
        """Answer with one of the views, with what all of them use."""
        secret = form_token(self.service.config, self.session) if self.session else ""
        all_of_them = {"form_token": secret, "asked": self.asked, "part": ""}
        return self.service.pages.private_page(f"admin-{view}", self.visit, all_of_them | values, title, status)

    def sign_in(self, note: str = "") -> bottle.HTTPResponse:
        """Answer with the form to sign in, which leads to what was asked for."""
        return self.page("sign-in", self.words.gettext("Operator"), 401, note=note)

    def lead_to(self, address: str, session: str) -> bottle.HTTPResponse:
        """Lead there with the session in a cookie or, when it is empty, without one."""
        cookie = cookie_header(self.service.config, self.environ, session)
        return bottle.HTTPResponse("", 303, {"Location": address, "Cache-Control": "no-store", "Set-Cookie": cookie})


def show_admin(service: Service) -> bottle.HTTPResponse:
    """Show users, one user's story, events or health, or ask before something is done; to the operator alone.

    Errors  DatabaseUnavailable, NotFound
    """
    desk = Desk(service)
    if desk.session is None:
        had_one = shows_session(service.config, desk.environ)
        return desk.sign_in(desk.words.gettext("Your sign-in has ended.") if had_one else "")
    for name, show in (("do", _ask), ("user", _show_user)):
        if name in desk.asked:
            return show(desk)
    return SHOWN.get(desk.asked.get("show", ""), _show_users)(desk)


def act_as_admin(service: Service) -> bottle.HTTPResponse:
    """Sign the operator in or out, examine, or do what was asked for and said yes to.

    Errors  CrossSite, InvalidBody, BodyTooLarge, TooManyGuesses, NotFound, DatabaseUnavailable
    """
    desk = Desk(service)
    refuse_all_but_own_page(desk.environ, service.config)
    form = read_form()
    if form.get("do") == "sign_in":
        return _sign_in(desk, form.get("token", ""))
    if desk.session is None:
        return desk.sign_in(desk.words.gettext("Your sign-in has ended. Nothing was done."))
    check_form(service.config, desk.session, form.get("form_token", ""))
    return POSTED.get(form.get("do", ""), _act)(desk, form)


def _sign_in(desk: Desk, token: str) -> bottle.HTTPResponse:
    config, address = desk.service.config, str(desk.environ.get("REMOTE_ADDR", ""))
    desk.service.sign_in_limit.note(address, time.monotonic())
    if not is_token(config, token):
        log.warning("somebody at %s showed another token than the operator's", address or "no address")
        return desk.sign_in(desk.words.gettext("That is not the token."))
    log.info("the operator signed in from %s", address or "no address")
    desk.service.sign_in_limit.forget(address)
    return desk.lead_to(desk.visit.link("admin", **desk.asked), new_session(config, desk.now))


def _sign_out(desk: Desk, _form: dict[str, str]) -> bottle.HTTPResponse:
    return desk.lead_to(desk.visit.link("admin"), "")


def _show_users(desk: Desk) -> bottle.HTTPResponse:
    wanted, reason = desk.asked.get("q", ""), desk.asked.get("reason", "")
    found = queries.find_users(wanted, reason if reason in REASONS else "", desk.asked.get("after", ""))
    counts = queries.count_by_reason()
    kept = {name: value for name, value in (("q", wanted), ("reason", reason)) if value}
    return desk.page(
        "users",
        desk.words.gettext("Users"),
        part="",
        lines=[desk.describe.user(access, email) for access, email in found.users],
        counts=counts,
        total=sum(counts.values()),
        next_url=desk.visit.link("admin", **kept, after=found.after) if found.after else "",
        first_url=desk.visit.link("admin", **kept) if "after" in desk.asked else "",
        unowned=_unowned(wanted),
    )


def _unowned(wanted: str) -> str:
    """Tell the customer that was looked for, when it belongs to nobody."""
    found = Customer.get_or_none(Customer.id == wanted, Customer.user.is_null())
    return found.id if found else ""


def _show_user(desk: Desk) -> bottle.HTTPResponse:
    from ..pages.state import state_of

    user_id = desk.asked["user"]
    access, user = desk.service.access(user_id), User.get_or_none(User.id == user_id)
    held = queries.customers_of(user_id)
    ended = [row.ended_at for _, rows in held for row in rows if user and row.id == user.subscription_id]
    tone, sentence = state_of(access, ended[0] if ended else None, desk.words)
    return desk.page(
        "user",
        user_id,
        200 if user else 404,
        access=access,
        is_known=user is not None,
        tone=tone,
        sentence=sentence,
        meaning=desk.describe.meaning(access),
        facts=desk.describe.facts(access, user),
        customers=_customers(desk, held, user),
        events=[desk.describe.event(row) for row in queries.events_of([each.id for each, _ in held], LIMIT)],
        notices=[_notice_line(desk, row) for row in queries.notices_of(user_id, LIMIT)],
    )


def _customers(desk: Desk, held: list[Any], user: Any) -> list[Any]:
    """Describe customers, each with its subscriptions."""
    prices = {price.id: price for price in Price.select()}
    return [
        (
            desk.describe.customer(customer, user is not None and user.stripe_customer_id == customer.id),
            [desk.describe.subscription(row, prices.get(row.stripe_price_id or "")) for row in rows],
        )
        for customer, rows in held
    ]


def _notice_line(desk: Desk, row: Any) -> Any:
    delivery = getattr(row, "delivery", None)
    return desk.describe.notice(row, delivery if delivery is not None and delivery.receiver else None)


def _show_events(desk: Desk) -> bottle.HTTPResponse:
    more = desk.asked.get("state", "")
    states = ("failing", "pending", *([more] if more in STATES else []))
    events = [row for state in states if state in inbox.STATES for row in inbox.in_state(state, LIMIT)]
    notices = [row for state in states if state in outbox.STATES for row in outbox.in_state(state, LIMIT)]
    owners: dict[str | None, str | None] = {
        row.id: row.user_id for row in Customer.select().where(Customer.id.in_({e.customer_id for e in events}))
    }
    return desk.page(
        "events",
        desk.words.gettext("Events and notices"),
        part="events",
        limit=LIMIT,
        events=[desk.describe.event(row, owners.get(row.customer_id)) for row in events],
        notices=[desk.describe.notice(row.notice, row, row.notice.user_id) for row in notices],
    )


def _show_health(desk: Desk) -> bottle.HTTPResponse:
    return _health(desk, None)


def _examine(desk: Desk, _form: dict[str, str]) -> bottle.HTTPResponse:
    """Have the doctor look, who asks Stripe; what it finds is told in the words of the command."""
    from ..health import doctor

    try:
        with desk.service.stripe_slot():
            return _health(desk, doctor.examine(desk.service.worker, desk.now))
    except BillingError as error:
        return _health(desk, [doctor.Finding(f"{error.code}: {error}", "corkage doctor")])


def _health(desk: Desk, findings: list[Any] | None) -> bottle.HTTPResponse:
    facts = health_of(desk.service, desk.now)
    return desk.page(
        "health",
        desk.words.gettext("Health"),
        part="health",
        is_well=facts["status"] == "ok" and not facts["failing"] and not facts["notices"]["failing"],
        problems=facts["problems"],
        facts=desk.describe.health(facts),
        findings=findings,
    )


def _ask(desk: Desk) -> bottle.HTTPResponse:
    """Ask before something is done; first for what it is to be done to, where that was not said."""
    from .rows import ACTS, FIELDS

    what = desk.asked["do"]
    if what not in REPAIRS:
        raise NotFound(f"the operator's page does no {what!r}")
    act, _ = ACTS[what], desk.words.gettext
    customer = Customer.get_or_none(Customer.id == desk.asked.get("customer", ""))
    return desk.page(
        "ask",
        _(act.title),
        what=what,
        meaning=_(act.meaning),
        button=_(act.button),
        fields=[(name, _(FIELDS[name]), desk.asked.get(name, "")) for name in act.fields],
        is_whole=all(desk.asked.get(name) for name in act.fields),
        owner=customer.user_id or "" if customer else "",
    )


def _act(desk: Desk, form: dict[str, str]) -> bottle.HTTPResponse:
    from .rows import ACTS

    what = form.get("do", "")
    if what not in REPAIRS or not all(form.get(name) for name in ACTS[what].fields):
        raise NotFound(f"the operator's page does no {what!r} to nothing")
    outcome = repair(desk.service, what, {name: form[name] for name in ACTS[what].fields}, desk.words)
    title = desk.words.gettext("Done") if outcome.is_done else desk.words.gettext("That did not work")
    return desk.page("done", title, outcome=outcome, user=form.get("user", ""))


SHOWN: dict[str, Callable[[Desk], bottle.HTTPResponse]] = {"events": _show_events, "health": _show_health}
POSTED: dict[str, Callable[[Desk, dict[str, str]], bottle.HTTPResponse]] = {"sign_out": _sign_out, "examine": _examine}
