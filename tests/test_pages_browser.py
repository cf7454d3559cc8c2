"""The pages in a real browser: each state, width and colour scheme; without scripts, by keyboard."""

import time
from urllib.parse import quote

import pytest
from harness import ADMIN_TOKEN, DAY
from looking import INSTALL_AXE, Looker, read_axe
from pages_host import LONG_NAMED, PRO, SCRIPT, TEAM, bring_into_every_state, hosted
from programs import launched, missing
from rows import fail

from corkage import storage
from corkage.admin.actions import ACTIONS
from corkage.gateway import events
from corkage.models import Customer, Move, NoticeRow, Purchase, Refund, RevenueRow, User
from corkage.notices import outbox
from corkage.replica.revenue import month_of
from corkage.sync import inbox

pytestmark = pytest.mark.slow

WIDTHS, SCHEMES = (360, 768, 1280), ("light", "dark")
STATES = (
    "nobody",
    "none",
    "trial",
    "active",
    "canceling",
    "grace",
    "past_due",
    "unpaid",
    "pending",
    "incomplete",
    "ended",
)
LANGUAGES = ("de", "fr", "es", "ja")
LARGEST_PAGE = 30_000


@pytest.fixture(autouse=True)
def _one_failure_does_not_spread():
    """Unlike elsewhere, all tests here look at one file."""


@pytest.fixture(scope="module")
def axe():
    return read_axe()


@pytest.fixture(scope="module")
def browser():
    with launched() as started:
        yield started


ARABIC = {
    "Plans": "الباقات",
    "Account": "الحساب",
    "Your plan": "باقتك",
    "Choose your plan": "اختر باقتك",
    "Monthly": "شهريًا",
    "Yearly": "سنويًا",
    "per month": "شهريًا",
    "Subscribe": "اشترك",
    "Start free trial": "ابدأ الفترة التجريبية",
    "Change plan": "تغيير الباقة",
    "Cancel plan": "إلغاء الباقة",
    "Update payment method": "تحديث وسيلة الدفع",
    "Invoices": "الفواتير",
    "Paid": "مدفوعة",
    "Open": "مستحقة",
    "Pay": "ادفع",
    "View": "عرض",
    "Pay the invoice of %(date)s": "ادفع فاتورة %(date)s",
    "View the invoice of %(date)s": "عرض فاتورة %(date)s",
    "Price": "السعر",
    "Access until": "الوصول حتى",
    "Signed in as %(who)s": "تم تسجيل الدخول باسم %(who)s",
    "Your last payment failed. Access ends on %(date)s unless you update your payment method.": (
        "تعذّر الدفع الأخير. ينتهي وصولك في %(date)s ما لم تحدّث وسيلة الدفع."
    ),
    "Your last payment failed. Update your payment method to get access again.": (
        "تعذّر الدفع الأخير. حدّث وسيلة الدفع لاستعادة الوصول."
    ),
    "Your plan renews on %(date)s.": "تتجدد باقتك في %(date)s.",
    "Export to every format": "التصدير إلى كل الصيغ",
}


def write_arabic(folder):
    """Write the tiny ar.po of a host's own folder. What it lacks is shown in English."""
    head = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n'
    messages = [f'msgid "{original}"\nmsgstr "{translated}"\n' for original, translated in ARABIC.items()]
    (folder / "ar.po").write_text("\n".join([head, *messages]), "utf-8")


@pytest.fixture(scope="module")
def host(tmp_path_factory, browser):
    views = tmp_path_factory.mktemp("views")
    write_arabic(views)
    plans, folder = (PRO, TEAM, LONG_NAMED), tmp_path_factory.mktemp("pages")
    with hosted(folder, plans, admin_token=ADMIN_TOKEN, views=str(views)) as served:
        bring_into_every_state(served)
        served.billing.use("grace", "exports", 37)
        give_the_operator_something_to_read(served)
        yield served


