"""Structures that fall: the smaller model is the cut one, of every family, also where only transformers is at hand."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from safetensors.torch import save_file

from tests.tools.conftest import FAMILIES, LLAMA, random_windows
from tools.deliver.save import save_model
from tools.io.errors import SecateurError
from tools.measure.step import step
from tools.model.architecture import describe, weight
from tools.model.checkpoint import Model, open_model
from tools.prune.bench import Bench
from tools.prune.structures.anatomy import Layer, layers_of
from tools.prune.structures.cut import Layout, cut_layer, least_squares, lost_on_average
from tools.prune.structures.scores import across_model, highest, unit_scores
from tools.prune.structures.shrink import shrink
from tools.prune.structures.way import Smaller
from tools.recipe import NM, Allocation, Compensation, Recipe, Structured
from tools.recipe.methods import method
from tools.statistics.collect import collect
from tools.statistics.inputs import InputStatistics
from tools.text.windows import windows

WINDOWS = random_windows(4, 16)
CASES = ("width", "depth", "width/free", "depth/free")
PLAIN = ("width", "depth")


def stays(layer: Layer, case: str) -> int:
    """How many units of a layer a case keeps."""
    kept = {
        "width": max(1, layer.units // 2),
        "depth": 0 if layer.block == 0 else layer.units,
        "width/free": max(1, layer.units // 2 if layer.block == 0 else layer.units * 3 // 4),
        "depth/free": 0 if (layer.block, layer.sublayer) in ((0, "attention"), (1, "mlp")) else layer.units,
    }
    return kept[case]


def cut(model: Model, case: str) -> Layout:
    """Cut a model at random."""
    generator = torch.Generator().manual_seed(0)
    dense = {p.name: weight(model.network, p).clone() for p in model.architecture.projections}
    layers, kept = layers_of(model), []
    empty = InputStatistics.empty(1, 1, "cpu", gram=False)
    for layer in layers:
        chosen = torch.randperm(layer.units, generator=generator)[: stays(layer, case)].sort().values
        cut_layer(model, layer, chosen, dense, empty, Compensation())
        kept.append(chosen)
    return Layout(layers, tuple(kept))


def generated(network: Any) -> torch.Tensor:
    out: torch.Tensor = network.generate(WINDOWS.ids[:2], max_new_tokens=5, do_sample=False)
    return out


@pytest.mark.parametrize("case", CASES)
def test_the_smaller_model_says_what_the_cut_one_says(case: str, random_model: Model) -> None:
    if random_model.name == "opt" and case == "depth/free":
        with pytest.raises(SecateurError, match="the mlp is no module of its own, so it cannot be left out alone"):
            shrink(random_model, cut(random_model, case))
        return
    layout = cut(random_model, case)
    small = shrink(random_model, layout)
    with torch.no_grad():
        expected = random_model.network(WINDOWS.ids, use_cache=False).logits
        torch.testing.assert_close(small.network(WINDOWS.ids, use_cache=False).logits, expected, rtol=1e-4, atol=1e-4)
        _, cache = step(small.network, WINDOWS.ids[:, :-1], {})
        last, _ = step(small.network, WINDOWS.ids[:, -1:], cache)
        torch.testing.assert_close(last, expected[:, -1], rtol=1e-4, atol=1e-4)
    assert torch.equal(generated(small.network), generated(random_model.network))
    left = sum(layer.cost * n for layer, n in zip(layout.layers, layout.sizes, strict=True))
    assert small.architecture.size == left < random_model.architecture.size
    assert small.architecture.model_type == random_model.architecture.model_type
    assert describe(small.network) == small.architecture


def test_a_smaller_model_can_be_made_smaller_again(trained: Model, tmp_path: Path) -> None:
    """Free shapes of free shapes, and one of blocks that differed that comes out plain."""
    first = shrink(trained, cut(trained, "depth/free"))
    folder = tmp_path / "small"
    save_model(first, folder, recipe=Recipe(sparsity=0.5, metric="W"), card="")
    again = open_model(str(folder), cache=tmp_path)
    layers = layers_of(again)
    last = [of for of in layers if of.block == layers[-1].block]
    assert len(last) == 2
    free = [max(1, of.units // 2) for of in layers]
    plain = [of.units if of in last else 0 for of in layers]
    for sizes in (free, plain):
        kept = tuple(torch.arange(size) for size in sizes)
        second = Model(**{**vars(again), "network": open_model(str(folder), cache=tmp_path).network})
        dense = {p.name: weight(second.network, p).clone() for p in second.architecture.projections}
        empty = InputStatistics.empty(1, 1, "cpu", gram=False)
        for of, chosen in zip(layers, kept, strict=True):
            cut_layer(second, of, chosen, dense, empty, Compensation())
        smaller = shrink(second, Layout(layers, kept))
        assert type(smaller.network).__name__.startswith("Pruned") == (sizes is free)
        with torch.no_grad():
            expected = second.network(WINDOWS.ids, use_cache=False).logits
            found = smaller.network(WINDOWS.ids, use_cache=False).logits
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        place = tmp_path / ("free" if sizes is free else "plain")
        save_model(smaller, place, recipe=Recipe(sparsity=0.5, metric="W"), card="")
        with torch.no_grad():
            read = open_model(str(place), cache=tmp_path).network(WINDOWS.ids, use_cache=False).logits
        torch.testing.assert_close(read, expected, rtol=1e-4, atol=1e-4)


def test_equal_sizes_that_the_configuration_refuses_are_written_as_sizes_that_differ() -> None:
    config = tf.LlamaConfig(**(LLAMA | {"num_attention_heads": 4, "num_key_value_heads": 4}))
    network = tf.AutoModelForCausalLM.from_config(config).eval()
    model = Model("llama", Path("nowhere"), network, None, describe(network), "llama", "float32", "cpu")  # type: ignore[arg-type]  # no text
    layers = layers_of(model)
    kept = tuple(torch.arange(3 if of.sublayer == "attention" else of.units) for of in layers)
    dense = {p.name: weight(network, p).clone() for p in model.architecture.projections}
    for of, chosen in zip(layers, kept, strict=True):
        cut_layer(model, of, chosen, dense, InputStatistics.empty(1, 1, "cpu", gram=False), Compensation())
    small = shrink(model, Layout(layers, kept))
    assert type(small.network).__name__.startswith("Pruned")
    small.network.config.validate()
    with torch.no_grad():
        expected = network(WINDOWS.ids, use_cache=False).logits
        torch.testing.assert_close(small.network(WINDOWS.ids, use_cache=False).logits, expected, rtol=1e-4, atol=1e-4)


def test_blocks_that_differ_are_built_with_their_own_sizes_at_once(
    trained: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all of its blocks dense first, a large model would need its full size in memory."""
    small = shrink(trained, cut(trained, "width/free")).network
    built: list[int] = []
    kind = type(small.model.layers[0])
    before = kind.__init__

    def counted(self: Any, config: Any, index: int) -> None:
        before(self, config, index)
        built.append(self.mlp.up_proj.out_features)

    monkeypatch.setattr(kind, "__init__", counted)
    type(small)(copy.deepcopy(small.config))
    dense = trained.network.config.intermediate_size
    assert built == [dense, *(block.mlp.up_proj.out_features for block in small.model.layers)]


