"""Metrics and allocations on single layers: what they cost the outputs, without making a candidate.

The relative output error of a matrix W (out, in) that becomes W', on the inputs X (in, tokens) of the dense model:

    ||(W - W') X||^2 / ||W X||^2  =  tr((W - W') G (W - W')^T) / tr(W G W^T),    G = X X^T (in, in)

It is the objective of SparseGPT and Wanda, a number of one layer: that the layers before were pruned, too, and what the
whole model loses, is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from tools.io.errors import SecateurError, UsageError
from tools.io.frozen import Frozen
from tools.model.units import units
from tools.prune.weights.block import prune_block
from tools.recipe import Recipe
from tools.recipe.allocation import Allocation

if TYPE_CHECKING:
    from tools.model.architecture import Architecture, Projection
    from tools.prune.bench import Bench
    from tools.prune.prepared import Prepared

ALLOCATED, UNIFORM = "allocated", "uniform"


class MatrixTrial(Frozen):
    """One projection of the block."""

    name: str
    role: str
    shape: tuple[int, int] = Field(description="(out, in)")
    errors: dict[str, float] = Field(description="relative output error by what was tried")


class LayerTrial(Frozen):
    """What each recipe costs one block, of which it prunes every projection alone."""

    block: int
    sparsity: float
    groups: dict[str, str] = Field(description="what weights compete within, by what was tried")
    projections: tuple[MatrixTrial, ...]
    mean: dict[str, float] = Field(description="over the projections")


class BlockTrial(Frozen):
    """One block under an allocation."""

    block: int
    sparsity: float
    errors: dict[str, float] = Field(description="mean over its projections: allocated, uniform")


class AllocationTrial(Frozen):
    """What an allocation gives to each block, and what that costs beside one rate for all."""

    sparsity: float = Field(description="of all prunable weights")
    blocks: tuple[BlockTrial, ...]
    mean: dict[str, float] = Field(description="over all projections: allocated, uniform")

    @property
    def rates(self) -> list[float]:
        """Sparsities, block after block."""
        return [of.sparsity for of in self.blocks]


def layer_trial(bench: Bench, recipes: Mapping[str, Recipe], block: int) -> LayerTrial:
    """Prune one block alone by each of the recipes; the model stays as it is.

    Raises:
        UsageError: the block is not there.
        SecateurError: it holds nothing to prune, or a metric cannot be used on it.
    """
    block = present(bench.model.architecture, block)
    members = bench.model.architecture.of_block(block)
    found = {name: _errors(bench, members, bench.prepare(recipe)) for name, recipe in recipes.items()}
    return LayerTrial(
        block=block,
        sparsity=next(iter(recipes.values())).sparsity,
        groups={name: recipe.pattern.comparison for name, recipe in recipes.items()},
        projections=tuple(
            MatrixTrial(
                name=p.name,
                role=p.role,
                shape=(p.out_features, p.in_features),
                errors={name: errors[p.name] for name, errors in found.items()},
            )
            for p in members
        ),
        mean={name: _mean(errors.values()) for name, errors in found.items()},
    )


def allocation_trial(bench: Bench, recipe: Recipe) -> AllocationTrial:
    """Prune every block alone at the rate that the recipe's allocation gives it, and at one rate for all.

    Raises:
        SecateurError: the metric or the allocation cannot be used on this model.
    """
    architecture = bench.model.architecture
    even = recipe.model_copy(update={"allocation": Allocation()})
    ways = {ALLOCATED: bench.prepare(recipe), UNIFORM: bench.prepare(even)}
    members = {unit.block: unit.projections for unit in units(architecture, "block")}
    found = {
        block: {name: _errors(bench, parts, ready) for name, ready in ways.items()} for block, parts in members.items()
    }
    return AllocationTrial(
        sparsity=ways[ALLOCATED].share,
        blocks=tuple(
            BlockTrial(
                block=block,
                sparsity=ways[ALLOCATED].sparsity[members[block][0].name],
                errors={name: _mean(of.values()) for name, of in errors.items()},
            )
            for block, errors in found.items()
        ),
        mean={name: _mean(e for errors in found.values() for e in errors[name].values()) for name in ways},
    )


def present(architecture: Architecture, block: int) -> int:
    """The number of a block, -1 being the last.

    Raises:
        UsageError: there is none of that number.
        SecateurError: it holds nothing to prune.
    """
    last = architecture.n_blocks - 1
    if not -1 <= block <= last:
        raise UsageError(f"layer {block} is not there: layers are the blocks 0 to {last}")
    block = last if block == -1 else block
    if not architecture.of_block(block):
        there = ", ".join(str(unit.block) for unit in units(architecture, "block"))
        raise SecateurError(f"block {block} has no linear map that can be pruned; blocks that have are {there}")
    return block


def _errors(bench: Bench, members: Sequence[Projection], ready: Prepared) -> dict[str, float]:
    """The relative output error of every projection, by name."""
    inputs = bench.statistics.inputs
    pruned = {p.name: torch.empty_like(bench.dense[p.name]) for p in members}
    with torch.inference_mode():
        prune_block(ready, members, bench.dense, inputs, bench.statistics, pruned)
        return {p.name: _error(bench.dense[p.name], pruned[p.name], inputs[p.name].gram) for p in members}


def _error(dense: torch.Tensor, pruned: torch.Tensor, gram: torch.Tensor | None) -> float:
    """Relative output error of one matrix (out, in), given X X^T (in, in); 0 where it puts out nothing anyhow."""
    assert gram is not None, "a trial needs Gram matrices"
    whole = _energy(dense.float(), gram)
    return _energy(dense.float() - pruned.float(), gram) / whole if whole > 0 else 0.0


def _energy(w: torch.Tensor, gram: torch.Tensor) -> float:
    """||W X||^2 = tr(W G W^T)."""
    return float((w @ gram).mul_(w).sum(dtype=torch.float64).clamp_min(0))


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
