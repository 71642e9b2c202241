"""Exports: what is written computes what the folder computes, and what cannot be written is said in a line."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from tests.tools.blocks_that_differ import (
    CODE,
    SIZES,
    Block,
    as_llama_cpp,
    as_vllm,
    logits_of,
    narrow,
    random_network,
)
from tests.tools.mixtures import mixture
from tools.deliver.export import Verdict, export
from tools.deliver.export.folder import Folder
from tools.deliver.export.ggml import rope_factors
from tools.deliver.export.pretokenizer import name
from tools.deliver.export.vocabulary import BYTE, CONTROL, UNKNOWN, read
from tools.io.errors import SecateurError, UsageError
from tools.model.checkpoint import Model
from tools.model.gguf.splits import LLAMA_3, QWEN_2
from tools.model.packed import compress_folder
from tools.model.sample import TINY

IDS = torch.randint(8, 500, (24,), generator=torch.Generator().manual_seed(1))

PLAIN = {
    "llama": tf.LlamaConfig(**SIZES, tie_word_embeddings=True),
    "mistral": tf.MistralConfig(**SIZES, sliding_window=None),
    "qwen2": tf.Qwen2Config(**SIZES),
    "qwen3": tf.Qwen3Config(**SIZES),
    "narrow": tf.LlamaConfig(**SIZES | {"num_attention_heads": 4, "num_key_value_heads": 2}),
}
DIFFERENT: dict[int, Block] = {
    0: {"intermediate_size": 40, "skip": ["attention"]},
    1: {"num_attention_heads": 4, "num_key_value_heads": 2, "skip": ["mlp"]},
    2: {"skip": ["attention", "mlp"]},
    3: {"num_attention_heads": 3, "num_key_value_heads": 1, "skip": ["mlp"]},
}
FEWER_HEADS: dict[int, Block] = {index: {"num_attention_heads": 4, "num_key_value_heads": 2} for index in range(4)}
EQUAL_HEADS: dict[int, Block] = {
    0: {"intermediate_size": 40},
    1: {"num_key_value_heads": 1, "skip": ["mlp"]},
    2: {"skip": ["attention"], "intermediate_size": 24},
    3: {"skip": ["attention", "mlp"]},
}


def plain(config: Any, tokenizer: Any, folder: Path) -> Any:
    network = random_network(config)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return network


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def fields(reader: Any) -> dict[str, Any]:
    """Everything a GGUF says of itself; keys of the architecture without its name."""
    architecture = str(reader.fields["general.architecture"].contents())
    return {key.removeprefix(f"{architecture}."): field.contents() for key, field in reader.fields.items()}


def tensors(reader: Any) -> dict[str, torch.Tensor]:
    return {t.name: torch.tensor(gguf.dequantize(t.data, t.tensor_type)) for t in reader.tensors}


def opened(file: Path, **more: Any) -> Any:
    """A GGUF as transformers reads it."""
    plainly = tf.GgufConfig(dequantize=True)
    return tf.AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, quantization_config=plainly, **more
    )


def apart(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Undo the interleaving of rotary pairs, head by head."""
    return torch.cat([torch.cat([head[::2], head[1::2]]) for head in tensor.chunk(heads)])


@pytest.mark.parametrize("family", PLAIN)
def test_a_gguf_holds_every_tensor_and_computes_the_same(family: str, trained: Model, tmp_path: Path) -> None:
    network = plain(PLAIN[family], trained.tokenizer, tmp_path / "model")
    verdict = export(tmp_path / "model", "llama.cpp", dtype="f32")
    file = tmp_path / "model-f32.gguf"
    assert (verdict.verdict, verdict.files) == ("ok", (file,))
    config, written = network.config, tensors(gguf.GGUFReader(file))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 4) if family not in ("qwen2", "qwen3") else None
    names = names or gguf.get_tensor_name_map(gguf.MODEL_ARCH[family.upper()], 4)
    expected = {k: v for k, v in network.state_dict().items() if not (config.tie_word_embeddings and "lm_head" in k)}
    for name_, tensor in expected.items():
        found = written.pop(names.get_name(name_, try_suffixes=(".weight", ".bias")))
        if "qwen" not in family and "q_proj" in name_:
            found = apart(found, config.num_attention_heads)
        if "qwen" not in family and "k_proj" in name_:
            found = apart(found, config.num_key_value_heads)
        assert torch.equal(found, tensor), name_
    assert written == {}
    # Of a Qwen 3, transformers does not read the size of heads from a GGUF.
    loaded = opened(file, **({"config": config} if family == "qwen3" else {}))
    torch.testing.assert_close(logits_of(loaded, IDS), logits_of(network, IDS), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["q8_0", "q4_0"])
