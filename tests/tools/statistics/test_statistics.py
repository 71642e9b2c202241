"""Statistics: what one pass collects is what plain sums over hooked inputs give, for every family."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from tools.io.errors import SecateurError
from tools.model.architecture import weight
from tools.model.checkpoint import Model
from tools.statistics.collect import Statistics, collect
from tools.statistics.inputs import InputStatistics
from tools.statistics.layers import LayerStatistics, moments, spectral_exponent
from tools.text.windows import Windows

Draw = Callable[..., Windows]
EVERYTHING = frozenset({"gram", "gradient", "regional"})


def hooked_inputs(model: Model, windows: Windows) -> dict[str, list[torch.Tensor]]:
    """Every input (1, length, in) of every projection, window after window."""
    seen: dict[str, list[torch.Tensor]] = {p.name: [] for p in model.architecture.projections}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, args, result: seen[name].append(args[0].clone())

    modules = {name: model.network.get_submodule(name) for name in seen}
    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    with torch.no_grad():
        for ids in windows.ids:
            model.network(input_ids=ids[None], use_cache=False)
    for handle in handles:
        handle.remove()
    return seen


def same(found: torch.Tensor, plain: torch.Tensor, rtol: float = 1e-5) -> None:
    """Equal but for the order of a sum, measured against the largest value."""
    scale = float(plain.abs().max())
    torch.testing.assert_close(found.double(), plain.double(), rtol=rtol, atol=rtol * max(scale, 1e-30))


def test_sums_are_those_of_the_inputs(random_model: Model, draw: Draw) -> None:
    windows = draw(5, 16)
    statistics = collect(random_model, windows, needs=frozenset({"gram"}))
    for name, inputs in hooked_inputs(random_model, windows).items():
        x = torch.cat([i.double().reshape(-1, i.shape[-1]) for i in inputs])
        found = statistics.inputs[name]
        assert (found.tokens, found.windows) == (80, 5)
        same(found.total, x.sum(0))
        same(found.absolute, x.abs().sum(0))
        same(found.scaler, x.square().sum(0) / 5)
        same(found.largest, x.abs().amax(0))
        same(found.norm, (x.square().sum(0) / 5).sqrt())
        same(found.mean, x.mean(0))
        same(found.variance, x.var(0, correction=0), 1e-4)
        assert found.gram is not None
        same(found.gram, x.T @ x)


def test_inputs_are_accumulated_once_where_they_are_shared(trained: Model, draw: Draw) -> None:
    inputs = collect(trained, draw(2, 16, 512)).inputs
    names = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj"]
    q, k, v, o, gate = (inputs[f"model.layers.2.{name}"] for name in names)
    assert q is k is v
    assert q is not o
    assert gate is inputs["model.layers.2.mlp.up_proj"]


def test_without_gram_matrices_the_sums_are_the_same(trained: Model, draw: Draw) -> None:
    windows = draw(3, 32, 512)
    plain = collect(trained, windows)
    full = collect(trained, windows, needs=frozenset({"gram"}))
    for name, s in plain.inputs.items():
        assert s.gram is None
        assert torch.equal(s.norm, full.inputs[name].norm)


def test_redundancy_is_one_minus_the_cosine_of_a_block(random_model: Model, draw: Draw) -> None:
    windows = draw(3, 16)
    cosines: list[list[torch.Tensor]] = [[], []]

    def compare(index: int) -> Callable[..., None]:
        def hook(module: Any, args: Any, kwargs: Any, result: Any) -> None:
            before = (args[0] if args else kwargs["hidden_states"]).double()[0]
            after = (result[0] if isinstance(result, tuple) else result).double().reshape(before.shape)
            norms = before.norm(dim=1) * after.norm(dim=1)
            cosines[index].append((before * after).sum(1) / norms)

        return hook

    blocks = random_model.network.get_submodule(random_model.architecture.blocks)
    handles = [b.register_forward_hook(compare(i), with_kwargs=True) for i, b in enumerate(blocks)]
    with torch.no_grad():
        for ids in windows.ids:
            random_model.network(input_ids=ids[None], use_cache=False)
    for handle in handles:
        handle.remove()
    plain = [1 - float(torch.cat(c).mean()) for c in cosines]
    assert collect(random_model, windows).redundancy == pytest.approx(plain, abs=1e-5)


def parameters(model: Model) -> dict[str, Any]:
    return {p.name: model.network.get_submodule(p.name).weight for p in model.architecture.projections}


def turned(model: Model, gradients: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As (out, in)."""
    return {p.name: gradients[p.name].T if p.transposed else gradients[p.name] for p in model.architecture.projections}


