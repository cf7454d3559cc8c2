"""The control page and its JSON API: the clock, the subscriptions, the account's rules, the faults."""

import html
import re
from dataclasses import dataclass

import pytest
import requests
import stripe
from harness import DAY, sdk

from corkage.simulator import ApiFaults, Rules, Simulator, settings
from corkage.simulator.errors import ApiError

JSON = {"Accept": "application/json"}


@pytest.fixture
def still():
    """A simulator whose time stands still until it is advanced."""
    with Simulator(seed=1) as started:
        yield started


def page(simulator):
    return requests.get(simulator.control_url, timeout=30)


def submit(simulator, path, data, **headers):
    return requests.post(f"{simulator.control_url}/{path}", data, headers=headers, allow_redirects=False, timeout=30)


def send(simulator, path, body):
    return requests.post(f"{simulator.control_url}/{path}", json=body, timeout=30)


def test_the_page_says_it_is_a_simulation_and_needs_no_script(simulator):
    shown = page(simulator)

    assert shown.status_code == 200
    assert "Simulation, not Stripe." in shown.text
    assert "<script" not in shown.text
    assert 'href="/control/events"' in shown.text


def test_every_input_has_a_label(simulator):
    text = page(simulator).text

    inputs = re.findall(r'<(?:input|select)[^>]* id="([^"]+)"', text)
    assert len(inputs) >= 11
    assert sorted(inputs) == sorted(re.findall(r'<label for="([^"]+)"', text))


def test_the_page_shows_the_time_and_the_subscriptions(shop, simulator):
    shop.subscribe(shop.customer(email="ann@example.com"), cancel_at_period_end=True)
    shop.subscribe(shop.customer(email="<b>@example.com"), trial_period_days=14)

    text = page(simulator).text

    assert '<td data-label="Status">active, will end</td>' in text
    assert '<td data-label="Status">trialing</td>' in text
    assert "ann@example.com" in text
    assert "&lt;b&gt;@example.com" in text
    assert "<b>@" not in text


def test_a_subscription_shows_its_user_and_the_customers_name_and_id(shop, simulator):
    customer = shop.customer("ann", email="ann@example.com", name="Ann Smith")
    shop.subscribe(customer)
    bare = shop.client.v1.customers.create(params={"payment_method": "pm_card_visa"}).id
    shop.subscribe(bare, default_payment_method="pm_card_visa")

    cells = re.findall(r'<td data-label="Customer">(.*?)</td>', page(simulator).text, re.DOTALL)
    names = [re.findall(r'class="name">([^<]+)<', cell) for cell in cells]
    assert names == [[], ["ann", "Ann Smith", "ann@example.com"]]
    assert [re.search(r">(cus_\w+)<", cell)[1] for cell in cells] == [bare, customer]


def test_each_field_says_beside_it_what_it_does_and_forms_are_saved_or_reset(simulator):
    text = html.unescape(page(simulator).text)

    said = dict(re.findall(r'<p class="effect" id="([^"]+)">(.*?)</p>', text))
    for name, part in (("rules", simulator.rules), ("faults/api", simulator.api_faults)):
        for field in settings.fields_of(part):
            described = f"{name}-{field.name}-effect"
            assert said[described] == field.effect.replace("`", "") != ""
            assert f'aria-describedby="{described}"' in text
    buttons = r'type="submit">Save</button>\n<button type="submit" name="clear" value="true">Reset<'
    assert len(re.findall(buttons, text)) == 3
    assert ">Set<" not in text


def clicked(simulator, words):
    """Submit the form whose button has these words."""
    form = rf'name="subscription" value="([^"]+)">\s*<button[^>]* name="card" value="([^"]+)">{words}<'
    subscription, card = re.search(form, page(simulator).text).groups()
    return submit(simulator, "card", {"subscription": subscription, "card": card})


def test_one_click_makes_the_card_decline_from_the_next_renewal_and_another_mends_it(shop, simulator):
    subscription = shop.subscribe(shop.customer())
    other = shop.subscribe(shop.customer("bob"))
    shop.client.v1.subscriptions.cancel(other)

    def status():
        return shop.client.v1.subscriptions.retrieve(subscription).status

    answer = clicked(simulator, "Card declines from the next renewal")
    assert (answer.status_code, answer.headers["Location"], status()) == (303, "/control", "active")
    assert "Card declines from the next renewal" not in page(simulator).text  # of the one that has ended, neither
    submit(simulator, "clock", {"move": "renewal"})
    assert status() == "past_due"

    clicked(simulator, "Card works again")
    simulator.advance(4 * DAY)
    assert status() == "active"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"card": "pm_card_visa"}, "There is no running subscription."),
        ({"card": "pm_card_visa", "subscription": "sub_x"}, "No such subscription: 'sub_x'"),
        ({"subscription": "sub_x"}, "Send card=pm_card_..., and subscription=sub_..., or nothing for the newest."),
        ({"card": "pm_card_visa", "customer": "cus_x"}, "Send card=pm_card_"),
    ],
)
def test_a_card_for_no_subscription_is_refused(still, body, says):
    answer = send(still, "card", body)

    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]


