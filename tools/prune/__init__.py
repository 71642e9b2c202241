"""Apply a recipe: one way for every kind of pattern, on one resident model."""
