"""Commands for the database as a whole: copy it, bring a copy back, move it to another engine."""
