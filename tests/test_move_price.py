"""corkage move-price: all who pay one price get another, after a notice, each once; and the way back."""

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import requests
from buying import bearer, token
from harness import APP, DAY, PRO, running, until
from mortal import Mortal, command
from repository import block
from torture import SEED, size

from corkage.models import ChangeRow, NoticeRow
from corkage.notices.webhook import body_of
from corkage.simulator.api.customers import create_customer
from corkage.simulator.api.subscriptions import create_subscription

pytestmark = pytest.mark.slow

BEFORE = '[pro]\nname = "Pro"\nprices = ["pro_monthly"]\nfeatures = ["exports", "api"]\ngrace_days = 7\n'


@pytest.fixture
def new(simulator):
    """The id of the new price. The old one keeps the lookup key that it has."""
    return simulator.add_price("pro_2027", 1_200)["id"]


@pytest.fixture
def plans(shop, new):
    return (replace(PRO, prices=("pro_2027",), retired=(shop.price,)),)


@pytest.fixture
def app(config, plans):
    with running(replace(config, plans=plans)) as served:
        served.billing.service.catalogue.refresh(served.billing.service.gateway)
        yield served


@pytest.fixture
def move(corkage, app, shop, tmp_path):
    """Run the command, with plans.toml as the app has it."""
    (tmp_path / "plans.toml").write_text(BEFORE.replace('"pro_monthly"', f'"pro_2027"]\nretired = ["{shop.price}"'))
    return lambda *arguments, old="pro_monthly", new="pro_2027": corkage("move-price", old, new, *arguments)


def subscribed(app, shop, user="ann", **params):
    customer = shop.customer(user)
    id_ = shop.subscribe(customer, user=user, **params)
    app.converge(customer)
    return id_


def price_of(simulator, id_):
    return [each["price"]["lookup_key"] for each in simulator.world.get("subscription", id_)["items"]["data"]]


def notices():
    return [(row.user_id, row.kind) for row in NoticeRow.select().order_by(NoticeRow.id) if "price" in row.kind]


def leave(app, shop, simulator, id_, happens):
    if happens == "canceled":
        app.billing.cancel("ann")
    elif happens == "scheduled":
        shop.client.v1.subscription_schedules.create(params={"from_subscription": id_})
    elif happens == "ended":
        app.billing.cancel("ann", when="now")
    else:
        item = simulator.world.get("subscription", id_)["items"]["data"][0]["id"]
        shop.client.v1.subscriptions.update(id_, params={"items": [{"id": item, "price": shop.other_price}]})


def work(app, at):
    worker = app.billing.service.worker
    worker.owed.clock = lambda: at
    worker.work_once(at)


def test_without_yes_it_says_who_pays_what_and_changes_nothing(app, shop, simulator, move):
    subscribed(app, shop)
    subscribed(app, shop, "bob", items=[{"price": shop.price, "quantity": 3}])
    canceling = subscribed(app, shop, "carl")
    shop.client.v1.subscriptions.update(canceling, params={"cancel_at_period_end": True})

    shown = move("--days", "40")

    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert re.fullmatch(r"ann +sub_\w+ +\$9\.00 +\$12\.00 +20\d\d-\d\d-\d\d \d\d:\d\d UTC", lines[2])
    assert re.fullmatch(r"bob +sub_\w+ +\$27\.00 +\$36\.00 +20.*", lines[3])
    assert re.fullmatch(r"carl +sub_\w+ +\$9\.00 +\$9\.00 +left out: it is canceled for later", lines[4])
    assert lines[5] == "2 subscriptions are moved, 1 left out. Amounts are without tax and discounts."
    assert lines[6].startswith("Nothing was changed. With --yes, 2 subscriptions are moved on 20")
    assert (ChangeRow.select().count(), notices()) == (0, [])


def test_subscribers_hear_of_it_and_are_moved_when_the_day_has_come(app, shop, simulator, move):
    id_ = subscribed(app, shop)

    begun = move("--days", "30", "--yes")

    assert begun.returncode == 0, begun.stderr
    assert "1 moves were stored" in begun.stdout
    assert "1 are still to be moved" in begun.stdout
    assert "No receiver of notices is there" in begun.stderr
    (row,) = [each for each in NoticeRow.select() if each.kind == "price_will_change"]
    details = json.loads(row.details)
    at = details.pop("at")
    assert abs(at - time.time() - 30 * DAY) < 120
    assert details == {
        "amount": 900,
        "new_amount": 1_200,
        "currency": "usd",
        "price_id": shop.price,
        "new_price_id": app.billing.service.catalogue.sold()[0].id,
    }
    assert (row.subscription_id, json.loads(row.after)["plan"]) == (id_, "pro")
    work(app, at - 60)
    assert price_of(simulator, id_) == ["pro_monthly"]

    work(app, at + 1)

    assert price_of(simulator, id_) == ["pro_2027"]
    assert simulator.world.all("invoiceitem") == []
    assert app.billing.access("ann").plan == "pro"
    simulator.advance_to("renewal")
    assert [each["total"] for each in simulator.world.all("invoice")] == [1_200, 900]
    assert notices() == [("ann", "price_will_change")]


