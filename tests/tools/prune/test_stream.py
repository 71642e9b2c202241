"""The dense stream: it is the model's own hidden states, and fitting to it brings a smaller model nearer to it."""

from __future__ import annotations

import pytest
import torch

from tests.tools.conftest import random_windows
from tools.model.blocks import passes
from tools.model.checkpoint import Model
from tools.prune.bench import Bench
from tools.prune.structures import cut as cutting
from tools.prune.structures import forms as applying
from tools.prune.structures.anatomy import layers_of
from tools.prune.structures.cut import least_squares
from tools.prune.structures.stream import DenseStream, adds_up, next_points
from tools.recipe import Allocation, Compensation, Recipe, Structured
from tools.statistics.inputs import InputStatistics
from tools.text.windows import windows

NORMS_AFTER_LAYERS = ("gemma2", "gemma3_text", "gemma3")
WINDOWS = random_windows(4, 16)


def test_what_stays_looks_ahead_to_the_next_that_stays() -> None:
    assert next_points([1, 1, 1]) == {0: 0, 1: 1, 2: 2}
    assert next_points([0, 2, 0, 0, 3, 0]) == {1: 3, 4: 5}


def test_blocks_that_only_add_are_told_from_those_that_do_not(random_model: Model) -> None:
    with torch.inference_mode():
        found = adds_up(random_model, layers_of(random_model), WINDOWS.ids)
    assert found == (random_model.name not in NORMS_AFTER_LAYERS)


def test_the_stream_is_the_hidden_states_of_the_dense_model(trained: Model) -> None:
    ids, layers = WINDOWS.ids % 64, layers_of(trained)
    blocks = trained.architecture.n_blocks
    sizes = [of.units if of.block in (0, blocks - 1) else 0 for of in layers]
    with torch.inference_mode(), passes(trained, [ids]) as ahead:
        stream = DenseStream(ahead, layers, sizes)
        expected = trained.network.model(ids, output_hidden_states=True).hidden_states
        stream.enter(0)
        (between,) = stream.before_next(1)
        torch.testing.assert_close(between, expected[blocks - 1])
        block = trained.network.model.layers[0]
        (middle,) = stream.before_next(0)
        read = block.mlp(block.post_attention_layernorm(middle))
        torch.testing.assert_close(middle + read, expected[1])


def test_least_squares_asks_for_a_share_of_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "CATCH_UP", 0.5)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 12, generator=generator)
    w, lacks = torch.randn(5, 12, generator=generator), torch.randn(200, 5, generator=generator)
    kept = torch.tensor([0, 2, 3, 7, 11])
    inputs = InputStatistics.empty(12, 200, "cpu", gram=True)
    inputs.add(x)
    inputs.miss(x[:50], lacks[:50])
    inputs.miss(x[50:], lacks[50:])
    found = least_squares(w, inputs, kept, damping=1e-9)
    best = torch.linalg.lstsq(x[:, kept], x @ w.T + 0.5 * lacks).solution.T
    torch.testing.assert_close(found, best, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["width", "depth"])
def test_a_smaller_model_fitted_to_the_stream_is_nearer_to_the_dense_one(
    kind: str, trained: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration = windows("builtin", trained, part="calibration", count=16, length=128)
    search = windows("builtin", trained, part="search", count=8, length=128)
    bench = Bench(trained, calibration, search)
    recipe = Recipe(
        pattern=Structured(kind=kind, multiple=16),  # type: ignore[arg-type]  # one of two
        sparsity=0.4,
        metric="W * X",
        allocation=Allocation(expression="redundancy", width=0.1) if kind == "depth" else Allocation(),
        compensation=Compensation(kind="least_squares"),
    )
    found = {}
    for share in (0.0, 0.25):
        monkeypatch.setattr(cutting, "CATCH_UP", share)
        bench.finish(recipe)
        found[share] = bench.perplexity(search, "propagated").value
    assert found[0.25] < found[0.0]


@pytest.mark.parametrize("gone", ["nothing", "attention", "mlp"])
def test_what_a_block_hands_on_need_not_be_computed_again(
    gone: str, random_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = layers_of(random_model)
    rates = [1.0 if gone == of.sublayer and of.block == 0 else 0.3 for of in layers]
    recipe = Recipe(
        pattern=Structured(kind="width+depth", shapes="free", multiple=16),
        sparsity=0.3,
        metric="W * X",
        allocation=Allocation(expression=None, vector=tuple(rates), granularity="layer"),
        compensation=Compensation(kind="least_squares"),
    )
    bench = Bench(random_model, WINDOWS, WINDOWS)
    found = []
    for bytes_held in (applying.HELD, 0):
        monkeypatch.setattr(applying, "HELD", bytes_held)
        bench.finish(recipe)
        found.append(bench.snapshot().weights)
    for name, weights in found[0].items():
        torch.testing.assert_close(weights, found[1][name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", NORMS_AFTER_LAYERS, indirect=True)
def test_where_norms_stand_in_between_layers_are_fitted_alone(
    random_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(random_model, WINDOWS, WINDOWS)
    pattern = Structured(kind="width", multiple=16)
    logits = []
    for kind, share in (("none", 0.0), ("least_squares", 0.0), ("least_squares", 1.0)):
        monkeypatch.setattr(cutting, "CATCH_UP", share)
        bench.finish(Recipe(pattern=pattern, sparsity=0.3, metric="W * X", compensation={"kind": kind}))  # type: ignore[arg-type]  # read as one
        logits.append(random_model.network(WINDOWS.ids).logits)
    plain, alone, caught_up = logits
    assert torch.isfinite(alone).all()
    assert not torch.allclose(alone, plain)
    assert torch.equal(alone, caught_up), "what the stream lacks is of no account here"
