"""The host's own tables."""
