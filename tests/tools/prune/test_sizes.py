"""How many structures stay: the budget is kept to within one smallest step, whatever is wanted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.io.errors import SecateurError
from tools.model.architecture import Projection
from tools.prune.structures.anatomy import Layer
from tools.prune.structures.sizes import fit, left, levels
from tools.recipe import Structured

HIDDEN, HEAD, GROUPS, QUERIES, NEURONS = 96, 8, 6, 2, 320


def made(blocks: int) -> list[Layer]:
    """The layers of a model with grouped-query attention."""
    found = []
    for block in range(blocks):
        o = Projection(f"{block}.o", "o", block, "attention", HIDDEN, GROUPS * QUERIES * HEAD, False)
        down = Projection(f"{block}.down", "down", block, "mlp", HIDDEN, NEURONS, False)
        cost = HIDDEN * HEAD * (2 * QUERIES + 2)
        found.append(Layer(block, "attention", GROUPS, cost, QUERIES * HEAD, o, {}, HEAD, (1, 2, 3, 6)))
        found.append(Layer(block, "mlp", NEURONS, 3 * HIDDEN, 1, down, {}))
    return found


def removed(layers: list[Layer], kept: list[int]) -> float:
    return left(layers, [layer.units for layer in layers]) - left(layers, kept)


PATTERNS = [
    Structured(kind=kind, shapes=shapes, multiple=16)
    for kind in ("width", "depth", "width+depth")
    for shapes in ("uniform", "free")
]


def step(layers: list[Layer], kept: list[int], pattern: Structured) -> int:
    """Weights of the smallest thing that could be given back."""
    block = sum(layer.size for layer in layers[:2])
    if pattern.kind == "depth":
        return block if pattern.shapes == "uniform" else max(layer.size for layer in layers)
    alive = sum(n > 0 for n in kept[1::2]) if pattern.shapes == "uniform" else 1
    return max(pattern.multiple * 3 * HIDDEN * alive, layers[0].cost * (0 if alive > 1 else 1))


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@given(data=st.data(), blocks=st.integers(2, 6))
def test_what_falls_is_what_was_asked_for_and_less_than_a_step_more(
    pattern: Structured, data: st.DataObject, blocks: int
) -> None:
    layers = made(blocks)
    wanted = data.draw(st.lists(st.floats(0, 1), min_size=2 * blocks, max_size=2 * blocks))
    sparsity = data.draw(st.floats(0.05, 0.5 if pattern.kind == "depth" else 0.7))
    kept = fit(layers, wanted, sparsity, pattern)
    total = sum(layer.size for layer in layers)
    assert removed(layers, kept) - sparsity * total + 1e-6 * total >= 0
    assert removed(layers, kept) - sparsity * total <= step(layers, kept, pattern)
    for layer, n in zip(layers, kept, strict=True):
        assert n in levels(layer, pattern) or (pattern.depth and n == 0)


@pytest.mark.parametrize("pattern", [p for p in PATTERNS if p.shapes == "uniform"], ids=str)
@given(data=st.data())
def test_uniform_shapes_are_uniform(pattern: Structured, data: st.DataObject) -> None:
    layers = made(5)
    wanted = data.draw(st.lists(st.floats(0, 1), min_size=10, max_size=10))
    kept = fit(layers, wanted, 0.4, pattern)
    assert len({(kept[i], kept[i + 1]) for i in range(0, 10, 2)} - {(0, 0)}) == 1
    assert set(kept[::2]) <= {0, 1, 2, 3, 6}, "numbers of heads that the configuration refuses"


def test_widths_that_take_the_same_time_leave_the_nearest_sizes() -> None:
    """Where a narrower MLP is hardly faster, a step of width is too small a measure of what may be missed."""

    def seconds(layer: Layer, units: int) -> float:
        return 1.0 + 1e-3 * units / layer.units if layer.sublayer == "mlp" else 0.5 * units

    layers = made(4)
    kept = fit(layers, [0.0] * 8, 0.4, Structured(kind="width+depth", multiple=16), seconds)
    dense = left(layers, [layer.units for layer in layers], seconds)
    assert 0.4 - 1e-9 <= 1 - left(layers, kept, seconds) / dense < 0.55


def test_depth_takes_what_is_wanted_away_most() -> None:
    wanted = [w for block in (0.1, 0.9, 0.3, 0.8, 0.2) for w in (block, block)]
    assert fit(made(5), wanted, 0.4, Structured(kind="depth"))[::2] == [6, 0, 6, 0, 6]
    single = [0.1, 0.9, 0.9, 0.1, 0.2, 0.2]
    assert fit(made(3), single, 0.33, Structured(kind="depth", shapes="free")) == [6, 0, 0, 320, 6, 320]


def test_a_whole_layer_that_shall_fall_falls_and_width_pays_the_rest() -> None:
    layers = made(4)
    kept = fit(layers, [0.2, 0.2, 1.0, 1.0, 0.2, 0.2, 0.2, 0.2], 0.5, Structured(kind="width+depth", multiple=16))
    assert kept[2:4] == [0, 0]
    assert all(0 < n < layer.units for layer, n in zip(layers, kept, strict=True) if layer.block != 1)


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_an_impossible_budget_is_one_line_that_says_what_is_possible(pattern: Structured) -> None:
    with pytest.raises(
        SecateurError, match=r"0\.999 cannot be removed by .* would be left at the least\. \S"
    ) as caught:
        fit(made(4), [0.99] * 8, 0.999, pattern)
    assert "\n" not in str(caught.value)


def test_a_multiple_larger_than_the_mlp_leaves_it_whole() -> None:
    pattern = Structured(kind="width", shapes="free", multiple=512)
    assert fit(made(2), [0.15] * 4, 0.15, pattern)[1::2] == [NEURONS, NEURONS]
    with pytest.raises(SecateurError, match="smaller --multiple"):
        fit(made(2), [0.6] * 4, 0.6, pattern)


def test_blocks_that_differ_cannot_be_cut_to_one_size() -> None:
    layers = made(2)
    layers[3] = replace(layers[3], units=160)
    with pytest.raises(SecateurError, match="use free shapes, for example width/free"):
        fit(layers, [0.3] * 4, 0.3, Structured(kind="width", multiple=16))
