"""Webhooks: which destination receives which event, in which API version, signed, sent, retried."""