def test_half_precision_keeps_what_is_not_a_weight_in_full(trained: Model) -> None:
    half = Model(**{**vars(trained), "network": trained.network.to(torch.bfloat16), "dtype": "bfloat16"})
    small = shrink(half, cut(half, "width")).network
    assert {p.dtype for p in small.parameters()} == {torch.bfloat16}
    assert {b.dtype for b in small.buffers()} == {torch.float32}


CODE = """
import sys
from pathlib import Path
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM
assert not any(Path(entry, "tools", "structure").exists() for entry in sys.path), "the project is in reach"
for name in sys.argv[2:]:
    folder = Path(sys.argv[1]) / name.replace("/", "-")
    asked = load_file(folder.with_suffix(".safetensors"))
    network = AutoModelForCausalLM.from_pretrained(folder, dtype="float32", trust_remote_code="free" in name)
    logits = network(asked["ids"], use_cache=False).logits
    difference = float((logits - asked["logits"]).abs().max())
    assert difference < 1e-4, f"{name}: logits differ by {difference}"
    again = network.generate(asked["ids"], max_new_tokens=5, do_sample=False)
    assert (again == asked["generated"]).all(), f"{name}: another continuation"
    inner, found = AutoModel.from_pretrained(
        folder, dtype="float32", trust_remote_code="free" in name, output_loading_info=True
    )
    assert not found["missing_keys"], f"{name}: AutoModel lacks {found['missing_keys']}"
    states = [n(asked["ids"], use_cache=False).last_hidden_state for n in (inner, network.base_model)]
    assert (states[0] - states[1]).abs().max() < 1e-4, f"{name}: AutoModel computes something else"
print(len(sys.argv) - 2)
"""


