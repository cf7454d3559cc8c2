"""Commands that serve, and what they serve to try things out."""
