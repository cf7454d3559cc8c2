"""The pages that visitors see: what they show, in their language. Calls neither Stripe nor the identity check."""
