"""What a person can mean, as data; their JSON schemas are the tools of a language model that reads the words."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Intent(BaseModel):
    """One thing that a person can mean; fields that are not known are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Prune(Intent):
    """The person wants a model pruned. Leave out what was not said."""

    model: str = Field(default="", max_length=300, description="Hub id, folder, GGUF file or sample name, as said.")
    sparsity: float | None = Field(default=None, gt=0, lt=1, description="Share of weights to remove.")
    pattern: str | None = Field(
        default=None,
        max_length=40,
        description="unstructured, N:M as 2:4, or for a smaller model width, depth or width+depth.",
    )
    speedup: float | None = Field(default=None, gt=1, description="How many times faster it shall be: 1.4.")
    max_perplexity: float | None = Field(default=None, gt=0, description="Perplexity to stay under.")
    max_rise: float | None = Field(default=None, gt=0, description="Largest rise of perplexity: 0.1 is 10 %.")
    candidates: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)


class GoOn(Intent):
    """The person wants the search to go on, for so many minutes or candidates more."""

    minutes: float | None = Field(default=None, gt=0)
    candidates: int | None = Field(default=None, ge=1)


class Resume(Intent):
    """The person wants to take up an earlier run, named by its id, its model or its day."""

    words: str = Field(max_length=200)
    day: Literal["today", "yesterday", "any"] = "any"


class Question(Intent):
    """The person asks about what was measured, or why something is as it is."""

    text: str = Field(max_length=1000)


class Evaluate(Intent):
    """The person wants to know how good a model is on tasks such as HellaSwag, by having it answer them."""

    tasks: tuple[str, ...] = Field(
        min_length=1,
        max_length=20,
        description="Names of lm-eval: hellaswag, piqa, arc_easy, mmlu, gsm8k; commonsense is the seven of the papers.",
    )
    model: str = Field(default="", max_length=300, description="As said; empty for the result of the run.")
    samples: int | None = Field(default=None, ge=1, description="Of every task.")
    all_samples: bool = Field(default=False, description="Whether all samples are asked for.")


class Export(Intent):
    """The person wants the pruned model, in a folder of their own if they name one."""

    folder: str | None = Field(default=None, max_length=300)


class Stop(Intent):
    """The person wants the search to end and conclude."""


class Leave(Intent):
    """The person says goodbye."""


class Help(Intent):
    """The person wants to know what can be said, or what was said makes no sense here."""


ALL: tuple[type[Intent], ...] = (Prune, GoOn, Resume, Question, Evaluate, Export, Stop, Leave, Help)
