"""Names that a stranger chooses, played through every output: pages, commands, the log, figures, notices.

What is shown of them has no element, address, line or control that the same story of a plain name does not have, and
each name is there as it was written.
"""

import json
import logging
import re
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import urlencode

import pytest
import requests
from buying import bearer, token
from harness import ADMIN_TOKEN, running, until
from in_terminal import run_in_terminal
from rows import fail, record_event

from corkage.admin.session import new_session
from corkage.commands.output import colored
from corkage.logs.clean import one_line
from corkage.logs.lines import TextLines
from corkage.models import TABLES, User
from corkage.terminal import fitted

pytestmark = pytest.mark.slow

METRICS_TOKEN = "a-token-for-the-metrics-of-at-least-32"
NOTIFY_SECRET = "whsec_c2VjcmV0LW9mLXRoZS1ub3RpY2VzLW9mLXRoZS10ZXN0"
PLAIN = "ann"
USERS = {  # printable, as every user's id is
    "SQL": "ann'; DROP TABLE corkage_user; --",
    "SQL in a pattern": "%' OR 1=1 /*_\\",
    "an element": "<script>alert(1)</script>",
    "an attribute": '" autofocus onfocus="alert(1)" x=\'',
    "the end of an element": "</title></style></textarea>--><svg/onload=alert(1)>",
    "a template": "{{7*191}} ${7*191} #{7*191} {!x} %end",
    "a line of a template": "% import os",
    "CSS": "}body{display:none}/*",
    "an address": "javascript:alert(1)//",
    "a query": "ann&do=forget&user=bob#?x=%0d%0aSet-Cookie:%20a=b",
    "a path": "../../../etc/passwd",
    "a formula": '=HYPERLINK("//evil.example")',
    "a format": "%s%n %(password)s {0.__class__}",
    "an option": "--yes",
    "another script": "\u0430nn\u00e9\U0001f377",
}
TEXT = "ends\x1b[2J\x1b]0;owned\x07\x9b31m\r\nforged: yes, active\x85\u2028\u202egnp.exe\u2066\x08<b onclick=alert(1)>"
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class Elements(HTMLParser):
    """The elements of pages with the names of their attributes, and the addresses that they lead to."""

    def __init__(self, pages):
        super().__init__()
        self.found, self.addresses = set(), set()
        for page in pages:
            self.feed(page.text)

    def handle_starttag(self, tag, attributes):
        self.found.add((tag, *(name for name, _ in attributes)))
        self.addresses |= {value or "" for name, value in attributes if name in ("href", "src", "action")}


@pytest.fixture
def app(config, shop, receiver):
    notified = {"notify_url": receiver.url, "notify_secrets": (NOTIFY_SECRET,)}
    with running(replace(config, admin_token=ADMIN_TOKEN, metrics_token=METRICS_TOKEN, **notified)) as served:
        play(served, shop, PLAIN, "a text")
        yield served


@pytest.fixture
def played(app, shop):
    """The users of these names, each with all that may be chosen besides."""
    for user in USERS.values():
        play(app, shop, user, TEXT)
    return app


def play(app, shop, user, text):
    """Let somebody of this name buy, be given something, and have an event that fails."""
    customer = shop.customer(user, name=text, description=text)
    shop.subscribe(customer, user=user, description=text)
    app.converge(customer)
    app.billing.grant(user, "pro", reason=one_line(text), given_by=one_line(text))
    User.update(email=f"{text}@example.com").where(User.id == user).execute()
    record_event(f"evt_{customer}", customer)
    fail(f"evt_{customer}", text, time.time())


def pages(app, user):
    """Return the pages that name a user: their own, and the operator's."""
    operator = {"Cookie": f"__Host-corkage-admin={new_session(app.billing.config, time.time())}"}
    visitor = bearer(token(user))
    queries = [
        *({"user": user}, {"q": user}, {"after": user}, {"reason": user}, {"show": user}, {"lang": user}),
        *({"show": "events"}, {"show": "grants"}, {"do": "link", "user": user}, {"do": "replay", "event": user}),
        *({"do": "forget", "user": user}, {"do": "revoke", "user": user, "plan": user}),
    ]
    asked = [("account", {}, visitor), ("pricing", {"lang": user, "to": user}, visitor)]
    for path, query, who in asked + [("admin", each, operator) for each in queries]:
        headers = who | {"Accept": "text/html", "Accept-Language": "en"}
        yield requests.get(f"{app.url}/{path}?{urlencode(query)}", headers=headers, timeout=30)


