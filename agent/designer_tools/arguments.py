"""What several tools take, as types of fields: their JSON schemas are what an LLM sees.

A string with the extra key `grammar` is a formula; a decoder that can follow a grammar is told so by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

Why = Annotated[str, Field(min_length=3, max_length=400, description="The evidence for it, in one or two sentences.")]
CandidateName = Annotated[str, Field(pattern=r"^c-\d{1,5}$", description="Id of a measured candidate, as c-3.")]
MetricText = Annotated[
    str,
    Field(max_length=300, description="A score per weight; the lowest fall.", json_schema_extra={"grammar": "metric"}),
]
Width = Annotated[float, Field(gt=0, le=0.3, description="Half the spread of the keep ratios around their mean.")]
UnitNumber = Annotated[int, Field(ge=0, le=9999)]
Rate = Annotated[float, Field(ge=0, le=1, description="Share of weights to remove.")]


class Arguments(BaseModel):
    """What one tool takes, and nothing else."""

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
