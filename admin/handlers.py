"""GET and POST /admin: the operator's page. It shows the data, and runs the actions that the operator confirms."""

import logging
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import bottle

from ..access import REASONS
from ..addresses import client_of
from ..errors import BillingError, NotFound
from ..handlers.health import health_of
from ..handlers.origins import refuse_all_but_own_page
from ..handlers.responses import read_form
from ..logs.facts import logger
from ..models import Customer, Price, SubscriptionItem, User
from ..notices import outbox
from ..replica import granted
from ..service import Service
from ..sync import inbox
from ..texts import is_user_id
from . import queries
from .actions import ACTIONS, FIELDS, perform
from .figures import figures
from .session import (
    check_form,
    cookie_header,
    end_session,
    form_token,
    is_ended,
    is_token,
    new_session,
    session_of,
    shows_session,
)

LIMIT = 50
AN_ID = re.compile("[0-9]{1,15}")
LONGEST_QUERY = 4000
TYPED = (
    "q",
    "event",
    "customer",
    "notice",
    "plan",
    "quantity",
    "days",
    "why",
    "subscription",
)  # typed by hand, so blanks around them are cut off
QUERY_NAMES = ("user", "reason", "after", "show", "state", "do", *TYPED)  # a user's id may begin or end with a blank
STATES = ("applied", "delivered")  # shown on request; what waits or fails is always shown

log = logger("corkage.admin")


class AdminRequest:
    """A request to the operator's page: its query and session, and the responses that every route shares."""

    def __init__(self, service: Service) -> None:
        from .rows import Describer  # loads Babel

        self.service, self.environ, self.now = service, bottle.request.environ, time.time()
        self.visit = service.pages.visit(self.environ)
        self.words = self.visit.words
        self.describe = Describer(self.visit, service.config.livemode, self.now)
        self.session = session_of(service.config, self.environ, self.now, is_ended)
        asked = parse_qs(self.environ.get("QUERY_STRING", "")[:LONGEST_QUERY])
        self.query = {name: asked[name][0] for name in QUERY_NAMES if name in asked}
        self.query |= {name: self.query[name].strip() for name in TYPED if name in self.query}

    def page(self, template: str, title: str, status: int = 200, **values: Any) -> bottle.HTTPResponse:
        """Return a page made of an admin template."""
        token = form_token(self.service.config, self.session) if self.session else ""
        shared = {"form_token": token, "asked": self.query, "part": ""}
        return self.service.pages.private_page(f"admin-{template}", self.visit, shared | values, title, status)

    def sign_in(self, note: str = "") -> bottle.HTTPResponse:
        """Return the sign-in form. Its query leads to the page that was asked for."""
        return self.page("sign-in", self.words.gettext("Operator"), 401, note=note)

    def redirect(self, address: str, session: str) -> bottle.HTTPResponse:
        """Return a redirect that sets the session's cookie, or deletes it when the session is empty."""
        cookie = cookie_header(self.service.config, self.environ, session)
        return bottle.HTTPResponse("", 303, {"Location": address, "Cache-Control": "no-store", "Set-Cookie": cookie})


def show_admin(service: Service) -> bottle.HTTPResponse:
    """Show users, one user, grants, figures, events or health, or ask before an action. Without a session: sign in.

    Errors  DatabaseUnavailable, NotFound
    """
    request = AdminRequest(service)
    if request.session is None:
        had_one = shows_session(service.config, request.environ)
        return request.sign_in(request.words.gettext("Your sign-in has ended.") if had_one else "")
    for name, show in (("do", _ask), ("user", _show_user)):
        if name in request.query:
            return show(request)
    return SHOWN.get(request.query.get("show", ""), _show_users)(request)


def act_as_admin(service: Service) -> bottle.HTTPResponse:
    """Sign the operator in or out, run the doctor, or perform a confirmed action.

    Errors  CrossSite, InvalidBody, BodyTooLarge, TooManyGuesses, NotFound, DatabaseUnavailable
    """
    request = AdminRequest(service)
    refuse_all_but_own_page(request.environ, service.config)
    form = read_form()
    if form.get("do") == "sign_in":
        return _sign_in(request, form.get("token", ""))
    if request.session is None:
        return request.sign_in(request.words.gettext("Your sign-in has ended. Nothing was done."))
    check_form(service.config, request.session, form.get("form_token", ""))
    return POSTED.get(form.get("do", ""), _act)(request, form)