BROKEN_WORDS = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), broken = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (node.parentElement.closest("code, select, style")) continue;
    for (const word of node.data.matchAll(/[^\\s-]+/g)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1) broken.push(word[0]);
    }
  }
  return broken;
}"""


@pytest.mark.slow
def test_on_a_telephone_no_word_is_broken_and_nothing_stands_out(shop, simulator, browser):
    shop.subscribe(shop.customer(email="ann@example.com", name="Ann Smith"), cancel_at_period_end=True)

    narrow = browser.new_page(viewport={"width": 390, "height": 844})
    narrow.goto(simulator.control_url)
    assert narrow.evaluate("document.documentElement.scrollWidth") == 390
    assert narrow.evaluate(BROKEN_WORDS) == []
    narrow.set_viewport_size({"width": 60, "height": 844})
    assert narrow.evaluate(BROKEN_WORDS) != []
    narrow.close()


@pytest.mark.parametrize(("move", "days"), [("day", 1), ("month", 31)])
def test_a_button_moves_the_clock_and_redirects_to_the_page(still, move, days):
    before = still.world.now

    answer = submit(still, "clock", {"move": move})

    assert (answer.status_code, answer.headers["Location"]) == (303, "/control")
    assert still.world.now == before + days * DAY


def test_the_renewal_button_renews_the_subscription(shop, simulator):
    subscription = shop.subscribe(shop.customer())

    submit(simulator, "clock", {"move": "renewal"})

    paid = shop.client.v1.invoices.list(params={"subscription": subscription}).data
    assert [(each.billing_reason, each.status) for each in paid] == [
        ("subscription_cycle", "paid"),
        ("subscription_create", "paid"),
    ]


def test_the_trial_end_button_ends_the_trial(shop, simulator):
    subscription = shop.subscribe(shop.customer(), trial_period_days=14)

    submit(simulator, "clock", {"move": "trial_end"})

    assert shop.client.v1.subscriptions.retrieve(subscription).status == "active"


@pytest.mark.parametrize("move", ["renewal", "trial_end"])
def test_the_renewal_button_without_a_subscription_is_refused(still, move):
    before = still.world.now

    answer = submit(still, "clock", {"move": move})

    assert answer.status_code == 400
    assert f'role="alert">No subscription has an upcoming {move.replace("_", " ")}.' in answer.text
    assert still.world.now == before


def test_seconds_move_the_clock_to_the_second(still):
    before = still.world.now

    assert submit(still, "clock", {"seconds": "90"}).status_code == 303
    assert send(still, "clock", {"seconds": 5}).json()["now"] == before + 95


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"move": "year"},
        {"move": ["day"]},
        {"seconds": 0},
        {"seconds": -5},
        {"seconds": 1.5},
        {"seconds": "soon"},
        {"seconds": True},
        {"seconds": 2 * 366 * DAY + 1},
        {"seconds": "9" * 5000},
        {"move": "day", "seconds": 5},
    ],
    ids=lambda body: str(body)[:40],
)
def test_an_invalid_move_is_refused_and_no_time_passes(still, body):
    before = still.world.now

    answer = send(still, "clock", body)

    assert answer.status_code == 400
    assert "renewal and trial_end" in answer.json()["error"]["message"] or "seconds=" in answer.text
    assert still.world.now == before


def test_programs_get_the_overview_as_json(shop, simulator):
    customer = shop.customer()
    subscription = shop.subscribe(customer)

    overview = requests.get(simulator.control_url, headers=JSON, timeout=30).json()

    assert overview["now"] in range(simulator.world.now - 60, simulator.world.now + 1)
    (only,) = overview["subscriptions"]
    assert (only["id"], only["customer"], only["status"]) == (subscription, customer, "active")
    assert only["current_period_end"] > overview["now"]
    assert overview["rules"] == {
        "retry_days": [3, 5, 7],
        "after_retries": "canceled",
        "delayed_payment_days": 4,
        "portal_is_saved": True,
        "portal_pays_open_invoices": False,
    }
    assert overview["faults"]["api"]["failure"] == "none"


def test_the_rules_form_sets_the_accounts_rules(simulator):
    answer = submit(simulator, "rules", {"retry_days": "1, 2", "after_retries": "unpaid", "delayed_payment_days": "9"})

    assert answer.status_code == 303
    assert simulator.rules == Rules((1, 2), "unpaid", 9)
    assert "<option selected>unpaid</option>" in page(simulator).text


def test_the_faults_form_sets_and_clears_faults(simulator):
    given = {"failure": "cut", "requests": "3", "share": "0.5", "restricted_key_may": "customer_read plan_read"}
    client = sdk(simulator)

    submit(simulator, "faults/api", given)
    assert simulator.api_faults == ApiFaults(
        failure="cut", requests=3, share=0.5, restricted_key_may=("customer_read", "plan_read")
    )
    assert "Faults of the API, changed" in page(simulator).text

    submit(simulator, "faults/api", {"failure": "error", "share": "1", "requests": ""})
    with pytest.raises(stripe.APIError):
        client.v1.customers.list()

    submit(simulator, "faults/api", {**given, "clear": "true"})
    assert simulator.api_faults == ApiFaults()
    assert client.v1.customers.list().data == []


def test_submitting_a_form_unchanged_changes_nothing(simulator):
    faults = ApiFaults("cut", "/v1/prices", 3, 0.5, 1.5, 25, 60, ("plan_read",), ("sk_test_old",), 3600)
    simulator.api_faults = faults
    text = page(simulator).text
    form = text.split('action="/control/faults/api"')[1].split("</form>")[0]
    shown = dict(re.findall(r'name="(\w+)" value="([^"]*)" place', form))
    shown["failure"] = re.search(r"<option selected>(\w+)", form)[1]

    assert len(shown) == 10
    submit(simulator, "faults/api", shown)
    assert simulator.api_faults == faults


def test_a_program_sets_faults_with_json(simulator):
    body = {"failure": "hang", "requests": None, "latency_seconds": 1, "restricted_key_may": []}

    answer = send(simulator, "faults/api", body)

    assert answer.status_code == 200
    assert answer.json()["faults"]["api"]["failure"] == "hang"
    assert simulator.api_faults == ApiFaults(failure="hang", latency_seconds=1.0, restricted_key_may=())


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("faults/api", {"failure": "explode"}, "failure must be one of none, rate_limit, error"),
        ("faults/api", {"failure": ["cut"]}, "failure must be one of"),
        ("faults/api", {"colour": "red"}, "Unknown field colour. The fields are failure, path"),
        ("faults/api", {"requests": -1}, "requests must be a whole number, not negative"),
        ("faults/api", {"requests": "1.5"}, "requests must be a whole number"),
        ("faults/api", {"requests": True}, "requests must be a whole number"),
        ("faults/api", {"share": "2"}, "share must be from 0 to 1"),
        ("faults/api", {"share": "nan"}, "share must be a number"),
        ("faults/api", {"latency_seconds": None}, "latency_seconds must be a number"),
        ("faults/api", {"path": 5}, "path must be a string"),
        ("faults/api", {"restricted_key_may": 5}, "restricted_key_may must be a list"),
        ("faults/api", {"failure": "cut", "requests": "many"}, "requests must be a whole number"),
        ("rules", {"retry_days": "3, soon"}, "retry_days must be a whole number"),
        ("rules", {"after_retries": ""}, "after_retries must be one of canceled, unpaid, past_due"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_invalid_value_is_refused_with_a_reason_and_nothing_is_set(simulator, path, body, says):
    answer = send(simulator, path, body)

    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]
    assert (simulator.api_faults, simulator.rules) == (ApiFaults(), Rules())


def test_an_invalid_value_in_a_form_shows_an_error_on_the_page(simulator):
    answer = submit(simulator, "faults/api", {"requests": "many"})

    assert answer.status_code == 400
    assert 'role="alert">requests must be a whole number, not negative' in answer.text


@pytest.mark.parametrize("body", [b"{", b"[]", b'"day"', b"\xff"])
def test_a_body_that_is_not_an_object_is_refused(simulator, body):
    answer = submit(simulator, "clock", body, **{"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "The body is not a JSON object."


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["clock", "rules", "faults/api"])
def test_a_form_on_another_site_is_refused(still, path, headers):
    before = still.world.now
    data = {"clock": {"move": "day"}, "rules": {"retry_days": ""}, "faults/api": {"failure": "cut"}}[path]

    answer = submit(still, path, data, **headers)

    assert answer.status_code == 403
    assert "another site" in answer.text
    assert (still.world.now, still.rules, still.api_faults) == (before, Rules(), ApiFaults())


def test_a_form_on_the_simulators_own_page_is_accepted(still):
    before = still.world.now

    own = submit(still, "clock", {"move": "day"}, **{"Origin": still.url, "Sec-Fetch-Site": "same-origin"})

    assert own.status_code == 303
    assert still.world.now == before + DAY


def test_the_control_page_works_while_the_api_fails(simulator):
    simulator.api_faults = ApiFaults(failure="cut", path="/", restricted_key_may=())

    assert page(simulator).status_code == 200
    assert submit(simulator, "faults/api", {"clear": "true"}).status_code == 303
    assert simulator.api_faults == ApiFaults()


@dataclass
class Other:
    is_on: bool = False
    names: tuple[str, ...] = ()


def test_settings_hold_flags_and_lists_too():
    other = Other()
    settings.change(other, {"is_on": "true", "names": "a, b"})

    assert other == Other(True, ("a", "b"))
    assert [(each.value, each.choices) for each in settings.fields_of(other)] == [
        ("true", ("false", "true")),
        ("a, b", ()),
    ]
    for wrong in (1, "yes", [], None):
        with pytest.raises(ApiError, match="is_on must be one of true, false"):
            settings.change(other, {"is_on": wrong})
    settings.reset(other)
    assert other == Other()
