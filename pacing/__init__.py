"""How often, how many at once, and how long to wait."""