def test_gradients_are_those_of_the_loss(random_model: Model, draw: Draw) -> None:
    windows = draw(3, 16)
    found = collect(random_model, windows, needs=frozenset({"gradient"})).gradient
    leaves = parameters(random_model)
    for leaf in leaves.values():
        leaf.requires_grad_(True)
    squares = {name: torch.zeros_like(leaf, dtype=torch.float64) for name, leaf in leaves.items()}
    for ids in windows.ids:
        logits = random_model.network(input_ids=ids[None], use_cache=False).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits.float(), ids[1:])
        for name, g in zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True):
            squares[name] += g.double().square()
    plain = turned(random_model, {name: 100 * s.sqrt() for name, s in squares.items()})
    for name, value in found.items():
        same(value, plain[name], 1e-4)


def test_regional_gradients_are_those_of_the_norm_of_the_blocks_output(random_model: Model, draw: Draw) -> None:
    windows = draw(3, 16)
    found = collect(random_model, windows, needs=frozenset({"regional"})).regional
    outputs: dict[int, torch.Tensor] = {}

    def keep(index: int) -> Callable[..., None]:
        return lambda module, args, result: outputs.update({index: result[0] if isinstance(result, tuple) else result})

    blocks = random_model.network.get_submodule(random_model.architecture.blocks)
    handles = [block.register_forward_hook(keep(i)) for i, block in enumerate(blocks)]
    leaves = parameters(random_model)
    for leaf in leaves.values():
        leaf.requires_grad_(True)
    squares = {name: torch.zeros_like(leaf, dtype=torch.float64) for name, leaf in leaves.items()}
    for ids in windows.ids:
        random_model.network(input_ids=ids[None], use_cache=False)
        for block in range(2):
            members = [p.name for p in random_model.architecture.of_block(block)]
            gradients = torch.autograd.grad(outputs[block].norm(), [leaves[n] for n in members], retain_graph=True)
            for name, g in zip(members, gradients, strict=True):
                squares[name] += g.double().square()
    for handle in handles:
        handle.remove()
    plain = turned(random_model, {name: (s / 3).sqrt() for name, s in squares.items()})
    assert found.keys() == plain.keys()
    for name, value in found.items():
        same(value, plain[name], 1e-4)


def test_collecting_leaves_no_trace_in_the_network(random_model: Model, draw: Draw) -> None:
    network = random_model.network
    before = {name: p.clone() for name, p in network.named_parameters()}
    collect(random_model, draw(2, 16), needs=EVERYTHING)
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())
    assert all(p.grad is None for p in network.parameters())
    hooks = [m._forward_hooks or m._forward_pre_hooks for m in network.modules()]
    assert not any(hooks)
    assert not any(p._post_accumulate_grad_hooks for p in network.parameters())


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def files(cache: Path) -> list[str]:
    """Without their checksums."""
    return sorted(re.sub(r"\.[0-9a-f]{16}\b", "", f.name) for f in cache.rglob("*") if f.is_file())


def test_what_is_on_disk_is_read_and_equals_what_was_computed(trained: Model, draw: Draw, cache: Path) -> None:
    windows = draw(3, 32, 512)
    first = collect(trained, windows, needs=EVERYTHING, cache=cache)
    again = collect(trained, windows, needs=EVERYTHING, cache=cache)
    assert (first.reused, again.reused) == (False, True)
    assert files(cache) == ["gradient.safetensors", "gram.safetensors", "regional.safetensors"]
    assert again.redundancy == first.redundancy
    for name, s in first.inputs.items():
        t = again.inputs[name]
        assert (s.tokens, s.windows) == (t.tokens, t.windows)
        for field in ("total", "absolute", "largest", "scaler", "gram"):
            assert torch.equal(getattr(s, field), getattr(t, field))
        assert torch.equal(first.gradient[name], again.gradient[name])
        assert torch.equal(first.regional[name], again.regional[name])
    assert again.inputs["model.layers.0.self_attn.q_proj"] is again.inputs["model.layers.0.self_attn.v_proj"]


def test_a_full_disk_is_one_line_and_leaves_nothing(
    trained: Model, draw: Draw, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensors: object, file: Path) -> None:
        file.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(SecateurError, match=r"cannot be written \(no space left on device\)"):
        collect(trained, draw(2, 32, 512), cache=cache)
    assert files(cache) == []