def test_every_family_loads_where_this_project_is_not_installed(tmp_path: Path) -> None:
    from tests.tools.conftest import build_family

    tokenizer = open_model("tiny", cache=tmp_path).tokenizer
    names = []
    for family in FAMILIES:
        for case in CASES:
            if family == "opt" and case == "depth/free":
                continue
            network = build_family(family)
            for parameter in network.parameters():
                torch.nn.init.normal_(parameter, std=0.2)
            model = Model(family, tmp_path, network, tokenizer, describe(network), "0" * 16, "float32", "cpu")
            small = shrink(model, cut(model, case))
            names.append(f"{family}-{case}")
            folder = tmp_path / names[-1].replace("/", "-")
            save_model(small, folder, recipe=Recipe(sparsity=0.5, metric="W"), card="")
            with torch.no_grad():
                logits = network(WINDOWS.ids[:2], use_cache=False).logits
            asked = {"ids": WINDOWS.ids[:2].contiguous(), "logits": logits, "generated": generated(network)}
            save_file(asked, folder.with_suffix(".safetensors"))
            assert (folder / "modeling_pruned.py").exists() == (case not in PLAIN)
    command = [sys.executable, "-P", "-c", CODE, str(tmp_path), *names]
    outside = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=outside, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == str(len(names))


