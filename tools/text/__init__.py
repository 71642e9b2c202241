"""Texts as windows of tokens, and prompts."""
