"""`secateur doctor`: what this machine has, what is set, and where each setting came from."""

from __future__ import annotations

import os
import platform
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.io.errors import SecateurError
from tui.cli import options
from tui.cli.shell import print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.session.settings import Settings

_PACKAGES = (
    "secateur",
    "torch",
    "transformers",
    "langgraph",
    "langchain",
    "langchain-openai",
    "chromadb",
    "lm-eval",
    "datasets",
    "peft",
    "pydantic",
    "ray",
    "rich",
    "textual",
)
_ENDPOINT = ("OPENAI_BASE_URL", "OPENAI_API_KEY")


def doctor(home: options.Home = None, json: options.Json = False) -> None:
    """Show versions, devices, settings and samples."""
    findings = examine(options.settings(home))
    if json:
        print_json(findings)
        return
    for section, entries in findings.items():
        print(section)
        width = max((len(name) for name in entries), default=0)
        for name, value in entries.items():
            text = f"{_shown(value['value'])}   ({value['source']})" if isinstance(value, dict) else _shown(value)
            print(f"  {name:<{width}}  {text}")


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)


def examine(settings: Settings) -> dict[str, dict[str, Any]]:
    """Everything that `doctor` shows, section by section."""
    return {
        "versions": {"python": platform.python_version()} | dict(_versions()),
        "devices": _devices(),
        "settings": _settings(settings),
        "home": {"writable": writable(settings.home), "memories": _memories(settings.home)},
        "samples": _samples(settings),
        # Whether a key is there is all that is ever said of it.
        "endpoint": {name: "set" if os.environ.get(name) else "not set" for name in _ENDPOINT},
    }


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "missing"


def _devices() -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {"cpu": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found[f"cuda:{index}"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return found


def _settings(settings: Settings) -> dict[str, Any]:
    values = {"home": str(settings.home)} | settings.values.model_dump()
    return {name: {"value": value, "source": settings.sources[name]} for name, value in values.items()}


def writable(home: Path) -> str:
    """`yes`, or why not; nothing is left behind."""
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=place):
            pass
    except OSError as error:
        return f"no: {place}: {error.strerror}"
    return "yes"


def _memories(home: Path) -> int | str:
    from memory.index import Memory

    try:
        return Memory(home, wait=1.0).count()
    except SecateurError as error:
        return str(error)


def _samples(settings: Settings) -> dict[str, str]:
    from tools.model.gguf import converted
    from tools.model.sample import SAMPLES

    state = {}
    for name, sample in SAMPLES.items():
        ready = isinstance(sample, Path) or converted(sample.sha256, name, settings.cache).exists()
        state[name] = "here" if ready else "fetched when first used"
    return state
