"""The two errors a person may meet: each is one clear line that says what to do."""

from __future__ import annotations


class SecateurError(Exception):
    """Something failed; the message is the one line a person reads. Exit code 1."""


class UsageError(SecateurError):
    """What was asked cannot be meant. Exit code 2."""
