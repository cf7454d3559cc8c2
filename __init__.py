"""Corkage: Stripe subscription billing for small products."""

# Absolute, here and nowhere else: a test runner may load this file under the folder's name, and relative imports
# would then load the whole tree a second time.
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # at run time they are loaded when they are asked for: Bottle and Peewee are slow to load
    from corkage.access import Access
    from corkage.billing_app import Billing
    from corkage.config import Config
    from corkage.errors import BillingError
    from corkage.identity import Identity
    from corkage.notices.notice import Notice
    from corkage.plans import Plan
    from corkage.selling.usage import Usage, Use

__all__ = ["Access", "Billing", "BillingError", "Config", "Identity", "Notice", "Plan", "Usage", "Use"]

_MODULES = {
    "Access": "access",
    "Billing": "billing_app",
    "BillingError": "errors",
    "Config": "config",
    "Identity": "identity",
    "Notice": "notices.notice",
    "Plan": "plans",
    "Usage": "selling.usage",
    "Use": "selling.usage",
}


def __getattr__(name: str) -> Any:
    """Load what a host asks for, and nothing before: `corkage --help` answers without Bottle and Peewee."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"corkage.{_MODULES[name]}"), name)
    globals()[name] = found
    return found
