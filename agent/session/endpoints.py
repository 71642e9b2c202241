"""Servers of language models that run on this machine, on the ports where they usually do."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

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
        return [plain(str(model["id"])) for model in _models(base)]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def weights(base: str, name: str) -> int | None:
    """How many parameters a server says that its model has, as llama.cpp does; None where it does not say.

    llama.cpp serves one model whatever it is called.
    """
    try:
        models = _models(base)
        told = next((model for model in models if model["id"] == name), models[0])
        return int(told["meta"]["n_params"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _models(base: str) -> Any:
    with urllib.request.urlopen(f"{base.rstrip('/')}/models", timeout=_PATIENCE) as reply:
        return json.load(reply)["data"]


def _answering() -> Iterator[str]:
    for kind, port in _USUAL.items():
        base = f"http://127.0.0.1:{port}/v1"
        if (models := served(base)) is not None:
            yield f"{kind} at {base}" + (f" ({models[0]})" if models else "")
