"""`corkage push` after somebody changed things in Stripe's Dashboard: it says so, and sets back what it is told to."""

import pytest

pytestmark = pytest.mark.slow

HAND = "it was changed at Stripe since the last push; --overwrite sets it back"


def archive_price(pushed, client):
    client.v1.prices.update(pushed.price("pro_monthly")["id"], params={"active": False})


def archive_product(pushed, client):
    client.v1.products.update(pushed.all("product")[0]["id"], params={"active": False})


def rename_product(pushed, client):
    client.v1.products.update(pushed.all("product")[0]["id"], params={"name": "Something else"})


def rename_key(pushed, client):
    client.v1.prices.update(pushed.price("pro_monthly")["id"], params={"lookup_key": "renamed"})


def give_key_away(pushed, client):
    product = client.v1.products.create(params={"name": "Another"}).id
    client.v1.prices.create(
        params={"product": product, "currency": "usd", "unit_amount": 1, "lookup_key": "pro_monthly",
                "transfer_lookup_key": True, "recurring": {"interval": "month"}}
    )  # fmt: skip


def edit_portal(pushed, client):
    client.v1.billing_portal.configurations.update(
        pushed.portal()[0]["id"], params={"features": {"subscription_cancel": {"enabled": False}}}
    )


def switch_portal_off(pushed, client):
    client.v1.billing_portal.configurations.update(pushed.portal()[0]["id"], params={"active": False})


def take_event_away(pushed, client):
    events = [each for each in pushed.endpoint()["enabled_events"] if each != "invoice.paid"]
    client.v1.webhook_endpoints.update(pushed.endpoint()["id"], params={"enabled_events": events})


def move_endpoint(pushed, client):
    client.v1.webhook_endpoints.update(pushed.endpoint()["id"], params={"url": "http://127.0.0.1:9/else"})


@pytest.mark.parametrize(
    ("does", "stages"),
    [
        (archive_price, {"price", "portal"}),
        (archive_product, {"product"}),
        (rename_product, {"product"}),
        (rename_key, {"price", "portal"}),
        (edit_portal, {"portal"}),
        (switch_portal_off, {"portal"}),
        (take_event_away, {"endpoint"}),
        (move_endpoint, {"endpoint"}),
    ],
)
def test_what_was_changed_by_hand_is_refused_and_set_back_with_overwrite(pushed, client, does, stages):
    pushed.push()
    before = [dict(each) for kind in ("product", "price", "webhook_endpoint") for each in pushed.all(kind)]
    does(pushed, client)

    said = pushed.steps()
    assert (said[0].stage, said[0].refused) == (min(stages, key=["product", "price", "portal", "endpoint"].index), HAND)
    pushed.push(overwrite=True)

    assert pushed.steps() == []
    after = [dict(each) for kind in ("product", "price", "webhook_endpoint") for each in pushed.all(kind)]
    without = ("updated", "metadata")
    assert [{k: v for k, v in each.items() if k not in without} for each in after] == [
        {k: v for k, v in each.items() if k not in without} for each in before
    ]


def test_a_key_that_was_given_to_another_price_goes_back_only_when_told(pushed, client):
    pushed.push()
    first = pushed.price("pro_monthly")["id"]
    give_key_away(pushed, client)

    assert HAND in [each.refused for each in pushed.steps()]
    pushed.push()
    assert pushed.price("pro_monthly")["id"] != first
    pushed.push(overwrite=True)
    assert (pushed.price("pro_monthly")["id"], pushed.steps()) == (first, [])


def test_an_event_that_somebody_added_to_the_endpoint_stays(pushed, client):
    pushed.push()
    events = [*pushed.endpoint()["enabled_events"], "charge.succeeded"]
    client.v1.webhook_endpoints.update(pushed.endpoint()["id"], params={"enabled_events": events})

    assert pushed.steps() == []
