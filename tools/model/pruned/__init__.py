"""Saved models whose blocks differ from each other: the class they need, and the marks they are known by."""
