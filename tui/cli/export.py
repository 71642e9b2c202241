"""`secateur export`: who can load a folder, and the files for those who need others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tools.io.files import expanded
from tui.cli import options
from tui.cli.shell import be_interruptible, complain, print_json

if TYPE_CHECKING:
    from tools.deliver.export import Verdict


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a model, pruned or not.")],
    target: Annotated[Literal["hf", "vllm", "llama.cpp"], typer.Option("--for", help="Who shall load it.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="PATH", help="The GGUF, or the folder for vLLM; beside DIR if not given."),
    ] = None,
    dtype: Annotated[
        Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"] | None,
        typer.Option("--dtype", help="Of the GGUF; if not given, as the folder, and f16 for float32."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Say whether transformers, vLLM or llama.cpp can load a model, and write what they need."""
    from runs.plain import plain
    from tools.deliver.export import export as work

    be_interruptible()
    verdict = work(expanded(folder), target, output=output, dtype=dtype)
    if json:
        print_json({"folder": str(folder), **verdict.model_dump(mode="json")})
    else:
        print(plain("\n".join(_lines(folder, verdict))))  # a model's files say some of it
    if verdict.verdict == "cannot":
        if json:
            complain(f"{folder} for {target}: {'; '.join(verdict.lines)}")
        raise typer.Exit(1)


def _lines(folder: Path, verdict: Verdict) -> list[str]:
    says = {"ok": "OK", "needs": "OK, but see what it needs", "cannot": "no"}[verdict.verdict]
    return [f"{folder} for {verdict.target}: {says}", *(f"  {line}" for line in verdict.lines)]
