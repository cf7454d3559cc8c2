"""Moving in: customers of another integration get their users, silently, in few calls, and cut off anywhere."""

import time
from contextlib import suppress

import pytest
from harness import APP
from moving_in import fill, map_of, move_in, notices, owners, stranger
from sabotage import Killed, at_step, kill

from corkage.errors import StripeNotSetUp, StripeUnavailable
from corkage.models import SYNCED, User, setting
from corkage.moving.customers import carry_out, look, read_map
from corkage.sync.resync import resync

pytestmark = pytest.mark.slow

LAST_STEP = 36  # of moving three users into an account without others

MAPS = {
    "plain": "ann,cus_1\nbob,cus_2\n",
    "with a header": "user,customer\nann,cus_1\nbob,cus_2\n",
    "with other names, in another order": "stripe_customer_id,name,user_id\ncus_1,Ann,ann\ncus_2,Bob,bob\n",
    "of a tutorial's table": "id,email,stripe_customer_id\nann,a@example.com,cus_1\nbob,,cus_2\n",
    "as a spreadsheet writes it": '\ufeff"User ID";"Customer"\r\n"ann";"cus_1"\r\n\r\n"bob";"cus_2"\r\n',
    "with tabs": "ann\tcus_1\nbob\tcus_2",
    "with blanks": "\n  ann , cus_1 \n\n\nbob,cus_2  \n   \n",
    "the same line twice": "ann,cus_1\nbob,cus_2\nann,cus_1\n",
}


def look_at(app, text, **options):
    read = read_map(text.encode())
    move = look(app.billing.service.worker.converger, read.entries, writes=True, **options)
    return [(each.line, each.reason) for each in sorted([*read.problems, *move.problems])], move


@pytest.mark.parametrize("text", MAPS.values(), ids=MAPS)
def test_a_map_is_read_as_people_and_programs_write_it(text):
    read = read_map(text.encode())

    assert read.problems == []
    assert {each.customer_id: each.user_id for each in read.entries} == {"cus_1": "ann", "cus_2": "bob"}


def test_a_map_in_utf_16_is_read_too():
    assert [each.user_id for each in read_map("ähm,cus_1\n".encode("utf-16")).entries] == ["ähm"]


def test_a_user_may_have_several_customers_and_lines_without_one_are_counted():
    read = read_map(b"user,customer\nann,cus_1\nann,cus_2\nbob,\neve,NULL\njoe,\\N\n")

    assert [each.customer_id for each in read.entries] == ["cus_1", "cus_2"]
    assert (read.empty, read.problems) == (3, [])


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("ann,cus_1\nbob,cus_1\n", 2, "cus_1 is of user ann on line 1, and of bob here"),
        ("ann,cus_1\n\n,cus_2\x1b[2J\n", 3, r"'cus_2\x1b[2J' has no user"),
        ("ann,cus_1\nbob,sub_1\n", 2, "'sub_1' is no id of a customer: Stripe's begin with cus_"),
        ("ann,cus 1\n", 1, "'cus 1' is no id of a customer: Stripe's begin with cus_"),
        ("cus_1,ann\n", 1, "cus_1 is a customer, and stands where the user does: the columns are user, customer"),
        ("ann,cus_1,pro\n", 1, "has 3 columns; wanted user, customer"),
        ("ann\n", 1, "has 1 columns; wanted user, customer"),
        ("user,plan\nann,pro\n", 1, "the header names no column customer; wanted user, customer"),
        (f"{'a' * 201},cus_1\n", 1, f"a user id is a text of 1 to 200 printable characters, not '{'a' * 201}'"),
        ('"ann,cus_1\n', 1, "cannot be read as CSV: unexpected end of data"),
        ("\n \n", 1, "the file has no rows"),
    ],
)
def test_a_line_that_cannot_be_taken_is_named_with_its_number(text, line, reason):
    assert [tuple(each) for each in read_map(text.encode()).problems] == [(line, reason)]


def test_a_file_in_another_encoding_is_named_with_its_line():
    problems = read_map("ann,cus_1\nbjörn,cus_2\n".encode("latin-1")).problems

    assert problems == [(2, "is not UTF-8: export the file in UTF-8")]


