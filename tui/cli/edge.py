"""The edge to the outside: what libraries may say, how errors become one line, how results leave on stdout."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import signal
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

from tools.errors import SecateurError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from tools.checkpoint import Model
    from tui.settings import Settings

DEBUG_VARIABLE = "SECATEUR_DEBUG"


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
        if record.name == "tools.kept":
            complain(record.getMessage())


def complain(message: str) -> None:
    """Write the one line of an error to stderr."""
    print(f"secateur: {_one_line(message)}", file=sys.stderr)


def exit_code(error: Exception) -> int:
    """Write what went wrong as one line; returns the exit code that goes with it."""
    complain(told(error))
    return 2 if isinstance(error, UsageError) else 1


def told(error: Exception) -> str:
    """What went wrong, as one line without secrets; with $SECATEUR_DEBUG the error itself is raised."""
    if os.environ.get(DEBUG_VARIABLE):
        raise error
    match error:
        case SecateurError():
            return _one_line(str(error))
        case OSError():
            return _one_line(_about_file(error))
        case MemoryError():
            return "out of memory: use a smaller model, fewer or shorter windows, or --dtype bfloat16"
        case _:
            return _one_line(f"unexpected {type(error).__name__}: {error} ({DEBUG_VARIABLE}=1 shows where)")


def _one_line(message: str) -> str:
    from runs.plain import plain
    from runs.secrets import scrub

    return scrub(plain(" ".join(message.split())))


def _about_file(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"{where}the disk is full. Make room, or choose another place with --home."
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"{where}no permission to write or read here. Choose another place with --home."
        case _:
            return f"{where}{error.strerror or error}"


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
    """What `tui.settings.load` resolves; imported when a command runs, not for `--help`."""
    from tui.settings import load

    return load(home, given)


def use_threads(found: Settings) -> None:
    """Let torch compute with as many threads as the settings say."""
    if found.values.threads is not None:
        import torch

        torch.set_num_threads(found.values.threads)


def best_device(found: Settings) -> str:
    """The torch device to work on."""
    if found.values.device != "auto":
        return found.values.device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def opened(name: str, found: Settings) -> Model:
    """Open a model with the precision and device that the settings say."""
    from tools.checkpoint import open_model

    use_threads(found)
    return open_model(name, cache=found.cache, dtype=found.values.dtype, device=best_device(found))
