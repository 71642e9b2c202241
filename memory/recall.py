"""Which memories help a new run: near in model and goal, and better than the references were.

Ranked exactly, over all memories: an approximate search loses near-duplicates, which is what evolution leaves behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from memory.fingerprint import Vector, cosine, recipe_vector
from memory.remembered import Remembered
from tools.recipe import Pattern

_SAME_RECIPE = 0.999
_UNPROVEN = 1.5
"""Taken for `relative` where no reference was measured beside a candidate."""
_OTHER_GROUP, _OTHER_PATTERN = 0.9, 0.6
_SPARSITY_SCALE = 0.25


@dataclass(frozen=True)
class Recollection:
    """A memory and how near it is to what is asked, 0 to 1."""

    memory: Remembered
    similarity: float


def rank(
    memories: Sequence[Remembered], model: Vector, pattern: Pattern, sparsity: float, k: int
) -> list[Recollection]:
    """The `k` memories most worth trying, best first, no two of them the same recipe up to constants.

    Where structures fall, recipes for single weights are nothing to try, and the other way round.

    Worth is similarity over `relative`, the divergence in units of the best reference's.

    Args:
        model: `model_vector` of the model at hand.
    """
    memories = [memory for memory in memories if memory.recipe.pattern.fells == pattern.fells]
    if not memories:
        return []
    nearness = cosine(np.array([memory.model_vector for memory in memories]), model).clip(0.0, 1.0)
    found = [
        Recollection(memory, float(near) * _pattern_factor(memory, pattern) * _sparsity_factor(memory, sparsity))
        for memory, near in zip(memories, nearness, strict=True)
    ]
    found.sort(key=lambda item: (-_worth(item), item.memory.id))
    return _distinct(found, k)


def _pattern_factor(memory: Remembered, pattern: Pattern) -> float:
    if memory.recipe.pattern == pattern:
        return 1.0
    return _OTHER_GROUP if memory.recipe.pattern.kind == pattern.kind else _OTHER_PATTERN


def _sparsity_factor(memory: Remembered, sparsity: float) -> float:
    return float(np.exp(-abs(memory.recipe.sparsity - sparsity) / _SPARSITY_SCALE))


def _worth(item: Recollection) -> float:
    relative = item.memory.relative
    return item.similarity / max(0.1, _UNPROVEN if relative is None else relative)


def _distinct(found: Sequence[Recollection], k: int) -> list[Recollection]:
    chosen: list[Recollection] = []
    vectors: list[Vector] = []
    for item in found:
        if len(chosen) == k:
            break
        vector = recipe_vector(item.memory.recipe)
        if not vectors or cosine(np.array(vectors), vector).max() < _SAME_RECIPE:
            chosen.append(item)
            vectors.append(vector)
    return chosen
