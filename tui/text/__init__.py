"""Runs and results as plain text."""