def test_no_page_has_another_element_or_address_for_any_name(app, shop):
    plain = Elements(pages(app, PLAIN))
    for user in USERS.values():
        play(app, shop, user, TEXT)

    for user in USERS.values():
        found = list(pages(app, user))
        shown = Elements(found)
        assert shown.found <= plain.found
        assert all(re.match(r"https?://|[\w./-]*([?#]|$)", each) for each in shown.addresses)
        assert all("36481" not in page.text and "Set-Cookie" not in page.headers for page in found)
        assert sum(page.status_code >= 500 for page in found) == 0


def test_each_name_is_stored_found_answered_and_told_as_it_is(played, receiver):
    app = played
    app.billing.work()
    until(lambda: len(told_of(receiver)) >= len(USERS))

    assert {row.id for row in User.select()} == {PLAIN, *USERS.values()}
    assert all(table.table_exists() for table in TABLES)
    for user in USERS.values():
        assert app.ask(user).json()["user_id"] == user
        assert app.billing.access(user).allowed
        assert app.billing.export(user)["held"]["corkage_user"][0]["id"] == user
    assert told_of(receiver) >= set(USERS.values())


def told_of(receiver):
    """The users of whom the product was notified."""
    return {each["data"]["user_id"] for each in receiver.events}


def test_no_command_prints_what_a_terminal_obeys(played, corkage, environ, tmp_path):
    shows = [["user", "show", "--", USERS.get(each, each)] for each in (PLAIN, "SQL", "an option", "another script")]
    lines = set()
    for each in [["user", "grants"], ["events"], ["notices"], ["doctor"], *shows]:
        said = corkage(*each)
        assert said.returncode in (0, 1), said.stderr
        assert not FORBIDDEN.search(said.stdout + said.stderr)
        assert not re.search("^forged", said.stdout, re.MULTILINE)
        lines |= {len(said.stdout.splitlines())} if each in shows else set()
    assert len(lines) == 1

    _, shown = run_in_terminal(["user", "show", "--", USERS["SQL"]], tmp_path, environ, 60)
    assert "ends\\x1b[2J" in shown
    assert not FORBIDDEN.search(shown)


def test_json_on_a_terminal_has_the_names_as_they_are_and_nothing_that_it_obeys(played, corkage):
    said = corkage("user", "grants", "--json").stdout
    exported = corkage("user", "export", "--", USERS["another script"]).stdout

    assert not FORBIDDEN.search(said + exported)
    assert {each["user_id"] for each in json.loads(said)} == {PLAIN, *USERS.values()}
    assert USERS["another script"] in exported
    assert json.loads(exported)["held"]["corkage_user"][0]["email"] == f"{TEXT}@example.com"


def test_no_name_begins_a_line_of_the_log_or_stands_in_a_figure(app, shop, caplog):
    with caplog.at_level(logging.DEBUG, "corkage"):
        for user in USERS.values():
            play(app, shop, user, TEXT)
            app.ask(user)
        app.work()
    lines = [TextLines().format(each) for each in caplog.records]
    figures = requests.get(f"{app.url}/metrics", headers=bearer(METRICS_TOKEN), timeout=30).text

    assert any(USERS["an element"] in each for each in lines)
    assert not [each for each in lines if FORBIDDEN.search(each) or "\nforged" in each]
    assert not [user for user in USERS.values() if len(user) > 5 and user in figures]


def test_whatever_a_command_prints_holds_no_control_but_line_ends_tabs_and_our_colours(capsys):
    with fitted():
        sys.stdout.write(f"{TEXT}\n")
        sys.stdout.write(f"{colored('ok', 'green')}\tCHF\xa09, 1\u202f000, \u0430nn\u00e9 \U0001f377\n")
        sys.stderr.write("\x1b[8mhidden\x1b[0K\udc80\n")

    out, err = capsys.readouterr()
    assert out.startswith("ends\\x1b[2J\\x1b]0;owned\\x07\\x9b31m\\r\nforged: yes, active\\x85\\u2028\\u202egnp")
    assert out.endswith("\x1b[32mok\x1b[0m\tCHF\xa09, 1\u202f000, \u0430nn\u00e9 \U0001f377\n")
    assert err == "\\x1b[8mhidden\\x1b[0K\\udc80\n"