def test_a_gguf_can_be_quantised(dtype: Any, trained: Model, tmp_path: Path) -> None:
    network = plain(trained.config, trained.tokenizer, tmp_path / "model")
    export(tmp_path / "model", "llama.cpp", dtype=dtype)
    reader = gguf.GGUFReader(tmp_path / f"model-{dtype}.gguf")
    kind = gguf.GGMLQuantizationType[dtype.upper()]
    assert fields(reader)["general.file_type"] == gguf.LlamaFileType[f"MOSTLY_{dtype.upper()}"]
    (found,) = (t for t in reader.tensors if t.name == "token_embd.weight")
    assert found.tensor_type == kind
    weight = network.get_input_embeddings().weight
    scale = weight.reshape(-1, 32).abs().amax(1, keepdim=True).expand(-1, 32).reshape(weight.shape)
    away = (tensors(reader)["token_embd.weight"] - weight).abs()
    assert float((away / scale).max()) < (0.01 if dtype == "q8_0" else 0.2)


def test_rows_that_cannot_be_quantised_stay_and_are_told(trained: Model, tmp_path: Path) -> None:
    plain(PLAIN["narrow"], trained.tokenizer, tmp_path / "model")  # 48 wide, no multiple of 32
    verdict = export(tmp_path / "model", "llama.cpp", dtype="q8_0")
    matrices = [t for t in gguf.GGUFReader(tmp_path / "model-q8_0.gguf").tensors if len(t.shape) > 1]
    stay = [t for t in matrices if t.tensor_type == gguf.GGMLQuantizationType.F16]
    assert stay
    assert all(t.shape[0] % 32 for t in stay)
    assert f"{len(stay)} matrices stay f16: their rows are no multiple of 32 long" in verdict.lines


def test_a_gguf_says_how_to_read_it(trained: Model, tmp_path: Path) -> None:
    trained.tokenizer.chat_template = "{{ messages[0].content }}"
    plain(PLAIN["narrow"], trained.tokenizer, tmp_path / "model")
    trained.tokenizer.chat_template = None
    export(tmp_path / "model", "llama.cpp", output=tmp_path / "deep" / "it.gguf", dtype="f32")
    said = fields(gguf.GGUFReader(tmp_path / "deep" / "it.gguf"))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["it.gguf"]
    assert said["general.architecture"] == "llama"
    assert (said["attention.head_count"], said["attention.head_count_kv"], said["attention.key_length"]) == (4, 2, 8)
    assert (said["rope.dimension_count"], said["rope.freq_base"], said["feed_forward_length"]) == (8, 10000, 64)
    assert (said["embedding_length"], said["vocab_size"], said["context_length"], said["block_count"]) == (
        48,
        512,
        64,
        4,
    )
    bpe = json.loads((TINY / "tokenizer.json").read_text())["model"]
    assert said["tokenizer.ggml.tokens"] == sorted(bpe["vocab"], key=bpe["vocab"].get)
    assert said["tokenizer.ggml.merges"] == [m if isinstance(m, str) else " ".join(m) for m in bpe["merges"]]
    assert said["tokenizer.ggml.token_type"] == [3] + [1] * 511
    assert (said["tokenizer.ggml.model"], said["tokenizer.ggml.pre"]) == ("gpt2", "gpt-2")
    assert (said["tokenizer.ggml.eos_token_id"], said["tokenizer.ggml.add_bos_token"]) == (0, False)
    assert said["tokenizer.chat_template"] == "{{ messages[0].content }}"


