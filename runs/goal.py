"""A goal: what was asked of a run, complete enough to do it again."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from runs.designers import MOST_PARALLEL, designers_of
from tools.io.errors import UsageError
from tools.io.frozen import Frozen, first_problem
from tools.measure.tasks.plan import TaskPart, TaskPlan
from tools.recipe import Calibration, Pattern, Recipe, Unstructured, check_sparsity

PACKS = 0.1
"""Sparsity from which packing surely pays: its masks take a bit per weight, 1/16 of weights of half precision."""


class Budget(Frozen):
    """What a run may spend before it concludes; None is no limit."""

    candidates: int | None = Field(default=None, ge=1)
    """Candidates that were measured, or that failed while being measured."""
    minutes: float | None = Field(default=None, gt=0)
    """Minutes of work; the time between an interruption and its resume is free."""
    tokens: int | None = Field(default=None, ge=1)
    """Tokens that the designer's LLM read and wrote."""
    money: float | None = Field(default=None, gt=0)
    """US dollars that the designer's LLM cost."""


class Size(Frozen):
    """How much of a text is read: `windows` windows of `length` tokens."""

    windows: int = Field(default=16, ge=1)
    length: int = Field(default=512, ge=8)

    @property
    def tokens(self) -> int:
        """Windows times length."""
        return self.windows * self.length


class Evaluation(Frozen):
    """The three disjoint parts of text that recipes are measured on: searched, selected, and read once at the end."""

    search: Size = Size(windows=8)
    selection: Size = Size(windows=8)
    test: Size = Size()
    finalists: int = Field(default=2, ge=1)
    """Recipes of the search that are made in their final form, beside the strongest reference."""


def _known_executor(name: str) -> str:
    host = name.removeprefix("ray://")
    if name in ("in-process", "processes", "ray") or (host != name and host and not set(host) & set("/ ")):
        return name
    raise ValueError(f'"{name}" is not known: give in-process, processes, ray or ray://HOST:PORT')


ExecutorName = Annotated[str, AfterValidator(_known_executor)]


class Workers(Frozen):
    """Where candidates are measured, and by how many workers at a time.

    Raises:
        UsageError: something is asked of workers that this executor does not have.
    """

    executor: ExecutorName = "in-process"
    """`in-process`, `processes` on this machine, `ray` on this machine, or `ray://HOST:PORT` of a cluster."""
    count: int | None = Field(default=None, ge=1)
    """None: one for each GPU there is; on CPUs one for as many cores as the engine has threads."""
    gpus: float | None = Field(default=None, gt=0, le=1)
    """GPUs that Ray gives each worker, or the share of one; None: one if the model is on CUDA, else none."""
    accelerator: str | None = Field(default=None, min_length=1)
    """Ray's name for the type of GPU, for example `A100`."""

    @model_validator(mode="after")
    def _has_such_workers(self) -> Workers:
        if self.executor == "in-process" and self.count is not None:
            raise UsageError("--workers needs workers: give --executor processes or --executor ray with it")
        for option, value in (("--gpus-per-worker", self.gpus), ("--accelerator", self.accelerator)):
            if value is not None and not self.uses_ray:
                raise UsageError(f"{option} is for Ray to obey: give --executor ray with it")
        return self

    @property
    def uses_ray(self) -> bool:
        """Whether workers are Ray actors, here or on a cluster."""
        return self.executor.startswith("ray")


