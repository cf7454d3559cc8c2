"""Corkage: Stripe subscription billing for small products."""

# Absolute, here and nowhere else: a test runner may load this file under the folder's name, and relative imports
# would then load the whole tree a second time.
from corkage.access import Access
from corkage.billing_app import Billing
from corkage.config import Config
from corkage.errors import BillingError
from corkage.identity import Identity
from corkage.notices.notice import Notice
from corkage.plans import Plan
from corkage.selling.usage import Usage, Use

__all__ = ["Access", "Billing", "BillingError", "Config", "Identity", "Notice", "Plan", "Usage", "Use"]
