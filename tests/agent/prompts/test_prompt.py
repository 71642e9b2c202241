"""The system prompt: a kind of pattern is described in its own words, and nothing is offered that it leaves closed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.prompts.prompt import opening
from agent.situation import pool_of
from runs.goal import Goal
from tools.model.checkpoint import open_model
from tools.recipe import parse_pattern


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("cache")
    return SimpleNamespace(model=open_model("tiny", cache=folder))


def told(bench: Any, pattern: str, **changes: object) -> str:
    goal = Goal.of(**{"model": "tiny", "sparsity": 0.5, "pattern": parse_pattern(pattern), **changes})
    situation: Any = SimpleNamespace(goal=goal, pool=pool_of(goal), bench=bench)
    return opening(situation)


@pytest.mark.parametrize(
    ("pattern", "says", "never"),
    [
        ("unstructured", ["Some weights of its linear layers", "## Allocations", "`obs` lets"], ["A rate of 1"]),
        ("2:4", ["Some weights of its linear layers", "`obs` lets"], ["## Allocations"]),
        ("width", ["make a language model smaller", "no rate may be 1", "`least_squares` fits"], ["`obs`"]),
        ("depth", ["make a language model smaller", "rates are 0 or 1"], ["no rate may be 1"]),
        ("width+depth", ["set both layers of a block to 1"], ["no rate may be 1", "rates are 0 or 1"]),
        ("width+depth/free", ["a block may lose its attention"], ["set both layers"]),
    ],
)
def test_a_kind_of_pattern_has_its_own_words(pattern: str, says: list[str], never: list[str], bench: Any) -> None:
    text = told(bench, pattern)
    assert [words for words in says if words not in text] == []
    assert [words for words in never if words in text] == []


@pytest.mark.parametrize("pattern", ["unstructured", "width"])
def test_without_compensation_none_is_told_of(pattern: str, bench: Any) -> None:
    assert "## Compensation" in told(bench, pattern)
    assert "## Compensation" not in told(bench, pattern, compensation_allowed=False)


def test_only_what_is_collected_can_be_read(bench: Any) -> None:
    assert "- `G`: " in told(bench, "unstructured", device="cuda")
    assert "- `G`: " not in told(bench, "unstructured", device="cpu")
