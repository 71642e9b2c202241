"""Single weights fall, and those that stay may make up for it."""