def test_a_number_of_seats_is_kept(app, shop, simulator, move):
    id_ = subscribed(app, shop, items=[{"price": shop.price, "quantity": 7}])

    assert move("--days", "0", "--yes").returncode == 0

    assert [each["quantity"] for each in simulator.world.get("subscription", id_)["items"]["data"]] == [7]


def test_the_command_again_moves_nobody_twice_and_takes_in_who_came_since(app, shop, simulator, move):
    subscribed(app, shop)
    move("--yes")
    (first,) = ChangeRow.select()
    subscribed(app, shop, "bob")

    again = move("--yes", "--days", "60")

    assert "1 moves were stored" in again.stdout
    assert notices() == [("ann", "price_will_change"), ("bob", "price_will_change")]
    assert ChangeRow.get_by_id(first.nonce).not_before == first.not_before


@pytest.mark.parametrize("happens", ["canceled", "scheduled", "ended", "changed"])
def test_who_must_be_left_out_when_the_day_has_come_is(app, shop, simulator, move, happens):
    id_ = subscribed(app, shop)
    move("--yes")
    leave(app, shop, simulator, id_, happens)
    before = price_of(simulator, id_)

    work(app, time.time() + 31 * DAY)

    assert price_of(simulator, id_) == before
    (row,) = ChangeRow.select().where(ChangeRow.kind == "move_price")
    assert row.outcome.startswith("left out: ")


def test_undo_withdraws_what_is_to_come_and_moves_back_who_was_moved(app, shop, simulator, move):
    moved = subscribed(app, shop)
    move("--days", "0", "--yes")
    waiting = subscribed(app, shop, "bob")
    move("--days", "9", "--yes")
    assert (price_of(simulator, moved), price_of(simulator, waiting)) == (["pro_2027"], ["pro_monthly"])
    dry = move("--undo")
    assert "1 moves are withdrawn, and 1 subscriptions moved back" in dry.stdout
    assert price_of(simulator, moved) == ["pro_2027"]

    undone = move("--undo", "--yes")

    assert undone.returncode == 0, undone.stderr
    assert "1 moves were withdrawn, 1 subscriptions" in undone.stdout
    assert (price_of(simulator, moved), price_of(simulator, waiting)) == (["pro_monthly"], ["pro_monthly"])
    assert notices()[2:] in (
        [("ann", "price_will_change"), ("bob", "price_change_withdrawn")],
        [("bob", "price_change_withdrawn"), ("ann", "price_will_change")],
    )
    work(app, time.time() + 10 * DAY)
    assert price_of(simulator, waiting) == ["pro_monthly"]
    assert "0 moves were withdrawn, 0 subscriptions" in move("--undo", "--yes").stdout
    assert "2 moves were stored" in move("--yes").stdout


def test_as_json_it_lists_all(app, shop, simulator, move):
    id_ = subscribed(app, shop)
    other = subscribed(app, shop, "bob")
    shop.client.v1.subscription_schedules.create(params={"from_subscription": other})

    listed = json.loads(move("--json").stdout)

    ann = {"user_id": "ann", "subscription_id": id_, "currency": "usd", "amount": 900, "new_amount": 1_200}
    bob = {"user_id": "bob", "subscription_id": other, "currency": "usd", "amount": 900, "new_amount": 900}
    assert [each | {"at": None} for each in listed] == [
        ann | {"at": None, "left_out": None},
        bob | {"at": None, "left_out": "a schedule changes it"},
    ]


def test_what_belongs_to_nobody_here_is_left_out(app, shop, simulator, move):
    shop.subscribe(shop.customer(None), user=None)

    shown = move("--yes", "--days", "0")

    assert "left out: its customer belongs to no user here" in shown.stdout
    assert ChangeRow.select().count() == 0


