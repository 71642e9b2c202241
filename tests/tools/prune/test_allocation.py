"""Allocations: the mean is exact whatever was wanted; OWL's and DLP's rates are those of their formulas."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.tools.conftest import prepared
from tools.expression import NAMED_ALLOCATIONS
from tools.io.errors import SecateurError
from tools.model.architecture import weight
from tools.model.checkpoint import Model
from tools.model.units import Granularity, units
from tools.prune.allocation import sparsities, water_fill
from tools.recipe import Allocation, Recipe
from tools.recipe.methods import named_allocation
from tools.statistics.collect import collect
from tools.statistics.layers import LayerStatistics
from tools.text.windows import Windows

Draw = Callable[..., Windows]
GRANULARITIES: tuple[Granularity, ...] = ("block", "layer", "projection")


@st.composite
def wishes(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, float, tuple[float, float]]:
    """Wanted rates (many out of bounds), sizes over three orders of magnitude, a target within the bounds."""
    length = draw(st.integers(1, 40))
    rates = st.floats(-2, 3, allow_nan=False)
    wanted = draw(st.lists(rates, min_size=length, max_size=length))
    sizes = draw(st.lists(st.integers(1, 1000), min_size=length, max_size=length))
    low, high = sorted((draw(st.floats(0, 0.45)), draw(st.floats(0.55, 1))))
    target = draw(st.one_of(st.floats(low, high), st.sampled_from((low, high))))
    return torch.tensor(wanted, dtype=torch.float64), torch.tensor(sizes), target, (low, high)


@given(wishes())
def test_the_mean_is_exact_within_the_bounds_and_the_order_kept(
    wish: tuple[torch.Tensor, torch.Tensor, float, tuple[float, float]],
) -> None:
    wanted, sizes, target, (low, high) = wish
    found = water_fill(wanted, sizes, target, (low, high))
    assert abs(float((found * sizes).sum() / sizes.sum()) - target) < 1e-9
    assert float(found.min()) >= low
    assert float(found.max()) <= high
    assert float(found[wanted.argsort()].diff().min() if len(found) > 1 else 0.0) >= 0
    free = (found > low) & (found < high)
    shift = (found - wanted)[free]
    assert free.sum() < 2 or float(shift.max() - shift.min()) < 1e-9  # who is not at a bound is moved as all are


@given(wishes())
def test_what_is_right_already_stays(wish: tuple[torch.Tensor, torch.Tensor, float, tuple[float, float]]) -> None:
    wanted, sizes, _, bounds = wish
    inside = wanted.clamp(*bounds)
    mean = float((inside * sizes).sum() / sizes.sum())
    torch.testing.assert_close(water_fill(inside, sizes, mean, bounds), inside, rtol=0, atol=1e-9)


def test_a_mean_out_of_reach_is_refused() -> None:
    with pytest.raises(SecateurError, match=r"sparsity 0\.5 cannot be reached with every part between 0\.6 and 0\.9"):
        water_fill(torch.tensor([0.7, 0.8]), torch.tensor([1, 1]), 0.5, (0.6, 0.9))


def test_units_hold_every_projection_once(random_model: Model) -> None:
    architecture = random_model.architecture
    counts = {"block": 2, "layer": 4, "projection": len(architecture.projections)}
    for granularity in GRANULARITIES:
        found = units(architecture, granularity)
        assert len(found) == counts[granularity]
        assert sum(u.size for u in found) == architecture.size
        assert {p.name for u in found for p in u.projections} == {p.name for p in architecture.projections}


def layers_of(model: Model, draw: Draw) -> LayerStatistics:
    dense = {p.name: weight(model.network, p).clone() for p in model.architecture.projections}
    return LayerStatistics(model, dense, collect(model, draw(4, 64, 512)))


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("sparsity", [0.07, 0.5, 0.613, 0.95])
def test_every_named_allocation_has_its_exact_mean(
    trained: Model, draw: Draw, granularity: Granularity, sparsity: float
) -> None:
    layers = layers_of(trained, draw)
    for name in NAMED_ALLOCATIONS:
        allocation = named_allocation(name).model_copy(update={"granularity": granularity})
        rates = prepared(trained, layers, Recipe(sparsity=sparsity, metric="W", allocation=allocation)).sparsity
        total = sum(rates[p.name] * p.size for p in trained.architecture.projections)
        assert abs(total / trained.architecture.size - sparsity) < 1e-9
        assert all(0 <= rate <= 1 for rate in rates.values())
        spreads = max(rates.values()) - min(rates.values())
        assert spreads == 0 if name == "uniform" else spreads > 0.03


def paper_scores(model: Model, draw: Draw) -> list[torch.Tensor]:
    """Per block, Wanda's scores of all its matrices in one vector."""
    statistics = collect(model, draw(4, 64, 512))
    blocks: list[list[torch.Tensor]] = [[] for _ in range(model.architecture.n_blocks)]
    for p in model.architecture.projections:
        score = model.network.get_submodule(p.name).weight.detach().abs() * statistics.inputs[p.name].norm
        blocks[p.block].append(score.flatten())
    return [torch.cat(parts) for parts in blocks]


