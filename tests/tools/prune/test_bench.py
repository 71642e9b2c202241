"""The workbench: candidates one after the other leave the dense model as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tools.expression.operators import Group
from tools.io.errors import SecateurError
from tools.model.architecture import weight
from tools.model.checkpoint import Model
from tools.model.sparsity import sparsities
from tools.prune.bench import Bench
from tools.prune.probe import spread
from tools.recipe import NM, Compensation, Recipe, Structured, Unstructured
from tools.recipe.methods import method
from tools.text.windows import Windows

Draw = Callable[..., Windows]
WANDA = Recipe(sparsity=0.5, metric="W * X")
OBS = Recipe(sparsity=0.5, metric="W * X", compensation=Compensation(kind="obs"))


@pytest.fixture
def bench(trained: Model, draw: Draw) -> Bench:
    return Bench(trained, draw(6, 64, 512), draw(4, 64, 512, seed=1))


def test_a_candidate_does_not_depend_on_who_came_before(bench: Bench) -> None:
    alone = bench.divergence(WANDA, 256).value
    others = [
        OBS,
        method("owl", 0.7),
        Recipe(sparsity=0.5, metric="W / D"),
        Recipe(sparsity=0.75, metric="W", pattern=NM(n=1, m=4)),
        Recipe(
            sparsity=0.4,
            metric="W * X",
            pattern=Structured(kind="width", multiple=16),
            compensation=Compensation(kind="bias"),
        ),
    ]
    for other in others:
        assert bench.divergence(other, 128).value != alone
    assert bench.divergence(WANDA, 256).value == pytest.approx(alone, rel=1e-5)
    assert bench.result() is bench.model
    bench.finish(OBS)
    assert bench.divergence(WANDA, 256).value == pytest.approx(alone, rel=1e-5)


def test_statistics_that_are_asked_for_late_are_the_dense_models(bench: Bench, draw: Draw, trained: Model) -> None:
    dense = {n: p.clone() for n, p in trained.network.state_dict().items()}
    bench.divergence(WANDA, 128)
    found = bench.divergence(Recipe(sparsity=0.5, metric="sqr(W) * mms(G) / D"), 256).value
    trained.network.load_state_dict(dense)
    fresh = Bench(trained, bench.calibration, bench.search)
    plain = fresh.divergence(Recipe(sparsity=0.5, metric="sqr(W) * mms(G) / D"), 256).value
    assert found == pytest.approx(plain, rel=1e-5)


def test_restoring_brings_every_weight_back(bench: Bench, trained: Model) -> None:
    before = {n: p.clone() for n, p in trained.network.state_dict().items()}
    for recipe in (WANDA, OBS):
        bench.divergence(recipe, 64)
        bench.restore()
        assert all(torch.equal(p, before[n]) for n, p in trained.network.state_dict().items())
        bench.finish(recipe)
        bench.restore()
        assert all(torch.equal(p, before[n]) for n, p in trained.network.state_dict().items())


def test_finishing_leaves_the_pruned_model_and_says_so(bench: Bench, draw: Draw) -> None:
    text = draw(2, 64, 512, seed=2)
    dense = bench.perplexity(text, "dense")
    bench.finish(WANDA)
    pruned = bench.perplexity(text, "propagated")
    assert (dense.sparsity, pruned.sparsity) == (0.0, 0.5)
    assert pruned.value != dense.value
    assert pruned.protocol.form == "propagated"
    assert bench.proven(bench.prepare(WANDA)) == 0.5


def test_nothing_pruned_is_no_success(bench: Bench) -> None:
    bench.divergence(WANDA, 64)
    bench.restore()
    with pytest.raises(SecateurError, match=r"planned sparsity 0\.5000, measured 0\.0000"):
        bench.proven(bench.prepare(WANDA))


def test_a_snapshot_can_be_written_back(bench: Bench, trained: Model) -> None:
    bench.finish(WANDA)
    kept = bench.snapshot()
    shares = sparsities(trained)
    bench.divergence(OBS, 64)
    bench.load(kept)
    assert sparsities(trained) == shares
    assert all(torch.equal(weight(trained.network, p), kept.weights[p.name]) for p in trained.architecture.projections)
    bench.restore()
    assert max(sparsities(trained).values()) == 0


def test_a_candidate_that_fails_does_not_spoil_the_next(bench: Bench) -> None:
    good = bench.divergence(WANDA, 64).value
    for bad in ("X / (X - X)", "log(W) - log(W)", "W * X_mean / X_mean * 0"):
        with pytest.raises(SecateurError) as caught:
            bench.divergence(Recipe(sparsity=0.5, metric=bad), 64)
        assert "\n" not in str(caught.value)
    assert bench.divergence(WANDA, 64).value == pytest.approx(good, rel=1e-6)


def test_probes_agree_where_masks_do(bench: Bench) -> None:
    def probe(metric: str, group: Group = "row") -> torch.Tensor:
        return bench.probe(Recipe(pattern=Unstructured(group=group), sparsity=0.5, metric=metric))

    wanda = probe("W * X")
    assert float(wanda.min()) == 0
    assert float(wanda.max()) == 1
    assert torch.equal(probe("sqr(W) * sqr(X)"), wanda) or float((probe("sqr(W * X)") - wanda).abs().mean()) < 1e-3
    assert float((probe("W") - wanda).abs().mean()) > 0.01
    per_row = probe("W / row_sum(W)")
    assert torch.equal(per_row, probe("W")) or float((per_row - probe("W")).abs().mean()) < 1e-3
    whole = probe("W / row_sum(W)", "matrix")
    assert float((whole - probe("W", "matrix")).abs().mean()) > 0.001


def test_probes_see_every_kind_of_matrix(bench: Bench) -> None:
    roles = {p.name: p.role for p in bench.model.architecture.projections}
    assert {roles[name] for name in bench.ranks("W")} == set(roles.values())
    parts = [("a", i) if i % 2 == 0 else ("b", i) for i in range(60)]
    found = spread(parts, lambda part: part[0])
    assert [kind for kind, _ in found] == ["a", "b"] * 4
    assert sorted(i for _, i in found) == [i for _, i in found]
    assert len(set(found)) == 8


def test_statistics_on_disk_serve_the_next_workbench(trained: Model, draw: Draw, tmp_path: Path) -> None:
    first = Bench(trained, draw(3, 32, 512), None, tmp_path)
    again = Bench(trained, draw(3, 32, 512), None, tmp_path)
    assert not first.statistics.reused
    assert again.statistics.reused


def test_a_few_tokens_are_at_least_one_window(bench: Bench) -> None:
    assert bench.divergence(WANDA, 1).tokens == 64
    assert bench.divergence(WANDA, 10**9).tokens == 4 * 64


def test_groups_matter(bench: Bench) -> None:
    rows = bench.divergence(WANDA, 256).value
    blocks = bench.divergence(WANDA.model_copy(update={"pattern": Unstructured(group="block")}), 256).value
    assert rows != blocks
