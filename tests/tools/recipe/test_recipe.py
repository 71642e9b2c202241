"""Recipes: data that says everything, is checked when it is read, and has one name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tools.io.errors import SecateurError, UsageError
from tools.recipe import (
    NM,
    Allocation,
    Calibration,
    Compensation,
    Experts,
    Pattern,
    Recipe,
    Unstructured,
    check_sparsity,
    parse_pattern,
)
from tools.recipe.methods import METHODS, method

RATES = st.floats(0, 1, allow_nan=False)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    m = draw(st.integers(2, 1024))
    n = draw(st.integers(1, m - 1))
    pattern: Any = draw(st.one_of(st.just(NM(n=n, m=m)), st.sampled_from(("row", "matrix", "block"))))
    expressions = st.builds(Allocation, expression=st.just("-depth"), width=st.floats(0, 0.5))
    vectors = st.builds(Allocation, expression=st.none(), vector=st.lists(RATES, min_size=1).map(tuple))
    uniform = isinstance(pattern, NM)
    return Recipe(
        pattern=pattern if uniform else Unstructured(group=pattern),
        sparsity=pattern.prescribed if uniform else draw(st.floats(0.001, 0.999)),
        metric=draw(st.sampled_from(("W", "W * X", "sqr(W) / D"))),
        allocation=Allocation() if uniform else draw(st.one_of(expressions, vectors)),
        compensation=draw(st.builds(Compensation, kind=st.sampled_from(("none", "obs")), damping=st.floats(0.001, 1))),
        calibration=draw(st.builds(Calibration, source=st.text(min_size=1), windows=st.integers(1, 999))),
    )


@given(recipes())
def test_a_recipe_survives_its_json_and_keeps_its_id(recipe: Recipe) -> None:
    again = Recipe.model_validate_json(recipe.model_dump_json())
    assert again == recipe
    assert again.id == recipe.id
    assert Recipe.model_validate_json(recipe.canonical()).id == recipe.id


@pytest.mark.parametrize("name", METHODS)
def test_a_recipe_survives_its_file(tmp_path: Path, name: str) -> None:
    recipe = method(name, 0.37, calibration=Calibration(source="Reden für später.txt"))
    recipe.save(tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize(
    "change",
    [
        {"sparsity": 0.51},
        {"metric": "W * X_abs"},
        {"pattern": Unstructured(group="matrix")},
        {"allocation": Allocation(expression="skew", width=0.1)},
        {"compensation": Compensation(kind="obs")},
        {"calibration": Calibration(seed=1)},
    ],
)
def test_every_part_is_part_of_the_id(change: dict[str, Any]) -> None:
    recipe = Recipe(sparsity=0.5, metric="W * X")
    assert len(recipe.id) == 12
    assert recipe.model_copy(update=change).id != recipe.id
    assert Recipe(sparsity=0.5, metric="  W * X ").id == recipe.id


@pytest.mark.parametrize(
    "wrong",
    [
        {"sparsity": 0.0},
        {"sparsity": 1.0},
        {"sparsity": float("nan")},
        {"metric": "  "},
        {"metric": "W" * 2001},
        {"pattern": {"kind": "n:m", "n": 4, "m": 4}},
        {"pattern": {"kind": "n:m", "n": 1, "m": 4}},  # means 0.75, not 0.5
        {"pattern": {"kind": "wide"}},
        {"pattern": {"kind": "width", "group": "model"}},  # makes every layer another width
        {"pattern": {"kind": "depth", "shapes": "free", "group": "model"}},
        {"pattern": {"kind": "width"}, "compensation": {"kind": "obs"}},
        {"pattern": {"kind": "experts", "shapes": "free"}},
        {"compensation": {"kind": "least_squares"}},
        {"allocation": {"expression": None}},
        {"allocation": {"expression": "skew", "vector": [0.5]}},
        {"allocation": {"expression": None, "vector": [0.5, 1.5]}},
        {"allocation": {"bounds": [0.9, 0.1]}},
        {"allocation": {"width": 0.6}},
        {"compensation": {"kind": "magic"}},
        {"compensation": {"damping": 0.0}},
        {"calibration": {"windows": 0}},
        {"colour": "green"},
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate({"sparsity": 0.5, "metric": "W"} | wrong)


def test_a_pattern_of_groups_leaves_nothing_to_allocate() -> None:
    with pytest.raises(ValidationError, match="2:4 leaves nothing to allocate"):
        Recipe(sparsity=0.5, metric="W", pattern=NM(n=2, m=4), allocation=Allocation(expression="skew", width=0.1))


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("unstructured", Unstructured(group="row")),
        (" unstructured/block ", Unstructured(group="block")),
        ("unstructured/matrix", Unstructured(group="matrix")),
        ("2:4", NM(n=2, m=4)),
        ("16:32", NM(n=16, m=32)),
        ("experts", Experts()),
    ],
)
def test_patterns_are_read(text: str, pattern: Pattern) -> None:
    assert parse_pattern(text) == pattern


@pytest.mark.parametrize(
    "text", ["3:2", "0:4", "4:4", "1:2000", "-1:4", "2:4:8", "rows", "unstructured/column", "experts/free", ""]
)
def test_patterns_that_cannot_be_meant_get_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"^pattern ") as caught:
        parse_pattern(text)
    assert "\n" not in str(caught.value)


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_shares_are_sparsities(value: float) -> None:
    assert check_sparsity(value) == value


@pytest.mark.parametrize("value", [0.0, 1.0, 1.5, -0.1, float("nan"), float("inf")])
def test_other_numbers_are_not(value: float) -> None:
    with pytest.raises(UsageError, match="give the share of weights to remove, between 0 and 1"):
        check_sparsity(value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"metric: W\n", "not a recipe: sparsity: Field required"),
        (b"sparsity: 2\nmetric: W\n", "not a recipe: sparsity: "),
        (b"sparsity: 0.5\nmetric: W\nwhat: 1\n", "not a recipe: what: "),
        (b"- a\n- b\n", "not a recipe: "),
        (b"", "not a recipe: "),
        (b"a: [b\n", "cannot be read as a recipe"),
        (b"\xff\xfe\x00", "cannot be read as a recipe"),
    ],
)
def test_a_file_that_is_no_recipe_gets_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_bytes(content)
    with pytest.raises(SecateurError, match=says) as caught:
        Recipe.load(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match="cannot be read as a recipe"):
        Recipe.load(tmp_path / "gone.yaml")


def test_methods_compare_where_their_authors_do() -> None:
    assert method("wanda", 0.5).pattern == Unstructured(group="row")
    assert method("magnitude", 0.5).pattern == Unstructured(group="matrix")
    assert method("sparsegpt", 0.5).compensation.kind == "obs"
    assert method("wanda", 0.5, pattern=NM(n=2, m=4)).pattern == NM(n=2, m=4)
    assert method("owl", 0.5).allocation.width == 0.08
    with pytest.raises(UsageError, match='method "prune" is not known; there are magnitude, wanda'):
        method("prune", 0.5)
