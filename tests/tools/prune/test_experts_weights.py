"""Single weights inside experts: masks and updates are those of plain loops over experts; routers stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.tools.conftest import random_windows
from tests.tools.elsewhere import SAME, run_elsewhere
from tests.tools.experts import STACKED, experts_of, inputs_by_loops, matrices, stacked
from tools.deliver.save import save_model
from tools.io.errors import SecateurError
from tools.model.architecture import weight
from tools.model.checkpoint import Model, open_model
from tools.prune.bench import Bench
from tools.prune.reach import reach_of
from tools.recipe import NM, Compensation, Recipe, Unstructured
from tools.recipe.methods import method
from tools.statistics.collect import collect
from tools.statistics.inputs import FEWEST

WINDOWS = random_windows(16, 16)
NAMES = ("gate", "up", "down")
TWO_FOUR = Recipe(pattern=NM(n=2, m=4), metric="W * X", sparsity=0.5)


@pytest.fixture(params=STACKED)
def model(request: pytest.FixtureRequest) -> Model:
    """Every way of storing experts in turn."""
    return stacked(request.param)


def read_by(model: Model) -> dict[str, torch.Tensor]:
    """What the matrices read, an expert with few tokens what all of its layer do; by the name of the projection."""
    raw, found = inputs_by_loops(model, WINDOWS.ids), {}
    for path, module in experts_of(model):
        for role in NAMES:
            keys = [f"{path}.{e}.down" if role == "down" else f"{path}.{e}" for e in range(module.num_experts)]
            pooled = torch.cat([raw[key] for key in keys])
            for e, key in enumerate(keys):
                found[f"{path}.{e}.{role}"] = raw[key] if len(raw[key]) >= FEWEST else pooled
    return found


def falls(scores: torch.Tensor, pattern: NM | Unstructured) -> torch.Tensor:
    """The lowest half of every row, or of every four of a row."""
    length = scores.shape[1] if isinstance(pattern, Unstructured) else 4
    groups, mask = scores.reshape(-1, length), torch.zeros(scores.numel() // length, length, dtype=torch.bool)
    for row, group in enumerate(groups.tolist()):
        for place in sorted(range(length), key=lambda i: group[i])[: length // 2]:
            mask[row, place] = True
    return mask.view(scores.shape)


def everything(model: Model) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.network.named_parameters()}


@pytest.mark.parametrize("recipe", [method("wanda", 0.5), TWO_FOUR, method("magnitude", 0.5)], ids=lambda r: r.metric)
def test_masks_are_those_of_a_plain_loop_over_experts(model: Model, recipe: Recipe) -> None:
    bench, before, read = Bench(model, WINDOWS, WINDOWS), everything(model), read_by(model)
    dense = {name: weight(model.network, p).clone() for name, p in named(model).items()}
    bench.divergence(recipe, 16)
    pattern, size = recipe.pattern, 0
    assert isinstance(pattern, NM | Unstructured)
    for path, module in experts_of(model):
        for e in range(module.num_experts):
            for role, found in zip(NAMES, matrices(model.name, module, e), strict=True):
                name, size = f"{path}.{e}.{role}", size + found.numel()
                w, x = dense[name], read[name]
                scores = w.abs() if recipe.metric == "W" else w.abs() * x.square().sum(0).sqrt()
                whole = isinstance(pattern, Unstructured) and pattern.group != "row"
                expected = falls(scores.reshape(1, -1) if whole else scores, pattern).view_as(scores)
                assert torch.equal(found == 0, expected), name
                assert torch.equal(found[~expected], w[~expected])
    projections = set(named(model))
    assert {f"{path}.0.gate" for path, _ in experts_of(model)} <= projections
    for name, parameter in model.network.named_parameters():
        if "router" in name or ".mlp.gate." in name:
            assert torch.equal(parameter, before[name]), name
    assert size > model.architecture.size / 2


def named(model: Model) -> dict[str, Any]:
    return {p.name: p for p in model.architecture.projections}


def test_obs_inside_an_expert_is_dense_algebra(model: Model) -> None:
    """Column by column with the inverse Hessian of what is left, computed anew each time (Hassibi, Stork)."""
    recipe = Recipe(
        pattern=NM(n=2, m=4), metric="W ** 2 / D", sparsity=0.5, compensation=Compensation(kind="obs", batch=4)
    )
    read = read_by(model)
    dense = {name: weight(model.network, p).double().clone() for name, p in named(model).items()}
    Bench(model, WINDOWS, WINDOWS, needs=frozenset({"gram"})).divergence(recipe, 16)
    path, module = list(experts_of(model))[-1]
    for e in range(module.num_experts):
        for role, found in zip(NAMES, matrices(model.name, module, e), strict=True):
            w, x = dense[f"{path}.{e}.{role}"], read[f"{path}.{e}.{role}"].double()
            h = 2 / len(x) * x.T @ x
            h += 0.01 * h.diagonal().mean() * torch.eye(len(h), dtype=torch.float64)
            fallen = found == 0
            for j in range(w.shape[1]):
                rest = torch.linalg.inv(h[j:, j:])
                error = torch.where(fallen[:, j], w[:, j], 0.0) / rest[0, 0]
                w[:, j:] -= error[:, None] * rest[0]
            w[fallen] = 0
            assert (found.double() - w).norm() <= 1e-3 * w.norm(), (e, role)


def test_nearly_all_of_the_blocks_is_reached(model: Model) -> None:
    reach, blocks = reach_of(model, Unstructured()), model.network.model.layers
    apart = ("norm", "router", "mlp.gate.", "bias", "sinks")
    matrices = sum(p.numel() for name, p in blocks.named_parameters() if not any(word in name for word in apart))
    assert reach.weights == matrices


def test_experts_with_few_tokens_are_judged_by_their_layer() -> None:
    model = stacked("qwen3_moe")
    few = collect(model, random_windows(1, 32))
    assert len(few.sparse) == len({p for p in named(model) if ".experts." in p})
    first = [few.inputs[f"model.layers.1.mlp.experts.{e}.up"] for e in range(6)]
    assert all(s is first[0] for s in first)
    assert first[0].tokens == 32 * 3  # every token goes to three experts
    assert few.about_experts(model.architecture).startswith("12 of 12 experts saw fewer than 32 tokens")
    enough = collect(model, random_windows(64, 32))
    assert len(enough.sparse) < len(few.sparse)


def test_statistics_of_experts_are_kept_and_read_again(tmp_path: Path) -> None:
    model = stacked("gpt_oss")
    needs = frozenset({"gram", "gradient", "regional"})
    first, again = (collect(model, WINDOWS, needs=needs, cache=tmp_path) for _ in range(2))
    assert again.reused
    assert first.sparse == again.sparse
    for name, s in first.inputs.items():
        assert torch.equal(s.scaler, again.inputs[name].scaler)
        assert (s.tokens, s.routed) == (again.inputs[name].tokens, again.inputs[name].routed)
    assert all(torch.equal(first.gradient[name], again.gradient[name]) for name in first.gradient)


@pytest.mark.parametrize("metric", ["W * G", "W * X + R * W", "W * X_max", "W * (X_var + X_mean ** 2)"])
def test_every_statistic_is_there_for_experts(metric: str) -> None:
    model = stacked("mixtral")
    bench = Bench(model, WINDOWS, WINDOWS)
    recipe = Recipe(pattern=Unstructured(), metric=metric, sparsity=0.5)
    assert bench.divergence(recipe, 16).sparsity == pytest.approx(0.5, abs=1e-3)
    bench.finish(recipe)
    assert bench.share() == pytest.approx(0.5, abs=1e-3)


def test_gradients_of_an_expert_are_those_of_its_slice() -> None:
    model = stacked("gpt_oss")
    found = collect(model, WINDOWS, needs=frozenset({"gradient"}))
    path, module = next(iter(experts_of(model)))
    squares: Any = [0.0, 0.0, 0.0]
    module.gate_up_proj.requires_grad_(True)
    module.down_proj.requires_grad_(True)
    for ids in WINDOWS.ids:
        model.network(ids[None], labels=ids[None], use_cache=False).loss.backward()
        both, down = module.gate_up_proj.grad[1], module.down_proj.grad[1]
        for i, g in enumerate((both[:, 0::2].T, both[:, 1::2].T, down.T)):
            squares[i] = squares[i] + (100 * g) ** 2
        module.gate_up_proj.grad = module.down_proj.grad = None
    for role, square in zip(NAMES, squares, strict=True):
        name = f"{path}.1.{role}"
        assert not found.inputs[name].pooled
        torch.testing.assert_close(found.gradient[name], square.sqrt(), rtol=1e-3, atol=1e-6)


def test_pruned_mixtures_load_where_nobody_knows_of_us(tmp_path: Path) -> None:
    tokenizer = open_model("tiny", cache=tmp_path).tokenizer
    for kind in STACKED:
        model = stacked(kind)
        model.tokenizer = tokenizer
        bench = Bench(model, WINDOWS, WINDOWS)
        bench.finish(TWO_FOUR)
        assert bench.share() == pytest.approx(0.5, abs=1e-3)
        with torch.no_grad():
            logits = model.network(WINDOWS.ids[:2], use_cache=False).logits
        (tmp_path / "none").mkdir(exist_ok=True)
        model.folder = tmp_path / "none"
        (model.folder / "config.json").write_text("{}")
        save_model(bench.result(), tmp_path / kind, recipe=TWO_FOUR, card="")
        save_file({"ids": WINDOWS.ids[:2].contiguous(), "logits": logits}, tmp_path / f"{kind}.safetensors")
    run_elsewhere(SAME, tmp_path, list(STACKED))


def test_rows_that_are_no_whole_groups_are_refused_by_name() -> None:
    bench = Bench(stacked("mixtral"), WINDOWS, WINDOWS)
    with pytest.raises(SecateurError, match="multiple of 7"):
        bench.prepare(Recipe(pattern=NM(n=3, m=7), metric="W", sparsity=4 / 7))