def _sign_in(request: AdminRequest, token: str) -> bottle.HTTPResponse:
    config = request.service.config
    address = client_of(request.environ, config.trusted_proxies)
    if not is_token(config, token):
        request.service.sign_in_limit.note(address, time.monotonic())
        said = "%s sent another token than the operator's", address or "no address"
        request.service.repeats.log(log, logging.WARNING, "operator's token", "", *said, first=5)
        return request.sign_in(request.words.gettext("That is not the token."))
    log.info("the operator signed in from %s", address or "no address")
    request.service.sign_in_limit.forget(address)
    return request.redirect(request.visit.link("admin", **request.query), new_session(config, request.now))


def _sign_out(request: AdminRequest, _form: dict[str, str]) -> bottle.HTTPResponse:
    if request.session is not None:
        end_session(request.session, request.now)
    return request.redirect(request.visit.link("admin"), "")


def _show_users(request: AdminRequest) -> bottle.HTTPResponse:
    wanted, reason = request.query.get("q", ""), request.query.get("reason", "")
    found = queries.find_users(wanted, reason if reason in REASONS else "", request.query.get("after", ""))
    counts = request.service.kept_counts.get(queries.count_by_reason)
    kept = {name: value for name, value in (("q", wanted), ("reason", reason)) if value}
    return request.page(
        "users",
        request.words.gettext("Users"),
        part="",
        lines=[request.describe.user(access, email) for access, email in found.users],
        counts=counts,
        total=sum(counts.values()),
        next_url=request.visit.link("admin", **kept, after=found.after) if found.after else "",
        first_url=request.visit.link("admin", **kept) if "after" in request.query else "",
        unowned=_unowned(wanted),
    )


def _unowned(wanted: str) -> str:
    """Return the id of the customer that was looked for, when it belongs to no user."""
    found = Customer.get_or_none(Customer.id == wanted, Customer.user.is_null())
    return found.id if found else ""


def _show_user(request: AdminRequest) -> bottle.HTTPResponse:
    from ..pages.account import ended_at  # loads Babel
    from ..pages.state import state_of  # as above

    user_id = request.query["user"]
    if not is_user_id(user_id):
        raise NotFound(f"{user_id!r} is no user id")
    access, user = request.service.access(user_id), User.get_or_none(User.id == user_id)
    held = queries.customers_of(user_id)
    tone, sentence = state_of(access, ended_at(user_id), request.words)
    return request.page(
        "user",
        user_id,
        200 if user else 404,
        access=access,
        is_known=user is not None,
        tone=tone,
        sentence=sentence,
        meaning=request.describe.meaning(access),
        facts=request.describe.facts(access, user),
        customers=_customers(request, held, user),
        purchases=[request.describe.purchase(*each) for each in queries.purchases_of(user_id)],
        grants=[request.describe.grant(row) for row in queries.grants_of(user_id)],
        events=[request.describe.event(row) for row in queries.events_of([each.id for each, _ in held], LIMIT)],
        notices=[_notice_line(request, row) for row in queries.notices_of(user_id, LIMIT)],
    )


def _customers(request: AdminRequest, held: list[Any], user: Any) -> list[Any]:
    """Return a line for each customer, with lines for its subscriptions."""
    prices = {price.id: price for price in Price.select()}
    return [
        (
            request.describe.customer(customer, user is not None and user.stripe_customer_id == customer.id),
            [request.describe.subscription(row, _priced(row, prices), customer.user_id or "") for row in rows],
        )
        for customer, rows in held
    ]


def _priced(row: Any, prices: dict[str, Price]) -> list[Any]:
    """Return the items of a subscription, each with its price, None for one that is unknown."""
    items = SubscriptionItem.select().where(SubscriptionItem.subscription == row.id).order_by(SubscriptionItem.price_id)
    return [(item, prices.get(item.price_id)) for item in items]


def _notice_line(request: AdminRequest, row: Any) -> Any:
    delivery = getattr(row, "delivery", None)
    return request.describe.notice(row, delivery if delivery is not None and delivery.receiver else None)


def _show_events(request: AdminRequest) -> bottle.HTTPResponse:
    more = request.query.get("state", "")
    states = ("failing", "pending", *([more] if more in STATES else []))
    events = [row for state in states if state in inbox.STATES for row in inbox.in_state(state, LIMIT)]
    notices = [row for state in states if state in outbox.STATES for row in outbox.in_state(state, LIMIT)]
    owners: dict[str | None, str | None] = {
        row.id: row.user_id for row in Customer.select().where(Customer.id.in_({e.customer_id for e in events}))
    }
    return request.page(
        "events",
        request.words.gettext("Events and notices"),
        part="events",
        limit=LIMIT,
        events=[request.describe.event(row, owners.get(row.customer_id)) for row in events],
        notices=[request.describe.notice(row.notice, row, row.notice.user_id) for row in notices],
    )