def test_blocks_that_differ_compute_the_same_in_deci(trained: Model, tmp_path: Path) -> None:
    network = random_network(tf.LlamaConfig(**SIZES, tie_word_embeddings=False))
    narrow(network, trained.tokenizer, DIFFERENT, tmp_path / "model")
    verdict = export(tmp_path / "model", "llama.cpp", dtype="f32")
    reader = gguf.GGUFReader(verdict.files[0])
    said = fields(reader)
    assert said["general.architecture"] == "deci"
    assert (said["attention.head_count"], said["attention.head_count_kv"]) == ([1, 4, 3], [1, 2, 1])
    assert said["feed_forward_length"] == [40, 32, 32]
    assert "block 2 has nothing left and is left out" in verdict.lines
    found = as_llama_cpp(tensors(reader), IDS, said)
    torch.testing.assert_close(found, logits_of(network, IDS), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("blocks", [DIFFERENT, FEWER_HEADS])
def test_a_qwen2_that_its_own_architecture_cannot_hold_is_a_llama_with_biases(
    blocks: dict[int, Block], trained: Model, tmp_path: Path
) -> None:
    network = random_network(tf.Qwen2Config(**SIZES))
    narrow(network, trained.tokenizer, blocks, tmp_path / "model")
    reader = gguf.GGUFReader(export(tmp_path / "model", "llama.cpp", dtype="f32").files[0])
    said = fields(reader)
    assert said["general.architecture"] == ("deci" if blocks is DIFFERENT else "llama")
    found = as_llama_cpp(tensors(reader), IDS, said)
    torch.testing.assert_close(found, logits_of(network, IDS), rtol=1e-4, atol=1e-4)


def test_blocks_that_are_equal_after_all_need_no_deci(trained: Model, tmp_path: Path) -> None:
    network = random_network(tf.LlamaConfig(**SIZES))
    narrow(network, trained.tokenizer, {1: {"skip": ["mlp", "attention"]}}, tmp_path / "model")
    verdict = export(tmp_path / "model", "llama.cpp", dtype="f32")
    assert fields(gguf.GGUFReader(verdict.files[0]))["block_count"] == 3
    loaded = opened(verdict.files[0])
    torch.testing.assert_close(logits_of(loaded, IDS), logits_of(network, IDS), rtol=1e-4, atol=1e-4)


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


def judged(folder: Path, target: Any) -> Verdict:
    verdict = export(folder, target)
    assert all("\n" not in line for line in verdict.lines)
    return verdict


def test_plain_folders_load_everywhere(trained: Model, tmp_path: Path) -> None:
    plain(PLAIN["llama"], trained.tokenizer, tmp_path / "model")
    for target in ("hf", "vllm", "llama.cpp"):
        assert judged(tmp_path / "model", target).verdict == "ok"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["model", "model-f16.gguf"]


def test_blocks_that_differ_need_their_code(trained: Model, tmp_path: Path) -> None:
    narrow(random_network(tf.LlamaConfig(**SIZES)), trained.tokenizer, DIFFERENT, tmp_path / "model")
    verdict = judged(tmp_path / "model", "hf")
    assert verdict.verdict == "needs"
    assert any("trust_remote_code=True (modeling_pruned.py)" in line for line in verdict.lines)
    verdict = judged(tmp_path / "model", "vllm")
    assert (verdict.verdict, verdict.files) == ("cannot", ())
    assert "one number of query heads for all blocks, here are [3, 4]" in verdict.lines[0]
    assert "wants attention in every block, and block 0 has none" in verdict.lines[0]
    (tmp_path / "model" / CODE).unlink()
    for target in ("hf", "vllm"):
        assert judged(tmp_path / "model", target).lines[0].endswith("the code for that, modeling_pruned.py, is missing")


def test_heads_that_differ_are_for_vllms_transformers_backend(trained: Model, tmp_path: Path) -> None:
    blocks: dict[int, Block] = {1: FEWER_HEADS[1] | {"skip": ["mlp"]}}
    narrow(random_network(tf.LlamaConfig(**SIZES)), trained.tokenizer, blocks, tmp_path / "model")
    verdict = judged(tmp_path / "model", "vllm")
    assert (verdict.verdict, verdict.files) == ("needs", ())
    assert "one number of query heads" in verdict.lines[1]
    assert "--model-impl transformers --trust-remote-code" in verdict.lines[-1]
    edit(tmp_path / "model" / "config.json", auto_map={"AutoModelForCausalLM": "modeling_pruned.Some"})
    assert judged(tmp_path / "model", "vllm").lines[0].endswith("names no code under auto_map.AutoModel")


def test_a_qwen3_whose_blocks_differ_has_no_gguf(trained: Model, tmp_path: Path) -> None:
    narrow(
        random_network(tf.Qwen3Config(**SIZES)), trained.tokenizer, {1: {"intermediate_size": 8}}, tmp_path / "model"
    )
    verdict = judged(tmp_path / "model", "llama.cpp")
    assert (verdict.verdict, verdict.files) == ("cannot", ())
    assert "for Llama only (deci), and qwen3 is none" in verdict.lines[0]
    assert judged(tmp_path / "model", "vllm").verdict == "needs"


def test_a_qwen2_with_fewer_heads_is_not_for_vllms_own_class(trained: Model, tmp_path: Path) -> None:
    config = tf.Qwen2Config(**SIZES | {"num_attention_heads": 4, "num_key_value_heads": 2})
    plain(config, trained.tokenizer, tmp_path / "model")
    verdict = judged(tmp_path / "model", "vllm")
    assert verdict.verdict == "needs"
    assert "ignores head_dim" in verdict.lines[1]


def test_other_families_are_for_their_converter(trained: Model, tmp_path: Path) -> None:
    config = tf.GPT2Config(vocab_size=512, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    plain(config, trained.tokenizer, tmp_path / "model")
    verdict = judged(tmp_path / "model", "llama.cpp")
    assert verdict.verdict == "cannot"
    assert "convert_hf_to_gguf.py" in verdict.lines[1]
    assert judged(tmp_path / "model", "hf").verdict == judged(tmp_path / "model", "vllm").verdict == "ok"


def lose_a_norm(folder: Path) -> None:
    found = load_file(folder / "model.safetensors")
    found.pop("model.norm.weight")
    save_file(found, folder / "model.safetensors")


def quantise(folder: Path) -> None:
    found = load_file(folder / "model.safetensors")
    save_file({k: t.to(torch.int8) for k, t in found.items()}, folder / "model.safetensors")


DAMAGES = {
    r"there are no weights": lambda folder: (folder / "model.safetensors").unlink(),
    r"model\.norm\.weight is missing": lose_a_norm,
    r"is stored as I8: quantised": quantise,
    r"gate_proj\.weight is 256 x 96, but config.json says 128 x 96": lambda folder: edit(
        folder / "config.json", intermediate_size=128
    ),
    r"transformers knows no model_type enigma": lambda folder: edit(folder / "config.json", model_type="enigma"),
    r"transformers refuses config.json": lambda folder: edit(folder / "config.json", num_attention_heads="six"),
    r"names block 7; there are 5": lambda folder: edit(
        folder / "config.json", per_layer_config={"7": {"skip": ["mlp"]}}
    ),
    r"makes no sense: 10000000000 blocks": lambda folder: edit(folder / "config.json", num_hidden_layers=10**10),
    r"cannot be read: experts": lambda folder: edit(folder / "config.json", per_layer_config={"1": {"experts": 2}}),
    r"cannot be read": lambda folder: edit(folder / "config.json", per_layer_config=[1]),
    r"heads for 4 key-value heads": lambda folder: edit(
        folder / "config.json", per_layer_config={"1": {"num_key_value_heads": 4}}
    ),
    r"names no code under auto_map": lambda folder: edit(folder / "config.json", per_layer_config={"1": {}}),
}


@pytest.mark.parametrize("says", DAMAGES)
def test_what_transformers_cannot_load_nobody_can(says: str, tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "model")
    DAMAGES[says](tmp_path / "model")
    verdict = judged(tmp_path / "model", "hf")
    assert verdict.verdict == "cannot"
    assert len(verdict.lines) == 1
    assert re.search(says, verdict.lines[0])


NO_GGUF = {
    r"there is no tokenizer.json": lambda folder: (folder / "tokenizer.json").unlink(),
    r"tokenizer.json cannot be read": lambda folder: (folder / "tokenizer.json").write_text("{"),
    r"how its tokenizer cuts text": lambda folder: edit(
        folder / "tokenizer.json", pre_tokenizer={"type": "Whitespace"}
    ),
    r"holds a WordLevel model": lambda folder: edit(
        folder / "tokenizer.json", model={"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
    ),
    r"up to id 511, the embedding has 500 rows": lambda folder: shrink_vocabulary(folder, 500),
    r"computes silu, not gelu": lambda folder: edit(folder / "config.json", hidden_act="gelu"),
    r"rotary embedding \(dynamic\)": lambda folder: edit(
        folder / "config.json", rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    ),
    r"\(linear\) has no sensible factor": lambda folder: edit(
        folder / "config.json", rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 0}
    ),
    r"YaRN sets mscale": lambda folder: edit(
        folder / "config.json",
        rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0, "factor": 2.0, "mscale": 0.7},
    ),
}


def shrink_vocabulary(folder: Path, rows: int) -> None:
    found = load_file(folder / "model.safetensors")
    found["model.embed_tokens.weight"] = found["model.embed_tokens.weight"][:rows].contiguous()
    save_file(found, folder / "model.safetensors")
    edit(folder / "config.json", vocab_size=rows)


@pytest.mark.parametrize("says", NO_GGUF)
def test_what_a_gguf_cannot_say_is_refused(says: str, tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "model")
    NO_GGUF[says](tmp_path / "model")
    verdict = judged(tmp_path / "model", "llama.cpp")
    assert verdict.verdict == "cannot"
    assert re.search(says, verdict.lines[0])
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_folders_that_are_none_are_errors(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "config.json").write_text('{"model_type": ')
    (tmp_path / "untyped").mkdir()
    (tmp_path / "untyped" / "config.json").write_text("[]")
    shutil.copytree(TINY, tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").write_bytes(b"\x00" * 5)
    for place, says in {
        "nowhere": "is not a folder",
        "empty": "has no config.json",
        "torn": "is damaged or unreadable",
        "untyped": "names no model_type",
        "cut": "is damaged or unreadable",
    }.items():
        for target in ("hf", "vllm", "llama.cpp"):
            with pytest.raises(SecateurError, match=says) as caught:
                judged(tmp_path / place, target)
            assert "\n" not in str(caught.value)


def test_options_that_mean_nothing_are_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--dtype is for llama"):
        export(TINY, "vllm", dtype="f32")
    with pytest.raises(UsageError, match="--output is for vllm and llama"):
        export(TINY, "hf", output=tmp_path / "copy")


def test_nothing_is_overwritten(trained: Model, tmp_path: Path) -> None:
    narrow(random_network(tf.LlamaConfig(**SIZES)), trained.tokenizer, EQUAL_HEADS, tmp_path / "model")
    (tmp_path / "thesis.tex").write_text("years of work")
    for target in ("vllm", "llama.cpp"):
        with pytest.raises(SecateurError, match="exists already"):
            export(tmp_path / "model", target, output=tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "model")
    found = load_file(tmp_path / "model" / "model.safetensors")
    found = {key: tensor.float() for key, tensor in found.items()}
    found["model.layers.3.mlp.up_proj.weight"][1, 1] = 70_000.0
    save_file(found, tmp_path / "model" / "model.safetensors")
    with pytest.raises(SecateurError, match=r"up_proj.weight holds .* not finite in f16; --dtype bf16 or f32"):
        export(tmp_path / "model", "llama.cpp")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert export(tmp_path / "model", "llama.cpp", dtype="bf16").files[0].name == "model-bf16.gguf"


def test_packed_weights_are_restored_first(trained: Model, tmp_path: Path) -> None:
    network = random_network(PLAIN["llama"])
    for parameter in network.model.layers.parameters():
        parameter.data[..., ::2] = 0
    network.save_pretrained(tmp_path / "model")
    trained.tokenizer.save_pretrained(tmp_path / "model")
    compress_folder(tmp_path / "model")
    with pytest.raises(SecateurError, match=r"is packed\. Export what `secateur restore .* --output DIR` unpacks"):
        export(tmp_path / "model", "hf")


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_a_mixture_loads_as_it_is(family: str, trained: Model, tmp_path: Path) -> None:
    mixture(family).network.save_pretrained(tmp_path)
    trained.tokenizer.save_pretrained(tmp_path)
    assert export(tmp_path, "hf").verdict == "ok"
    assert "Transformers backend may serve it" in "\n".join(export(tmp_path, "vllm").lines)
    assert export(tmp_path, "llama.cpp").verdict == "cannot"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_gets_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SecateurError, match="no permission"):
        export(TINY, "llama.cpp", output=tmp_path / "it.gguf")


@pytest.mark.parametrize(("stored", "written"), [("float32", "f16"), ("float16", "f16"), ("bfloat16", "bf16")])
def test_precision_is_kept_where_it_is_half(stored: str, written: str, tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "model")
    found = load_file(tmp_path / "model" / "model.safetensors")
    save_file({k: t.to(getattr(torch, stored)) for k, t in found.items()}, tmp_path / "model" / "model.safetensors")
    reader = gguf.GGUFReader(export(tmp_path / "model", "llama.cpp").files[0])
    kinds = {len(t.shape): t.tensor_type.name for t in reader.tensors}
    assert kinds == {1: "F32", 2: written.upper()}
    assert torch.equal(
        tensors(reader)["blk.4.ffn_up.weight"],
        found["model.layers.4.mlp.up_proj.weight"].to(getattr(torch, stored)).float(),
    )


def test_stretched_frequencies_are_those_of_transformers(tmp_path: Path) -> None:
    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0}
    rope |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 256}
    shutil.copytree(TINY, tmp_path / "model")
    edit(tmp_path / "model" / "config.json", rope_parameters=rope, max_position_embeddings=2048)
    found = rope_factors(Folder.open(tmp_path / "model"))
    network: Any = tf.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    usual = 500000.0 ** -(torch.arange(0, 16, 2) / 16)
    assert found is not None
    assert 1 < len(found.unique()) < 8  # some kept, some divided
    torch.testing.assert_close(usual / found, network.model.rotary_emb.inv_freq, rtol=1e-5, atol=1e-9)
    reader = gguf.GGUFReader(export(tmp_path / "model", "llama.cpp").files[0])
    assert torch.equal(tensors(reader)["rope_freqs.weight"], found)