@pytest.mark.parametrize(
    ("price", "wanted"),
    [
        ({"currency": "eur"}, "is in usd, and"),
        ({"interval": "year"}, "another interval begins another period"),
        ({}, "does not name"),
    ],
)
def test_a_price_that_does_not_fit_is_refused(app, shop, simulator, move, price, wanted):
    subscribed(app, shop)
    simulator.add_price("other", 1_500, **price)

    refused = move("--yes", new="other")

    assert refused.returncode == 1
    assert wanted in refused.stderr
    assert "Traceback" not in refused.stderr
    assert ChangeRow.select().count() == 0


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ('[pro]\nname = "Pro"\nprices = ["pro_monthly", "pro_2027"]\n', "plans.toml still sells price_"),
        ('[pro]\nname = "Pro"\nprices = ["pro_monthly"]\n', "does not name price_"),
        ('[pro]\nname = "Pro"\nprices = ["pro_monthly"]\n[max]\nprices = ["pro_2027"]\n', "of plan pro, and price_"),
    ],
)
def test_while_plans_toml_is_not_ready_it_says_what_to_write(config, corkage, shop, new, tmp_path, file, wanted):
    (tmp_path / "plans.toml").write_text(file)

    refused = corkage("move-price", "pro_monthly", "pro_2027", "--yes")

    assert refused.returncode == 1
    assert wanted in refused.stderr
    if "max" not in file:
        assert f'[pro]\nprices = ["pro_2027"]\nretired = ["{shop.price}"]' in refused.stderr


def test_names_that_stripe_does_not_know_are_refused(app, move):
    for names in ({"old": "nothing"}, {"new": "nothing"}):
        refused = move("--yes", **names)
        assert (refused.returncode, "Stripe has no price nothing" in refused.stderr) == (1, True)
    assert "both names are of the price" in move(new="pro_monthly").stderr


SUBSCRIBERS = 200


def many(simulator, shop, count=SUBSCRIBERS):
    """Subscribers, made where the simulator makes them."""
    world = simulator.world
    ids = []
    with world.lock:
        for number in range(count):
            metadata = {"corkage_app": APP, "corkage_user": f"user_{number:03}"}
            card = {"payment_method": "pm_card_visa", "invoice_settings": {"default_payment_method": "pm_card_visa"}}
            customer = create_customer(world, card | {"metadata": metadata})["id"]
            wanted = {"customer": customer, "items": [{"price": shop.price}], "metadata": metadata}
            ids.append(create_subscription(world, wanted)["id"])
    return ids


