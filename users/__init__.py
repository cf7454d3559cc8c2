"""What becomes of a user: updated, deleted."""