class Goal(Frozen):
    """Model, sparsity, pattern, the texts, what must hold and what may be spent.

    Raises:
        UsageError: the sparsity is not between 0 and 1, an N:M pattern means another one, both a method and a recipe
            are given, or the result has too few zeros to be packed.
    """

    model: str = Field(min_length=1)
    """What the person typed: a hub id, a folder, a GGUF file or the name of a sample."""
    sparsity: float
    pattern: Pattern = Unstructured()
    calibration: Calibration = Calibration()
    test_text: str = "builtin"
    """Source of the test windows; those of search and selection come from the calibration's source."""
    evaluation: Evaluation = Evaluation()
    method: str | None = None
    """A named method to apply instead of searching."""
    recipe: Recipe | None = None
    """A recipe to apply instead of searching."""
    designer: str = Field(default="builtin", min_length=1)
    """`builtin`, `random`, `evolution`, `self`, `openai:NAME`, `local:PATH`, another `provider:NAME`, several of these
    language models with commas between them (an ensemble), or `replay:JOURNAL`."""
    parallel: int = Field(default=1, ge=1, le=MOST_PARALLEL)
    """Conversations into which a design step of language models is split; those with servers are held at once."""
    prompting: Literal["gcot", "history"] = "gcot"
    """What an LLM's prompts are built from: the thought graph, or the plain history as a control."""
    recall: bool = True
    """Whether memory is asked what worked before; without it, the same seed gives the same candidates anywhere."""
    compensation_allowed: bool = True
    max_perplexity_rise: float | None = Field(default=None, gt=0)
    """Largest perplexity over the dense model's, minus one: 0.1 is ten per cent more."""
    max_perplexity: float | None = Field(default=None, gt=1)
    """Perplexity on the test text to stay under."""
    budget: Budget = Budget()
    seed: int = 0
    dtype: str | None = None
    """None: the checkpoint's own, float32 on a CPU."""
    device: str = "cpu"
    workers: Workers = Workers()
    output: str | None = None
    """Folder of the pruned model; None: inside the run."""
    compress: bool = False
    """Whether its weights are packed on disk."""
    masks: bool = False
    """Whether the masks are saved beside the weights."""
    tasks: TaskPlan | None = None
    """Tasks that every line of the final table answers."""
    judge: Literal["perplexity", "tasks"] = "perplexity"
    """What chooses between finalists: perplexity on the selection text, or a part of the tasks' samples that the final
    table does not use."""

    @field_validator("sparsity")
    @classmethod
    def _removes_some(cls, value: float) -> float:
        return check_sparsity(value)

    @model_validator(mode="after")
    def _is_consistent(self) -> Goal:
        own = self.pattern.prescribed
        if own is not None and abs(own - self.sparsity) > 1e-9:
            means = f"{own:g}"
            raise UsageError(f"pattern {self.pattern} means sparsity {means}, not {self.sparsity:g}: give {means}")
        self._check_zeros()
        if self.judge == "tasks" and (self.tasks is None or not self.searches):
            raise UsageError("--judge tasks chooses between finalists: give --tasks with it, and search for a recipe")
        if self.method is not None and self.recipe is not None:
            raise UsageError("a method and a recipe are both given: choose one of them, or neither to search")
        return self

    def _check_zeros(self) -> None:
        """Refuse before anything is done what needs zeros where there will be none, or too few."""
        for option, asked in (("--compress", self.compress), ("--masks", self.masks)):
            if asked and not self.pattern.zeros:
                raise UsageError(f"{option} is for zeros among the weights, and pattern {self.pattern} leaves none")
        if self.compress and self.sparsity < PACKS:
            raise UsageError(f"--compress saves nothing at sparsity {self.sparsity:g}: it pays from {PACKS:g} on")

    @property
    def designers(self) -> tuple[str, ...]:
        """Who designs; several where it is an ensemble."""
        return designers_of(self.designer)

    @property
    def speedup(self) -> float | None:
        """How many times faster the result shall be, where the goal counts time."""
        return None if self.pattern.timed is None else 1 / (1 - self.sparsity)

    @property
    def table_tasks(self) -> TaskPlan | None:
        """What the final table answers."""
        part: TaskPart = "test" if self.judge == "tasks" or self.looks_at_tasks else "all"
        return None if self.tasks is None else self.tasks.model_copy(update={"part": part})

    @property
    def looks_at_tasks(self) -> bool:
        """Whether the designer may have candidates answer: a language model can, by a tool of its own."""
        return self.tasks is not None and self.searches and (":" in self.designer or self.designer == "self")

    @property
    def judging_tasks(self) -> TaskPlan | None:
        """What finalists answer, where tasks judge."""
        if self.tasks is None or self.judge != "tasks":
            return None
        return self.tasks.model_copy(update={"part": "judge"})

    @property
    def searches(self) -> bool:
        """Whether recipes are searched for, rather than one named method or recipe applied."""
        return self.method is None and self.recipe is None

    @classmethod
    def of(cls, **fields: Any) -> Goal:
        """Build a goal from what a person gave.

        Raises:
            UsageError: a field does not hold what it should; the line names the field.
        """
        try:
            return cls(**fields)
        except ValidationError as error:
            raise UsageError(first_problem(error)) from error

    def __str__(self) -> str:
        if self.speedup is not None:
            return f"{self.model} → {self.speedup:.3g} times faster, {self.pattern.title}"
        return f"{self.model} → {100 * self.sparsity:.3g} % {self.pattern.title}"
