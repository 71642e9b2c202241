"""What is no model's weights, or does not fit into memory, is refused when it is opened, in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.families.tiny import build
from tools.io.errors import SecateurError
from tools.measure.perplexity import perplexity
from tools.model import room
from tools.model.checkpoint import Model, open_model, outline
from tools.model.hub import weight_files
from tools.model.room import bench_parts, free_memory, logits_bytes, require_memory
from tools.model.sample import TINY
from tools.prune.bench import Bench
from tools.text.windows import Windows

Change = Callable[[dict[str, torch.Tensor]], None]


def changed(folder: Path, change: Change) -> Path:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("name", "dtype", "stored"),
    [
        ("model.layers.0.mlp.up_proj.weight", torch.int8, "I8"),
        ("model.embed_tokens.weight", torch.int32, "I32"),
        ("model.norm.weight", torch.complex64, "C64"),
        ("model.layers.1.self_attn.o_proj.weight", torch.bool, "BOOL"),
    ],
)
def test_weights_of_whole_or_complex_numbers_are_refused(
    save_random: Callable[..., Path], tmp_path: Path, name: str, dtype: torch.dtype, stored: str
) -> None:
    folder = changed(save_random("model"), lambda t: t.update({name: (10 * t[name]).to(dtype)}))
    with pytest.raises(SecateurError, match=rf"{name} is stored as {stored}; pruning needs plain floating"):
        open_model(str(folder), cache=tmp_path)


def test_buffers_may_be_whole_numbers(save_random: Callable[..., Path], tmp_path: Path) -> None:
    positions = {"model.embed_positions.position_ids": torch.arange(64)[None]}
    folder = changed(save_random("model"), lambda t: t.update(positions))
    assert open_model(str(folder), cache=tmp_path).architecture.n_blocks == 32


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "name", ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight", "model.layers.1.mlp.up_proj.weight"]
)
def test_values_that_are_not_finite_are_refused_wherever_they_are(
    save_random: Callable[..., Path], tmp_path: Path, name: str, value: float
) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name].view(-1)[3] = value

    folder = changed(save_random("model", num_hidden_layers=2), spoil)
    with pytest.raises(SecateurError, match=rf"is damaged: {name} holds values that are not finite"):
        open_model(str(folder), cache=tmp_path)


def test_what_surely_does_not_fit_is_told_with_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_memory", lambda device: 5_000_000_000)
    require_memory({"weights": 5_000_000_000}, "cpu")
    with pytest.raises(SecateurError) as caught:
        require_memory({"weights": 4_000_000_000, "Gram matrices": 2_500_000_000, "nothing": 0}, "cpu")
    assert str(caught.value).startswith(
        "this needs 6.50 GB of memory on cpu at the least (weights 4.00 GB, Gram matrices 2.50 GB), and 5.00 GB are "
    )


def test_a_workbench_knows_what_it_will_hold(trained: Model, draw: Callable[..., Windows]) -> None:
    """`tiny` has five blocks, 64 wide with 172 neurons; q k v, o, gate up and down read tensors of their own."""
    parts = bench_parts(trained.architecture, trained.network, gram=True, window=96)
    assert parts["a second copy of the weights"] == 4 * trained.architecture.size
    width, neurons = (trained.architecture.projections[i].in_features for i in (0, 6))
    assert parts["Gram matrices"] == 4 * 5 * (3 * width**2 + neurons**2)
    assert parts["logits of a window"] == 96 * 512 * 8 == logits_bytes(trained.network, 96)
    assert bench_parts(trained.architecture, trained.network, gram=False, window=1)["Gram matrices"] == 0


def test_a_run_that_will_not_fit_says_so_before_it_takes_anything(
    trained: Model, draw: Callable[..., Windows], monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = draw(2, 64, 512)
    monkeypatch.setattr(room, "free_memory", lambda device: 100_000)
    forward = trained.network.forward
    monkeypatch.setattr(trained.network, "forward", None)  # whoever runs it fails
    with pytest.raises(SecateurError, match=r"at the least \(a second copy of the weights 0\.00 GB, Gram"):
        Bench(trained, windows, windows, needs=frozenset({"gram"}))
    with pytest.raises(SecateurError, match=r"at the least \(logits of a window"):
        perplexity(trained, windows)
    monkeypatch.setattr(trained.network, "forward", forward)
    monkeypatch.setattr(room, "free_memory", lambda device: logits_bytes(trained.network, 64))
    assert perplexity(trained, windows).value > 1


def test_weights_that_do_not_fit_are_not_read(
    save_random: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_random("model", num_hidden_layers=2)
    size = 4 * sum(p.numel() for p in open_model(str(folder), cache=tmp_path).network.parameters())
    monkeypatch.setattr(room, "free_memory", lambda device: size - 1)
    monkeypatch.setattr("tools.model.checkpoint._load", None)  # whoever loads fails
    with pytest.raises(SecateurError, match=r"of memory on cpu at the least \(weights"):
        open_model(str(folder), cache=tmp_path)


def test_free_memory_is_no_more_than_the_container_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CGROUP", tmp_path)
    host = free_memory("cpu")
    assert host > 2**20
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory("cpu") > 2**20
    (tmp_path / "memory.max").write_text("5000\n")
    assert free_memory("cpu") == 4000


def test_a_configuration_with_fewer_blocks_than_there_are_is_refused(
    save_random: Callable[..., Path], tmp_path: Path
) -> None:
    folder = save_random("model", num_hidden_layers=3)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(SecateurError, match=r"holds 9 weights that config.json has no place for, first model.layers.2"):
        open_model(str(folder), cache=tmp_path)


def test_weights_of_another_size_are_refused_by_name(save_random: Callable[..., Path], tmp_path: Path) -> None:
    folder = save_random("model", num_hidden_layers=2)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 40}))
    with pytest.raises(SecateurError, match=r"6 weights are missing or misshapen, first model.layers.0.mlp.down_proj"):
        open_model(str(folder), cache=tmp_path)


def test_the_same_weights_in_another_form_beside_them_count_for_nothing(
    save_random: Callable[..., Path], tmp_path: Path
) -> None:
    """Folders of Mistral hold all weights twice."""
    folder = save_random("model", num_hidden_layers=2)
    before = open_model(str(folder), cache=tmp_path)
    others = {"layers.0.attention.wq.weight": torch.ones(4, 4, dtype=torch.int8)}
    save_file(others, folder / "consolidated.safetensors", metadata={"format": "pt"})
    assert weight_files(folder) == [folder / "model.safetensors"]
    assert open_model(str(folder), cache=tmp_path).fingerprint == before.fingerprint


def test_a_file_larger_than_memory_is_told_before_it_is_read(save_random: Callable[..., Path], tmp_path: Path) -> None:
    folder = save_random("model", num_hidden_layers=2)
    rows, size = 10**11, 4 * 10**11
    header = json.dumps({"model.embed_tokens.weight": {"dtype": "F32", "shape": [rows, 1], "data_offsets": [0, size]}})
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header.encode())
        file.truncate(8 + len(header) + size)
    with pytest.raises(SecateurError, match=r"this needs 400\.00 GB of memory on cpu at the least \(weights 400"):
        open_model(str(folder), cache=tmp_path)


def test_a_model_that_is_no_causal_language_model_is_called_what_it_is(
    save_random: Callable[..., Path], tmp_path: Path
) -> None:
    folder = save_random("model", num_hidden_layers=2)
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", "vocab_size": 512}))
    with pytest.raises(SecateurError, match=r"is a t5, which transformers has no causal language model of$"):
        open_model(str(folder), cache=tmp_path)


def test_the_text_of_a_larger_model_is_opened_by_the_class_that_it_names(tmp_path: Path) -> None:
    network = build("emu3")
    network.save_pretrained(tmp_path / "text")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY / file, tmp_path / "text")
    opened = open_model(str(tmp_path / "text"), cache=tmp_path)
    assert type(opened.network) is type(network)
    assert all(torch.equal(a, b) for a, b in zip(opened.network.parameters(), network.parameters(), strict=True))
    assert outline("text", tmp_path / "text").architecture.size == opened.architecture.size
    config = json.loads((tmp_path / "text" / "config.json").read_text())
    (tmp_path / "text" / "config.json").write_text(json.dumps(config | {"architectures": ["Emu3ForAnything"]}))
    with pytest.raises(SecateurError, match="is a emu3_text_model, which transformers has no causal language model of"):
        open_model(str(tmp_path / "text"), cache=tmp_path)
