"""The edge to the outside: what libraries may say, how errors become one line, how results leave on stdout."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

from agent.session.told import DEBUG_VARIABLE, one_line, told
from tools.io.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from agent.session.settings import Settings


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
    from runs.plain import plain_json

    return plain_json(json.dumps(_finite(value), ensure_ascii=False, indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
    return value


def settings(home: Path | None, **given: Any) -> Settings:
    """What `agent.session.settings.load` resolves; imported when a command runs, not for `--help`."""
    from agent.session.settings import load

    return load(home, given)
