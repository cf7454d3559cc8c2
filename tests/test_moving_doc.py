"""docs/moving.md: each query is run, as it stands, on the tables of its project, and its result is imported."""

import csv
import io
import sqlite3
import time
from contextlib import closing
from dataclasses import replace

import pytest
from harness import running
from moving_in import notices, owners, stranger
from old_tables import TABLES
from repository import block

from corkage import storage
from corkage.moving.customers import carry_out, look, read_map
from corkage.plans import read_plans

PAGE = "docs/moving.md"


def asked(name, kind, shop, **customers):
    """Return what the page's query finds, as CSV with a header."""
    values = {"price": shop.price, "ann": "cus_ann", "bob": "cus_bob"} | customers
    tables = TABLES[name]
    for key, text in values.items():
        tables = tables.replace(f":{key}", f"'{text}'")
    text = io.StringIO()
    with closing(sqlite3.connect(":memory:")) as old:
        old.executescript(tables)
        found = old.execute(block(PAGE, f"{kind}-{name}"))
        writer = csv.writer(text)
        writer.writerow([column[0] for column in found.description])
        writer.writerows(found)
    return text.getvalue()


@pytest.mark.parametrize("name", TABLES)
def test_the_map_of_another_integrations_tables_moves_its_users_in(app, shop, name):
    ann, bob = stranger(shop), shop.customer(None)

    read = read_map(asked(name, "map", shop, ann=ann, bob=bob).encode())
    move = look(app.billing.service.worker.converger, read.entries, writes=True)
    carry_out(move, time.time())

    assert (read.problems, read.empty, move.problems, move.failed) == ([], 0, [], {})
    assert owners() == {ann: "1", bob: "2"}
    assert (app.billing.access("1").plan, app.billing.access("2").allowed) == ("pro", False)
    assert notices() == []


@pytest.mark.one_engine("sqlite", "no database of ours is asked")
@pytest.mark.parametrize("name", ["pay", "cashier", "djstripe"])
def test_the_prices_of_another_integrations_tables_are_those_that_are_paid(shop, name, engine):
    rows = list(csv.DictReader(io.StringIO(asked(name, "prices", shop))))

    assert [row["price"] for row in rows] == [shop.price]


def test_a_price_that_is_sold_no_more_stands_under_retired(config, shop, tmp_path):
    text = block(PAGE, "moving-plans")
    (tmp_path / "plans.toml").write_text(text.replace("price_1MoBy5LkdIwHu7ixZhnattbh", shop.other_price))
    old = stranger(shop, price=shop.other_price)
    with running(replace(config, plans=read_plans(tmp_path / "plans.toml"))) as app:
        move = look(app.billing.service.worker.converger, read_map(f"ann,{old}\n".encode()).entries, writes=True)
        carry_out(move, time.time())

        assert app.billing.access("ann").plan == "pro"


def test_the_map_back_has_every_customer_that_belongs_to_a_user(app, shop):
    ann = stranger(shop)
    move = look(app.billing.service.worker.converger, read_map(f"ann,{ann}\n".encode()).entries, writes=True)
    carry_out(move, time.time())
    stranger(shop)

    assert storage.rows(block(PAGE, "map-back")) == [("ann", ann)]
