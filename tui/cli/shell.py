"""What the shell gets: exit codes, one line for an error, JSON on stdout; what libraries may say; which signals end."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from typing import Any

from agent.session.told import DEBUG_VARIABLE, one_line, told
from tools.io.errors import UsageError


def hush() -> None:
    """Keep progress bars, warnings and telemetry of libraries out of the terminal; called before any is imported."""
    quiet = {
        "TRANSFORMERS_VERBOSITY": "error",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "ANONYMIZED_TELEMETRY": "False",
        "LANGGRAPH_STRICT_MSGPACK": "true",
    }
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
    if not os.environ.get(DEBUG_VARIABLE):
        warnings.simplefilter("ignore")
        logging.getLogger().addHandler(_Told())


class _Told(logging.Handler):
    """Shows what was set aside because it was damaged, where no run notes it; what libraries log is not for people."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "tools.io.shelf":
            complain(record.getMessage())


def complain(message: str) -> None:
    """Write the one line of an error to stderr."""
    print(f"secateur: {one_line(message)}", file=sys.stderr)


def exit_code(error: Exception) -> int:
    """Write what went wrong as one line; returns the exit code that goes with it."""
    complain(told(error))
    return 2 if isinstance(error, UsageError) else 1


def be_interruptible() -> None:
    """SIGINT and SIGTERM end the work in order: nothing half-written stays. A shell's `&` hands SIGINT on ignored."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)


def print_json(value: Any) -> None:
    """Print one JSON object; numbers that JSON does not have become null."""
    print(as_json(value))


def as_json(value: Any) -> str:
    """A value as JSON that hides nothing from a terminal; numbers that JSON does not have become null."""
    from pydantic_core import to_json

    from runs.plain import plain_json

    return plain_json(to_json(value, indent=2, inf_nan_mode="null").decode())
