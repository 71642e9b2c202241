"""Packing: bit for bit there and back, whatever the bits mean, and nothing that was damaged passes."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.io.errors import SecateurError
from tools.model.packed import PACKED, compress_folder, is_packed, restore_folder, unpacked

if TYPE_CHECKING:
    from tools.model.checkpoint import Model

TYPES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "I64": 8, "U8": 1, "BOOL": 1}
"""Bytes per weight."""

Tensor = tuple[str, tuple[int, ...], bytes]


def write(file: Path, tensors: dict[str, Tensor]) -> None:
    """A safetensors file written plainly: the tensors in the order given, however that aligns them."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header, ensure_ascii=False).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + body)


def folder_of(place: Path, *shards: dict[str, Tensor]) -> Path:
    """What looks like a saved model: weights in one file or several, and the files beside them."""
    place.mkdir(parents=True)
    (place / "config.json").write_text("{}")
    (place / "README.md").write_text("# Card\n")
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    if len(shards) == 1:
        names = ["model.safetensors"]
    else:
        table = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    for name, shard in zip(names, shards, strict=True):
        write(place / name, shard)
    return place


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def sparse(kind: str, shape: tuple[int, ...], share: float, seed: int = 0) -> Tensor:
    """Random bits, so NaNs, subnormal numbers and infinities too, of which a share of the weights is all zero."""
    draw = np.random.default_rng(seed)
    bits = np.frombuffer(draw.bytes(int(np.prod(shape)) * TYPES[kind]), f"u{TYPES[kind]}").copy()
    bits[draw.random(bits.size) < share] = 0
    return kind, shape, (bits != 0).tobytes() if kind == "BOOL" else bits.tobytes()


HALF = sparse("F32", (64, 33), 0.5)

