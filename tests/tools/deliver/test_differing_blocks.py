"""Models whose blocks differ, for those who load them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers as tf

from tests.tools.blocks_that_differ import CODE, SIZES, logits_of, narrow, random_network
from tests.tools.conftest import GEMMA_3
from tests.tools.deliver.checkpoints import BASE, IDS, checkpoint, configuration, saved
from tests.tools.prune.structures.cuts import cut
from tools.deliver.export import export
from tools.io.errors import SecateurError
from tools.model.architecture import describe
from tools.model.checkpoint import Model, open_model
from tools.model.sample import TINY
from tools.prune.structures.shrink import shrink


@pytest.mark.parametrize("case", ["depth/free", "width/free"])
def test_blocks_that_differ_load_with_their_code_or_not_at_all(case: str, trained: Model, tmp_path: Path) -> None:
    small = shrink(trained, cut(trained, case))
    folder = saved(small, tmp_path / "small")
    assert configuration(folder)["model_type"] == "pruned_llama"
    assert list(configuration(folder)["auto_map"]) == ["AutoConfig", "AutoModel", "AutoModelForCausalLM"]
    for loader in (tf.AutoConfig, tf.AutoModel, tf.AutoModelForCausalLM):
        with pytest.raises(ValueError, match="contains custom code"):
            loader.from_pretrained(folder, trust_remote_code=False)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):  # told by name, it finds other shapes
        tf.LlamaForCausalLM.from_pretrained(folder)
    (folder / CODE).unlink()
    config = {key: value for key, value in configuration(folder).items() if key != "auto_map"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="does not recognize this architecture"):
        tf.AutoModelForCausalLM.from_pretrained(folder)
    again = open_model(str(folder), cache=tmp_path)  # ours needs neither
    torch.testing.assert_close(logits_of(again.network, IDS), logits_of(small.network, IDS))
    assert again.architecture == small.architecture


def test_folders_with_differing_blocks_of_earlier_versions_still_open(trained: Model, tmp_path: Path) -> None:
    network = random_network(tf.LlamaConfig(**SIZES))
    narrow(network, trained.tokenizer, {1: {"skip": ["mlp"]}, 2: {"skip": ["attention"]}}, tmp_path / "old")
    assert configuration(tmp_path / "old")["model_type"] == "llama"
    again = open_model(str(tmp_path / "old"), cache=tmp_path)
    torch.testing.assert_close(logits_of(again.network, IDS), logits_of(network, IDS), rtol=1e-4, atol=1e-4)
    lines = export(tmp_path / "old", "hf").lines
    assert any("random numbers: save it anew" in line for line in lines)
    assert configuration(saved(again, tmp_path / "new"))["model_type"] == "pruned_llama"
    assert not any("random numbers" in line for line in export(tmp_path / "new", "hf").lines)


def test_a_model_that_sees_with_differing_blocks_needs_its_code(trained: Model, tmp_path: Path) -> None:
    network = random_network(GEMMA_3)
    model = Model("gemma3", TINY, network, trained.tokenizer, describe(network), "0" * 16, "float32", "cpu")
    folder = saved(shrink(model, cut(model, "depth/free")), tmp_path / "small")
    verdict = export(folder, "hf")
    assert (verdict.verdict, configuration(folder)["model_type"]) == ("needs", "pruned_gemma3")
    assert any("trust_remote_code=True (modeling_pruned.py)" in line for line in verdict.lines)
    assert export(folder, "vllm").verdict == "cannot"


def test_a_family_that_knows_blocks_of_several_sizes_is_loaded_as_it_is(tmp_path: Path) -> None:
    config = tf.Gemma4TextConfig(
        **BASE,
        head_dim=8,
        global_head_dim=16,
        layer_types=["sliding_attention", "full_attention"],
        num_kv_shared_layers=0,
        vocab_size_per_layer_input=512,
        hidden_size_per_layer_input=8,
    )
    folder = checkpoint(tmp_path / "gemma4", torch.float32, config)
    assert configuration(folder)["per_layer_config"] == {"1": {"head_dim": 16}}
    assert export(folder, "hf").verdict == "ok"
    assert export(folder, "vllm").verdict == "needs"
    assert export(folder, "llama.cpp").verdict == "cannot"
    _, found = tf.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not found["missing_keys"]


@pytest.mark.parametrize(
    ("heads", "kv_heads", "neurons", "said"),
    [
        (9, 3, 96, "loads on 1, 3 of up to 8 cards (--tensor-parallel-size): 2 cannot share 9 query heads"),
        (6, 2, 96, "loads on 1, 2, 6 of up to 8 cards (--tensor-parallel-size): 4 cannot share 6 query heads"),
        (6, 3, 64, "loads on 1 of up to 8 cards (--tensor-parallel-size): 2 cannot share 3 key-value heads"),
        (8, 2, 64, "loads on 1, 2, 4, 8 of up to 8 cards (--tensor-parallel-size)"),
        (8, 8, 63, "loads on 1 of up to 8 cards (--tensor-parallel-size): 2 cannot share 63 neurons"),
    ],
)
def test_cards_that_can_share_a_model(heads: int, kv_heads: int, neurons: int, said: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 72, "num_attention_heads": heads, "num_key_value_heads": kv_heads}
    config = tf.LlamaConfig(**BASE | sizes | {"intermediate_size": neurons}, head_dim=8)
    assert said in export(checkpoint(tmp_path / "model", torch.float32, config), "vllm").lines


def test_every_block_counts_for_the_cards(trained: Model, tmp_path: Path) -> None:
    network = random_network(tf.LlamaConfig(**SIZES | {"num_attention_heads": 6, "num_key_value_heads": 2}))
    narrow(network, trained.tokenizer, {2: {"intermediate_size": 41}}, tmp_path / "model")
    said = "loads on 1 of up to 8 cards (--tensor-parallel-size): 2 cannot share 41 neurons of block 2"
    assert said in export(tmp_path / "model", "vllm").lines


def test_families_whose_shapes_are_not_compared_say_it_too(tmp_path: Path) -> None:
    config = tf.GPT2Config(vocab_size=512, n_embd=32, n_layer=1, n_head=4, n_inner=50, n_positions=64)
    folder = checkpoint(tmp_path / "gpt2", torch.float32, config)
    said = "loads on 1, 2 of up to 8 cards (--tensor-parallel-size): 4 cannot share 50 neurons"
    assert said in export(folder, "vllm").lines


def test_code_that_an_export_needs_is_looked_for(trained: Model, tmp_path: Path) -> None:
    folder = saved(shrink(trained, cut(trained, "width/free")), tmp_path / "small")
    config = configuration(folder)
    config["auto_map"].pop("AutoConfig")
    (folder / "config.json").write_text(json.dumps(config))
    assert export(folder, "hf").lines[0].endswith("names no code under auto_map.AutoConfig")
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "pruned_enigma"}))
    with pytest.raises(SecateurError, match="its blocks differ, and enigma is not a family that is known"):
        open_model(str(folder), cache=tmp_path)