def test_users_who_move_in_have_access_no_notice_and_their_mark_at_stripe(app, shop):
    ann, bob = stranger(shop, "ann@example.com"), stranger(shop)
    empty, gone = shop.customer(None), stranger(shop)
    shop.client.v1.customers.delete(gone)

    move = move_in(app, {"ann": ann, "bob": bob, "eve": empty, "joe": gone}, time.time())

    assert [app.billing.access(user).allowed for user in ("ann", "bob", "eve")] == [True, True, False]
    assert owners() == {ann: "ann", bob: "bob", empty: "eve", gone: None}
    assert notices() == []
    assert (move.linked, move.marked, move.deleted, move.failed) == (3, 3, [gone], {})
    for user, customer in (("ann", ann), ("bob", bob), ("eve", empty)):
        metadata = shop.client.v1.customers.retrieve(customer).metadata
        assert metadata.to_dict() == {"corkage_app": APP, "corkage_user": user}
    assert User.get_by_id("ann").email == "ann@example.com"
    assert User.get_by_id("ann").stripe_customer_id == ann
    assert setting(SYNCED)


def test_what_becomes_of_them_afterwards_is_news(app, shop):
    ann = stranger(shop)
    move_in(app, {"ann": ann}, time.time())
    subscription = shop.client.v1.subscriptions.list(params={"customer": ann}).data[0].id
    shop.client.v1.subscriptions.cancel(subscription)

    move_in(app, {"ann": ann}, time.time())  # as one that is run every night

    assert ("ann", "access_revoked") in notices()


def test_other_metadata_of_a_customer_stays(app, shop):
    ann = stranger(shop)
    shop.client.v1.customers.update(ann, params={"metadata": {"pay_name": "User/1"}})

    move_in(app, {"ann": ann}, time.time())

    metadata = shop.client.v1.customers.retrieve(ann).metadata.to_dict()
    assert metadata == {"pay_name": "User/1", "corkage_app": APP, "corkage_user": "ann"}


def test_a_trial_of_before_is_the_users_one_trial_and_a_refund_of_before_is_no_news(app, shop):
    trying, refunded = stranger(shop, trial_period_days=14), stranger(shop)
    paid = shop.client.v1.payment_intents.list(params={"customer": refunded}).data[0].id
    shop.client.v1.refunds.create(params={"payment_intent": paid})

    move_in(app, {"ann": trying, "bob": refunded}, time.time())

    assert User.get_by_id("ann").trial_used_at
    assert app.billing.access("bob").reason == "refunded"
    assert notices() == []


def test_a_customer_on_a_test_clock_whom_lists_lack_moves_in_too(app, shop):
    clock = shop.client.v1.test_helpers.test_clocks.create(params={"frozen_time": int(time.time())}).id
    hidden = shop.customer(None, test_clock=clock)
    shop.subscribe(hidden, user=None)

    move = move_in(app, {"ann": hidden}, time.time())

    assert (move.report.singly, move.marked) == (1, 1)
    assert app.billing.access("ann").allowed


def test_what_cannot_be_taken_is_said_of_each_line_and_nothing_is_changed(app, shop):
    taken, marked, foreign, gone, fine = (stranger(shop) for _ in range(5))
    app.billing.service.worker.converger.link("joe", taken, time.time())
    mark = {"corkage_app": APP, "corkage_user": "joe"}
    shop.client.v1.customers.update(marked, params={"metadata": mark})
    shop.client.v1.customers.update(foreign, params={"metadata": mark | {"corkage_app": "shop.example.com"}})
    shop.client.v1.customers.delete(gone)
    before, told = owners(), notices()

    found, _ = look_at(app, f"ann,{taken}\nbob,{marked}\neve,{foreign}\nflo,{gone}\ngil,cus_nobody\nhal,{fine}\n")

    assert found == [
        (1, f"{taken} belongs to user joe here; --force takes it from them"),
        (2, f"{marked} is marked at Stripe for user joe; --force takes it from them"),
        (3, f"{foreign} is marked at Stripe for another app, shop.example.com; --force takes it from there"),
        (5, "Stripe knows no customer cus_nobody in this account and mode"),
    ]
    assert (owners(), notices()) == (before, told)
    assert shop.client.v1.customers.retrieve(fine).metadata.to_dict() == {}


