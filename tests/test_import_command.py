"""corkage import: what an operator types, reads and can break off."""

import json
import signal
import subprocess
import sys
import time

import pytest
from harness import APP, until
from moving_in import fill, notices, owners, stranger

from corkage.models import Customer

pytestmark = pytest.mark.slow


@pytest.fixture
def file(tmp_path):
    def write(text, name="map.csv"):
        (tmp_path / name).write_text(text)
        return name

    return write


def test_import_says_what_it_did_and_a_second_time_that_nothing_is_left(app, shop, corkage, file):
    name = file(f"user,customer\nann,{stranger(shop)}\nbob,{shop.customer(None)}\neve,\n")

    dry = corkage("import", name, "--dry-run")
    assert owners() == {}
    wet = corkage("import", name)
    again = corkage("import", name)

    assert (dry.returncode, wet.returncode, again.returncode) == (0, 0, 0), wet.stderr
    assert dry.stdout.splitlines()[0] == (
        "customers: 2, users: 2; would be linked: 2, linked before: 0, would be marked at Stripe: 2"
    )
    assert "  ann: no, no_subscription -> yes, active, pro, until" in dry.stdout
    assert wet.stdout.splitlines() == [
        "customers: 2, users: 2; linked: 2, linked before: 0, marked at Stripe: 2",
        "lines without a customer, which were left out: 1",
        "subscriptions that Stripe lists: 1; customers without a user: 0",
    ]
    assert "linked: 0, linked before: 2, marked at Stripe: 0" in again.stdout
    assert app.billing.access("ann").allowed
    assert notices() == []


def test_every_bad_line_is_on_stderr_with_exit_code_1_and_nothing_is_changed(app, shop, corkage, file):
    customer = stranger(shop)
    name = file(f"ann,{customer}\nbob,cus_nobody\nbob,sub_1\n")

    said = corkage("import", name)
    as_json = corkage("import", name, "--json")

    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.splitlines() == [
        "line 2: Stripe knows no customer cus_nobody in this account and mode",
        "line 3: 'sub_1' is no id of a customer: Stripe's begin with cus_",
        "lines that cannot be taken: 2; nothing was changed",
    ]
    assert [each["line"] for each in json.loads(as_json.stdout)["problems"]] == [2, 3]
    assert owners() == {}
    assert shop.client.v1.customers.retrieve(customer).metadata.to_dict() == {}


@pytest.mark.parametrize(
    ("arguments", "columns"), [([], "customer_id,until"), (["--granted"], "plan,until"), (["--propose"], "email,until")]
)
def test_a_line_of_a_file_that_is_endless_is_not_repeated_to_its_end(app, corkage, file, arguments, columns):
    name = file(f"user_id,{columns}\nann,{'x' * 100_000},\n")

    said = corkage("import", *arguments, name)
    as_json = corkage("import", *arguments, name, "--json")

    assert said.returncode == 1
    assert "line 2: " in said.stderr
    assert len(said.stderr) < 4_000
    assert len(as_json.stdout) < 2_000


def test_json_has_every_figure(app, shop, corkage, file):
    said = corkage("import", file(f"ann,{stranger(shop)}\n"), "--json")

    found = json.loads(said.stdout)
    before, after = found.pop("access")["ann"]
    assert (before, after.startswith("yes, active, pro, until ")) == ("no, no_subscription", True)
    assert found == {
        "dry_run": False, "customers": 1, "users": 1, "without_customer": 0, "deleted": 0, "linked": 1,
        "were_linked": 0, "taken": 0, "marked": 1, "subscriptions": 1, "unowned": 0, "failed": {}, "problems": [],
    }  # fmt: skip


def test_a_map_comes_from_standard_input_too(app, shop, environ, tmp_path):
    command = [sys.executable, "-m", "corkage.cli", "import", "-"]
    given = f"ann,{stranger(shop)}\n"
    said = subprocess.run(command, cwd=tmp_path, env=environ, input=given, capture_output=True, text=True)

    assert said.returncode == 0, said.stderr
    assert app.billing.access("ann").allowed


def test_a_file_that_is_not_there_is_exit_code_2(corkage, app):
    said = corkage("import", "nowhere.csv")

    assert (said.returncode, said.stdout) == (2, "")
    assert "nowhere.csv: No such file or directory" in said.stderr


@pytest.mark.parametrize("arguments", [(), ("map.csv", "--propose", "emails.csv")])
def test_import_does_one_thing_at_a_time(corkage, app, arguments):
    assert corkage("import", *arguments).returncode == 2


