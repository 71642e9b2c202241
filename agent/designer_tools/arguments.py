"""What each tool of the designer takes, as pydantic models: their JSON schemas are what an LLM sees.

A string with the extra key `grammar` is a formula; a decoder that can follow a grammar is told so by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from tools.recipe import Granularity, Group

Why = Annotated[str, Field(min_length=3, max_length=400, description="The evidence for it, in one or two sentences.")]
CandidateName = Annotated[str, Field(pattern=r"^c-\d{1,5}$", description="Id of a measured candidate, as c-3.")]
MetricText = Annotated[
    str,
    Field(max_length=300, description="A score per weight; the lowest fall.", json_schema_extra={"grammar": "metric"}),
]
AllocationText = Annotated[
    str,
    Field(
        max_length=200,
        description="A priority per unit; who has more keeps more weights.",
        json_schema_extra={"grammar": "allocation"},
    ),
]
Width = Annotated[float, Field(gt=0, le=0.3, description="Half the spread of the keep ratios around their mean.")]
Unit = Annotated[int, Field(ge=0, le=9999)]
Rate = Annotated[float, Field(ge=0, le=1, description="Share of weights to remove.")]
FormulaOrRates = Annotated[
    Annotated[str, Field(max_length=200)] | list[Rate],
    Field(
        description="A priority per unit, who has more keeps more weights; or a list with the sparsity of every unit, "
        "which is projected to the goal.",
        # A decoder that follows a grammar writes formulas: a list as long as the model is deep has no short bound.
        json_schema_extra={"grammar": "allocation", "maxLength": 200},
    ),
]


class Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


def choosing_among(schema: type[Arguments], candidates: Sequence[str]) -> type[Arguments]:
    """The same arguments where only these candidates can be named: an LLM reads the choice in the schema, and a
    decoder that follows it cannot name another."""
    if not candidates:
        return schema
    one: Any = Literal[tuple(candidates)]
    many: Any = list[one]
    kinds = {"base": one, "first": one, "second": one, "candidate": one, "about": many, "candidates": many}
    fields: dict[str, Any] = {n: (kinds[n], info) for n, info in schema.model_fields.items() if n in kinds}
    return create_model(schema.__name__, __base__=schema, __doc__=schema.__doc__, **fields) if fields else schema


class ProposeMetric(Arguments):
    """Propose a candidate: a base with another metric."""

    expression: MetricText
    base: CandidateName
    why: Why


class ProposeAllocation(Arguments):
    """Propose a candidate: a base with another allocation. A temperature is a division inside softmax, the direction
    a minus sign."""

    expression: FormulaOrRates
    width: Width
    granularity: Granularity
    base: CandidateName
    why: Why


class UnitRate(Arguments):
    """The sparsity of one unit."""

    unit: Unit
    sparsity: Rate


class ProposeRates(Arguments):
    """Propose a candidate: a base whose sparsity is set anew for some units; the rest is projected to the goal."""

    base: CandidateName
    rates: list[UnitRate] = Field(min_length=1, max_length=12, description="Units are numbered from 0.")
    why: Why


class ProposeRecipe(Arguments):
    """Propose a candidate in full: metric, allocation, comparison group and compensation at once."""

    metric: MetricText
    allocation: AllocationText
    width: Width
    granularity: Granularity
    group: Group
    compensation: Literal["none", "obs", "bias", "least_squares"]
    base: CandidateName
    why: Why


class Crossover(Arguments):
    """Propose a candidate: the first parent with parts of the second."""

    first: CandidateName
    second: CandidateName
    take: list[Literal["metric", "allocation", "compensation", "pattern", "rates"]] = Field(min_length=1, max_length=4)
    units: list[Unit] = Field(
        default_factory=list, max_length=12, description="With rates: the units whose sparsity comes from the second."
    )
    why: Why


class TryMetric(Arguments):
    """Look at a metric without spending budget: how it ranks weights compared with known metrics."""

    expression: MetricText


class InspectLayers(Arguments):
    """The statistics of every linear of up to four blocks."""

    blocks: list[Unit] = Field(min_length=1, max_length=4)


class LayerStatistic(Arguments):
    """One statistic over all blocks."""

    name: Literal["skew", "kurtosis", "score_skew", "outliers(5)", "redundancy", "score_mean"]


class Recall(Arguments):
    """Search the memory of past runs by words of model, metric, allocation or pattern."""

    words: str = Field(max_length=80)


class Evaluate(Arguments):
    """Have a measured candidate and the dense model answer samples of the run's tasks. It takes minutes of the budget:
    with 0 minutes only the price is told, and nothing is done that takes longer than you allow."""

    candidate: CandidateName
    tasks: list[Annotated[str, Field(max_length=80)]] = Field(min_length=1, max_length=8)
    samples: int = Field(ge=1, le=500, description="Of every task.")
    minutes: float = Field(ge=0, le=600, description="What you allow; 0 asks for the price.")


class Compare(Arguments):
    """Put measured candidates side by side."""

    candidates: list[CandidateName] = Field(min_length=1, max_length=8)


class WriteThought(Arguments):
    """Write a thought down: a hypothesis to be tried, or a lesson that measurements taught."""

    kind: Literal["hypothesis", "lesson"]
    text: str = Field(min_length=10, max_length=500)
    about: list[CandidateName] = Field(max_length=6, description="The candidates it is drawn from.")
    supports: list[str] = Field(default_factory=list, max_length=4, description="Ids of earlier thoughts, as t-3.")
    contradicts: list[str] = Field(default_factory=list, max_length=4, description="Ids of earlier thoughts.")


class Finish(Arguments):
    """End this step."""

    why: str = Field(max_length=300)
