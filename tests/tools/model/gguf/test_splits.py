"""GGUF files in parts."""

from __future__ import annotations

import shutil
from pathlib import Path

import gguf
import pytest
import torch

from tests.tools.ggufs import split
from tests.tools.model.gguf.files import kept, logits, refused, write_gguf
from tools.model.checkpoint import Model, locate, open_model


@pytest.fixture
def plain(trained: Model, tmp_path: Path) -> Path:
    """The sample as a GGUF in float32."""
    file = tmp_path / "tiny.gguf"
    write_gguf(file, trained, gguf.GGMLQuantizationType.F32)
    return file


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