def test_a_folder_with_differing_blocks_is_opened_without_running_its_code(trained: Model, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    save_model(shrink(trained, cut(trained, "depth/free")), folder, recipe=Recipe(sparsity=0.5, metric="W"), card="")
    (folder / "modeling_pruned.py").write_text("raise SystemExit('this was run')")
    again = open_model(str(folder), cache=tmp_path)
    with torch.no_grad():
        expected = trained.network(WINDOWS.ids, use_cache=False).logits
        torch.testing.assert_close(again.network(WINDOWS.ids, use_cache=False).logits, expected, rtol=1e-4, atol=1e-4)


def test_heads_fall_with_the_key_value_head_they_share(random_model: Model) -> None:
    layers = layers_of(random_model)
    attention = layers[0]
    if attention.units == 1:  # the family's configuration has no size of a head
        assert random_model.name in ("opt", "gpt_neox", "gpt2")
        return
    assert (attention.units, attention.queries, attention.head) == (2, 2, 8)
    second = torch.tensor([1])
    assert attention.channels(second).tolist() == list(range(16, 32))
    for p in random_model.architecture.of_block(0):
        if p.role == "qkv":
            assert attention.rows(p, second).tolist() == [*range(16, 32), *range(40, 48), *range(56, 64)]
        elif p.role in ("k", "v"):
            assert attention.rows(p, second).tolist() == list(range(8, 16))


def test_a_number_of_heads_that_the_configuration_refuses_is_never_chosen() -> None:
    config = tf.LlamaConfig(**(LLAMA | {"num_attention_heads": 4, "num_key_value_heads": 4}))
    network = tf.AutoModelForCausalLM.from_config(config).eval()
    model = Model("llama", Path("nowhere"), network, None, describe(network), "llama", "float32", "cpu")  # type: ignore[arg-type]  # no text
    assert layers_of(model)[0].statable == (1, 2, 4), "32 is no multiple of 3"


def test_a_hidden_size_that_is_not_heads_times_head_size_is_cut_right() -> None:
    config = tf.Qwen3Config(**LLAMA, head_dim=16)
    network = tf.AutoModelForCausalLM.from_config(config).eval()
    model = Model("qwen3", Path("nowhere"), network, None, describe(network), "qwen3", "float32", "cpu")  # type: ignore[arg-type]  # no text
    small = shrink(model, cut(model, "width"))
    assert small.network.config.num_attention_heads * small.network.config.head_dim == 32
    with torch.no_grad():
        expected = network(WINDOWS.ids, use_cache=False).logits
        torch.testing.assert_close(small.network(WINDOWS.ids, use_cache=False).logits, expected, rtol=1e-4, atol=1e-4)


def test_attention_scaled_by_the_layers_number_keeps_its_depth() -> None:
    config = tf.GPT2Config(
        vocab_size=64, n_embd=32, n_inner=48, n_layer=2, n_head=4, scale_attn_by_inverse_layer_idx=True
    )
    network = tf.AutoModelForCausalLM.from_config(config).eval()
    model = Model("gpt2", Path("nowhere"), network, None, describe(network), "gpt2", "float32", "cpu")  # type: ignore[arg-type]  # no text
    with pytest.raises(SecateurError, match="no block can be left out: use width"):
        shrink(model, cut(model, "depth"))


def test_what_the_configuration_cannot_say_is_refused_before_anything_is_cut(build: Callable[[str], Any]) -> None:
    network = build("opt")
    model = Model("opt", Path("nowhere"), network, None, describe(network), "opt", "float32", "cpu")  # type: ignore[arg-type]  # no text
    bench = Bench(model, WINDOWS, WINDOWS)
    pattern = Structured(kind="depth", shapes="free")
    rates = (0.0,) * 3 + (1.0,) + (0.0,) * (len(layers_of(model)) - 4)
    allocation = Allocation(expression=None, vector=rates, granularity="layer")
    with pytest.raises(SecateurError, match="the mlp is no module of its own, so it cannot be left out alone"):
        bench.prepare(Recipe(pattern=pattern, sparsity=0.2, metric="W * X", allocation=allocation))


def test_a_tied_head_stays_tied(trained: Model) -> None:
    small = shrink(trained, cut(trained, "width"))
    assert trained.architecture.tied_head
    assert small.network.get_output_embeddings().weight is small.network.get_input_embeddings().weight


def by_loops(w: torch.Tensor, x: torch.Tensor, head: int) -> list[float]:
    """Wanda-sp as its authors write it: |W| sqrt(mean x^2) averaged over rows, summed over a head's channels."""
    metric = (w.abs() * x.square().mean(0).sqrt()).mean(0)
    return [float(metric[i : i + head].sum()) for i in range(0, len(metric), head)]


def test_wanda_sp_scores_are_those_of_its_authors(trained: Model, draw: Any) -> None:
    layers = layers_of(trained)
    attention = layers[0]
    name = attention.consumer.name
    x: list[torch.Tensor] = []
    handle = trained.network.get_submodule(name).register_forward_pre_hook(lambda m, a: x.append(a[0].flatten(0, 1)))
    statistics = collect(trained, draw(2, 32))
    handle.remove()
    w = weight(trained.network, attention.consumer)
    found = unit_scores(w.abs() * statistics.inputs[name].norm, attention)
    expected = torch.tensor(by_loops(w, torch.cat(x), attention.span), dtype=torch.float64)
    torch.testing.assert_close(found / found.sum(), expected / expected.sum(), rtol=1e-4, atol=0)


def test_the_highest_scores_stay_and_ties_fall_in_order() -> None:
    assert highest(torch.tensor([3.0, 1.0, 2.0, 5.0]), 2).tolist() == [0, 3]
    assert highest(torch.tensor([1.0, 1.0, 1.0]), 1).tolist() == [2]


def test_one_threshold_for_the_whole_model_takes_the_lowest_first(trained: Model) -> None:
    layers = layers_of(trained)
    scores = [torch.full((of.units,), float(i), dtype=torch.float64) for i, of in enumerate(layers)]
    share = layers[0].size / sum(of.size for of in layers)
    found = across_model(scores, layers, share + 1e-9)
    assert found[0] == 1.0
    assert sum(found[1:]) == 0.0


def test_least_squares_is_what_lstsq_finds() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 12, generator=generator) @ torch.randn(12, 12, generator=generator)
    w = torch.randn(5, 12, generator=generator)
    kept = torch.tensor([0, 2, 3, 7, 11])
    inputs = InputStatistics.empty(12, 200, "cpu", gram=True)
    inputs.add(x)
    found = least_squares(w, inputs, kept, damping=1e-9)
    best = torch.linalg.lstsq(x[:, kept], x @ w.T).solution.T
    torch.testing.assert_close(found, best, rtol=1e-3, atol=1e-3)
    worse = x[:, kept] @ w[:, kept].T - x @ w.T
    assert (x[:, kept] @ found.T - x @ w.T).norm() < 0.9 * worse.norm()


