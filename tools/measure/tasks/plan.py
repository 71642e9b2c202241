"""Which tasks are answered, and how: what a person asks for, as data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tools.io.errors import UsageError
from tools.io.frozen import Frozen

TaskPart = Literal["all", "test", "search", "judge"]

_DEALT: dict[TaskPart, tuple[int, ...]] = {"all": (0, 1, 2, 3), "test": (0, 1), "search": (2,), "judge": (3,)}
"""Which of every four samples in a row are a part's: the designer looks at `search`, `judge` chooses between finalists,
and `test` is for the final table."""

COMMONSENSE = {
    "boolq": "acc",
    "piqa": "acc",
    "hellaswag": "acc_norm",
    "winogrande": "acc",
    "arc_easy": "acc",
    "arc_challenge": "acc_norm",
    "openbookqa": "acc_norm",
}
"""The seven tasks of the pruning papers, each with the metric that they quote (LLM-Pruner, and FLAP and Self-Pruner
after it; Wanda quotes `acc` for all). `acc_norm` divides the log-likelihood of an answer by its characters."""


class TaskPlan(Frozen):
    """What is answered."""

    names: tuple[str, ...] = Field(min_length=1)
    """Tasks, groups and tags of lm-eval, or names of local files."""
    limit: int | None = Field(default=None, ge=1)
    """Samples of every task, from its first on; None is all."""
    shots: int | None = Field(default=None, ge=0)
    """Answered examples before each question; None is what the task is defined with, mostly none."""
    data: str | None = None
    """Folder of local JSONL files; None takes lm-eval's own data."""
    chat: bool = False
    """Whether prompts are put into the model's chat template."""
    part: TaskPart = "all"
    """Which of the samples; parts share none."""


def task_names(text: str) -> tuple[str, ...]:
    """The names of a list such as `commonsense,mmlu`.

    Raises:
        UsageError: there is none, or one twice.
    """
    names: list[str] = []
    for name in filter(None, (part.strip() for part in text.split(","))):
        names += COMMONSENSE if name == "commonsense" else [_usual(name)]
    if not names:
        raise UsageError(f'--tasks "{text}" names no task: give for example commonsense, or piqa,hellaswag')
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"--tasks names {twice} twice")
    return tuple(names)


def _usual(name: str) -> str:
    """lm-eval's spelling of the common tasks, whatever underscores are written."""
    return next((known for known in COMMONSENSE if known.replace("_", "") == name.replace("_", "")), name)


def part_of(samples: int, part: TaskPart) -> list[int]:
    """Indices of the samples of a part, ascending."""
    return [i for i in range(samples) if i % 4 in _DEALT[part]]
