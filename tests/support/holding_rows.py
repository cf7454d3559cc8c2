"""Holdings as rows, as converging and giving would have stored them."""

from corkage import storage
from corkage.models import Customer, Grant, Price, Purchase, Subscription, SubscriptionItem, User

OF_SUBSCRIPTION = (
    "status created current_period_end cancel_at trial_end unpaid_since payment_pending pause_behavior resumes_at "
    "paid_until returned ours clock_ahead"
).split()


def store_holdings(user, holdings, customers=("cus_1",)):
    """Store what a user holds, in place of what they held, spread over these customers. Inside a transaction."""
    User.insert(id=user, created_at=1).on_conflict_ignore().execute()
    _forget(customers, user)
    for customer in customers:
        Customer.insert(id=customer, user=user).on_conflict_ignore().execute()
    homes = {}
    for number, each in enumerate(holdings):
        home = homes.setdefault((each.kind, each.id), customers[len(homes) % len(customers)])
        if each.price_id is not None:
            Price.insert(id=each.price_id, product_id="prod_1", plan=each.plan).on_conflict_ignore().execute()
        {"subscription": _subscription, "purchase": _purchase, "grant": _grant}[each.kind](user, home, each, number)


def _forget(customers, user):
    ours = Subscription.select(Subscription.id).where(Subscription.customer.in_(customers))
    SubscriptionItem.delete().where(SubscriptionItem.subscription.in_(ours)).execute()
    Subscription.delete().where(Subscription.customer.in_(customers)).execute()
    Purchase.delete().where(Purchase.customer.in_(customers)).execute()
    Grant.delete().where(Grant.user == user).execute()


def _subscription(user, customer, holding, number):
    facts = {name: getattr(holding, name) for name in OF_SUBSCRIPTION}
    Subscription.insert(id=holding.id, customer=customer, **facts).on_conflict_ignore().execute()
    if holding.price_id is not None:
        SubscriptionItem.create(subscription=holding.id, price_id=holding.price_id, quantity=holding.quantity)


def _purchase(user, customer, holding, number):
    names = ("id", "created", "price_id", "quantity", "ours", "returned")
    Purchase.create(customer=customer, amount=0, currency="usd", **{name: getattr(holding, name) for name in names})


def _grant(user, customer, holding, number):
    names = ("id", "plan", "quantity", "ends_at")
    facts = {name: getattr(holding, name) for name in names}
    Grant.create(user=user, reason="", given_by="", created_at=holding.created, **facts)


def make(timelines, now, *users):
    """Make the timelines of these users."""
    with storage.writing():
        timelines.store(users, now)
