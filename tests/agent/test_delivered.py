"""What is said of a model that was saved."""

from __future__ import annotations

import pytest

from agent.nodes.deliver import _as_asked
from tools.recipe import Recipe, parse_pattern


@pytest.mark.parametrize(
    ("pattern", "share", "told"),
    [
        ("unstructured", 0.7004, "sparsity as asked"),
        ("unstructured", 0.74, "sparsity 74.0 % where 70.0 % was asked: earlier zeros count"),
        ("width", 0.1, "shapes as asked"),
    ],
)
def test_more_zeros_than_were_asked_for_are_told(pattern: str, share: float, told: str) -> None:
    """A model that was pruned before may hold more of them in some blocks than a recipe takes."""
    recipe = Recipe(metric="W * X", sparsity=0.7, pattern=parse_pattern(pattern))
    assert _as_asked(recipe, share) == told
