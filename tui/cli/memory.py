"""`secateur memory`: what past runs found out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runs.plain import plain
from tui.cli import options
from tui.cli.shell import print_json

if TYPE_CHECKING:
    from memory.index import Memory

app = typer.Typer(help="What past runs found out.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def search(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORD...]", help="Words of model, metric, allocation, pattern or run; none lists all."),
    ] = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """List candidates that name every word, best first."""
    found = _memory(home).search(" ".join(words or []))
    if json:
        rows = [item.model_dump(mode="json", exclude={"model_vector"}) for item in found]
        print_json({"found": [row | {"relative": item.relative} for row, item in zip(rows, found, strict=True)]})
    elif not found:
        every = "`secateur memory search` without words lists all"
        print(f"nothing found; {every if words else '`secateur prune MODEL --sparsity 0.5` makes memories'}")
    else:
        print("relative is the divergence (else the perplexity) over the best reference's: below 1 it won")
        print(f"{'relative':>8}  {'KL':>7}  {'candidate':<24}  {'model':<16}  recipe")
        for item in found:
            relative = "-" if item.relative is None else f"{item.relative:.3f}"
            divergence = "-" if item.divergence is None else f"{item.divergence:.4f}"
            model = Path(item.model).name
            print(plain(f"{relative:>8}  {divergence:>7}  {item.id:<24}  {model:<16}  {item.recipe}"))


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="RUN/CANDIDATE, as `memory search` lists it.")],
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Show one candidate with its recipe and its numbers."""
    item = _memory(home).show(name)
    fields = item.model_dump(mode="json", exclude={"model_vector"}) | {"relative": item.relative}
    if json:
        print_json(fields)
        return
    for key, value in fields.items():
        print(plain(f"{key:<21} {item.recipe if key == 'recipe' else '-' if value is None else value}"))


@app.command()
def rebuild(home: options.Home = None, json: options.Json = False) -> None:
    """Make the index anew from the journals of all runs."""
    count = _memory(home).rebuild()
    if json:
        print_json({"memories": count})
    else:
        print(f"{count} memories")


@app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write; one JSON line per memory.")],
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Write every memory to a file."""
    count = _memory(home).export(file)
    if json:
        print_json({"memories": count, "file": str(file)})
    else:
        print(f"{count} memories written to {file}")


def _memory(home: Path | None) -> Memory:
    from memory.index import Memory

    return Memory(options.settings(home).home)
