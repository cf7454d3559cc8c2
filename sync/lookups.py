"""Lookups at Stripe of what an event leaves out: its customer, or the time of its test clock."""

from .. import storage
from ..gateway.events import LEADS_TO_PAYMENT
from ..gateway.gateway import Gateway
from ..logs.facts import logger
from ..models import Customer, Subscription
from ..replica.timelines import Timelines, users_of
from . import inbox

log = logger("corkage.lookups")


def find_customer(gateway: Gateway, subject: inbox.Subject, now: float) -> None:
    """Fetch the customer of a subscription, a Checkout Session or a payment; its events then wait for that customer's
    converge.

    Errors  StripeError as the gateway's; then nothing was stored
    """
    object_id = subject.object_id or ""
    event_ids = [event.id for event in inbox.pending_of(subject)]
    customer_id, related_id = _owner_of(gateway, object_id)
    with storage.writing():
        if customer_id is None:
            inbox.mark_applied(event_ids, "no customer", now)
        else:
            inbox.name_customer(event_ids, customer_id, related_id, now)
    log.info("%s belongs to %s", object_id, customer_id or "no customer")


def _owner_of(gateway: Gateway, object_id: str) -> tuple[str | None, str | None]:
    if object_id.startswith("cs_"):
        session = gateway.checkout_session(object_id)
        return (session.customer_id, session.subscription_id or session.id) if session else (None, None)
    if object_id.startswith(LEADS_TO_PAYMENT):
        return gateway.payment_behind(object_id)
    subscription = gateway.subscription(object_id)
    return (subscription.customer_id, subscription.id) if subscription else (None, None)


def advance_clock(gateway: Gateway, timelines: Timelines, subject: inbox.Subject, now: float) -> None:
    """Fetch the time of a test clock that was advanced, and use it for access from now on.

    Fetches in flight may hold the old time: the new revision makes them start over.

    Errors  StripeError as the gateway's; then nothing was stored
    """
    clock_id = subject.object_id or ""
    event_ids = [event.id for event in inbox.pending_of(subject)]
    moment = gateway.test_clock_time(clock_id)
    with storage.writing():
        if moment is not None:
            ahead = moment - int(now)
            on_clock = Subscription.test_clock == clock_id
            customers = Subscription.select(Subscription.customer).where(on_clock)
            Customer.update(revision=Customer.revision + 1).where(Customer.id.in_(customers)).execute()
            ask_at = Subscription.ask_at + Subscription.clock_ahead - ahead
            Subscription.update(clock_ahead=ahead, ask_at=ask_at).where(on_clock).execute()
            timelines.store(users_of(customers), now)
        inbox.mark_applied(event_ids, "gone" if moment is None else "followed", now)
    log.info("the test clock %s %s", clock_id, "is deleted" if moment is None else f"is at {moment}")
