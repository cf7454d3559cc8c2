"""What is sold: Checkout, the portal.

Each code stands for a note, a sentence to read before Stripe's page; pages/notes.py has the sentences.
"""

LONGEST_CODE = 100  # of promotion codes, in characters

SEVERAL_ITEMS = "several_items"
CANCELING = "canceling"
NOT_OFFERED = "not_offered"
CODE_UNKNOWN = "code_unknown"
