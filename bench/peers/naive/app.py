"""A Bottle and Peewee app as the tutorials have it: the event's payload is written to the user's row.

Inherent in the design, and left as it is: an older event that comes later puts the older state back; one subscription
per user; a webhook that never comes is never made up for; the whole payload is made into StripeObjects to read a few
fields; each webhook is a commit of its own, and SQLite takes one at a time.
"""

import logging
import os

import bottle
import jwt
import stripe
import waitress
from store import StripeEvent, User, access_of, db

stripe.api_key = os.environ["STRIPE_SECRET_KEY"]
stripe.api_base = os.environ.get("STRIPE_API_BASE") or stripe.api_base
WEBHOOK_SECRET = os.environ["STRIPE_WEBHOOK_SECRET"]
AUTH_SECRET = os.environ["AUTH_SECRET"]
logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # else a line for each request that waits for a thread

app = bottle.Bottle()


@app.hook("before_request")
def connect():
    db.connect(reuse_if_open=True)


@app.hook("after_request")
def close():
    if not db.is_closed():
        db.close()


@app.post("/webhook")
def webhook():
    payload, signature = bottle.request.body.read(), bottle.request.get_header("Stripe-Signature")
    try:
        event = stripe.Webhook.construct_event(payload, signature, WEBHOOK_SECRET)
    except (ValueError, stripe.SignatureVerificationError):
        return bottle.HTTPResponse("invalid", 400)
    with db.atomic():
        is_new = StripeEvent.insert(id=event.id, type=event.type).on_conflict_ignore().as_rowcount().execute()
        if is_new:
            apply(event.type, event.data.object)
    return {"received": True}


def apply(kind, subject):
    if kind == "checkout.session.completed":
        link_customer(subject)
    elif kind.startswith("customer.subscription."):
        save_subscription(subject)
    elif kind in ("invoice.paid", "invoice.payment_failed"):
        status = "active" if kind == "invoice.paid" else "past_due"
        User.update(subscription_status=status).where(User.stripe_customer_id == subject.customer).execute()


def link_customer(session):
    user_id = user_of(session) or session.client_reference_id
    if user_id and session.subscription:
        links = {"stripe_customer_id": session.customer, "stripe_subscription_id": session.subscription}
        User.insert(id=user_id, **links).on_conflict(conflict_target=[User.id], update=links).execute()


def save_subscription(subscription):
    item = subscription["items"].data[0]
    user = User.get_or_none(User.stripe_customer_id == subscription.customer)
    user_id = user_of(subscription) or (user and user.id)
    if user_id is None:
        return
    fields = {
        "stripe_customer_id": subscription.customer,
        "stripe_subscription_id": subscription.id,
        "stripe_price_id": item.price.id,
        "subscription_status": subscription.status,
        "current_period_end": item.current_period_end,
        "cancel_at_period_end": subscription.cancel_at_period_end,
    }
    User.insert(id=user_id, **fields).on_conflict(conflict_target=[User.id], update=fields).execute()


def user_of(owned):
    return owned.metadata["corkage_user"] if owned.metadata and "corkage_user" in owned.metadata else None


@app.get("/access")
def access():
    token = bottle.request.get_header("Authorization", "").removeprefix("Bearer ")
    try:
        claims = jwt.decode(token, AUTH_SECRET, algorithms=["HS256"], audience="corkage")
    except jwt.InvalidTokenError:
        return bottle.HTTPResponse("unauthorized", 401)
    return access_of(claims["sub"])


@app.get("/health")
def health():
    return {"ok": True}


if __name__ == "__main__":
    with db:
        db.create_tables([User, StripeEvent])
    waitress.serve(app, host="127.0.0.1", port=int(os.environ["PORT"]), threads=8, connection_limit=1000)
