"""What is held about a person: found, exported, and forgotten with a receipt."""

import json

import pytest
from personal import fill, texts_of
from repository import ROOT

from corkage import models, storage
from corkage.admin.session import LASTS_SECONDS
from corkage.config import DEFAULTS
from corkage.errors import StripeRefused
from corkage.models import TABLES, Customer, User
from corkage.sync import jobs
from corkage.users import receipt
from corkage.users.export import IN_JSON
from corkage.users.find import MOST, find_users
from corkage.users.held import ERASED, KEPT, OF_NOBODY, conditions_of, name_of

DOWN = "http://127.0.0.1:1"
PERSONAL = {"user", "user_id", "customer", "customer_id", "email", "subscription_id"}
PAGE = (ROOT / "docs/privacy.md").read_text()


@pytest.fixture
def filled(app):
    """Two users, each with a row in every table."""
    fill("ann-of-the-test", 1)
    fill("bob-of-the-test", 2)
    return app


# Which tables


def test_each_table_is_known_to_hold_something_about_a_user_or_nothing():
    """A new table belongs in one of these, and what is held about a user there is exported and forgotten."""
    assert sorted(map(name_of, [*ERASED, *KEPT, *OF_NOBODY])) == sorted(map(name_of, TABLES))
    assert set(conditions_of("ann")) == {*ERASED, *KEPT}


@pytest.mark.parametrize("table", OF_NOBODY, ids=name_of)
def test_a_table_that_holds_nothing_about_a_person_has_no_column_for_one(table):
    assert not PERSONAL & {field.name for field in table._meta.sorted_fields} | PERSONAL & {
        field.column_name for field in table._meta.sorted_fields
    }


def test_every_json_column_is_exported_as_json():
    documented = {
        field.name for table in conditions_of("ann") for field in table._meta.sorted_fields if field.name in IN_JSON
    }

    assert documented == IN_JSON


@pytest.mark.parametrize("table", [*ERASED, *KEPT], ids=name_of)
def test_the_page_on_privacy_names_each_table_with_something_about_a_person(table):
    assert f"`{name_of(table)}`" in PAGE


def test_the_page_on_privacy_has_the_times_of_the_code():
    assert f"{jobs.KEYS_KEPT_DAYS} days after the use" in PAGE
    assert f"{jobs.KEPT_WINDOWS_DAYS} days" in PAGE
    assert f"{LASTS_SECONDS // 3600} hours" in PAGE
    assert f"{DEFAULTS['keep_events_days']} days" in PAGE


# Export


def test_an_export_has_the_users_rows_of_every_table_and_nobody_elses(filled):
    found = json.loads(json.dumps(filled.billing.export("ann-of-the-test")))

    assert set(found["held"]) == {name_of(table) for table in conditions_of("")}
    assert {len(rows) for rows in found["held"].values()} == {1}
    assert "bob" not in json.dumps(found)
    assert "cus_2" not in json.dumps(found)
    assert found["at_stripe"]["customers"] == ["cus_1"]
    assert found["held"]["corkage_user"][0]["email"] == "ann-of-the-test@example.org"
    assert found["held"]["corkage_notice"][0]["before"] == {"of": "private"}


def test_an_export_changes_nothing_and_asks_nobody(filled, simulator):
    before, asked = texts_of(), len(simulator.requests)
    filled.billing.export("ann-of-the-test")

    assert texts_of() == before
    assert len(simulator.requests) == asked


def test_an_export_of_an_unknown_user_is_empty(app):
    found = app.billing.export("nobody")

    assert (found["held"], found["at_stripe"]["customers"]) == ({}, [])
    assert found["access"]["allowed"] is False
    with pytest.raises(ValueError, match="a user id is a text"):
        app.billing.export("")


def test_an_export_of_a_user_who_bought_is_what_the_operator_prints(app, shop, corkage):
    customer = shop.customer(email="ann@example.org")
    subscription = shop.subscribe(customer)
    app.converge(customer)

    printed = json.loads(corkage("user", "export", "ann").stdout)

    assert printed["held"]["corkage_subscription"][0]["id"] == subscription
    assert printed["at_stripe"]["customers"] == [customer]
    assert printed["access"]["plan"] == "pro"
    assert printed | {"exported_at": 0} == json.loads(json.dumps(app.billing.export("ann"))) | {"exported_at": 0}


