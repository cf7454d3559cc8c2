"""May this user in?"""

from djstripe.models import Subscription


def access_of(user_id):
    """Say so by the status of the user's subscriptions.

    dj-stripe's own questions, Customer.has_any_active_subscription() and is_subscribed_to(), raise a TypeError in
    release 2.11.0: is_valid() compares the subscription's current_period_end, which Stripe's API has not had since
    basil, and dj-stripe asks for dahlia. What they ask besides, the status, is asked here, in one query where they make
    two.
    """
    subscriptions = list(Subscription.objects.filter(customer__subscriber_id=user_id))
    current = [each.status for each in subscriptions if each.is_status_current()]
    statuses = current or [each.status for each in subscriptions]
    return {"allowed": bool(current), "status": statuses[-1] if statuses else None}