def cutting(pre_tokenizer: dict[str, Any], normalizer: Any = None, ignore_merges: bool = False) -> dict[str, Any]:
    described: dict[str, Any] = json.loads((TINY / "tokenizer.json").read_text())
    described |= {"pre_tokenizer": pre_tokenizer, "normalizer": normalizer}
    described["model"]["ignore_merges"] = ignore_merges
    return described


def split(pattern: str) -> dict[str, Any]:
    cut = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    bare = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {"type": "Sequence", "pretokenizers": [cut, bare]}


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
DIGITS = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTES]}


@pytest.mark.parametrize(
    ("described", "called"),
    [
        (cutting(BYTES), "gpt-2"),
        (cutting(DIGITS), "smollm"),
        (cutting(split(LLAMA_3), ignore_merges=True), "llama-bpe"),
        (cutting(split(LLAMA_3)), "smaug-bpe"),
        (cutting(split(QWEN_2)), "deepseek-r1-qwen"),
        (cutting(split(QWEN_2), {"type": "NFC"}), "qwen2"),
        (cutting(split(QWEN_2 + "|x")), None),
        (cutting(BYTES | {"add_prefix_space": True}), None),
        (cutting(BYTES, {"type": "Lowercase"}), None),
    ],
)
def test_rules_that_cut_text_have_a_name(described: dict[str, Any], called: str | None) -> None:
    from tokenizers import Tokenizer

    assert name(Tokenizer.from_str(json.dumps(described)), described) == called


