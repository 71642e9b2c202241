"""What is delivered keeps the precision of its checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tools.blocks_that_differ import logits_of
from tests.tools.conftest import random_windows
from tests.tools.deliver.checkpoints import IDS, checkpoint, configuration, saved
from tests.tools.prune.structures.cuts import cut
from tools.deliver.verify import answer, write_request
from tools.model.architecture import weight
from tools.model.checkpoint import open_model
from tools.model.precision import note_of, round_to_delivered
from tools.model.sparsity import sparsities
from tools.prune.bench import Bench
from tools.prune.structures.shrink import shrink
from tools.recipe.methods import method


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
