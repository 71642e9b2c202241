"""Pruning: every family, in both forms, loses exactly what was asked and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.tools.conftest import prepared
from tools.expression import NAMED_METRICS
from tools.expression.operators import Group
from tools.io.errors import SecateurError
from tools.model.architecture import Projection, weight
from tools.model.checkpoint import Model
from tools.model.sparsity import overall, sparsities
from tools.prune.bench import Bench
from tools.prune.metric import needs_of
from tools.prune.weights.way import from_statistics, propagated
from tools.recipe import NM, Allocation, Compensation, Recipe, Unstructured
from tools.recipe.methods import method
from tools.statistics.collect import collect
from tools.statistics.layers import LayerStatistics
from tools.text.windows import Windows

Draw = Callable[..., Windows]
EVERYTHING = frozenset({"gram", "gradient", "regional"})
OBS = Compensation(kind="obs", batch=16)

RECIPES = {
    "row": Recipe(sparsity=0.613, metric="W * X"),
    "matrix": Recipe(sparsity=0.5, metric="W", pattern=Unstructured(group="matrix")),
    "block": Recipe(sparsity=0.37, metric="W * X", pattern=Unstructured(group="block")),
    "2:4": Recipe(sparsity=0.5, metric="W * X", pattern=NM(n=2, m=4)),
    "obs": Recipe(sparsity=0.613, metric="sqr(W) / D", pattern=Unstructured(group="matrix"), compensation=OBS),
    "obs 1:8": Recipe(sparsity=0.875, metric="W * X", pattern=NM(n=1, m=8), compensation=OBS),
}


def dense_weights(model: Model) -> dict[str, torch.Tensor]:
    return {p.name: weight(model.network, p).clone() for p in model.architecture.projections}


def logits(model: Model, windows: Windows) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model.network(input_ids=windows.ids[:1], use_cache=False).logits
    return out


def prune(model: Model, recipe: Recipe, windows: Windows, form: str, needs: frozenset[str] | None = None) -> None:
    dense = dense_weights(model)
    wanted = needs_of(recipe) if needs is None else needs
    statistics = collect(model, windows, needs=wanted)
    ready = prepared(model, LayerStatistics(model, dense, statistics), recipe)
    if form == "propagated":
        propagated(model, windows, statistics, ready)
    else:
        from_statistics(model, dense, statistics, ready)


def zeros(model: Model) -> dict[str, torch.Tensor]:
    return {p.name: weight(model.network, p) == 0 for p in model.architecture.projections}


@pytest.mark.parametrize("form", ["dense statistics", "propagated"])
@pytest.mark.parametrize("name", RECIPES)
def test_every_family_can_be_pruned_in_every_way(random_model: Model, draw: Draw, name: str, form: str) -> None:
    recipe, windows, architecture = RECIPES[name], draw(4, 16), random_model.architecture
    others = {n: p.clone() for n, p in random_model.network.named_parameters()}
    dense, said = dense_weights(random_model), logits(random_model, windows)
    prune(random_model, recipe, windows, form)
    assert not torch.allclose(logits(random_model, windows), said)
    shares = sparsities(random_model)
    assert abs(overall(random_model, shares) - recipe.sparsity) < 1e-3
    pruned = {f"{p.name}.weight" for p in architecture.projections}
    assert all(torch.equal(p, others[n]) for n, p in random_model.network.named_parameters() if n not in pruned)
    for p in architecture.projections:
        check(recipe, p, weight(random_model.network, p), dense[p.name])


def check(recipe: Recipe, p: Projection, w: torch.Tensor, dense: torch.Tensor) -> None:
    """Counts of one matrix are exact, and what stays is untouched or made up for."""
    gone, pattern = w == 0, recipe.pattern
    if isinstance(pattern, NM):
        assert bool((gone.reshape(-1, pattern.m).sum(1) == pattern.m - pattern.n).all())
    elif pattern.group != "block":
        assert int(gone.sum()) == round(recipe.sparsity * p.size)
        if pattern.group == "row":
            assert int(gone.sum(1).max() - gone.sum(1).min()) <= 1
    kept = w[~gone] == dense[~gone]
    assert bool(kept.all()) is (recipe.compensation.kind == "none")


def plain_sequence(model: Model, windows: Windows, choose: Callable[..., torch.Tensor]) -> None:
    """Wanda's sequential form without any machinery: before each block a whole forward pass of the model as it is.

    Of all linear maps that are modules; experts that are slices of a parameter have tests of their own.
    """
    for block in range(model.architecture.n_blocks):
        members = [p for p in model.architecture.of_block(block) if p.part is None]
        squares: dict[str, torch.Tensor] = {}

        def add(p: Projection, squares: dict[str, torch.Tensor] = squares) -> Callable[..., None]:
            def hook(module: Any, args: Any, result: Any) -> None:
                x = args[0].double().reshape(-1, p.in_features)
                squares[p.name] = squares.get(p.name, torch.zeros(())) + x.T @ x

            return hook

        handles = [model.network.get_submodule(p.name).register_forward_hook(add(p)) for p in members]
        with torch.no_grad():
            for ids in windows.ids:
                model.network(input_ids=ids[None], use_cache=False)
        for handle in handles:
            handle.remove()
        with torch.no_grad():
            for p in members:
                w = weight(model.network, p)
                w[choose(w, squares[p.name].diagonal() / len(windows.ids))] = 0


def wanda_half(w: torch.Tensor, mean_squares: torch.Tensor) -> torch.Tensor:
    order = (w.abs() * mean_squares.sqrt().float()).sort(dim=1, stable=True).indices
    return torch.zeros_like(w, dtype=torch.bool).scatter_(1, order[:, : w.shape[1] // 2], True)


def test_propagated_is_the_plain_sequential_loop(random_model: Model, build: Any, draw: Draw) -> None:
    windows = draw(5, 16)
    start = {n: p.clone() for n, p in random_model.network.state_dict().items()}
    prune(random_model, Recipe(sparsity=0.5, metric="W * X"), windows, "propagated")
    found = zeros(random_model)
    random_model.network.load_state_dict(start)
    plain_sequence(random_model, windows, wanda_half)
    for name, plain in zeros(random_model).items():
        assert torch.equal(found[name], plain), name


def test_propagated_is_the_plain_sequential_loop_on_the_trained_sample(trained: Model, draw: Draw) -> None:
    windows = draw(12, 200, 512)
    start = {n: p.clone() for n, p in trained.network.state_dict().items()}
    recipe = Recipe(sparsity=0.5, metric="W * X")
    prune(trained, recipe, windows, "dense statistics")
    from_dense = zeros(trained)
    trained.network.load_state_dict(start)
    prune(trained, recipe, windows, "propagated")
    found = zeros(trained)
    trained.network.load_state_dict(start)
    plain_sequence(trained, windows, wanda_half)
    plain = zeros(trained)
    assert all(torch.equal(found[name], mask) for name, mask in plain.items())
    assert not all(torch.equal(from_dense[name], mask) for name, mask in plain.items())


@pytest.mark.parametrize("sparsity", [0.01, 0.37, 0.613, 0.99])
@pytest.mark.parametrize("group", ["row", "matrix", "block"])
@pytest.mark.parametrize("kind", ["none", "obs"])
def test_odd_sparsities_are_met(trained: Model, draw: Draw, sparsity: float, group: Any, kind: Any) -> None:
    recipe = Recipe(
        sparsity=sparsity,
        metric="W * X",
        pattern=Unstructured(group=group),
        allocation=Allocation(expression="-depth", width=0.1, granularity="projection"),
        compensation=Compensation(kind=kind),
    )
    prune(trained, recipe, draw(2, 64, 512), "dense statistics")
    assert overall(trained, sparsities(trained)) == pytest.approx(sparsity, abs=1e-4)


@pytest.mark.parametrize(("n", "m"), [(1, 2), (2, 4), (4, 8), (1, 3), (5, 32), (7, 48)])
@pytest.mark.parametrize("compensation", [Compensation(), Compensation(kind="obs", batch=20)])
def test_every_group_keeps_n(trained: Model, draw: Draw, n: int, m: int, compensation: Compensation) -> None:
    recipe = Recipe(sparsity=1 - n / m, metric="W * X", pattern=NM(n=n, m=m), compensation=compensation)
    fits = all(p.in_features % m == 0 for p in trained.architecture.projections)
    if not fits:
        with pytest.raises(SecateurError, match=rf"^{n}:{m}: .* has rows of \d+, not a multiple of {m}$"):
            prune(trained, recipe, draw(2, 64, 512), "dense statistics")
        return
    prune(trained, recipe, draw(2, 64, 512), "dense statistics")
    for gone in zeros(trained).values():
        assert bool((gone.reshape(-1, m).sum(1) == m - n).all())


@pytest.mark.parametrize("name", [*NAMED_METRICS, "sparsegpt", "sdsa", "owl", "dlp", "atp"])
def test_every_named_method_prunes_in_both_forms(trained: Model, draw: Draw, name: str) -> None:
    start = {n: p.clone() for n, p in trained.network.state_dict().items()}
    for form in ("dense statistics", "propagated"):
        prune(trained, method(name, 0.5), draw(4, 32, 512), form, needs=EVERYTHING)
        assert overall(trained, sparsities(trained)) == pytest.approx(0.5, abs=1e-3)
        trained.network.load_state_dict(start)


def test_allocated_rates_are_met_projection_by_projection(trained: Model, draw: Draw) -> None:
    rates = (0.2, 0.35, 0.5, 0.65, 0.8)
    recipe = Recipe(sparsity=0.5, metric="W", allocation=Allocation(expression=None, vector=rates))
    prune(trained, recipe, draw(1, 16, 512), "propagated")
    for p in trained.architecture.projections:
        assert int((weight(trained.network, p) == 0).sum()) == round(rates[p.block] * p.size)


def test_matrices_that_share_a_block_compete(trained: Model, draw: Draw) -> None:
    recipe = Recipe(sparsity=0.5, metric="W", pattern=Unstructured(group="block"))
    dense = dense_weights(trained)
    prune(trained, recipe, draw(1, 16, 512), "dense statistics")
    for block in range(5):
        names = [p.name for p in trained.architecture.of_block(block)]
        size = torch.cat([dense[n].abs().flatten() for n in names])
        gone = torch.cat([(weight(trained.network, p) == 0).flatten() for p in trained.architecture.of_block(block)])
        assert float(size[gone].max()) <= float(size[~gone].min())
        assert int(gone.sum()) == sum(round(0.5 * dense[n].numel()) for n in names)


def dead_model(model: Model) -> tuple[Model, list[int]]:
    """Two inputs of the first block's attention are always zero."""
    dead = [3, 50]
    with torch.no_grad():
        model.network.get_submodule("model.layers.0.input_layernorm").weight[dead] = 0
    return model, dead


