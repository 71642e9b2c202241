"""The first screen: what can be done here, with what this machine has."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from textual.content import Content
from textual.widgets import Static

from agent.session.settings import Settings
from runs.run import Run

EXAMPLE = "prune smollm2-135m to 50%"
_RUNS = 5


class Welcome(Static):
    """Shown while there is no conversation."""

    DEFAULT_CSS = """
    Welcome { height: auto; padding: 1 3; }
    """

    def show(self, settings: Settings, runs: Sequence[Run], endpoints: Sequence[str] | None) -> None:
        """`endpoints`: servers found, None while they are looked for."""
        rows = [
            ("designer", _designer(settings, endpoints)),
            ("device", _device(settings)),
            ("memory", "of past runs: /memory" if (settings.home / "memory").exists() else "empty"),
            ("runs", f"{len(runs)}: /runs shows all" if runs else "none"),
            ("home", str(settings.home)),
        ]
        facts = "\n".join(f"  {name:<10} {value}" for name, value in rows)
        self.update(
            Content.assemble(("Prune a language model by talking about it.\n\n", "bold"), facts, _try(), _past(runs))
        )


def _try() -> Content:
    return Content.assemble(
        "\n\n  Try:  ",
        (EXAMPLE, "bold"),
        "      Enter sends it\n"
        "        prune ./my-model to 2:4, keep perplexity within 10 %\n"
        "        continue what we did on smollm2 yesterday\n",
    )


def _past(runs: Sequence[Run]) -> Content:
    if not runs:
        return Content("")
    width = max(len(run.id) for run in runs)
    told = [(run.id, *run.glance()) for run in reversed(runs[-_RUNS:])]
    lines = [f"\n        {name:<{width}}  {goal}  {status}" for name, status, goal in told]
    return Content.assemble("\n  Past runs, /open RUN shows one:", *lines)


def _designer(settings: Settings, endpoints: Sequence[str] | None) -> str:
    name = settings.values.designer
    if name != "builtin":
        return f"{name} ({settings.sources['designer']})"
    if os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_KEY"):
        return "builtin search; an endpoint is set: --designer openai:NAME uses it"
    if endpoints:
        return f"builtin search; found {', '.join(endpoints)}: set OPENAI_BASE_URL and --designer openai:NAME"
    looking = "looking for endpoints" if endpoints is None else "no LLM endpoint found; set OPENAI_BASE_URL to use one"
    return f"builtin search ({looking})"


def _device(settings: Settings) -> str:
    """Without torch, which takes seconds to import."""
    cores = f"{os.cpu_count()} CPU cores"
    gpu = "an NVIDIA GPU and " if shutil.which("nvidia-smi") and Path("/dev/nvidia0").exists() else ""
    chosen = "" if settings.values.device == "auto" else f", {settings.values.device} is set"
    return f"{gpu}{cores}{chosen}"
