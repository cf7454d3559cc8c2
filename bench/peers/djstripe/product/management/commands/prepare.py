"""What a deployment does once: migrate, and tell dj-stripe of the webhook endpoint. Then sign up users."""

import sys

from django.conf import settings
from django.core.management import BaseCommand, call_command
from djstripe.models import WebhookEndpoint

from product.models import User


class Command(BaseCommand):
    """Users come as lines of the standard input. They sign up before they buy: dj-stripe links those that it knows."""

    help = __doc__

    def handle(self, *_args: object, **_options: object) -> None:
        call_command("migrate", verbosity=0)
        WebhookEndpoint.objects.update_or_create(
            djstripe_uuid=settings.WEBHOOK_UUID,
            defaults={
                "id": "we_of_the_comparison",
                "api_version": settings.STRIPE_API_VERSION,
                "enabled_events": ["*"],
                "secret": settings.WEBHOOK_SECRET,
                "status": "enabled",
                "url": "http://127.0.0.1/webhook",
                "livemode": False,
            },
        )
        names = sys.stdin.read().split()
        users = [User(id=name, username=name, email=f"{name}@example.com") for name in names]
        User.objects.bulk_create(users, batch_size=500, ignore_conflicts=True)