def test_taking_a_customer_from_another_user_needs_force_and_a_yes(app, shop, corkage, file):
    customer = stranger(shop)
    app.billing.service.worker.converger.link("joe", customer, time.time())
    name = file(f"ann,{customer}\n")

    refused, unasked = corkage("import", name), corkage("import", name, "--force")

    assert (refused.returncode, unasked.returncode) == (1, 1)
    assert "belongs to user joe here" in refused.stderr
    assert f"{customer}: from user joe to ann" in unasked.stderr
    assert owners() == {customer: "joe"}
    assert corkage("import", name, "--force", "--yes").returncode == 0
    assert owners() == {customer: "ann"}


def test_proposals_by_email_are_a_map_to_look_at_and_link_nothing(app, shop, corkage, file):
    ann, twice, again, shared = (stranger(shop, email) for email in ("Ann@X.com", "two@x.com", "two@x.com", "us@x.com"))
    stranger(shop, "nobody@x.com")
    stranger(shop, "other@x.com", shop.other_price)
    shop.customer(None, email="free@x.com")
    shop.client.v1.subscriptions.cancel(shop.subscribe(shop.customer(None, email="gone@x.com"), user=None))
    emails = file(
        "id,email\nann,ANN@x.com\nbob,two@x.com\neve,us@x.com\njoe,us@x.com\nflo,other@x.com\ngil,free@x.com\n"
        "hal,gone@x.com\nian,\n",
        "emails.csv",
    )

    said = corkage("import", "--propose", emails)

    both = "is one of 2 customers with this e-mail: a user may have several"
    assert said.stdout.splitlines() == [
        "user,customer,email,plans,note",
        f"ann,{ann},Ann@X.com,pro,",
        *(f"bob,,two@x.com,pro,{each} {both}" for each in sorted([twice, again])),
        f"eve,,us@x.com,pro,{shared} is of 2 users with this e-mail",
        f"joe,,us@x.com,pro,{shared} is of 2 users with this e-mail",
    ]
    assert "who pay and belong to no user: 5; with the e-mail of one user: 1, of none: 1. Nothing" in said.stderr
    assert (said.returncode, owners()) == (0, {})
    moved = corkage("import", file(said.stdout))
    assert "customers: 1, users: 1; linked: 1" in moved.stdout
    assert "lines without a customer, which were left out: 4" in moved.stdout


def test_a_proposal_holds_no_formula(app, shop, corkage, file):
    """A payer may have any e-mail address, and a user of the product any name."""
    address = '=hyperlink("//evil.example","x")@x.com'
    customer = stranger(shop, address)
    emails = file('id,email\n-ann,"' + address.replace('"', '""') + '"\n', "emails.csv")

    said = corkage("import", "--propose", emails)

    assert "\n'-ann," in said.stdout
    assert "\"'=hyperlink(" in said.stdout
    assert corkage("import", file(said.stdout)).returncode == 0
    assert owners() == {customer: "-ann"}


def test_500_customers_move_in_by_one_command_killed_in_the_midst_and_run_again_and_the_doctor_finds_nothing(
    app, shop, simulator, corkage, environ, tmp_path, file
):
    """Killed twice: while they are linked here, and while they are marked at Stripe."""
    first = shop.customer(None, email="first@example.com")
    customers = [first, *fill(simulator, first, shop.subscribe(first, user=None), 499)]
    name = file("".join(f"user{number},{each}\n" for number, each in enumerate(customers)))
    before = len(simulator.requests)
    command = [sys.executable, "-m", "corkage.cli", "import", name]
    for is_there in (
        lambda: Customer.select().where(Customer.user.is_null(False)).count() > 50,
        lambda: marks(simulator, before) > 300,
    ):
        process = subprocess.Popen(command, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True)
        until(is_there, 300)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
    assert 300 < marks(simulator, before) < 500

    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300)

    assert (done.returncode, done.stderr) == (0, "")
    assert {each["metadata"].get("corkage_app") for each in simulator.world.all("customer")} == {APP}
    assert owners() == {each: f"user{number}" for number, each in enumerate(customers)}
    assert notices() == []
    # each is marked once, but for one whose answer the kill may have cut off; three runs list it all
    assert marks(simulator, before) in (500, 501)
    assert sum(request.method == "GET" for request in simulator.requests[before:]) <= 3 * 20
    assert app.billing.access("user499").allowed
    doctor = corkage("doctor")
    assert (doctor.returncode, doctor.stdout.splitlines()[-1]) == (0, "all is well"), doctor.stdout


def marks(simulator, before):
    return sum(request.method == "POST" for request in simulator.requests[before:])