def give_the_operator_something_to_read(host):
    """Have events that wait, fail and are applied, one with a long reason, and notices that are owed."""
    now = time.time()
    customers = [Customer.get(Customer.user == user).id for user in ("long", "grace", SCRIPT)]
    for customer in customers:
        event = events.EventRef(f"evt_of_{customer}", "customer.updated", 1, False, None, customer, customer)
        inbox.record(event, "webhook", now - 600, now + 9e6)
    fail(f"evt_of_{customers[0]}", "stripe_unavailable: " + "no_answer_came_in_time" * 20, now)
    with storage.writing():
        inbox.mark_applied([f"evt_of_{customers[1]}"], "converged", now)
    outbox.register("url", now)
    with storage.writing():
        outbox.owe([(row.id, row.user_id) for row in NoticeRow.select().limit(3)], now)
    grant_and_look_back(host, now)


def grant_and_look_back(host, now):
    """Have grants that run, of users with and without a customer, and a year of figures."""
    for user in ("long", "nobody-else"):
        host.billing.grant(user, "team", reason="a friend of the house, for the talk in Lisbon", given_by="support")
    customer = "cus_of_a_year"
    with storage.writing():
        User.insert(id="who-buys-packs", created_at=1).execute()
        Customer.insert(id=customer, user="who-buys-packs").execute()
        for number in range(12):
            at, growth = int(now) - 30 * DAY * number, 12 - number
            money = {"agreed": 12_345_678 * growth, "charged": 11_111_111 * growth}
            RevenueRow.insert(
                month=month_of(at), currency="usd", subscriptions=growth, **money
            ).on_conflict_ignore().execute()
            facts = {"created": at, "amount": 99_999 * growth, "currency": "usd", "ours": True}
            Purchase.insert(id=f"cs_{number}", price_id="price_pack", customer=customer, quantity=1, **facts).execute()
            move = {"at": at, "currency": "usd", "before": 900, "after": 2900 if number % 3 else 500}
            Move.insert(subscription_id="sub_moved", **move).execute()
        facts = {"created": int(now), "amount": 99_999, "currency": "usd", "kind": "refund", "status": "succeeded"}
        Refund.insert(id="re_1", customer=customer, payment_intent="pi_1", **facts).execute()


@pytest.fixture(scope="module")
def looker(browser, host, axe):
    context = browser.new_context()
    context.set_default_timeout(30_000)
    yield Looker(context.new_page(), host.url, axe)
    context.close()


@pytest.fixture
def axe_is_there(axe):
    if axe is None:
        missing(INSTALL_AXE)


def looks(looker, shot):
    for width in WIDTHS:
        for scheme in SCHEMES:
            looker.look(width, scheme, shot)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.usefixtures("axe_is_there")
def test_plans_and_account_are_accessible_in_every_state(looker, state):
    looker.sign_in(state)
    for view in ("pricing", "account"):
        answer = looker.open(view)
        assert answer.status == (401 if (state, view) == ("nobody", "account") else 200)
        looks(looker, f"{view}-{state}")
        assert [url.split("?")[0].rpartition("/")[2] for url in looker.requests] == [view, "style.css"]
        assert len(answer.body()) < LARGEST_PAGE
        assert [each for each in looker.complaints if "401" not in each] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_is_cut_off_in_any_language(looker, language):
    for state in ("nobody", "trial", "canceling", "grace", "pending"):
        looker.sign_in(state)
        for path in ("pricing?interval=year&", "account?", "return?again=1&"):
            looker.open(f"{path}lang={language}", with_axe=False)
            looker.look(360, "light", f"{language}-{path.split('?')[0]}-{state}")


STANDS_RIGHT = """
[".actions form", ".invoices .date"].map(each => {
  const [box, page] = [each, "main"].map(name => document.querySelector(name).getBoundingClientRect());
  return box.left - page.left > page.right - box.right;
})
"""


@pytest.mark.parametrize("state", ["nobody", "active", "grace", "past_due", "long"])
@pytest.mark.usefixtures("axe_is_there")
def test_pages_are_mirrored_in_a_language_from_right_to_left(looker, state):
    looker.sign_in(state)
    for path in ("pricing", "account", *(["../paid"] if state == "past_due" else [])):
        looker.open(f"{path}?lang=ar")
        for width in (390, 1280):
            looker.look(width, "light", f"ar-{path.removeprefix('../')}-{state}")
        if (path, state) == ("account", "grace"):
            assert looker.evaluate(STANDS_RIGHT) == [True, True]