# Forget


def rows_of(user):
    conditions = conditions_of(user)
    return [row for table in conditions for row in table.select().where(conditions[table]).tuples()]


def test_a_receipt_counts_a_row_of_every_table_and_none_is_left(filled):
    others = rows_of("bob-of-the-test")

    found = filled.billing.forget("ann-of-the-test")

    assert found.rows == {name_of(table): 1 for table in ERASED}
    assert (found.events, found.delivered, found.is_done) == (1, 1, True)
    assert found.customers == {"cus_1": receipt.DELETED_BEFORE}
    assert "ann-of-the-test" not in texts_of()
    assert texts_of().count("private") == str(others).count("private") > len(ERASED)
    assert rows_of("bob-of-the-test") == others
    assert Customer.get_by_id("cus_1").user_id is None


def test_a_mark_for_another_app_names_the_forgotten_user_no_more_and_is_exported_to_nobody(app, shop):
    """Another product's user may have the same id, and is another person."""
    theirs = shop.customer("ann", app="another-product")
    subscription = shop.subscribe(theirs, user=None)
    app.converge(theirs)
    assert Customer.get_by_id(theirs).marked_user == "ann"
    assert theirs not in json.dumps(app.billing.export("ann"))

    found = app.billing.forget("ann")

    row = Customer.get_by_id(theirs)
    assert (row.marked_app, row.marked_user) == ("another-product", None)
    assert found.customers == {}
    assert shop.client.v1.subscriptions.retrieve(subscription).status == "active"
    assert "ann" not in texts_of()


def test_a_receipt_says_what_was_ended_and_read_again_at_stripe_and_what_stays(app, shop, corkage):
    customer = shop.customer(email="ann@example.org")
    subscription = shop.subscribe(customer)
    app.converge(customer)
    done = corkage("user", "forget", "ANN@example.org", "--yes", "--json")

    assert (done.returncode, "Error" in done.stderr) == (0, False)
    found = json.loads(done.stdout)
    assert found["is_done"] is True
    assert found["subscriptions"] == [subscription]
    assert found["customers"] == {customer: "deleted, and read again: it is gone"}
    assert found["rows"]["corkage_user"] == 1
    assert any("invoices and payments" in line for line in found["stays"])
    assert any("backups" in line for line in found["stays"])
    assert shop.client.v1.customers.retrieve(customer).deleted
    assert shop.client.v1.subscriptions.retrieve(subscription).status == "canceled"


def test_the_receipt_for_people_has_every_part(app, shop, corkage):
    customer = shop.customer()
    subscription = shop.subscribe(customer)
    app.converge(customer)

    done = corkage("user", "forget", "ann", "--yes")

    assert done.returncode == 0
    assert done.stdout.startswith(
        f"at Stripe\n  {subscription}: ended\n  {customer}: deleted, and read again: it is gone\n"
    )
    assert "here\n  corkage_subscription_item: 1 deleted\n" in done.stdout
    assert "what stays\n  here: the bare id of each customer" in done.stdout
    assert done.stdout.endswith("ann is forgotten\n")


def test_a_second_run_says_that_nothing_is_left(app, shop, corkage, simulator):
    customer = shop.customer()
    app.converge(customer)
    assert corkage("user", "forget", "ann", "--yes").returncode == 0
    asked = len(simulator.requests)

    again = corkage("user", "forget", "ann", "--yes")

    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "Error: no such user: ann\n"
    assert len(simulator.requests) == asked


def test_nothing_is_forgotten_without_an_answer(app, shop, corkage, simulator):
    customer = shop.customer()
    shop.subscribe(customer)
    app.converge(customer)
    before, asked = texts_of(), len(simulator.requests)

    done = corkage("user", "forget", "ann")

    assert (done.returncode, done.stdout) == (1, "")
    assert "--yes" in done.stderr
    assert "Nothing was deleted." in done.stderr
    assert texts_of() == before
    assert len(simulator.requests) == asked


