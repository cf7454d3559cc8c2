"""Keeps the replica true. Knows nothing of HTTP requests."""
