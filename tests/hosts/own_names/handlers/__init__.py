"""The host's own handlers."""
