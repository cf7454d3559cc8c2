"""Settings of a small Django product with dj-stripe: what its installation page says, and SQLite set with care."""

import os
from uuid import UUID

SECRET_KEY = AUTH_SECRET = os.environ.get("AUTH_SECRET", "")
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "product.urls"
USE_TZ = True
APPEND_SLASH = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Without the admin, sessions and messages that a new project has: nothing here needs them, and they only cost.
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "djstripe", "product"]
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"]
AUTH_USER_MODEL = "product.User"

# dj-stripe asks Stripe for related objects within its transaction, so a writer waits for the network of the one
# before it. With DEFERRED, the default, it would fail at once instead: its transactions read before they write.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DATABASE", ""),
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        },
    }
}

STRIPE_LIVE_MODE = False
STRIPE_TEST_SECRET_KEY = os.environ.get("STRIPE_SECRET_KEY", "")
if os.environ.get("STRIPE_API_BASE"):
    STRIPE_API_HOST = os.environ["STRIPE_API_BASE"]
    SILENCED_SYSTEM_CHECKS = ["djstripe.W002"]  # that it is set
# Unset, it is that of its stripe library, 2026-08-26.dahlia, which the simulator's API does not answer in. For the
# objects of this comparison dahlia and endive are the same.
STRIPE_API_VERSION = "2026-10-28.endive"
DJSTRIPE_FOREIGN_KEY_TO_FIELD = "id"
DJSTRIPE_SUBSCRIBER_CUSTOMER_KEY = "corkage_user"

WEBHOOK_SECRET = os.environ.get("STRIPE_WEBHOOK_SECRET", "")
WEBHOOK_UUID = UUID("6f1f0a5e-3d0c-4d5e-9a53-0f6a1c7b2e10")
