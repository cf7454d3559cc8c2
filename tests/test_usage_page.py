"""Usage where people read it: on the account page, as bars in words, and in `corkage user show`."""

import re
import time
from dataclasses import replace

import pytest
import requests
from harness import AUTH_SECRET, running
from spending import PLANS

from corkage import storage
from corkage.identity import mint_token
from corkage.models import Credit, Customer, Purchase, User
from corkage.plans import Plan, read_plans

MADE = Plan("free", "Free", free=True, limits={"pdf_exports": 1500}, every={"pdf_exports": "never"})


def opened(config, plans=PLANS, **settings):
    return running(replace(config, plans=plans, **settings))


@pytest.fixture
def app(config):
    with opened(config, payer_prefix="org_") as served:
        yield served


def account(app, user="ann", language="en", **claims):
    token = mint_token(AUTH_SECRET, user, now=time.time(), **claims)
    headers = {"Accept": "text/html", "Accept-Language": language, "Authorization": f"Bearer {token}"}
    return requests.get(f"{app.url}/account", headers=headers, timeout=30).text


def bars(page):
    """Each limit on the page: its sentence, and what fills the bar, where there is one."""
    _, _, section = page.partition('<section aria-labelledby="corkage-usage">')
    found = {}
    for part in section.partition("</section>")[0].split("<li>")[1:]:
        sentence = " ".join(re.sub(r"<[^>]+>", " ", part).replace("\u00a0", " ").split())
        bar = re.search(r'<meter min="0" max="(\d+)" value="(\d+)" aria-labelledby="([^"]+)">', part)
        assert not bar or f'id="{bar[3]}"' in part
        found[sentence] = (int(bar[2]), int(bar[1])) if bar else None
    return found


def test_the_account_page_says_what_is_used_in_words_and_as_a_bar(app):
    app.billing.use("ann", "exports", 2)
    app.billing.use("ann", "projects", 5)

    found = bars(account(app))

    sentences = list(found)
    assert re.fullmatch(r"2 of 3 exports used\. Begins anew on \w+ 1, \d{4}\.", sentences[0])
    assert re.fullmatch(r"0 of 2 mails used\. Begins anew on \w+ \d+, \d{4}\.", sentences[1])
    assert sentences[2:] == ["5 of 5 projects used."]
    assert list(found.values()) == [(2, 3), (0, 2), (5, 5)]


def test_what_the_user_neither_has_nor_has_used_is_left_out(config):
    with opened(config, PLANS[1:]) as app:
        assert "corkage-usage" not in account(app)


def test_unlimited_has_no_bar(app):
    app.billing.grant("ann", "large")
    app.billing.use("ann", "exports", 1234)

    (sentence,) = [each for each in bars(account(app)) if "exports" in each]

    assert sentence.startswith("1,234 exports used. Begins anew on ")
    assert bars(account(app))[sentence] is None


def test_packs_are_named_beside_the_limit(app):
    with storage.writing():
        User.create(id="ann", created_at=1)
        Customer.create(id="cus_1", user="ann")
        row = {"id": "cs_1", "customer": "cus_1", "price_id": "price_1", "created": 1, "amount": 500}
        Purchase.create(**row, currency="usd", ours=True)
        row = {"purchase_id": "cs_1", "price_id": "price_1", "name": "exports", "user": "ann"}
        Credit.create(**row, amount=10, left=10)

    (sentence,) = [each for each in bars(account(app)) if "exports" in each]

    assert sentence.endswith(". 10 more from packs.")


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "1,200 of 1,500 pdf exports used."),
        ("de", "1.200 von 1.500 pdf exports verbraucht."),
        ("fr", "1 200 sur 1 500 pdf exports utilisés."),
        ("es", "1.200 de 1.500 pdf exports usados."),
        ("ja", "pdf exports: 1,500 のうち 1,200 を使用しました。"),
    ],
)
def test_numbers_and_names_are_written_as_the_visitor_reads(config, language, sentence):
    with opened(config, (MADE,)) as app:
        app.billing.use("ann", "pdf_exports", 1200)

        assert list(bars(account(app, language=language))) == [sentence]


def test_a_member_sees_what_all_have_used(app):
    app.billing.use("org_7", "exports", 2)

    found = bars(account(app, "bob", payer="org_7"))

    assert [value for sentence, value in found.items() if "exports" in sentence] == [(2, 3)]


@pytest.mark.slow
def test_the_operator_reads_usage_in_the_terminal(config, corkage, tmp_path):
    (tmp_path / "plans.toml").write_text(
        "[free]\nfree = true\nlimits = { exports = { limit = 3, every = 'month' }, made = { limit = 9 }, "
        "notes = 5, calls = { meter = 'calls' } }\n[pack]\nprices = ['pack']\nadds = { coins = 5 }\n"
    )
    with opened(config, read_plans(tmp_path / "plans.toml")) as app:
        app.billing.use("ann", "exports", 2)

    said = corkage("user", "show", "ann").stdout

    assert re.search(r"\n  used of exports: 2 of 3, begins anew \d{4}-\d\d-01 00:00", said)
    assert "\n  used of made: 0 of 9\n" in said
    assert "\n  used of calls: 0 of unlimited, begins anew " in said
    assert "coins" not in said
    assert "used of notes" not in said
