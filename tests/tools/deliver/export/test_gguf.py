"""A GGUF file holds every tensor and computes the same."""

from __future__ import annotations

import json
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

from tests.tools.blocks_that_differ import SIZES, Block, as_llama_cpp, logits_of, narrow, random_network
from tests.tools.deliver.export.folders import DIFFERENT, FEWER_HEADS, IDS, PLAIN, edit, judged, plain
from tools.deliver.export import export
from tools.deliver.export.folder import Folder
from tools.deliver.export.ggml import rope_factors
from tools.deliver.export.pretokenizer import name
from tools.deliver.export.vocabulary import BYTE, CONTROL, UNKNOWN, read
from tools.model.checkpoint import Model
from tools.model.gguf.splits import LLAMA_3, QWEN_2
from tools.model.sample import TINY


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
