"""Settings of a Django product with dj-stripe, in the API version of its own stripe-python."""

import os

SECRET_KEY = "of nobody"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "djstripe"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("DATABASE", "")}}
STRIPE_LIVE_MODE = False
STRIPE_TEST_SECRET_KEY = "sk_test_4eC39HqLyjWDarjtT1zdp7dc"
STRIPE_API_HOST = os.environ.get("STRIPE_API_BASE", "")
SILENCED_SYSTEM_CHECKS = ["djstripe.W002"]  # that the host is set
DJSTRIPE_FOREIGN_KEY_TO_FIELD = "id"
MIGRATION_MODULES = dict.fromkeys(
    ("contenttypes", "auth", "djstripe")
)  # its migrations take a minute, its tables a second