def test_what_could_not_be_done_is_exit_1_and_a_second_run_goes_on(app, shop, corkage, simulator):
    first, second = sorted((shop.customer(), shop.customer()))
    for each in (first, second):
        shop.subscribe(each)
        app.converge(each)

    cut = corkage("user", "forget", "ann", "--yes", "--json", STRIPE_API_BASE=DOWN)

    assert cut.returncode == 1
    assert json.loads(cut.stdout)["is_done"] is False
    assert json.loads(cut.stdout)["rows"] == {}
    assert "stripe_unavailable" in json.loads(cut.stdout)["error"]
    assert "ann is not forgotten yet; run it again" in cut.stderr
    assert User.select().count() == 1
    assert json.loads(corkage("user", "forget", "ann", "--yes", "--json").stdout)["is_done"] is True


def test_a_customer_that_is_still_there_after_its_deletion_is_not_said_to_be_gone(app, shop, monkeypatch):
    customer = shop.customer()
    shop.subscribe(customer)
    app.converge(customer)
    monkeypatch.setattr(app.billing.service.gateway, "delete_customer", lambda _: None)

    with pytest.raises(StripeRefused, match="was ended, and is active"):
        app.billing.forget("ann")

    assert app.billing.access("ann").allowed


def test_a_customer_of_two_products_is_kept_and_the_receipt_says_why(app, shop):
    customer = shop.customer()
    ours, theirs = shop.subscribe(customer), shop.subscribe(customer, price=shop.other_price, user=None)
    app.converge(customer)

    found = app.billing.forget("ann")

    assert found.subscriptions == [ours]
    assert found.customers == {customer: receipt.SHARED}
    assert shop.client.v1.subscriptions.retrieve(theirs).status == "active"


# Which user


@pytest.fixture
def users(app):
    with storage.writing():
        for user, email, said in (
            ("ann", "ann@example.org", None),
            ("bob@example.org", "robert@example.org", None),
            ("bob", "bob@example.org", None),
            ("cid", None, "Cid@Example.org"),
            ("dan", "shared@example.org", None),
            ("eve", "SHARED@example.org", None),
        ):
            User.insert(id=user, email=email, said_email=said, created_at=1).execute()
        Customer.insert(id="cus_of_ann", user="ann").execute()
        Customer.insert(id="cus_of_nobody").execute()
    return app


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ann", ["ann"]),
        ("ann@example.org", ["ann"]),
        ("ANN@EXAMPLE.ORG", ["ann"]),
        ("bob@example.org", ["bob@example.org"]),  # an id wins, though it is another user's e-mail
        ("robert@example.org", ["bob@example.org"]),
        ("cid@example.org", ["cid"]),
        ("shared@example.org", ["dan", "eve"]),
        ("cus_of_ann", ["ann"]),
        ("cus_of_nobody", []),
        ("an", []),
        ("ann@example.or", []),
        ("%", []),
        ("", []),
        ("nobody", []),
    ],
)
def test_a_user_is_found_by_id_then_e_mail_then_an_id_of_stripes(users, text, found):
    assert [user for user, _ in find_users(text)] == found


def test_many_users_of_one_e_mail_are_cut(app):
    with storage.writing():
        for number in range(MOST + 5):
            User.insert(id=f"user{number}", email="all@example.org", created_at=1).execute()

    assert len(find_users("all@example.org")) == MOST


@pytest.mark.parametrize("command", ["show", "export", "forget", "resume", "cancel"])
def test_no_such_user_is_exit_1(app, corkage, command):
    done = corkage("user", command, "nobody")

    assert (done.returncode, done.stdout, done.stderr) == (1, "", "Error: no such user: nobody\n")


@pytest.mark.parametrize("command", [("show",), ("export",), ("forget", "--yes"), ("grant", "pro"), ("revoke", "pro")])
def test_an_e_mail_of_several_users_is_listed_and_nothing_is_done(users, corkage, command):
    corkage("user", "show", "ann")  # whoever is first makes the timelines
    before = texts_of([User, models.Grant, Customer])

    done = corkage("user", command[0], "shared@example.org", *command[1:])

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: several users have shared@example.org; name one by its id:\n  dan\n  eve\n"
    assert texts_of([User, models.Grant, Customer]) == before


def test_a_user_is_shown_and_granted_by_e_mail_and_a_new_one_by_id(users, corkage):
    assert corkage("user", "show", "ann@example.org").stdout.startswith("cus_of_ann: ")
    corkage("user", "grant", "ann@example.org", "pro")
    corkage("user", "grant", "new@example.org", "pro")

    assert {row.user_id for row in models.Grant.select()} == {"ann", "new@example.org"}
