"""Speaks with Stripe: its calls, what they answer as values, its signed events, and whether it is up."""