@pytest.mark.parametrize("group", ["row", "matrix"])
@pytest.mark.parametrize("sparsity", [0.5, 0.01])
def test_inputs_that_are_always_zero_fall_first(trained: Model, draw: Draw, group: Any, sparsity: float) -> None:
    model, dead = dead_model(trained)
    recipe = Recipe(sparsity=sparsity, metric="sqr(W) / D", pattern=Unstructured(group=group), compensation=OBS)
    prune(model, recipe, draw(4, 64, 512), "propagated")
    q = weight(model.network, model.architecture.projections[0])
    assert int((q == 0).sum()) == round(sparsity * q.numel())
    assert bool(q.isfinite().all())
    if sparsity == 0.5:
        assert bool((q[:, dead] == 0).all())


def test_compensation_lowers_the_damage(trained: Model, draw: Draw) -> None:
    windows = draw(12, 128, 512)
    start = {n: p.clone() for n, p in trained.network.state_dict().items()}
    said = logits(trained, windows)
    errors = []
    for compensation in (Compensation(), Compensation(kind="obs")):
        prune(trained, Recipe(sparsity=0.6, metric="W * X", compensation=compensation), windows, "propagated")
        errors.append(float((logits(trained, windows) - said).norm()))
        trained.network.load_state_dict(start)
    assert errors[1] < 0.9 * errors[0]