def test_another_text_or_model_is_not_mistaken(trained: Model, draw: Draw, cache: Path) -> None:
    assert not collect(trained, draw(2, 32, 512), cache=cache).reused
    assert not collect(trained, draw(2, 32, 512, seed=1), cache=cache).reused
    assert not collect(dataclasses.replace(trained, fingerprint="other"), draw(2, 32, 512), cache=cache).reused
    assert collect(trained, draw(2, 32, 512), cache=cache).reused


def test_more_is_collected_only_when_it_is_needed(trained: Model, draw: Draw, cache: Path) -> None:
    windows = draw(2, 32, 512)
    collect(trained, windows, cache=cache)
    assert files(cache) == ["inputs.safetensors"]
    with_gram = collect(trained, windows, needs=frozenset({"gram"}), cache=cache)
    assert not with_gram.reused
    assert files(cache) == ["gram.safetensors", "inputs.safetensors"]
    assert collect(trained, windows, cache=cache).reused


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_moments_are_the_standardised_ones(scale: float) -> None:
    torch.manual_seed(0)
    values = torch.randn(300, 200).abs() * scale
    a = values.double().flatten()
    d = a - a.mean()
    plain = (float((d**3).mean() / d.square().mean() ** 1.5), float((d**4).mean() / d.square().mean() ** 2))
    assert moments(values) == pytest.approx(plain, rel=1e-4)
    assert plain == pytest.approx((0.995, 3.87), abs=0.1)  # the half-normal distribution's
    assert moments(torch.ones(3, 3)) == (0.0, 0.0)


def layers_of(model: Model, statistics: Statistics) -> LayerStatistics:
    dense = {p.name: weight(model.network, p).clone() for p in model.architecture.projections}
    return LayerStatistics(model, dense, statistics)


def test_a_row_per_projection_says_what_is_known_of_it(trained: Model, draw: Draw) -> None:
    windows = draw(4, 32, 512)
    statistics = collect(trained, windows)
    rows = layers_of(trained, statistics).rows()
    inputs = hooked_inputs(trained, windows)
    assert [row.name for row in rows] == [p.name for p in trained.architecture.projections]
    for row in rows:
        w = trained.network.get_submodule(row.name).weight.detach()
        x = torch.cat([i[0] for i in inputs[row.name]]).double()
        norm = (x.square().sum(0) / 4).sqrt()
        score = (w.double().abs() * norm).flatten()
        assert row.shape == tuple(w.shape)
        assert row.parameters == w.numel()
        assert (row.skew, row.kurtosis) == pytest.approx(moments(w.abs()))
        assert row.input_norm == pytest.approx(float(norm.mean()), rel=1e-4)
        assert row.input_max == pytest.approx(float(x.abs().max()), rel=1e-4)
        assert row.score_mean == pytest.approx(float(score.mean()), rel=1e-4)
        assert row.outliers == pytest.approx(100 * float((score > 5 * score.mean()).double().mean()), abs=0.02)
        assert row.redundancy == statistics.redundancy[row.block]


def test_terminals_have_one_value_per_unit(random_model: Model, draw: Draw) -> None:
    layers = layers_of(random_model, collect(random_model, draw(2, 16)))
    names = frozenset({"skew", "kurtosis", "outliers(3)", "redundancy", "score_mean", "score_median", "alpha", "depth"})
    for granularity, count in (("block", 2), ("layer", 4), ("projection", len(random_model.architecture.projections))):
        values = layers.terminals(names | {"size"}, granularity)  # type: ignore[arg-type]
        assert all(v.shape == (count,) and bool(v.isfinite().all()) for v in values.values())
        assert values["depth"].tolist()[0] == 0
        assert values["depth"].tolist()[-1] == 1
        assert int(values["size"].sum()) == random_model.architecture.size


def test_the_spectral_exponent_is_hills_estimate() -> None:
    eigenvalues = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    orthogonal = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    matrix = orthogonal @ torch.diag(eigenvalues.double().sqrt()) @ orthogonal.T
    tail = eigenvalues[3:]
    hill = 1 + len(tail) / float((tail / tail[0]).log().sum())
    assert spectral_exponent(matrix.float()) == pytest.approx(hill, rel=1e-3)


def test_zeros_in_the_place_of_what_is_before_a_window_are_no_tokens() -> None:
    found, plain = (InputStatistics.empty(4, 8, "cpu", gram=True) for _ in range(2))
    x = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0))
    plain.add(x)
    found.add(x)
    found.add(torch.zeros(2, 1, 4))
    assert found.tokens == plain.tokens == 16
    assert torch.equal(found.scaler, plain.scaler)
    assert torch.equal(found.mean, plain.mean)
