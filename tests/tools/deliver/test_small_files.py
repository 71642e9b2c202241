"""Everything that belongs to a model is delivered with it: small files, tokenizer, older words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf

from tests.tools.blocks_that_differ import random_network
from tests.tools.deliver.checkpoints import BASE, LLAMA_3, checkpoint, configuration, saved
from tests.tools.prune.structures.cuts import cut
from tools.model.architecture import describe
from tools.model.checkpoint import Model, open_model
from tools.model.configuration import older_rope
from tools.model.sample import TINY
from tools.prune.structures.shrink import shrink

KEPT = {
    "LICENSE": "Apache",
    "NOTICE": "Notice",
    "USE_POLICY.md": "be kind",
    "chat_template.jinja": "{{ messages }}",
    "additional_chat_templates/tools.jinja": "{{ tools }}",
    "preprocessor_config.json": '{"image_size": 28}',
    "special_tokens_map.json": '{"eos_token": "<|endoftext|>"}',
    "generation_config.json": '{"eos_token_id": 0, "temperature": 0.6, "do_sample": true}',
    "vocab.txt": "a",
}


LEFT = {
    "README.md": "theirs",
    "modeling_theirs.py": "raise SystemExit",
    "pytorch_model.bin": "pickle",
    "pytorch_model.bin.index.json": "{}",
    "original/params.json": "{}",
    "params.json": '{"dim": 32}',
    "config.4.0.0.json": "{}",
    ".hidden": "",
    "recipe.yaml": "of an earlier pruning",
    "model-q4.gguf": "",
}


def test_every_small_file_of_the_input_is_delivered(tmp_path: Path) -> None:
    dense = checkpoint(tmp_path / "dense", torch.float32)
    for name, text in (KEPT | LEFT).items():
        (dense / name).parent.mkdir(exist_ok=True)
        (dense / name).write_text(text)
    (tmp_path / "secret.txt").write_text("not the model's")
    (dense / "secret.txt").symlink_to(tmp_path / "secret.txt")
    code = {"AutoConfig": "configuration_theirs.Config", "AutoModelForCausalLM": "modeling_theirs.Model"}
    config = configuration(dense) | {"auto_map": code, "configuration_files": ["config.4.0.0.json"]}
    for name in ("config.json", "config.4.0.0.json"):
        (dense / name).write_text(json.dumps(config))
    processor = {"processor_class": "TheirProcessor", "auto_map": {"AutoProcessor": "processing_theirs.TheirProcessor"}}
    (dense / "processor_config.json").write_text(json.dumps(processor))
    folder = saved(open_model(str(dense), cache=tmp_path), tmp_path / "result")
    assert {name: (folder / name).read_text() for name in KEPT} == KEPT
    ours = {"config.json", "model.safetensors", "recipe.yaml", "README.md", "tokenizer.json", "tokenizer_config.json"}
    found = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert found == {*KEPT, *ours, "processor_config.json"}
    assert (folder / "README.md").read_text() == ""
    assert configuration(folder).keys().isdisjoint({"auto_map", "configuration_files"})
    assert json.loads((folder / "processor_config.json").read_text()) == {"processor_class": "TheirProcessor"}


def test_small_files_in_the_hubs_cache_are_links_that_are_followed(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    dense = checkpoint(tmp_path / "snapshots" / "abc", torch.float32)
    for name, text in (("LICENSE", "Apache"), ("tokenizer.json", (dense / "tokenizer.json").read_text())):
        (tmp_path / "blobs" / name).write_text(text)
        (dense / name).unlink(missing_ok=True)
        (dense / name).symlink_to(Path("..") / ".." / "blobs" / name)
    folder = saved(open_model(str(dense), cache=tmp_path), tmp_path / "result")
    assert (folder / "LICENSE").read_text() == "Apache"
    assert not any(file.is_symlink() for file in folder.iterdir())


def test_the_tokenizer_is_the_inputs_and_names_a_class_that_all_versions_know(tmp_path: Path) -> None:
    dense = checkpoint(tmp_path / "dense", torch.float32, tf.LlamaConfig(**BASE | {"vocab_size": 600}))
    given = {"tokenizer_class": "LlamaTokenizerFast", "model_max_length": 64, "legacy": False, "clean": "é"}
    text = json.dumps(given, ensure_ascii=False)
    (dense / "tokenizer_config.json").write_text(text)
    folder = saved(open_model(str(dense), cache=tmp_path), tmp_path / "same")
    assert (folder / "tokenizer_config.json").read_text() == text, "to the byte"
    leaked = {
        "tokenizer_class": "TokenizersBackend",
        "is_local": True,
        "local_files_only": True,
        "backend": "tokenizers",
    }
    leaked |= {"extra_special_tokens": ["<|im_end|>"], "vocab_file": "/root/vocab.json", "eos_token": "<|endoftext|>"}
    (dense / "tokenizer_config.json").write_text(json.dumps(leaked))
    model = open_model(str(dense), cache=tmp_path)
    folder = saved(model, tmp_path / "mended")
    assert json.loads((folder / "tokenizer_config.json").read_text()) == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "additional_special_tokens": ["<|im_end|>"],
        "eos_token": "<|endoftext|>",
    }
    again = tf.AutoTokenizer.from_pretrained(folder)
    assert again("forward<|im_end|>") == model.tokenizer("forward<|im_end|>")
    assert again.all_special_tokens == model.tokenizer.all_special_tokens


DEFAULT = {"rope_type": "default", "rope_theta": 2e4}


YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 16}


TWO = {"full_attention": {"rope_type": "linear", "rope_theta": 2e6, "factor": 8.0}}
TWO |= {"sliding_attention": {"rope_type": "default", "rope_theta": 7777.0}}


LONG = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "partial_rotary_factor": 1.0,
    "original_max_position_embeddings": 32,
}
LONG |= {"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [2.0, 3.0, 4.0, 5.0]}


ROPES: dict[str, tuple[Any, dict[str, Any]]] = {
    "llama": (
        tf.LlamaConfig(**BASE, rope_parameters=dict(LLAMA_3)),
        {"rope_theta": 500000.0, "rope_scaling": {k: v for k, v in LLAMA_3.items() if k != "rope_theta"}},
    ),
    "qwen2": (
        tf.Qwen2Config(**BASE, rope_parameters=dict(YARN)),
        {"rope_theta": 1e6, "rope_scaling": {k: v for k, v in YARN.items() if k != "rope_theta"}},
    ),
    "qwen3": (tf.Qwen3Config(**BASE, head_dim=8, rope_parameters=dict(DEFAULT)), {"rope_theta": 2e4}),
    "gemma3_text": (
        tf.Gemma3TextConfig(
            **BASE, head_dim=8, layer_types=["sliding_attention", "full_attention"], rope_parameters=TWO
        ),
        {"rope_theta": 2e6, "rope_local_base_freq": 7777.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    ),
    "phi3": (
        tf.Phi3Config(**BASE, original_max_position_embeddings=32, rope_parameters=LONG),
        {
            "rope_theta": 1e4,
            "partial_rotary_factor": 1.0,
            "rope_scaling": {"type": "longrope"} | {k: LONG[k] for k in ("short_factor", "long_factor")},
        },
    ),
    "gpt_neox": (
        tf.GPTNeoXConfig(
            vocab_size=512,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            rope_parameters=DEFAULT | {"partial_rotary_factor": 0.5},
        ),
        {"rotary_emb_base": 2e4, "rotary_pct": 0.5},
    ),
}


@pytest.mark.parametrize("family", ROPES)
def test_rotary_embeddings_are_written_for_version_4_too(family: str, trained: Model, tmp_path: Path) -> None:
    """Read with transformers 4.57.1, these folders gave the same logits; without the older entries they did not."""
    config, expected = ROPES[family]
    network = random_network(config)
    model = Model(family, TINY, network, trained.tokenizer, describe(network), "0" * 16, "float16", "cpu")
    written = configuration(saved(model, tmp_path / "result"))
    names = ("rope_theta", "rope_scaling", "rope_local_base_freq", "partial_rotary_factor", "rotary_pct")
    assert {key: written[key] for key in (*names, "rotary_emb_base") if key in written} == expected
    again = tf.AutoConfig.from_pretrained(tmp_path / "result").rope_parameters
    assert {k: v for k, v in again.items() if k != "type"} == config.rope_parameters


def test_rotary_embeddings_that_version_4_has_no_words_for_are_left_alone() -> None:
    assert older_rope("gemma4_text", {"full_attention": DEFAULT, "other": DEFAULT}) == {}
    assert older_rope("llama", None) == {}
    assert older_rope("modernbert", {"sliding_attention": DEFAULT}) == {}


def test_a_tokenizer_is_found_where_only_the_models_type_named_it(trained: Model, tmp_path: Path) -> None:
    dense = tmp_path / "dense"
    shutil.copytree(TINY, dense)
    (dense / "tokenizer_config.json").unlink()
    trained.folder = dense
    folder = saved(shrink(trained, cut(trained, "width/free")), tmp_path / "small")
    named = json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"]
    assert named == "PreTrainedTokenizerFast"


@pytest.mark.parametrize(
    "config",
    [
        # Each kind of layer has a rotary embedding with words of its own.
        tf.Gemma4TextConfig(
            **BASE, head_dim=8, global_head_dim=8, num_kv_shared_layers=0, vocab_size_per_layer_input=512,
            hidden_size_per_layer_input=0, layer_types=["sliding_attention", "full_attention"],
        ),
        # Its limits are infinite, which JSON has no form for.
        tf.NemotronHConfig(**BASE, layers_block_type=["mamba", "mlp"], mamba_num_heads=4, mamba_head_dim=8, n_groups=1,
            ssm_state_size=4, chunk_size=8, time_step_limit=(0.0, float("inf"))),
    ],
    ids=lambda config: str(config.model_type),
)  # fmt: skip
def test_configurations_that_have_no_older_words_are_saved_as_they_are(config: Any, tmp_path: Path) -> None:
    dense = checkpoint(tmp_path / "dense", torch.float32, config)
    folder = saved(open_model(str(dense), cache=tmp_path), tmp_path / "saved")
    again, before = (tf.AutoConfig.from_pretrained(place) for place in (folder, dense))
    assert getattr(again, "rope_parameters", None) == getattr(before, "rope_parameters", None)
    assert getattr(again, "time_step_limit", None) == getattr(before, "time_step_limit", None)