def rescaled(values: list[float], width: float, sparsity: float) -> list[float]:
    """OWL lib/prune_all.py: min-max to 2 lambda, minus the mean, plus what stays; returned as sparsities."""
    low, high = min(values), max(values)
    scaled = [(v - low) * (1 / (high - low) * width * 2) for v in values]
    mean = sum(scaled) / len(scaled)
    return [1 - (s - mean + (1 - sparsity)) for s in scaled]


def rates_of(model: Model, draw: Draw, name: str) -> list[float]:
    recipe = Recipe(sparsity=0.7, metric="W * X", allocation=named_allocation(name))
    rates = prepared(model, layers_of(model, draw), recipe).sparsity
    return [rates[model.architecture.of_block(block)[0].name] for block in range(model.architecture.n_blocks)]


def test_owl_gives_the_rates_of_its_formula(trained: Model, draw: Draw) -> None:
    ratios = [100 * float((a > 5 * a.mean()).sum()) / a.numel() for a in paper_scores(trained, draw)]
    assert max(ratios) > min(ratios)
    assert rates_of(trained, draw, "owl") == pytest.approx(rescaled(ratios, 0.08, 0.7), abs=1e-6)


def test_dlp_gives_the_rates_of_its_formula(trained: Model, draw: Draw) -> None:
    means = [float(a.double().mean()) for a in paper_scores(trained, draw)]
    keep = [1 - mean / sum(means) for mean in means]
    assert rates_of(trained, draw, "dlp") == pytest.approx(rescaled(keep, 0.15, 0.7), abs=1e-6)


def test_atp_is_an_arithmetic_progression_in_depth(trained: Model, draw: Draw) -> None:
    steps = torch.tensor(rates_of(trained, draw, "atp")).diff()
    torch.testing.assert_close(steps, torch.full((4,), 2 * 0.15 / 4), rtol=0, atol=1e-6)


def test_sdsa_keeps_more_where_the_weights_are_more_skewed(trained: Model, draw: Draw) -> None:
    skews = []
    for block in range(5):
        parts = []
        for p in trained.architecture.of_block(block):
            a = weight(trained.network, p).double().abs()
            parts.append(float(((a - a.mean()) ** 3).mean() / a.var(correction=0) ** 1.5))
        skews.append(sum(parts) / len(parts))
    rates = rates_of(trained, draw, "sdsa")
    assert sorted(range(5), key=skews.__getitem__) == sorted(range(5), key=lambda i: -rates[i])


def test_a_vector_is_taken_as_it_is_when_its_mean_fits(trained: Model) -> None:
    members = units(trained.architecture, "block")
    vector = (0.3, 0.4, 0.5, 0.6, 0.7)
    found = sparsities(Allocation(expression=None, vector=vector), members, 0.5, None)
    assert [found[u.projections[0].name] for u in members] == pytest.approx(vector, abs=1e-12)


def test_a_vector_of_another_length_is_refused(trained: Model) -> None:
    allocation = Allocation(expression=None, vector=(0.5, 0.5), granularity="layer")
    with pytest.raises(SecateurError, match="the allocation has 2 rates, the model has 10 layers"):
        sparsities(allocation, units(trained.architecture, "layer"), 0.5, None)
