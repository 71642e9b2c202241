"""Servers of language models that run on this machine, on the ports where they usually do."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator

from runs.plain import plain

_USUAL = {"Ollama": 11434, "vLLM": 8000, "llama.cpp": 8080}
_PATIENCE = 0.3
"""Seconds for each."""


def found() -> list[str]:
    """Base URLs of those that answer, with the name of a model they serve."""
    return list(_answering())


def served(base: str) -> list[str] | None:
    """The names of the models that a server has; None where nothing answers, or nothing of the kind."""
    try:
        with urllib.request.urlopen(f"{base.rstrip('/')}/models", timeout=_PATIENCE) as reply:
            return [plain(str(model["id"])) for model in json.load(reply)["data"]]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _answering() -> Iterator[str]:
    for kind, port in _USUAL.items():
        base = f"http://127.0.0.1:{port}/v1"
        if (models := served(base)) is not None:
            yield f"{kind} at {base}" + (f" ({models[0]})" if models else "")
