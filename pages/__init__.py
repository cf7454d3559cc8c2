"""The pages that visitors see: what they show, in their language. Calls neither Stripe nor the identity check."""

N_ = str
"""Marks a message that is translated where it is used, so that bin/catalogue finds it. Loads no Babel."""
