"""From Stripe's webhook to an answer, over HTTP on both sides."""

from corkage.models import StripeEvent, Subscription


def newest(shop, kind):
    return shop.client.v1.events.list(params={"type": kind}).data[0]


def test_a_signed_event_becomes_access(app, shop):
    customer = shop.customer()
    subscription = shop.subscribe(customer)

    assert app.deliver(newest(shop, "customer.subscription.created")).status_code == 200
    assert app.ask().json()["allowed"] is False
    app.work()

    answer = app.ask().json()
    assert answer["allowed"] is True
    assert (answer["reason"], answer["plan"], answer["features"]) == ("active", "pro", ["exports", "api"])
    assert Subscription.get().id == subscription
    assert StripeEvent.get().outcome == "converged"
