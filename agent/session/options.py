"""Every option once: settings, and what is wished of a prune.

The command line makes its flags of these fields, `agent.session.settings` its settings, and `secateur.py` takes them by
name. Nothing heavy is imported here, as `secateur --help` reads this file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MinLen

from runs.designers import MOST_PARALLEL
from tools.io.errors import UsageError


@dataclass(frozen=True)
class Flag:
    """How an option stands on the command line."""

    help: str
    value: str | None = None
    """What stands for its value in the help."""
    name: str | None = None
    """Where it is not `--` and the field's."""
    least: int | None = None
    """The smallest number that is taken; settings have their bounds in their types, which hold for all sources."""
    reads: Callable[[str], Any] | None = None
    """Makes the value of what is typed."""


def share(text: str) -> float:
    """A share of the weights as it is typed.

    Raises:
        UsageError: it is no number.
    """
    try:
        return float(text)
    except ValueError:
        raise UsageError(f'sparsity "{text}" is not a number: give a share between 0 and 1, for example 0.5') from None


@dataclass(frozen=True)
class Wish:
    """What is wished of one prune, beside the model: `agent.session.goal` makes a goal of it and the settings."""

    sparsity: Annotated[float | None, Flag("Share of weights to remove, for example 0.5.", "S", reads=share)] = None
    pattern: Annotated[
        str | None,
        Flag(
            "unstructured (default; /matrix, /block), 2:4, width, depth, width+depth (each also /free), experts, "
            "experts+width.",
            "P",
        ),
    ] = None
    multiple: Annotated[int | None, Flag("Keep neurons in multiples of N (width; default 64).", "N")] = None
    speedup: Annotated[float | None, Flag("How many times faster, in place of --sparsity (width, depth).", "X")] = None
    request: Annotated[str | None, Flag("With --speedup: batch, tokens in and out (1,512,128).", "B,IN,OUT")] = None
    method: Annotated[str | None, Flag("Apply a named method instead of searching.", "NAME")] = None
    recipe: Annotated[Path | None, Flag("Apply a recipe instead of searching.", "FILE")] = None
    text: Annotated[str, Flag("builtin, wikitext2, c4, or a .txt or .jsonl file.", "TEXT")] = "builtin"
    """What the result is measured on, once, at the end; candidates are compared on the calibration's source."""
    recall: Annotated[
        bool, Flag("Whether memory is asked what worked in earlier runs.", name="--recall/--no-recall")
    ] = True
    compensation: Annotated[
        bool, Flag("Whether the weights that stay may be updated.", name="--compensation/--no-compensation")
    ] = True
    output: Annotated[Path | None, Flag("Where the pruned model goes.", "DIR")] = None
    compress: Annotated[bool, Flag("Pack the weights on disk; `secateur restore` unpacks them.")] = False
    masks: Annotated[bool, Flag("Save which weights are kept, to fine-tune without losing zeros.")] = False
    tasks: Annotated[str | None, Flag("Tasks of lm-eval; commonsense is the seven of the papers.", "NAME,...")] = None
    limit: Annotated[int | None, Flag("Samples of every task; all by default.", "N", least=1)] = None
    shots: Annotated[int | None, Flag("Answered examples before a question.", "K", least=0)] = None
    judge: Annotated[str | None, Flag("What chooses between finalists: perplexity (default) or tasks.", "J")] = None
    max_perplexity: float | None = None
    """Perplexity on the test text to stay under; said in conversation."""
    max_rise: float | None = None
    """Largest rise of the perplexity, 0.1 for ten per cent; said in conversation."""


@dataclass
class Choices:
    """What can be set: on the command line, by a variable, in `config.toml`, or left as it is here."""

    designer: Annotated[
        str, Flag("Who invents recipes: builtin (no LLM), openai:NAME, local:PATH, self; openai:A,openai:B.", "D")
    ] = "builtin"
    """Several language models, with commas between them, are an ensemble."""
    parallel: Annotated[int | None, Ge(1), Le(MOST_PARALLEL), Flag("Conversations of a design step at once.", "N")] = (
        None
    )
    """None: `HOSTED` where a provider answers, else 1: models on this machine, servers of one's own."""
    prompting: Annotated[Literal["gcot", "history"], Flag("Prompts from the thought graph (gcot) or history.", "P")] = (
        "gcot"
    )
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        Flag("float32 (default on a CPU), bfloat16 or float16.", "TYPE"),
    ] = None
    """None: the checkpoint's own, but float32 on a CPU."""
    device: Annotated[str, Flag("auto, cpu, cuda, cuda:1.", "DEVICE")] = "auto"
    """`auto` is the first CUDA device where there is one, else the CPU."""
    threads: Annotated[int | None, Ge(1), Flag("CPU threads.", "N")] = None
    """None leaves the choice to torch."""
    executor: Annotated[str, Flag("Who measures: in-process (default), processes, ray or ray://HOST:PORT.", "E")] = (
        "in-process"
    )
    workers: Annotated[int | None, Ge(1), Flag("Workers that measure at the same time.", "N")] = None
    """None: one for each GPU, one on a CPU."""
    gpus_per_worker: Annotated[
        float | None, Gt(0), Le(1), Flag("GPUs of each Ray worker: 1, or a share of one.", "X")
    ] = None
    accelerator: Annotated[str | None, MinLen(1), Flag("GPUs that Ray chooses, for example A100.", "TYPE")] = None
    calibration: Annotated[str, Flag("builtin, wikitext2, c4, or a .txt or .jsonl file.", "TEXT")] = "builtin"
    windows: Annotated[int, Ge(1), Flag("Windows of text.", "N")] = 16
    """Of calibration text."""
    length: Annotated[int, Ge(8), Flag("Tokens per window.", "L")] = 512
    """Of calibration text."""
    search_windows: Annotated[int, Ge(1)] = 8
    """Windows of the text that candidates are compared on, and as many of the text that selects among the best."""
    search_length: Annotated[int, Ge(8)] = 512
    test_windows: Annotated[int, Ge(1), Flag("Windows of text.", "N", name="--windows")] = 16
    test_length: Annotated[int, Ge(8), Flag("Tokens per window.", "L", name="--length")] = 512
    finalists: Annotated[int, Ge(1)] = 2
    """Recipes of a search that are made in their final form, beside the strongest reference."""
    candidates: Annotated[int | None, Ge(1), Flag("Candidates to measure at most.", "N")] = None
    minutes: Annotated[float | None, Gt(0), Flag("Minutes to work at most.", "M")] = None
    """With neither limit, a search measures `DEFAULT_CANDIDATES`."""
    tokens: Annotated[int | None, Ge(1), Flag("Tokens of an LLM at most.", "N")] = None
    money: Annotated[float | None, Gt(0), Flag("US dollars of an LLM at most.", "USD")] = None
    seed: Annotated[int, Flag("Seed of everything random.", "S")] = 0
    task_data: Annotated[str | None, Flag("Take the tasks from NAME.jsonl in this folder.", "DIR")] = None
    """None: lm-eval's own data, from the hub."""


DEFAULT_CANDIDATES = 24
HOSTED = 3
"""Conversations of a design step with models of providers, which answer as many at once as they are asked."""


def flag_of(hint: Any) -> Flag | None:
    """The flag in an annotation; None where the option is none of the command line's."""
    return next((part for part in getattr(hint, "__metadata__", ()) if isinstance(part, Flag)), None)