def sentencepiece(folder: Path) -> Any:
    """A tokenizer as those of Llama 2 are: BPE with byte fallback, a space in front of every text."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.ByteFallback()
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, max_token_length=8, show_progress=False)
    tokenizer.train_from_iterator(
        ["we shall go forward with all the states of the union " * 3, "they went there"], trainer
    )
    described = json.loads(tokenizer.to_str())
    described["added_tokens"] = [a for a in described["added_tokens"] if not a["content"].startswith("<0x")]
    (folder / "tokenizer.json").write_text(json.dumps(described))
    return Tokenizer.from_file(str(folder / "tokenizer.json")), AddedToken


def merge_by_score(text: str, tokens: list[str], scores: list[float]) -> list[str]:
    """llama.cpp's tokenizer `llama`: merge the neighbours whose result scores highest, the leftmost first."""
    score = dict(zip(tokens, scores, strict=True))
    pieces = list("▁" + text.replace(" ", "▁"))
    while True:
        pairs = [(-score[a + b], i) for i, (a, b) in enumerate(pairwise(pieces)) if a + b in score]
        if not pairs:
            return pieces
        _, at = min(pairs)
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]


def test_scores_merge_as_ranks_do(tmp_path: Path) -> None:
    tokenizer, _ = sentencepiece(tmp_path)
    words = read(tmp_path, 512)
    assert (words.model, words.space_prefix, words.adds) == ("llama", True, {"bos": False, "eos": False})
    assert words.types[:4] == [UNKNOWN, CONTROL, CONTROL, BYTE]
    assert words.tokens[-1] == "[PAD511]"
    chosen = random.Random(0)
    letters = sorted(set("weshallgoforwardwithallthestatesoftheunion they"))
    for _ in range(200):
        text = "".join(chosen.choice(letters) for _ in range(chosen.randint(1, 20))).strip() or "a"
        text = " ".join(text.split())
        assert merge_by_score(text, words.tokens, words.scores) == tokenizer.encode(text).tokens
