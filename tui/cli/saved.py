"""`secateur restore` and `secateur recover`: what can be done with a saved model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.session.options import Wish
from tools.io.errors import SecateurError
from tools.io.files import expanded
from tui.cli.options import MACHINE, Json, takes
from tui.cli.shell import be_interruptible, print_json

if TYPE_CHECKING:
    from agent.session.settings import Settings
    from tools.deliver.recover import Recovered

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `secateur prune` saved.")]
REPORTS = 10
"""Lines of progress."""


def restore(
    folder: Folder,
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="Where the ordinary folder goes.")],
    json: Json = False,
) -> None:
    """Unpack a model that `prune --compress` saved.

    Every restored file has to have the SHA-256 of its original.
    """
    from tools.model.packed import restore_folder

    be_interruptible()
    sizes = restore_folder(expanded(folder), expanded(output).resolve())
    if json:
        print_json({"output": str(output), "bytes": {"packed": sizes.after, "restored": sizes.before}})
        return
    print(f"{output}: restored bit for bit, {sizes.after / 1e6:,.1f} → {sizes.before / 1e6:,.1f} MB")


@takes("folder", "text", "steps", "rank", "learning_rate", "windows", "length", "output", "seed", "json", *MACHINE)
def recover(
    folder: Folder,
    wish: Wish,
    settings: Settings,
    steps: Annotated[int, typer.Option("--steps", metavar="N", min=1, help="Training steps, a window each.")] = 100,
    rank: Annotated[int, typer.Option("--rank", metavar="R", min=1, help="Rank of the corrections.")] = 8,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", metavar="X", min=0.0, help="Largest learning rate of AdamW.")
    ] = 3e-4,
    windows: Annotated[
        int | None,
        typer.Option("--windows", metavar="N", min=1, help="Windows of training text; one for each step by default."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="DIR", help="Where the result goes: DIR-recovered by default.")
    ] = None,
    json: Json = False,
) -> None:
    """Train a pruned model a little (LoRA), so that it recovers; zeros stay zeros.

    Trained on the calibration part of the text; perplexity is measured on its test part, of a local file on its last
    tenth. The result is saved, loaded again in a fresh process and compared.
    """
    from tools.deliver import recover as recovery

    be_interruptible()
    recovery.check_peft()
    folder = expanded(folder).resolve()
    if not folder.is_dir():
        raise SecateurError(f"{folder} does not exist: recover takes the folder of a pruned model")
    model = settings.opened(str(folder))
    place = folder.with_name(f"{folder.name}-recovered") if output is None else expanded(output).resolve()
    recovery.check(model, place)
    values = settings.values
    train, test = recovery.texts(
        model,
        wish.text,
        train=(windows or steps, values.length),
        test=(values.test_windows, values.test_length),
        seed=values.seed,
    )
    done = recovery.recover(
        model,
        train,
        test,
        steps=steps,
        rank=rank,
        learning_rate=learning_rate,
        seed=values.seed,
        progress=lambda step, loss: _progress(step, steps, loss),
    )
    recovery.save_recovered(model, place, done, test.ids)
    if json:
        print_json(_as_json(done, folder, place, values.seed))
    else:
        print("\n".join(_lines(done, folder, place)))


def _progress(step: int, steps: int, loss: float) -> None:
    if step % max(1, steps // REPORTS) == 0 or step == steps:
        print(f"  step {step}/{steps}   loss {loss:.3f}", file=sys.stderr)


def _lines(done: Recovered, folder: Path, place: Path) -> list[str]:
    protocol, shape = done.after.protocol, done.text.ids.shape
    zeros = f"{100 * done.after.sparsity:.1f} % of the weights, as before; size and speed stay"
    return [
        f"{folder}: {done.steps} steps on {shape[0]} windows of {shape[1]} tokens of {done.text.text}, "
        f"{done.trained:,} parameters of rank {done.rank}, {done.seconds:.1f} s",
        f"  before  perplexity {done.before.value:.4g}",
        f"  after   perplexity {done.after.value:.4g}   ({protocol.text}: {protocol.read}, {protocol.dtype})",
        f"  zeros   {zeros}",
        f"  model   {place}       checked: reloads, logits equal, zeros as before",
    ]


def _as_json(done: Recovered, folder: Path, place: Path, seed: int) -> dict[str, Any]:
    return {
        "model": str(folder),
        "output": str(place),
        "steps": done.steps,
        "rank": done.rank,
        "seed": seed,
        "trained": done.trained,
        "text": {"text": done.text.text, "sha256": done.text.sha256, "tokens": done.text.tokens},
        "perplexity": {"before": done.before.value, "after": done.after.value},
        "tokens": done.after.tokens,
        "protocol": done.after.protocol.model_dump(mode="json"),
        "sparsity": done.after.sparsity,
        "seconds": round(done.seconds, 3),
    }
