"""Opening a model: what comes out of a folder, and the one line that a damaged one gets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tools.io.errors import SecateurError, UsageError
from tools.model import sample
from tools.model.checkpoint import Model, fingerprint, locate, open_model
from tools.model.hub import check_readable


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with the tiny sample, to be damaged."""
    return Path(shutil.copytree(sample.TINY, tmp_path / "copy"))


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def test_the_tiny_sample_opens_without_a_network(trained: Model) -> None:
    assert (trained.dtype, trained.device, trained.origin) == ("float32", "cpu", "")
    assert trained.architecture.model_type == "llama"
    assert not trained.network.training
    text = "My fellow Americans: naïve café — 5 €"
    assert trained.tokenizer.decode(trained.tokenizer(text)["input_ids"]) == text


def test_the_tiny_sample_has_learned(trained: Model) -> None:
    text = "Mr. Speaker, Mr. President, members of the Congress, and my fellow Americans: our Union is strong."
    ids = trained.tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        loss = float(trained.network(input_ids=ids, labels=ids).loss)
    assert loss < 3.0  # an untrained model of 512 tokens says 6.2


def test_the_tiny_sample_is_small() -> None:
    assert sum(file.stat().st_size for file in sample.TINY.iterdir()) < 2_000_000


def test_precision_and_device_are_as_asked(tmp_path: Path) -> None:
    assert open_model("tiny", cache=tmp_path, dtype="bf16").network.dtype == torch.bfloat16
    with pytest.raises(UsageError, match="float8"):
        open_model("tiny", cache=tmp_path, dtype="float8")
    with pytest.raises(UsageError, match="cuda:99") as caught:
        open_model("tiny", cache=tmp_path, device="cuda:99")
    assert "\n" not in str(caught.value)


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


def shard_elsewhere(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder.parent / "other.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../other.safetensors"}}))


def pickle_beside(folder: Path) -> None:
    """What transformers falls back to where no safetensors has the usual name."""
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").rename(folder / "other.safetensors")


def pickle_only(folder: Path) -> None:
    pickle_beside(folder)
    (folder / "other.safetensors").unlink()
    (folder / "optimizer.pt").touch()


def a_bias_more(folder: Path) -> None:
    """As of a Llama with biases whose configuration lost `attention_bias`; transformers drops them."""
    rewrite(folder, lambda tensors: tensors.update({"model.layers.2.self_attn.q_proj.bias": torch.zeros(96)}))


def a_norm_more(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.update({"model.layers.2.self_attn.q_norm.weight": torch.ones(16)}))


def a_token_more(folder: Path) -> None:
    described = json.loads((folder / "tokenizer.json").read_text())
    described["added_tokens"].append(described["added_tokens"][0] | {"id": 512, "content": "<|more|>"})
    (folder / "tokenizer.json").write_text(json.dumps(described))


def adapter_beside(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


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
        (not_finite, "model.layers.2.mlp.up_proj.weight holds values that are not finite"),
        (without_a_shard, "is incomplete: model-00002-of-00002.safetensors is missing"),
        (broken_index, "index.json is damaged"),
        (shard_elsewhere, r"names ../other.safetensors, which is no safetensors file of that folder"),
        (pickle_beside, "cannot be loaded"),
        (pickle_only, r"as a pickle only \(pytorch_model.bin\), which is not read: .*run code.*save_pretrained"),
        (a_bias_more, r"holds 1 weights that config.json has no place for, first model.layers.2.self_attn.q_proj.bias"),
        (a_norm_more, r"no place for, first model.layers.2.self_attn.q_norm.weight"),
        (a_token_more, r"its tokenizer goes up to id 512 \('<\|more\|>'\), its embedding has 512 rows"),
        (adapter_beside, r"has a LoRA adapter beside its weights"),
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
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["./nowhere", "/nowhere/at/all", "nowhere.gguf", "a/b/c", "with space", "", "..", "~x/y"]
)
def test_what_is_no_model_gets_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SecateurError) as caught:
        locate(name, tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_an_unknown_hub_id_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match="secateur-tests/no-such-model is neither a sample, a folder") as caught:
        locate("secateur-tests/no-such-model", tmp_path)
    assert "\n" not in str(caught.value)


def test_code_of_a_checkpoint_is_never_run(copy: Path, tmp_path: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    auto = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "evil", "auto_map": auto}))
    (copy / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(SecateurError) as caught:
        open_model(str(copy), cache=tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_what_stands_beside_the_network_is_no_hindrance(copy: Path, tmp_path: Path) -> None:
    """Heads that predict further tokens, towers of other senses, rotary tables of old versions, an image's token."""
    names = ("mtp.fc.weight", "model.layers.5.eh_proj.weight", "model.visual.fc.weight", "score.weight")
    names += ("model.layers.0.self_attn.rotary_emb.inv_freq",)
    rewrite(copy, lambda tensors: tensors.update({name: torch.ones(8) for name in names}))
    a_token_more(copy)
    settings = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps(settings | {"image_token": "<|more|>"}))
    assert open_model(str(copy), cache=tmp_path).fingerprint != fingerprint(sample.TINY)


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (["config.json", "pytorch_model-00001-of-00002.bin"], r"pickle only \(pytorch_model-00001-of-00002.bin\)"),
        (["config.json", "consolidated.00.pth"], r"pickle only \(consolidated.00.pth\)"),
        (["config.json", "it-Q4_K_M.gguf"], r"GGUF files only. Download one \(for example it-Q4_K_M.gguf\)"),
        (["config.json", "training_args.bin", "original/it.safetensors"], r"has no weights"),
    ],
)
def test_a_hub_model_without_safetensors_says_what_it_has(files: list[str], line: str) -> None:
    with pytest.raises(SecateurError, match=line) as caught:
        check_readable("owner/model", files)
    assert "\n" not in str(caught.value)
    check_readable("owner/model", [*files, "model.safetensors"])


def test_a_cached_hub_model_of_pickles_says_so_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "models--owner--model"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    (cached / "snapshots" / "abc").mkdir(parents=True)
    (cached / "snapshots" / "abc" / "pytorch_model.bin").touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SecateurError, match=r"owner/model holds its weights as a pickle only \(pytorch_model.bin\)"):
        locate("owner/model", tmp_path / "cache")
