"""What is sold: Checkout, the portal.

The codes say what a visitor is told before Stripe's page; pages/notes.py has the sentences.
"""

SEVERAL_ITEMS = "several_items"
CANCELING = "canceling"
NOT_OFFERED = "not_offered"
CODE_UNKNOWN = "code_unknown"