def test_the_bias_restores_the_mean_of_the_output() -> None:
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(64, 6, generator=generator) + 2, torch.randn(3, 6, generator=generator)
    kept = torch.tensor([1, 4])
    inputs = InputStatistics.empty(6, 64, "cpu", gram=False)
    inputs.add(x)
    mended = x[:, kept] @ w[:, kept].T + lost_on_average(w, inputs, kept)
    torch.testing.assert_close(mended.mean(0), (x @ w.T).mean(0), rtol=1e-4, atol=1e-4)


WIDTH = Structured(kind="width", multiple=16)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    model = open_model("tiny", cache=tmp_path_factory.mktemp("cache"))
    calibration = windows("builtin", model, part="calibration", count=8, length=128)
    return Bench(model, calibration, windows("builtin", model, part="search", count=4, length=128))


@pytest.mark.parametrize("kind", ["none", "bias", "least_squares"])
@pytest.mark.parametrize(
    "pattern", [WIDTH, Structured(kind="depth"), Structured(kind="width+depth", shapes="free", multiple=16)], ids=str
)
def test_a_recipe_is_measured_finished_and_becomes_a_smaller_model(
    pattern: Structured, kind: Any, bench: Bench
) -> None:
    recipe = Recipe(pattern=pattern, sparsity=0.4, metric="W * X", compensation=Compensation(kind=kind))
    quick = bench.divergence(recipe, 128)
    assert 0.4 <= quick.sparsity < 0.45
    bench.finish(recipe)
    kept = bench.snapshot()
    ids = bench.calibration.ids[:1]
    with torch.no_grad():
        cut_logits = bench.model.network(ids, use_cache=False).logits
        small = bench.result()
        torch.testing.assert_close(small.network(ids, use_cache=False).logits, cut_logits, rtol=1e-4, atol=1e-4)
        assert small.architecture.size <= 0.6 * bench.model.architecture.size
        bench.restore()
        assert bench.result() is bench.model
        dense = bench.model.network(ids, use_cache=False).logits
        assert not torch.allclose(dense, cut_logits)
        bench.load(kept)
        assert torch.equal(bench.model.network(ids, use_cache=False).logits, cut_logits)
        bench.restore()
        assert torch.equal(bench.model.network(ids, use_cache=False).logits, dense), "a trace of the candidate is left"


def test_zeros_that_were_there_before_are_not_what_falls(tmp_path: Path) -> None:
    model = open_model("tiny", cache=tmp_path)
    for p in model.architecture.projections:
        weight(model.network, p)[:, ::5] = 0.0
    calibration = windows("builtin", model, part="calibration", count=2, length=64)
    bench = Bench(model, calibration, calibration)
    recipe = Recipe(pattern=WIDTH, sparsity=0.4, metric="W * X")
    assert 0.4 <= bench.divergence(recipe, 64).sparsity < 0.45
    bench.finish(recipe)
    assert isinstance(bench.made, Smaller)
    first = next(of for of in bench.made.layout.layers if of.sublayer == "mlp")
    lies = bench.gone()
    weight(model.network, first.consumer).fill_(1.0)
    assert bench.gone()[first.consumer.name] == 0.0 < lies[first.consumer.name]
    assert bench.divergence(Recipe(sparsity=0.5, metric="W * X"), 64).sparsity == pytest.approx(0.5, abs=1e-3)
    assert bench.divergence(Recipe(pattern=NM(n=3, m=4), sparsity=0.25, metric="W * X"), 64).sparsity >= 0.25


