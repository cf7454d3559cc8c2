"""The host's own."""

HOST, PLAN = True, "pro"