tensors = st.builds(
    sparse,
    st.sampled_from(sorted(TYPES)),
    st.lists(st.integers(0, 40), max_size=3).map(tuple),
    st.sampled_from([0.0, 0.02, 0.1, 0.5, 0.97, 1.0]),
    st.integers(0, 10**6),
)
names = st.text("abc.:_é", min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(names, tensors, max_size=4))
def test_every_bit_comes_back(found: dict[str, Tensor]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = folder_of(Path(scratch) / "model", found | {"weight": HALF})
        before = contents(folder)
        sizes = compress_folder(folder)
        packed = contents(folder)
        assert sizes.before == len(before["model.safetensors"])
        assert sizes.after == len(packed[f"model{PACKED}"]) < sizes.before
        assert packed.keys() == before.keys() - {"model.safetensors"} | {f"model{PACKED}"}
        assert restore_folder(folder, Path(scratch) / "again") == sizes
        assert contents(Path(scratch) / "again") == before


def test_only_weights_whose_bits_are_all_zero_count_as_zero(tmp_path: Path) -> None:
    odd = np.zeros(4096, np.uint32)
    odd[:4] = 0x80000000, 0x00000001, 0x7FC12345, 0xFF800001  # negative zero, subnormal, two NaNs with a payload
    folder = folder_of(tmp_path / "model", {"weight": ("F32", (64, 64), odd.tobytes())})
    before = contents(folder)
    assert compress_folder(folder).after < 4096 / 8 + 4 * 4 + 1000
    restore_folder(folder, tmp_path / "again")
    assert contents(tmp_path / "again") == before


def test_the_format_is_what_the_docstring_says(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    weights = np.array([[0, 1, 0, 0, 2], [0, 0, 0, 3, 0], [0, 0, 0, 0, 0]], np.float32).repeat(100, axis=0)
    tensors = {"w": ("F32", weights.shape, weights.tobytes()), "dense": sparse("F32", (50,), 0.0)}
    compress_folder(folder_of(tmp_path / "model", tensors))
    stored = load_file(tmp_path / "model" / f"model{PACKED}")
    assert stored.keys() == {"dense", "w:mask", "w:kept"}
    assert np.array_equal(stored["w:mask"], np.packbits(weights != 0))
    assert np.array_equal(stored["w:kept"], weights[weights != 0])


def test_several_shards_keep_their_names_and_their_index(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model", {"a": HALF}, {"b": sparse("F16", (40, 40), 0.8)})
    (folder / "masks").mkdir()
    (folder / "masks" / "masks.safetensors").write_bytes(b"of somebody else")
    before = contents(folder)
    compress_folder(folder)
    assert {file.name for file in folder.glob("*model*")} == {
        f"model-00001-of-00002{PACKED}",
        f"model-00002-of-00002{PACKED}",
        f"model{PACKED}.index.json",
    }
    restore_folder(folder, tmp_path / "again")
    assert contents(tmp_path / "again") == before
    (folder / f"model-00002-of-00002{PACKED}").unlink()
    with pytest.raises(SecateurError, match=r"is incomplete: model-00002-of-00002\.safetensors is missing"):
        restore_folder(folder, tmp_path / "third")
    assert not (tmp_path / "third").exists()


def test_damage_is_refused_in_one_line_wherever_it_is(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model", {"weight": HALF, "norm": sparse("F32", (9,), 0.0)})
    before = contents(folder)
    compress_folder(folder)
    file = folder / f"model{PACKED}"
    whole = file.read_bytes()
    choose = random.Random(0)
    damaged = [whole[:length] for length in (0, 7, 8, 100, len(whole) // 2, len(whole) - 1)] + [whole + b"\0"]
    for place in [*range(40), *choose.sample(range(len(whole)), 160)]:
        damaged.append(whole[:place] + bytes([whole[place] ^ (1 << choose.randrange(8))]) + whole[place + 1 :])
    refused = 0
    for number, content in enumerate(damaged):
        file.write_bytes(content)
        try:
            restore_folder(folder, tmp_path / str(number))
        except SecateurError as error:
            assert "\n" not in str(error)
            assert str(file) in str(error)
            assert not (tmp_path / str(number)).exists()
            refused += 1
        else:  # a bit that means nothing: of the padding
            assert contents(tmp_path / str(number)) == before
    assert refused > len(damaged) - 10


@pytest.mark.parametrize(
    "header",
    [
        "[]",
        "[" * 100_000,
        '{"weight": {"dtype": "F32", "shape": [1000000000000], "data_offsets": [0, 4000000000000]}}',
        '{"weight": {"dtype": "F32", "shape": [64, 33], "data_offsets": [8, 0]}}',
        '{"other": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
    ],
)
def test_metadata_that_lie_are_refused(header: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model", {"weight": HALF})
    compress_folder(folder)
    file = folder / f"model{PACKED}"
    whole = file.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    found = json.loads(whole[8 : 8 + length])
    told = json.loads(found["__metadata__"]["secateur"])
    found["__metadata__"]["secateur"] = json.dumps(told | {"header": header})
    text = json.dumps(found).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + length :])
    with pytest.raises(SecateurError, match=r"is damaged|MB are needed") as caught:
        restore_folder(folder, tmp_path / "out")
    assert "\n" not in str(caught.value)


def twice(folder: Path) -> None:
    folder_of(folder, {"weight": HALF})
    compress_folder(folder)


def dense(folder: Path) -> None:
    folder_of(folder, {"weight": sparse("F32", (64, 64), 0.01)})


def no_model(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")


def cut(folder: Path) -> None:
    folder_of(folder, {"weight": HALF})
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])


@pytest.mark.parametrize(
    ("make", "says"),
    [(twice, "is packed already"), (dense, "too few zeros"), (no_model, "is no saved model"), (cut, "is damaged")],
)
def test_what_cannot_be_packed_stays_as_it_is(make: Callable[[Path], None], says: str, tmp_path: Path) -> None:
    make(tmp_path / "model")
    before = contents(tmp_path / "model")
    with pytest.raises(SecateurError, match=says):
        compress_folder(tmp_path / "model")
    assert contents(tmp_path / "model") == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_cannot_be_restored_says_so(tmp_path: Path) -> None:
    plain = folder_of(tmp_path / "plain", {"weight": HALF})
    with pytest.raises(SecateurError, match="holds no packed weights"):
        restore_folder(plain, tmp_path / "out")
    with pytest.raises(SecateurError, match="holds no packed weights"):
        restore_folder(tmp_path / "nowhere", tmp_path / "out")
    twice(tmp_path / "packed")
    with pytest.raises(SecateurError, match="exists already"):
        restore_folder(tmp_path / "packed", plain)
    with pytest.raises(SecateurError, match="exists already"):
        restore_folder(tmp_path / "packed", plain / "config.json")
    assert not (tmp_path / "out").exists()


def test_a_packed_folder_is_restored_in_the_cache_once(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model", {"weight": HALF})
    before = contents(folder)
    assert unpacked(folder, tmp_path / "cache") == folder
    compress_folder(folder)
    place = unpacked(folder, tmp_path / "cache")
    assert contents(place) == before
    written = (place / "model.safetensors").stat().st_mtime_ns
    assert unpacked(folder, tmp_path / "cache") == place
    assert (place / "model.safetensors").stat().st_mtime_ns == written
    (folder / "model.safetensors").touch()
    with pytest.raises(SecateurError, match="packed and plain weights"):
        unpacked(folder, tmp_path / "cache")


def test_a_packed_model_opens_as_the_model_it_was(trained: Model, tmp_path: Path) -> None:
    from tools.deliver.save import save_model
    from tools.model.architecture import weight
    from tools.model.checkpoint import open_model
    from tools.model.sparsity import sparsities
    from tools.recipe import Recipe

    for projection in trained.architecture.projections:
        weight(trained.network, projection)[:, ::2] = 0
    folder = tmp_path / "result"
    save_model(trained, folder, recipe=Recipe(sparsity=0.5, metric="W"), card="")
    plain = open_model(str(folder), cache=tmp_path)
    compress_folder(folder)
    assert is_packed(folder)
    again = open_model(str(folder), cache=tmp_path)
    assert again.fingerprint == plain.fingerprint
    assert sparsities(again) == sparsities(trained)
    with pytest.raises(SecateurError, match="is the model that was opened"):
        save_model(again, folder, recipe=Recipe(sparsity=0.5, metric="W"), card="")


def test_links_out_of_a_folder_are_not_followed(tmp_path: Path) -> None:
    """As a folder that somebody cloned may hold; the hub's cache is made of links to its `blobs`."""
    folder = folder_of(tmp_path / "snapshots" / "revision", {"weight": HALF})
    compress_folder(folder)
    outside, blob = tmp_path / "outside", tmp_path / "blobs" / "0123"
    for file in (outside / "private", blob):
        file.parent.mkdir()
        file.write_text("text")
    (folder / "key").symlink_to(outside / "private")
    (folder / "everything").symlink_to(outside)
    (folder / "nothing").symlink_to(tmp_path / "nowhere")
    (folder / "endless").symlink_to("/dev/zero")
    (folder / "tokenizer.json").symlink_to(blob)
    restore_folder(folder, tmp_path / "out")
    assert sorted(contents(tmp_path / "out")) == ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
