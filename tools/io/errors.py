"""The two errors a person may meet, each one clear line that says what to do; and any other as part of one."""

from __future__ import annotations

import os
import re


class SecateurError(Exception):
    """Something failed; the message is the one line a person reads. Exit code 1."""


class UsageError(SecateurError):
    """What was asked cannot be meant. Exit code 2."""


def reason(error: BaseException) -> str:
    """An exception as part of one line: what the system says of a file, otherwise the first line of the message."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if code := re.search(r"\(os error (\d+)\)", str(error)):  # how safetensors passes on what the system says
        return os.strerror(int(code[1])).lower()
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line if len(line) <= 200 else line[:199] + "…"