def test_with_force_customers_are_taken_and_who_loses_one_is_notified(app, shop):
    taken, marked, foreign = (stranger(shop) for _ in range(3))
    app.billing.service.worker.converger.link("joe", taken, time.time())
    mark = {"corkage_app": APP, "corkage_user": "joe"}
    shop.client.v1.customers.update(marked, params={"metadata": mark})
    shop.client.v1.customers.update(foreign, params={"metadata": mark | {"corkage_app": "shop.example.com"}})
    told = notices()

    move = move_in(app, {"ann": taken, "bob": marked, "eve": foreign}, time.time(), force=True)

    assert move.taken == {taken: "joe"}
    assert owners() == {taken: "ann", marked: "bob", foreign: "eve"}
    assert [app.billing.access(user).allowed for user in ("ann", "bob", "eve", "joe")] == [True, True, True, False]
    assert notices()[len(told) :] == [("joe", "access_revoked")]
    assert shop.client.v1.customers.retrieve(foreign).metadata["corkage_user"] == "eve"


def test_a_dry_run_finds_what_a_move_does_and_changes_nothing(app, shop):
    ann, empty = stranger(shop), shop.customer(None)

    dry = move_in(app, {"ann": ann, "eve": empty}, time.time(), writes=False)

    assert owners() == {}
    assert shop.client.v1.customers.retrieve(ann).metadata.to_dict() == {}
    assert setting(SYNCED) is None
    assert (dry.to_link, dry.to_mark, [*dry.report.access]) == ([ann, empty], [ann, empty], ["ann"])
    wet = move_in(app, {"ann": ann, "eve": empty}, time.time())
    assert (wet.linked, wet.marked, wet.report.access.keys()) == (2, 2, dry.report.access.keys())


def test_a_second_run_marks_and_links_nothing_again(app, shop, simulator):
    pairs = {"ann": stranger(shop), "bob": shop.customer(None)}
    move_in(app, pairs, time.time())
    before = len(simulator.requests)

    again = move_in(app, pairs, time.time())

    assert (again.linked, again.were_linked, again.marked) == (0, 2, 0)
    assert [request.method for request in simulator.requests[before:]] == ["GET"] * (len(simulator.requests) - before)
    assert notices() == []


def test_a_customer_that_was_linked_by_hand_is_marked_now(app, shop):
    ann = stranger(shop)
    app.billing.service.worker.converger.link("ann", ann, time.time())
    assert shop.client.v1.customers.retrieve(ann).metadata.to_dict() == {}

    move = move_in(app, {"ann": ann}, time.time())

    assert (move.linked, move.were_linked, move.marked) == (0, 1, 1)


def test_a_customer_of_this_or_another_product_who_is_not_in_the_map_stays_unowned(app, shop):
    other = stranger(shop, price=shop.other_price)

    move = move_in(app, {"ann": stranger(shop)}, time.time())

    assert owners()[other] is None
    assert move.report.unowned == 1
    assert shop.client.v1.customers.retrieve(other).metadata.to_dict() == {}


def test_metadata_that_is_full_fails_for_its_customer_alone(app, shop):
    full, fine = stranger(shop), stranger(shop)
    shop.client.v1.customers.update(full, params={"metadata": {f"key{number}": "x" for number in range(50)}})

    move = move_in(app, {"ann": full, "bob": fine}, time.time())

    assert [*move.failed] == [full]
    assert move.marked == 1
    assert app.billing.access("ann").allowed


def test_a_key_that_may_not_write_stops_at_the_first_mark(app, shop, simulator):
    pairs = {"ann": stranger(shop), "bob": stranger(shop)}
    converger = app.billing.service.worker.converger
    move = look(converger, read_map(map_of(pairs)).entries, writes=True)
    move.importer.gateway = _Forbidden(move.importer.gateway)

    with pytest.raises(StripeNotSetUp):
        carry_out(move, time.time())

    assert move.importer.gateway.asked == 1
    assert app.billing.access("bob").allowed


class _Forbidden:
    """A gateway whose key may not write customers."""

    def __init__(self, gateway):
        self._gateway, self.asked = gateway, 0

    def __getattr__(self, name):
        return getattr(self._gateway, name)

    def mark_customer(self, *_):
        self.asked += 1
        raise StripeNotSetUp("the key may not write customers")


@pytest.mark.parametrize(("failures", "is_marked"), [(3, True), (4, False)])
def test_a_stripe_that_is_busy_is_asked_again_a_few_times(app, shop, monkeypatch, failures, is_marked):
    monkeypatch.setattr("corkage.moving.customers.PAUSES_SECONDS", (0, 0, 0))
    ann = stranger(shop)
    move = look(app.billing.service.worker.converger, read_map(map_of({"ann": ann})).entries, writes=True)
    mark, asked = move.importer.gateway.mark_customer, []

    def mark_or_fail(*arguments):
        asked.append(arguments)
        if len(asked) <= failures:
            raise StripeUnavailable("too many requests")
        mark(*arguments)

    move.importer.gateway.mark_customer = mark_or_fail
    with suppress(StripeUnavailable):
        carry_out(move, time.time())

    assert (move.marked, len(asked)) == (int(is_marked), 4)
    assert bool(shop.client.v1.customers.retrieve(ann).metadata.to_dict()) is is_marked