def test_making_up_for_what_fell_helps(bench: Bench) -> None:
    values = {}
    for kind in ("none", "least_squares"):
        recipe = Recipe(pattern=WIDTH, sparsity=0.4, metric="W * X", compensation=Compensation(kind=kind))  # type: ignore[arg-type]  # one of two
        values[kind] = bench.divergence(recipe, 512).value
    assert values["least_squares"] < values["none"]


def test_methods_for_structures_have_their_own_pattern() -> None:
    assert str(method("wanda_sp", 0.3).pattern) == "width"
    assert str(method("shortgpt", 0.3).pattern) == "depth"
    flap = method("flap", 0.3, Structured(kind="width+depth", multiple=16)).pattern
    assert isinstance(flap, Structured)
    assert (flap.group, flap.shapes, flap.multiple) == ("model", "free", 16)
    with pytest.raises(SecateurError, match="removes single weights"):
        method("sparsegpt", 0.3, WIDTH)


def test_shortgpt_drops_the_most_redundant_blocks(bench: Bench) -> None:
    ready = bench.prepare(method("shortgpt", 0.4))
    redundancy = bench.statistics.redundancy
    lowest = sorted(range(len(redundancy)), key=redundancy.__getitem__)[:2]
    assert [i for i, n in enumerate(ready.sizes[::2]) if n == 0] == sorted(lowest)


def test_blocks_fall_by_what_the_model_loses_without_them(bench: Bench) -> None:
    allocation = Allocation(expression="loss", width=0.1)
    recipe = Recipe(pattern=Structured(kind="depth"), sparsity=0.2, metric="W", allocation=allocation)
    found = bench.layers.terminals(frozenset({"loss"}), "block")["loss"]
    alone = []
    for block in range(5):
        rates = tuple(float(i == block) for i in range(5))
        only = recipe.model_copy(update={"allocation": Allocation(expression=None, vector=rates)})
        alone.append(bench.divergence(only, 10**6).value)
        bench.restore()
    assert found.argmin() == torch.tensor(alone).argmin(), "another text, the same least important block"
    assert [i for i, n in enumerate(bench.prepare(recipe).sizes[::2]) if n == 0] == [int(found.argmin())]
    dense = {p.name: weight(bench.model.network, p).clone() for p in bench.model.architecture.projections}
    assert all(torch.equal(dense[name], bench.dense[name]) for name in dense)
    by_layer = bench.layers.terminals(frozenset({"loss"}), "layer")["loss"]
    assert len(by_layer) == 10
    assert (by_layer > 0).all()


def test_explicit_rates_reach_the_layers_they_name(bench: Bench) -> None:
    rates = [0.0] * 10
    rates[2] = rates[3] = 1.0
    allocation = Allocation(expression=None, vector=tuple(rates), granularity="layer")
    pattern = Structured(kind="width+depth", shapes="free", multiple=16)
    sizes = bench.prepare(Recipe(pattern=pattern, sparsity=0.2, metric="W", allocation=allocation)).sizes
    assert [i for i, n in enumerate(sizes) if n == 0] == [2, 3]


def test_a_bias_that_cannot_be_written_down_is_refused() -> None:
    network = tf.AutoModelForCausalLM.from_config(tf.Qwen3Config(**LLAMA, head_dim=8)).eval()
    model = Model("qwen3", Path("nowhere"), network, None, describe(network), "qwen3", "float32", "cpu")  # type: ignore[arg-type]  # no text
    bench = Bench(model, WINDOWS, WINDOWS)
    with pytest.raises(SecateurError, match=r"cannot give .*o_proj a bias: compensate by least squares"):
        bench.divergence(method("flap", 0.3, WIDTH), 64)


def test_an_unknown_family_is_left_alone() -> None:
    config = tf.BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=4)
    network = tf.AutoModelForCausalLM.from_config(config).eval()
    model = Model("bloom", Path("nowhere"), network, None, describe(network), "bloom", "float32", "cpu")  # type: ignore[arg-type]  # no text
    with pytest.raises(SecateurError, match="is not a family whose heads and neurons are known"):
        layers_of(model)