OTHERS = {
    "cancel": ("nobody", "cancel", 200),
    "not-found": ("active", "nothing/at/all", 404),
    "waiting": ("pending", "return?again=1", 200),
    "confirmed-soon": ("none", "return?again=1", 200),
    "refused": ("none", "../paid", 402),
    "refused-past-due": ("past_due", "../paid", 402),
    "refused-incomplete": ("incomplete", "../paid", 402),
    "refused-ended": ("ended", "../paid", 402),
    "yearly": ("none", "pricing?interval=year", 200),
    "script": (SCRIPT, "account", 200),
    "long": ("long", "account", 200),
    "long-plans": ("long", "pricing", 200),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.usefixtures("axe_is_there")
def test_the_other_pages_are_accessible(looker, name):
    user, path, status = OTHERS[name]
    looker.sign_in(user)

    answer = looker.open(path)

    assert answer.status == status
    looks(looker, name)
    assert len(answer.body()) < LARGEST_PAGE
    assert len(looker.requests) == 2


STOP = """
(({activeElement: it}) => {
  if (it === document.body || it.dataset.seen) return null;
  it.dataset.seen = "yes";
  const style = getComputedStyle(it);
  return [it.innerText.trim(), style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2];
})(document)
"""


def stops(looker):
    """What the Tab key reaches, in its order: its text, and whether one can see that it is there."""
    found = []
    while True:
        looker.page.keyboard.press("Tab")
        stop = looker.page.evaluate(STOP)
        if stop is None:
            return found
        found.append(tuple(stop))


REACHED = {
    ("none", "pricing"): ["Monthly", "Yearly", "Start free trial", "Subscribe", "Subscribe"],
    ("active", "pricing"): ["Monthly", "Yearly", "Change to Pro", "Manage plan", f"Change to {LONG_NAMED.name}"],
    ("nobody", "account"): ["Sign in", "Back to Notes"],
    ("active", "account"): ["Change plan", "Update payment method", "Cancel plan", "View", "PDF"],
    ("grace", "account"): [
        "Update payment method",
        "Change plan",
        "Cancel plan",
        *("Pay", "PDF"),
        *("View", "PDF"),
    ],
    ("ended", "account"): ["See plans", "Manage billing", "View", "PDF"],
}


@pytest.mark.parametrize(("state", "view"), REACHED)
def test_the_keyboard_reaches_every_action_with_visible_focus(looker, state, view):
    looker.sign_in(state)
    looker.open(view, with_axe=False)

    found = stops(looker)

    assert [text for text, _ in found] == ["Notes", "Plans", "Account", *REACHED[state, view]]
    assert all(seen for _, seen in found)


OPERATORS = {
    "users": "",
    "users-none": "?q=nobody-has-this",
    "user": "?user=grace",
    "user-long": "?user=long",
    "user-script": f"?user={quote(SCRIPT)}",
    "user-unknown": f"?user={'x' * 200}",
    "events": "?show=events&state=applied",
    "grants": "?show=grants",
    "figures": "?show=figures",
    "health": "?show=health",
    "ask": "?do=sync&user=grace",
    "link": "?do=link&user=grace",
}


@pytest.mark.usefixtures("axe_is_there")
def test_the_admin_pages_are_accessible(looker):
    looker.page.context.clear_cookies()
    assert looker.open("admin").status == 401
    looks(looker, "admin-sign-in")
    looker.sign_in_as_operator()
    for name, query in OPERATORS.items():
        answer = looker.open(f"admin{query}")
        assert answer.status == (404 if name == "user-unknown" else 200)
        for width, scheme in ((360, "light"), (768, "dark"), (1280, "light")):
            looker.look(width, scheme, f"admin-{name}")
        assert [url.split("?")[0].rpartition("/")[2] for url in looker.requests] == ["admin", "style.css"]
        assert len(answer.body()) < LARGEST_PAGE
        assert [each for each in looker.complaints if "404" not in each] == []


BROKEN = r"""
(() => {
  const broken = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode())
    for (const word of texts.currentNode.data.matchAll(/\S+/g)) {
      const range = document.createRange();
      range.setStart(texts.currentNode, word.index);
      range.setEnd(texts.currentNode, word.index + word[0].length);
      const lines = new Set(Array.from(range.getClientRects(), each => Math.round(each.top)));
      if (lines.size > 1 && word[0].length < 24) broken.push(word[0]);
    }
  return broken;
})()
"""  # longer than that are ids, such as a checkout session's
COVERED = """
Array.from(document.querySelectorAll("main a, main button, .corkage a, .corkage button")).filter(each => {
  each.scrollIntoView({block: "center", behavior: "instant"});
  const [box] = each.getClientRects();
  return box && !each.contains(document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2));
}).map(each => each.textContent)
"""


@pytest.mark.parametrize("language", ["en", "de"])
def test_on_a_phone_no_word_of_the_operators_pages_is_broken_and_no_button_is_below_another(looker, language):
    looker.sign_in_as_operator()
    asks = {f"ask-{name}": f"?do={name}&user=grace" for name in ACTIONS}
    for name, query in (OPERATORS | asks).items():
        looker.open(f"admin{query or '?'}&lang={language}", with_axe=False)
        looker.look(390, "light", f"{language}-phone-{name}")
        assert (name, looker.evaluate(BROKEN), looker.evaluate(COVERED)) == (name, [], [])


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_of_the_admin_pages_is_cut_off_in_any_language(looker, language):
    looker.sign_in_as_operator()
    for name in ("users", "user", "grants", "figures", "events", "health", "link"):
        looker.open(f"admin{OPERATORS[name] or '?'}&lang={language}", with_axe=False)
        looker.look(360, "light", f"{language}-admin-{name}")


def test_the_keyboard_reaches_every_action_of_the_operator(looker):
    looker.sign_in_as_operator("?user=grace")

    found = stops(looker)

    reached = [text for text, _ in found]
    top = ["Notes", "Users", "Grants", "Figures", "Events", "Health", "Sign out"]
    assert reached[:10] == [*top, "Fetch from Stripe", "Grant a plan", "Link a customer"]
    assert [text[:4] for text in reached[10:12]] == ["cus_", "sub_"]
    assert reached[12:] == ["Cancel now", "customer.updated", "Replay", "Send again", "Send again"]
    assert all(seen for _, seen in found)


@pytest.fixture
def without_scripts(browser, host):
    """A browser with scripts off."""
    context = browser.new_context(java_script_enabled=False)
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.complaints = []
    page.on("console", lambda message: page.complaints.append(message.text))
    yield page
    assert [each for each in page.complaints if "Content Security Policy" in each] == []
    context.close()


def goes_on_as(page, host, user):
    page.context.add_cookies([{"name": "user", "value": user, "url": host.url}])


def press(page, name):
    """Press a button or follow a link, by keyboard."""
    page.get_by_role("button", name=name).or_(page.get_by_role("link", name=name)).first.press("Enter")


def pay_by_card(page):
    page.get_by_label("Card number").fill("4242424242424242")
    page.get_by_label("Expiry (MM/YY)").fill("12/40")
    page.get_by_label("CVC").fill("123")
    page.get_by_label("CVC").press("Enter")


def test_a_purchase_works_by_keyboard_without_scripts_under_the_csp(without_scripts, host):
    page = without_scripts
    page.goto(f"{host.url}/billing/pricing")
    press(page, "Start free trial")
    assert page.url == f"{host.url}/"
    goes_on_as(page, host, "walker")

    page.goto(f"{host.url}/billing/pricing")
    press(page, "Yearly")
    page.get_by_text("$90").wait_for()
    press(page, "Start free trial")
    page.get_by_text("Simulation, not Stripe.").wait_for()
    press(page, "Back")
    page.get_by_text("Nothing was bought, and you have not been charged.").wait_for()
    press(page, "Yearly")
    press(page, "Start free trial")
    pay_by_card(page)
    page.wait_for_url(f"{host.url}/")

    page.goto(f"{host.url}/billing/account")
    page.get_by_text("Your free trial ends on").wait_for()
    press(page, "Cancel plan")
    press(page, "Cancel at period end")
    page.get_by_text("Your plan is canceled and ends on").wait_for()
    assert page.url == f"{host.url}/billing/account?from=portal"
    press(page, "Keep my plan")
    press(page, "Don't cancel")
    press(page, "Return to the product")
    page.get_by_text("Your free trial ends on").wait_for()
    press(page, "Plans")
    press(page, "Change to Team")
    press(page, "Confirm")
    page.get_by_role("heading", name="Team").wait_for()
    press(page, "Change plan")
    page.get_by_text("Simulation, not Stripe.").wait_for()


def test_a_pending_payment_is_awaited_without_scripts(without_scripts, host):
    page, client = without_scripts, host.shop.client
    now = host.simulator.world.now
    clock = client.v1.test_helpers.test_clocks.create(params={"frozen_time": now})  # the others' time stands still
    customer = host.shop.customer("waiter", test_clock=clock.id)
    host.billing.service.worker.converger.converge(customer, time.time())
    goes_on_as(page, host, "waiter")
    page.goto(f"{host.url}/billing/pricing")
    page.get_by_role("button", name="Subscribe").first.press("Enter")
    session = host.simulator.buy(page.url, "pm_usBankAccount_success")
    page.goto(f"{host.url}/billing/return?session_id={session['id']}")
    page.get_by_text("Your payment is on its way.").wait_for()
    page.wait_for_url("**/return?again=1")

    client.v1.test_helpers.test_clocks.advance(clock.id, params={"frozen_time": now + 5 * DAY})
    host.billing.service.worker.converger.converge(customer, time.time())

    page.wait_for_url(f"{host.url}/")
    page.get_by_text("The product").wait_for()


def test_the_csp_allows_forms_to_reach_a_custom_checkout_domain(without_scripts, host):
    page = without_scripts
    goes_on_as(page, host, "domainer")
    page.goto(f"{host.url}/billing/pricing")
    own, host.simulator.world.base_url = (
        host.simulator.world.base_url,
        host.simulator.url.replace("127.0.0.1", "localhost"),
    )
    try:
        press(page, "Start free trial")
        page.get_by_text("Simulation, not Stripe.").wait_for()
    finally:
        host.simulator.world.base_url = own

    assert page.url.startswith("http://localhost:")


def test_an_operator_repairs_a_user_by_keyboard_without_scripts(without_scripts, host):
    page, client = without_scripts, host.shop.client
    customer = host.shop.customer("mended", email="mended@example.com")
    subscription = host.shop.subscribe(customer, host.prices["team_monthly"], "mended")
    host.billing.service.worker.converger.converge(customer, time.time())
    client.v1.subscriptions.cancel(subscription)
    page.goto(f"{host.url}/billing/admin?show=health")
    page.get_by_label("Operator token").fill(ADMIN_TOKEN)
    page.get_by_label("Operator token").press("Enter")
    page.get_by_role("heading", name="Health").wait_for()

    press(page, "Examine now")
    page.get_by_text("user mended: the replica says active, Stripe says ended").wait_for()
    press(page, "Users")
    page.get_by_role("searchbox").fill("MENDED@")
    page.get_by_role("searchbox").press("Enter")
    page.get_by_role("link", name="mended", exact=True).press("Enter")
    press(page, "Fetch from Stripe")
    page.get_by_role("button", name="Fetch from Stripe").press("Enter")
    page.get_by_text("Access was active (team), and now is ended (team).").wait_for()
    press(page, "Back to the user")
    page.get_by_text("Not let in").wait_for()
    press(page, "Sign out")

    page.get_by_label("Operator token").wait_for()
    assert page.context.cookies() == []
