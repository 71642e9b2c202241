"""What is delivered: in the checkpoint's precision, with everything that belongs to it, and read by others alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from tests.tools.blocks_that_differ import CODE, SIZES, logits_of, narrow, random_network
from tests.tools.conftest import GEMMA_3, random_windows
from tests.tools.prune.test_structures import cut
from tools.deliver.export import export
from tools.deliver.save import save_model
from tools.deliver.verify import answer, write_request
from tools.io.errors import SecateurError
from tools.model.architecture import describe, weight
from tools.model.checkpoint import Model, open_model
from tools.model.configuration import older_rope
from tools.model.precision import note_of, round_to_delivered
from tools.model.sample import TINY
from tools.model.sparsity import sparsities
from tools.prune.bench import Bench
from tools.prune.structures.shrink import shrink
from tools.recipe import Recipe
from tools.recipe.methods import method

RECIPE = Recipe(sparsity=0.5, metric="W")
IDS = torch.arange(8, 40)
LLAMA_3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0}
LLAMA_3 |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 32}
BASE: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}


def with_tokenizer(folder: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TINY / name, folder / name)
    return folder


def checkpoint(folder: Path, dtype: torch.dtype, config: Any = None) -> Path:
    """A folder with weights in this precision, and tiny's tokenizer."""
    config = config or tf.LlamaConfig(**BASE, rope_parameters=dict(LLAMA_3))
    random_network(config).to(dtype).save_pretrained(folder)
    return with_tokenizer(folder)


def saved(model: Model, folder: Path) -> Path:
    save_model(model, folder, recipe=RECIPE, card="")
    return folder


def configuration(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


def kinds(folder: Path) -> set[torch.dtype]:
    return {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_smaller_model_is_saved_in_its_checkpoints_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    model = open_model(str(checkpoint(tmp_path / "dense", dtype)), cache=tmp_path)
    assert model.dtype == "float32"
    small = shrink(model, cut(model, "width"))
    folder = saved(small, tmp_path / "small")
    assert kinds(folder) == {dtype}
    numbers = sum(parameter.numel() for parameter in small.network.parameters())
    assert sum(t.nbytes for t in load_file(folder / "model.safetensors").values()) == numbers * dtype.itemsize
    name = str(dtype).removeprefix("torch.")
    assert (configuration(folder)["dtype"], configuration(folder)["torch_dtype"]) == (name, name)
    assert small.network.dtype == torch.float32
    read = open_model(str(folder), cache=tmp_path).network.state_dict()
    assert all(torch.equal(read[key], tensor) for key, tensor in small.network.state_dict().items())
    assert note_of(small) == ("" if name == "float32" else note_of(model))


def test_what_is_measured_are_the_weights_that_are_saved(tmp_path: Path) -> None:
    model = open_model(str(checkpoint(tmp_path / "dense", torch.bfloat16)), cache=tmp_path)
    bench = Bench(model, random_windows(2, 32, 512), None)
    bench.finish(method("sparsegpt", 0.5))
    found = {p.name: weight(model.network, p).clone() for p in model.architecture.projections}
    assert all(torch.equal(w, w.bfloat16().float()) for w in found.values())
    moved = [name for name, w in found.items() if not torch.equal(w[w != 0], bench.dense[name][w != 0])]
    assert moved, "nothing was compensated, so nothing had to be rounded"
    assert "saved in bfloat16" in note_of(model)
    assert "computed in float32" in note_of(model)
    logits = logits_of(model.network, IDS)[None]
    folder, request = saved(bench.result(), tmp_path / "result"), tmp_path / "request.safetensors"
    write_request(request, expected_sparsity=sparsities(model), probe=IDS[None], logits=logits, dtype="float32")
    answer(folder, request)
    assert kinds(folder) == {torch.bfloat16}


def test_what_becomes_zero_by_rounding_is_counted(tmp_path: Path) -> None:
    model = open_model(str(checkpoint(tmp_path / "dense", torch.float16)), cache=tmp_path)
    projection = model.architecture.projections[0]
    weight(model.network, projection)[0, :8] = 1e-9
    assert sparsities(model)[projection.name] == 0
    round_to_delivered(model)
    assert sparsities(model)[projection.name] == 8 / projection.size


def test_values_too_large_for_the_checkpoints_precision_keep_float32(tmp_path: Path) -> None:
    model = open_model(str(checkpoint(tmp_path / "dense", torch.float16)), cache=tmp_path)
    weight(model.network, model.architecture.projections[0])[0, 0] = 70_000.0
    round_to_delivered(model)
    folder = saved(model, tmp_path / "result")
    assert kinds(folder) == {torch.float32}
    assert configuration(folder)["dtype"] == "float32"
    assert load_file(folder / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"][0, 0] == 70_000.0


def test_every_tensor_keeps_its_own_precision(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "dense", torch.bfloat16)
    mixed = {k: t.float() if "norm" in k else t for k, t in load_file(folder / "model.safetensors").items()}
    save_file(mixed, folder / "model.safetensors", metadata={"format": "pt"})
    model = open_model(str(folder), cache=tmp_path)
    found = load_file(saved(shrink(model, cut(model, "depth")), tmp_path / "small") / "model.safetensors")
    assert {key.split(".")[-2]: t.dtype for key, t in found.items() if "norm" in key} == {
        "input_layernorm": torch.float32,
        "post_attention_layernorm": torch.float32,
        "norm": torch.float32,
    }
    assert {t.dtype for key, t in found.items() if "norm" not in key} == {torch.bfloat16}
    assert configuration(tmp_path / "small")["dtype"] == "bfloat16"


def test_half_precision_that_was_asked_for_is_saved(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "dense", torch.float32)
    model = open_model(str(folder), cache=tmp_path, dtype="bfloat16")
    assert kinds(saved(model, tmp_path / "result")) == {torch.bfloat16}


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


def test_a_tokenizer_is_found_where_only_the_models_type_named_it(trained: Model, tmp_path: Path) -> None:
    dense = tmp_path / "dense"
    shutil.copytree(TINY, dense)
    (dense / "tokenizer_config.json").unlink()
    trained.folder = dense
    folder = saved(shrink(trained, cut(trained, "width/free")), tmp_path / "small")
    named = json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"]
    assert named == "PreTrainedTokenizerFast"


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
