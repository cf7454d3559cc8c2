"""The routes; dj-stripe's webhook view stands at the address that the others have."""

from django.conf import settings
from django.urls import include, path
from djstripe.views import ProcessWebhookView

from . import views

urlpatterns = [
    path("webhook", ProcessWebhookView.as_view(), {"uuid": settings.WEBHOOK_UUID}),
    path("stripe/", include("djstripe.urls", namespace="djstripe")),
    path("access", views.access),
    path("health", views.health),
]
