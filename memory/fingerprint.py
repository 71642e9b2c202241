"""Vectors that put like models and like recipes near each other.

Computed here and only handed to the index: no embedding model, no download, the same number on every machine.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tools.recipe import Recipe

Vector = NDArray[np.float64]

VERSION = 2
"""Goes up whenever a vector's meaning changes: an index of another version is not read, `secateur memory rebuild` makes
it anew."""

STATISTICS = ("skew", "kurtosis", "outliers", "redundancy")
POINTS = 16
MODEL_SIZE = len(STATISTICS) * POINTS + 1

_WORDS = 48
_RECIPE_SCALARS = 17
RECIPE_SIZE = _RECIPE_SCALARS + 2 * _WORDS
_WORD = re.compile(r"[A-Za-z_]\w*|\d+\.?\d*|\*\*|[-+*/]")


def model_vector(units: Mapping[str, Sequence[float]]) -> Vector:
    """The course of each layer statistic over depth, whatever the number of blocks and the scale; (65,).

    Args:
        units: One value per block for each of `STATISTICS`; a missing one counts as flat.
    """
    profiles = [_profile(units.get(name, ())) for name in STATISTICS]
    # The constant keeps a model with flat statistics from being a zero vector, which is similar to nothing.
    return np.concatenate([*profiles, np.ones(1)])


def _profile(values: Sequence[float]) -> Vector:
    """16 points over depth, centred, in units of the spread.

    A tenth of the mean is added to the spread, so that what hardly varies stays small and is not blown up to noise.
    """
    course = np.asarray(values, dtype=np.float64)
    known = np.isfinite(course)
    if not known.any():
        return np.zeros(POINTS)
    depth = np.linspace(0.0, 1.0, len(course)) if len(course) > 1 else np.zeros(1)
    points = np.interp(np.linspace(0.0, 1.0, POINTS), depth[known], course[known])
    mean = points.mean()
    spread = points.std() + 0.1 * abs(mean)
    return (points - mean) / spread if spread > 0 else np.zeros(POINTS)


def recipe_vector(recipe: Recipe) -> Vector:
    """Pattern, sparsity, the words of metric and allocation, compensation; (113,).

    Constants of the formulas do not count: recipes that differ only in them are neighbours at distance zero.
    """
    pattern, allocation = recipe.pattern, recipe.allocation
    kind, *ratio = pattern.features
    form = "uniform" if allocation.uniform else "vector" if allocation.vector is not None else "expression"
    scalars = [
        *_one_hot(kind, ("row", "matrix", "block", "n:m", "width", "depth", "width+depth")),
        *ratio,
        2 * recipe.sparsity,
        *_one_hot(form, ("uniform", "vector", "expression")),
        *_one_hot("" if form == "uniform" else allocation.granularity, ("block", "layer", "projection")),
        0.0 if recipe.compensation.kind == "none" else 1.0,
    ]
    metric = _bag_of_words(recipe.metric)
    ranking = _bag_of_words(allocation.expression or "") if form == "expression" else np.zeros(_WORDS)
    return np.concatenate([np.array(scalars), 2 * metric, ranking])


def _one_hot(value: str, choices: tuple[str, ...]) -> list[float]:
    return [float(value == choice) for choice in choices]


def _bag_of_words(formula: str) -> Vector:
    """Unit vector of hashed counts: operators and terminals that are invented later need no new place."""
    bag = np.zeros(_WORDS)
    for word in _WORD.findall(formula):
        bag[zlib.crc32(b"#" if word[0].isdigit() else word.encode()) % _WORDS] += 1
    norm = float(np.linalg.norm(bag))
    return bag / norm if norm else bag


def cosine(matrix: NDArray[np.floating], vector: NDArray[np.floating]) -> Vector:
    """Cosine of every row of `matrix` (n, d) with `vector` (d,); 0 where either is zero; (n,)."""
    rows, point = np.asarray(matrix, dtype=np.float64), np.asarray(vector, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(point)
    result: Vector = np.divide(rows @ point, lengths, out=np.zeros(len(rows)), where=lengths > 0)
    return result