def test_killed_in_the_middle_and_run_again_it_moves_each_of_200_subscribers_once(
    app, shop, simulator, move, corkage, environ, tmp_path
):
    ids = many(simulator, shop)
    assert corkage("sync").returncode == 0
    command = [sys.executable, "-m", "corkage.cli", "move-price", "pro_monthly", "pro_2027", "--days", "0", "--yes"]

    def updates():
        return [
            each.path
            for each in simulator.requests
            if each.method == "POST" and each.path.startswith("/v1/subscriptions/sub_")
        ]

    with subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.DEVNULL) as process:
        until(lambda: len(updates()) >= SUBSCRIBERS // 3)
        process.send_signal(signal.SIGKILL)
    moved = [id_ for id_ in ids if price_of(simulator, id_) == ["pro_2027"]]
    assert 0 < len(moved) < SUBSCRIBERS

    again = move("--days", "0", "--yes")

    assert again.returncode == 0, again.stderr
    ahead = time.time() + 400  # the one that was being sent, when its claim is over
    work(app, ahead)
    assert_moved_once(simulator, ids)


def assert_moved_once(simulator, ids):
    """Each got the other price once, and one notice, and nobody pays for both."""
    assert [id_ for id_ in ids if price_of(simulator, id_) != ["pro_2027"]] == []
    changed = [
        each["data"]["object"]["id"]
        for each in simulator.world.all("event")
        if each["type"] == "customer.subscription.updated" and "items" in each["data"].get("previous_attributes", {})
    ]
    assert sorted(changed) == sorted(ids)
    assert len(notices()) == len({user for user, _ in notices()}) == len(ids)
    assert simulator.world.all("invoiceitem") == []


@pytest.mark.torture("crash")
def test_killed_at_any_moment_again_and_again_it_moves_each_subscriber_once(
    app, shop, simulator, move, corkage, environ, tmp_path, figures
):
    mortal, kills, moved = Mortal(SEED, seconds=2.0), size(3, long=150), 0
    ids = many(simulator, shop, size(15, long=300))
    assert corkage("sync").returncode == 0
    command_line = command, tmp_path, environ, "move-price", "pro_monthly", "pro_2027", "--days", "0", "--yes"
    while mortal.killed < kills and mortal.dies(*command_line):
        moved = sum(price_of(simulator, id_) == ["pro_2027"] for id_ in ids)
    work(app, time.time() + 400)  # what was being sent, when the claims are over

    mortal.lives(*command_line)

    assert_moved_once(simulator, ids)
    figures.note(kills=mortal.killed, subscribers=len(ids), moved_when_it_was_last_killed=moved)


def test_the_account_page_says_the_price_to_come(app, shop, move):
    subscribed(app, shop)
    headers = bearer(token()) | {"Accept": "text/html"}
    page = f"{app.url}/account"
    assert "Price from" not in requests.get(page, headers=headers, timeout=30).text

    move("--yes")

    shown = requests.get(page, headers=headers, timeout=30).text
    assert re.search(r"<dt>Price from [A-Z][^<]+</dt><dd>\$12 per month</dd>", shown)
    app.billing.cancel("ann")
    assert "Price from" not in requests.get(page, headers=headers, timeout=30).text
    app.billing.resume("ann")
    move("--undo", "--yes")
    assert "Price from" not in requests.get(page, headers=headers, timeout=30).text


def test_a_receiver_gets_the_date_and_the_amounts(app, shop, move):
    heard = []
    app.billing.on("price_will_change", heard.append)
    subscribed(app, shop)
    app.billing.work()

    assert "No receiver" not in move("--yes").stderr
    until(lambda: heard)

    (notice,) = heard
    assert notice.details.keys() == json.loads(block("docs/notices.md", "details")).keys()
    assert (notice.details["amount"], notice.details["new_amount"]) == (900, 1_200)
    assert notice.before == notice.after
    assert json.loads(body_of(notice))["data"]["details"] == notice.details


def test_who_is_to_get_one_new_price_is_not_promised_a_second(config, shop, simulator, new, corkage, tmp_path):
    low = simulator.add_price("pro_2027_low", 1_100)["id"]
    retired = (shop.price, new)
    (tmp_path / "plans.toml").write_text(
        BEFORE.replace('"pro_monthly"', f'"pro_2027_low"]\nretired = ["{shop.price}", "{new}"')
    )
    with running(replace(config, plans=(replace(PRO, prices=("pro_2027_low",), retired=retired),))) as app:
        app.billing.service.catalogue.refresh(app.billing.service.gateway)
        id_ = subscribed(app, shop)
        assert corkage("move-price", "pro_monthly", "pro_2027", "--yes").returncode == 0

        refused = corkage("move-price", "pro_monthly", "pro_2027_low", "--yes")

        assert refused.returncode == 1
        assert "1 subscriptions are still to be moved to pro_2027: withdraw that first" in refused.stderr
        assert notices() == [("ann", "price_will_change")]
        (undo,) = re.findall("`corkage (.*)`", refused.stderr)
        assert corkage(*undo.split()).returncode == 0
        assert "1 moves were stored" in corkage("move-price", "pro_monthly", "pro_2027_low", "--yes").stdout
        work(app, time.time() + 31 * DAY)

    assert [each["price"]["id"] for each in simulator.world.get("subscription", id_)["items"]["data"]] == [low]


@pytest.mark.parametrize("happens", ["canceled", "ended", "changed"])
def test_undo_promises_no_price_to_who_would_not_be_moved_back(app, shop, simulator, move, happens):
    id_ = subscribed(app, shop)
    move("--days", "0", "--yes")
    leave(app, shop, simulator, id_, happens)
    app.converge(simulator.world.get("subscription", id_)["customer"])
    before = notices()

    undone = move("--undo", "--yes")

    assert undone.returncode == 0, undone.stderr
    assert notices() == before
    assert "0 subscriptions are to be moved back" in undone.stdout


@pytest.mark.parametrize("happens", ["canceled", "changed"])
def test_who_was_warned_and_is_left_out_when_the_day_has_come_hears_that_it_was_withdrawn(
    app, shop, simulator, move, happens
):
    id_ = subscribed(app, shop)
    move("--yes")
    leave(app, shop, simulator, id_, happens)

    work(app, time.time() + 31 * DAY)
    work(app, time.time() + 32 * DAY)

    assert notices() == [("ann", "price_will_change"), ("ann", "price_change_withdrawn")]


def test_whose_subscription_has_ended_hears_nothing_of_a_price(app, shop, simulator, move):
    leave(app, shop, simulator, subscribed(app, shop), "ended")
    subscribed(app, shop, "bob")
    move("--yes")
    app.billing.cancel("bob", when="now")

    work(app, time.time() + 31 * DAY)

    assert notices() == [("bob", "price_will_change")]
