"""What vLLM loads."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from tests.tools.blocks_that_differ import CODE, SIZES, Block, as_vllm, logits_of, narrow, random_network
from tests.tools.deliver.export.folders import EQUAL_HEADS, FEWER_HEADS, IDS, edit, judged, plain
from tools.deliver.export import export
from tools.model.checkpoint import Model


def test_a_copy_for_vllm_computes_the_same(trained: Model, tmp_path: Path) -> None:
    network = random_network(tf.LlamaConfig(**SIZES, tie_word_embeddings=True))
    narrow(network, trained.tokenizer, EQUAL_HEADS, tmp_path / "model")
    verdict = export(tmp_path / "model", "vllm", output=tmp_path / "copy")
    assert (verdict.verdict, verdict.files) == ("needs", (tmp_path / "copy",))
    assert any("--trust-remote-code" in line for line in verdict.lines)
    assert not (tmp_path / "copy" / CODE).exists()
    config = tf.AutoConfig.from_pretrained(tmp_path / "copy", trust_remote_code=True)  # as vLLM opens it
    assert json.loads(config.to_json_string())["block_configs"][1]["ffn"]["no_op"] is True
    assert (config.model_type, config.architectures) == ("nemotron-nas", ["DeciLMForCausalLM"])
    found = as_vllm(load_file(tmp_path / "copy" / "model.safetensors"), IDS, config)
    torch.testing.assert_close(found, logits_of(network, IDS), rtol=1e-4, atol=1e-4)
    tokenizer = tf.AutoTokenizer.from_pretrained(tmp_path / "copy", trust_remote_code=True)
    assert tokenizer("forward")["input_ids"] == trained.tokenizer("forward")["input_ids"]


def test_a_copy_in_parts_for_vllm_names_what_each_part_holds(trained: Model, tmp_path: Path) -> None:
    network = random_network(tf.LlamaConfig(**SIZES, tie_word_embeddings=True))
    narrow(network, trained.tokenizer, EQUAL_HEADS, tmp_path / "model")
    whole = load_file(tmp_path / "model" / "model.safetensors")
    (tmp_path / "model" / "model.safetensors").unlink()
    where = {key: f"model-0000{1 + ('layers.3' in key)}-of-00002.safetensors" for key in whole}
    for file in set(where.values()):
        save_file({k: t for k, t in whole.items() if where[k] == file}, tmp_path / "model" / file)
    (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    export(tmp_path / "model", "vllm")
    copy = tmp_path / "model-vllm"
    index = json.loads((copy / "model.safetensors.index.json").read_text())["weight_map"]
    held = {key: file.name for file in copy.glob("*.safetensors") for key in load_file(file)}
    assert index == held
    assert set(where) - set(held) == {
        "model.layers.1.post_attention_layernorm.weight",
        "model.layers.2.input_layernorm.weight",
        "model.layers.3.input_layernorm.weight",
        "model.layers.3.post_attention_layernorm.weight",
    }


def test_heads_that_differ_are_for_vllms_transformers_backend(trained: Model, tmp_path: Path) -> None:
    blocks: dict[int, Block] = {1: FEWER_HEADS[1] | {"skip": ["mlp"]}}
    narrow(random_network(tf.LlamaConfig(**SIZES)), trained.tokenizer, blocks, tmp_path / "model")
    verdict = judged(tmp_path / "model", "vllm")
    assert (verdict.verdict, verdict.files) == ("needs", ())
    assert "one number of query heads" in verdict.lines[1]
    assert "--model-impl transformers --trust-remote-code" in verdict.lines[-1]
    edit(tmp_path / "model" / "config.json", auto_map={"AutoModelForCausalLM": "modeling_pruned.Some"})
    assert judged(tmp_path / "model", "vllm").lines[0].endswith("names no code under auto_map.AutoModel")


def test_a_qwen2_with_fewer_heads_is_not_for_vllms_own_class(trained: Model, tmp_path: Path) -> None:
    config = tf.Qwen2Config(**SIZES | {"num_attention_heads": 4, "num_key_value_heads": 2})
    plain(config, trained.tokenizer, tmp_path / "model")
    verdict = judged(tmp_path / "model", "vllm")
    assert verdict.verdict == "needs"
    assert "ignores head_dim" in verdict.lines[1]
