"""The smaller model is the cut one, of every family, also where only transformers is at hand."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from safetensors.torch import save_file

from tests.tools.conftest import FAMILIES, LLAMA
from tests.tools.elsewhere import run_elsewhere
from tests.tools.prune.structures.cuts import WINDOWS, cut
from tools.deliver.save import save_model
from tools.io.errors import SecateurError
from tools.measure.step import step
from tools.model.architecture import describe, weight
from tools.model.checkpoint import Model, open_model
from tools.prune.structures.anatomy import layers_of
from tools.prune.structures.cut import Layout, cut_layer
from tools.prune.structures.shrink import shrink
from tools.recipe import Compensation, Recipe
from tools.statistics.inputs import InputStatistics

CASES = ("width", "depth", "width/free", "depth/free")


PLAIN = ("width", "depth")


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
assert not any(Path(entry, "tools", "prune").exists() for entry in sys.path), "the project is in reach"
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
    run_elsewhere(CODE, tmp_path, names)


def test_a_folder_with_differing_blocks_is_opened_without_running_its_code(trained: Model, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    save_model(shrink(trained, cut(trained, "depth/free")), folder, recipe=Recipe(sparsity=0.5, metric="W"), card="")
    (folder / "modeling_pruned.py").write_text("raise SystemExit('this was run')")
    again = open_model(str(folder), cache=tmp_path)
    with torch.no_grad():
        expected = trained.network(WINDOWS.ids, use_cache=False).logits
        torch.testing.assert_close(again.network(WINDOWS.ids, use_cache=False).logits, expected, rtol=1e-4, atol=1e-4)


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


def test_a_tied_head_stays_tied(trained: Model) -> None:
    small = shrink(trained, cut(trained, "width"))
    assert trained.architecture.tied_head
    assert small.network.get_output_embeddings().weight is small.network.get_input_embeddings().weight