def _show_grants(request: AdminRequest) -> bottle.HTTPResponse:
    typed = request.query.get("after", "")
    after = int(typed) if AN_ID.fullmatch(typed) else 0
    found = granted.page(request.now, after, LIMIT + 1)
    is_more = len(found) > LIMIT
    return request.page(
        "grants",
        request.words.gettext("Grants"),
        part="grants",
        lines=[request.describe.in_use(each) for each in found[:LIMIT]],
        next_url=request.visit.link("admin", show="grants", after=str(found[LIMIT - 1].grant.id)) if is_more else "",
    )


def _show_figures(request: AdminRequest) -> bottle.HTTPResponse:
    from .business import Business  # loads Babel

    found = figures(request.now)
    return request.page(
        "figures",
        request.words.gettext("Figures"),
        part="figures",
        moment=request.words.moment(found.as_of),
        sections=Business(request.visit, found).sections(),
        unknown=found.unknown,
    )


def _show_health(request: AdminRequest) -> bottle.HTTPResponse:
    return _health(request, None)


def _examine(request: AdminRequest, _form: dict[str, str]) -> bottle.HTTPResponse:
    """Run the doctor, which calls Stripe. Its findings are in English, as `corkage doctor` prints them."""
    from ..health import doctor  # loads Stripe's SDK
    from ..health.checks.check import UNSEEN  # as above

    try:
        with request.service.line.place():
            return _health(request, _found(request))
    except BillingError as error:
        return _health(request, [doctor.Line("", UNSEEN, f"{error.code}: {error}", "corkage doctor")])


def _found(request: AdminRequest) -> list[Any]:
    """Return what is not as it should be."""
    from ..health import doctor  # loads Stripe's SDK
    from ..health.checks.check import OK  # as above

    service = request.service
    lines = doctor.examine(service.worker, service.config, service.watched, request.now)
    return [each for each in lines if each.mark != OK]


def _health(request: AdminRequest, findings: list[Any] | None) -> bottle.HTTPResponse:
    facts = health_of(request.service, request.now)
    return request.page(
        "health",
        request.words.gettext("Health"),
        part="health",
        is_well=facts["status"] == "ok" and not facts["warnings"],
        problems=facts["problems"] + facts["warnings"],
        facts=request.describe.health(facts),
        findings=findings,
    )


def _ask(request: AdminRequest) -> bottle.HTTPResponse:
    """Ask before an action, and first for its target where the query lacks it."""
    name, _ = request.query["do"], request.words.gettext
    if name not in ACTIONS:
        raise NotFound(f"the operator's page has no action {name!r}")
    action = ACTIONS[name]
    customer = Customer.get_or_none(Customer.id == request.query.get("customer", ""))
    is_whole = all(request.query.get(field) for field in action.fields)
    return request.page(
        "ask",
        _(action.title),
        what=name,
        meaning=_(action.meaning),
        button=_(action.button),
        fields=[
            (field, _(FIELDS[field]), request.query.get(field, ""), field in action.fields)
            for field in (*action.fields, *action.optional)
        ],
        is_whole=is_whole,
        foretold=action.foretell(request.service, request.query, request.words) if is_whole and action.foretell else "",
        owner=customer.user_id or "" if customer else "",
    )


def _act(request: AdminRequest, form: dict[str, str]) -> bottle.HTTPResponse:
    name = form.get("do", "")
    if name not in ACTIONS or not all(form.get(field) for field in ACTIONS[name].fields):
        raise NotFound(f"the operator's page has no action {name!r} with this target")
    target = {field: form.get(field, "") for field in (*ACTIONS[name].fields, *ACTIONS[name].optional)}
    outcome = perform(request.service, name, target, request.words.gettext)
    title = request.words.gettext("Done") if outcome.is_done else request.words.gettext("That did not work")
    return request.page("done", title, outcome=outcome, user=form.get("user", ""))


SHOWN: dict[str, Callable[[AdminRequest], bottle.HTTPResponse]] = {
    "grants": _show_grants,
    "figures": _show_figures,
    "events": _show_events,
    "health": _show_health,
}
POSTED: dict[str, Callable[[AdminRequest, dict[str, str]], bottle.HTTPResponse]] = {
    "sign_out": _sign_out,
    "examine": _examine,
}