def test_an_event_that_is_applied_in_the_midst_of_it_is_no_news_either(app, shop):
    """As when `corkage serve` runs beside it: the mark is an event, too."""
    ann = stranger(shop)
    move_in(app, {"ann": ann}, time.time())
    for event in reversed(shop.client.v1.events.list(params={"limit": 100}).data):
        app.deliver(event)
    app.work(time.time() + 1)

    assert notices() == []
    assert app.billing.access("ann").allowed


def test_a_customer_that_another_worker_stores_meanwhile_is_fetched_alone(app, shop):
    ann, bob = stranger(shop), stranger(shop)
    converger = app.billing.service.worker.converger
    move = look(converger, read_map(map_of({"ann": ann, "bob": bob})).entries, writes=True)
    app.converge(ann)

    carry_out(move, time.time())

    assert move.report.singly == 1
    assert owners() == {ann: "ann", bob: "bob"}
    assert notices() == []


def test_a_customer_that_another_user_gets_meanwhile_stays_theirs_and_is_reported(app, shop):
    ann = stranger(shop)
    converger = app.billing.service.worker.converger
    move = look(converger, read_map(map_of({"ann": ann})).entries, writes=True)
    converger.link("bob", ann, time.time())

    carry_out(move, time.time())

    assert owners() == {ann: "bob"}
    assert move.failed == {ann: "belongs to user bob by now"}
    assert shop.client.v1.customers.retrieve(ann).metadata.to_dict() == {}
    assert not app.billing.access("ann").allowed


@pytest.mark.many_alike
@pytest.mark.parametrize("step", range(LAST_STEP + 2))
def test_a_move_that_is_cut_off_at_any_step_is_run_again_and_nobody_is_notified(app, shop, step):
    pairs = {"ann": stranger(shop), "bob": stranger(shop), "eve": shop.customer(None)}
    is_cut = True
    with suppress(Killed), at_step(step, kill):
        move_in(app, pairs, time.time())
        is_cut = False

    move_in(app, pairs, time.time())

    assert is_cut == (step <= LAST_STEP)
    assert owners() == {customer: user for user, customer in pairs.items()}
    assert [app.billing.access(user).allowed for user in pairs] == [True, True, False]
    for user, customer in pairs.items():
        assert shop.client.v1.customers.retrieve(customer).metadata["corkage_user"] == user
    assert notices() == []


def test_the_calls_of_three_hundred_customers_are_counted(app, shop, simulator):
    first = shop.customer(None)
    customers = fill(simulator, first, shop.subscribe(first, user=None), 300)
    before = len(simulator.requests)

    move_in(app, {f"user{number}": each for number, each in enumerate(customers)}, time.time())

    made = simulator.requests[before:]
    assert sum(request.method == "POST" for request in made) == 300  # one mark each
    # four pages each of subscriptions and customers; one each of prices, refunds and disputes
    assert sum(request.method == "GET" for request in made) <= 12


def test_customers_without_a_subscription_are_looked_for_in_the_list_and_not_one_by_one(app, shop, simulator):
    move_in(app, {"first": stranger(shop)}, time.time())  # the first run lists all customers anyway
    pairs = {f"user{number}": shop.customer(None) for number in range(9)}
    before = len(simulator.requests)

    move_in(app, pairs, time.time())

    asked = [request.path for request in simulator.requests[before:] if request.method == "GET"]
    assert asked.count("/v1/customers") == 1
    assert not [path for path in asked if path.startswith("/v1/customers/")]


@pytest.mark.parametrize("step", range(8, 20, 2))
def test_a_customer_that_a_plain_sync_stored_a_moment_before_it_was_cut_off_gets_its_user(app, shop, step):
    pairs = {"ann": stranger(shop), "bob": stranger(shop)}
    with suppress(Killed), at_step(step, kill):
        resync(app.billing.service.worker.converger, time.time())

    move_in(app, pairs, time.time())

    assert owners() == {customer: user for user, customer in pairs.items()}
    assert notices() == []
