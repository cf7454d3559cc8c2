"""Webhooks: destinations, event payloads and versions, and deliveries with retries."""
