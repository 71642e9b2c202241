"""What a command line means: pattern, multiple, target and recipe together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.session.goal import build
from agent.session.options import Wish
from agent.session.settings import load
from tools.io.errors import UsageError
from tools.recipe import NM, Calibration, Recipe, Request, Structured

FREE = Recipe(pattern=Structured(kind="width", shapes="free", group="model"), sparsity=0.3, metric="sqr(W) * X_var")


def pattern(tmp_path: Path, recipe: Recipe | None = None, **wished: Any) -> Any:
    return build(load(tmp_path), "tiny", Wish(**wished), recipe=recipe).pattern


def test_a_multiple_counts_wherever_neurons_fall(tmp_path: Path) -> None:
    assert pattern(tmp_path, sparsity=0.3, pattern="width", multiple=8).multiple == 8
    assert pattern(tmp_path, sparsity=0.3, method="flap", multiple=8).multiple == 8
    assert pattern(tmp_path, speedup=1.4, multiple=8).multiple == 8
    assert pattern(tmp_path, recipe=FREE, multiple=8) == FREE.pattern.model_copy(update={"multiple": 8})


def test_a_target_of_time_keeps_the_shapes_of_a_recipe(tmp_path: Path) -> None:
    timed = pattern(tmp_path, recipe=FREE, speedup=1.25)
    assert (timed.kind, timed.shapes, timed.group) == ("width", "free", "model")
    assert timed.request is not None
    assert pattern(tmp_path, recipe=FREE) == FREE.pattern
    own = FREE.pattern.model_copy(update={"request": Request(batch=8, prompt=128, new=64)})
    found = FREE.model_copy(update={"pattern": own})
    assert pattern(tmp_path, recipe=found, speedup=1.25).request == own.request
    assert pattern(tmp_path, recipe=found, speedup=1.25, request="1,32,8").request.batch == 1
    assert pattern(tmp_path, speedup=1.25).kind == "width+depth"
    with pytest.raises(UsageError, match="2:4 makes nothing faster"):
        pattern(tmp_path, recipe=FREE.model_copy(update={"pattern": NM(n=2, m=4)}), speedup=1.25)


def test_a_text_that_a_recipe_names_is_known_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.txt").touch()
    monkeypatch.chdir(tmp_path)
    recipe = FREE.model_copy(update={"calibration": Calibration(source="my.txt")})
    goal = build(load(tmp_path), "tiny", Wish(), recipe=recipe)
    assert goal.recipe is not None
    assert goal.calibration.source == goal.recipe.calibration.source == str(tmp_path / "my.txt")
