"""Experts of a mixture fall."""