def test_progress_counts_the_blocks(trained: Model, draw: Draw) -> None:
    seen: list[tuple[int, int]] = []
    windows, recipe = draw(1, 16, 512), Recipe(sparsity=0.5, metric="W * X")
    statistics = collect(trained, windows)
    ready = prepared(trained, LayerStatistics(trained, dense_weights(trained), statistics), recipe)
    propagated(trained, windows, statistics, ready, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 5) for i in range(1, 6)]


@pytest.mark.parametrize("group", ["row", "matrix", "block"])
def test_metrics_of_weights_alone_need_no_propagation(
    trained: Model, draw: Draw, group: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows, recipe = draw(1, 16, 512), Recipe(sparsity=0.5, metric="W", pattern=Unstructured(group=group))
    statistics = collect(trained, windows)
    ready = prepared(trained, LayerStatistics(trained, dense_weights(trained), statistics), recipe)
    before = dense_weights(trained)
    monkeypatch.setattr("tools.prune.weights.way.passes", None)  # whoever runs a block fails
    propagated(trained, windows, statistics, ready)
    fallen = zeros(trained)
    assert overall(trained, sparsities(trained)) == pytest.approx(0.5, abs=1e-4)
    if group == "matrix":
        for name, mask in fallen.items():
            assert before[name][mask].abs().max() <= before[name][~mask].abs().min(), name


@pytest.mark.parametrize(
    ("recipe", "needed"),
    [
        (Recipe(sparsity=0.5, metric="W * X"), set()),
        (Recipe(sparsity=0.5, metric="W * X", compensation=OBS), {"gram"}),
        (Recipe(sparsity=0.5, metric="W / D"), {"gram"}),
        (Recipe(sparsity=0.5, metric="W * G + R"), {"gradient", "regional"}),
    ],
)
def test_a_recipe_says_what_it_needs(recipe: Recipe, needed: set[str]) -> None:
    assert needs_of(recipe) == needed


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["row", "2:4", "obs"])
def test_half_precision_models_lose_exactly_as_much(trained: Model, draw: Draw, dtype: torch.dtype, name: str) -> None:
    trained.network.to(dtype)
    for form in ("dense statistics", "propagated"):
        prune(trained, RECIPES[name], draw(4, 32, 512), form)
        assert overall(trained, sparsities(trained)) == pytest.approx(RECIPES[name].sparsity, abs=1e-3)
        assert next(trained.network.parameters()).dtype == dtype


SILENCED = "model.layers.2.mlp.down_proj"


def silence(model: Model, kind: str) -> Model:
    """One matrix that puts out nothing: it is zero, or what it reads is."""
    with torch.no_grad():
        if kind == "weights":
            model.network.get_submodule(SILENCED).weight.zero_()
        else:
            model.network.get_submodule("model.layers.2.mlp.up_proj").weight.zero_()
    return model


@pytest.mark.parametrize("kind", ["weights", "inputs"])
@pytest.mark.parametrize("recipe", ["row", "matrix", "block", "2:4", "obs"])
def test_a_matrix_that_no_metric_can_rank_does_not_refuse_the_model(
    trained: Model, draw: Draw, kind: str, recipe: str
) -> None:
    model, asked = silence(trained, kind), RECIPES[recipe]
    bench = Bench(model, draw(4, 64, 512), draw(2, 64, 512))
    expected = {SILENCED: "its weights are all zero" if kind == "weights" else "its inputs are always zero"}
    zero = {} if kind == "weights" else {"model.layers.2.mlp.up_proj": "its weights are all zero"}
    assert bench.silent == expected | zero
    bench.probe(asked)
    assert bench.divergence(asked, 128).value >= 0
    bench.finish(asked)
    gone = weight(model.network, next(p for p in model.architecture.projections if p.name == SILENCED)) == 0
    if kind == "inputs" and recipe == "row":  # equal scores fall in index order
        columns = gone.shape[1]
        assert all(int(row.sum()) in (int(0.613 * columns), int(0.613 * columns) + 1) for row in gone)
        assert bool((gone.int().diff(dim=1) <= 0).all())


def test_a_metric_that_ranks_nothing_names_the_matrix(trained: Model, draw: Draw) -> None:
    bench = Bench(trained, draw(2, 64, 512), draw(2, 64, 512))
    with pytest.raises(SecateurError, match=r"which ranks nothing \(model\.layers\.0\.self_attn\.q_proj\)$"):
        bench.probe(Recipe(sparsity=0.5, metric="W - W"))


def test_metrics_that_choose_the_same_masks_have_one_probe(trained: Model, draw: Draw) -> None:
    """Weights of a few values tie everywhere; the ties of both metrics fall in index order."""
    with torch.no_grad():
        for p in trained.architecture.projections:
            w = weight(trained.network, p)
            w.copy_(w.sign() * (1 + (w.abs() > w.abs().mean())))
    bench = Bench(trained, draw(2, 64, 512), draw(2, 64, 512))

    def probe(metric: str, group: Group) -> torch.Tensor:
        return bench.probe(Recipe(pattern=Unstructured(group=group), sparsity=0.5, metric=metric))

    groups: tuple[Group, ...] = ("row", "matrix")
    for group in groups:
        assert torch.equal(probe("W", group), probe("sqr(W) + W", group))
    assert not torch.equal(probe("W", "row"), probe("W * X", "row"))
