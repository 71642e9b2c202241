"""A GGUF for llama.cpp: which architecture holds the model, and whether every detail of it can be said there.

Equal blocks keep their family's architecture. Blocks that differ need `deci`, llama.cpp's Llama with sizes for each
block; its sources (src/models/deci.cpp) know three things less than a folder can say, all of them mended with zeros,
which change nothing: a block without MLP must have no attention either, or its attention is left out silently; the
first block must have attention, as the size of heads is read there; a block without anything is dropped here.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from tools.deliver.export import vocabulary
from tools.deliver.export.folder import BlockSizes, Folder, Shape
from tools.deliver.export.ggml import GROUP, HALF, Gguf, GgufBlock, entries, file_size, write
from tools.deliver.export.place import check_place
from tools.deliver.export.verdict import Cannot, Dtype, Verdict
from tools.io.files import file_aside

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""`model_type` -> architecture of llama.cpp."""

ROPES = {
    "default": ("rope_theta",),
    "linear": ("rope_theta", "factor"),
    "yarn": ("rope_theta", "factor"),
    "llama3": ("rope_theta", "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
"""Ways of stretching rotary embeddings that a GGUF can say in full -> the parameters they must have."""

YARN = {"rope_type", "rope_theta", "factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "type"}
"""What of YaRN's parameters llama.cpp computes with as transformers does."""

NEURONS = 32
"""Of an MLP of zeros: the smallest block of llama.cpp's quantisations."""

CONVERTER = "llama.cpp's own convert_hf_to_gguf.py may read this folder"

DEFAULTS: dict[str, Dtype] = {"F32": "f16", "F16": "f16", "BF16": "bf16"}
"""Stored -> written: half precision is kept as it is, float32 halved as llama.cpp's converter does."""


def export(folder: Folder, output: Path | None, dtype: Dtype | None) -> Verdict:
    """Write the GGUF.

    Raises:
        Cannot: something is missing, contradictory or cannot be said in a GGUF.
        SecateurError: the output is taken or cannot be written.
    """
    if folder.model_type not in ARCHITECTURES:
        raise Cannot(f"{folder.model_type} is not written here", *([] if folder.differs else [f"{CONVERTER}."]))
    checked = folder.check()
    _check_settings(folder)
    blocks, changes = lay_out(folder.shape)
    architecture = _architecture(folder, blocks)
    words = vocabulary.read(folder.path, folder.shape.vocabulary)
    chosen = dtype or DEFAULTS[folder.tensors["model.embed_tokens.weight"].dtype]
    gguf = Gguf(folder, architecture, blocks, chosen)
    place = output or folder.path.with_name(f"{folder.path.name}-{chosen}.gguf")
    check_place(place, file_size(gguf))
    with file_aside(place) as partial:
        place.parent.mkdir(parents=True, exist_ok=True)
        write(gguf, words, partial)
    size = place.stat().st_size / 1e6
    lines = [checked, f"wrote {place}: architecture {architecture}, {len(blocks)} blocks, {chosen}, {size:,.1f} MB"]
    lines += _unquantised(gguf) + _notes(folder) + changes
    return Verdict(
        target="llama.cpp", verdict="ok", lines=(*lines, f"llama-server -m {shlex.quote(str(place))}"), files=(place,)
    )


def lay_out(shape: Shape) -> tuple[list[GgufBlock], list[str]]:
    """The blocks as llama.cpp can hold them, and lines about what was added or left out.

    Raises:
        Cannot: no block has anything left.
    """
    blocks: list[GgufBlock] = []
    lines = []
    for index, layer in enumerate(shape.layers):
        if not layer.heads and not layer.intermediate:
            lines.append(f"block {index} has nothing left and is left out")
            continue
        written = layer
        if not layer.heads and not blocks:
            written = written.model_copy(update={"heads": 1, "kv_heads": 1})
            lines.append(f"block {index}, the first, got one attention head of zeros, as deci wants one")
        if not layer.intermediate:
            written = written.model_copy(update={"intermediate": NEURONS})
            lines.append(f"block {index} got {NEURONS} neurons of zeros, as deci wants an MLP beside attention")
        blocks.append(GgufBlock(index, written, layer))
    if not blocks:
        raise Cannot("no block has anything left")
    return blocks, lines


def _architecture(folder: Folder, blocks: list[GgufBlock]) -> str:
    family, layer, shape = ARCHITECTURES[folder.model_type], blocks[0].layer, folder.shape
    equal = _equal([block.layer for block in blocks])
    # llama.cpp's qwen2 wants heads that fill hidden_size; but a Qwen 2 is a Llama with biases, which its llama knows.
    if equal and (family != "qwen2" or layer.heads * shape.head_dim == shape.hidden):
        return family
    if shape.qk_norm:
        raise Cannot(
            f"llama.cpp has blocks of different shapes for Llama only (deci), and {folder.model_type} is none",
            "prune it to equal widths, or by whole blocks",
        )
    return "llama" if equal else "deci"


def _equal(layers: list[BlockSizes]) -> bool:
    return len(set(layers)) == 1


def _check_settings(folder: Folder) -> None:
    config, kind = folder.settings, folder.model_type
    if config.hidden_act != "silu":
        raise Cannot(f"llama.cpp's {kind} computes silu, not {config.hidden_act}")
    _check_rope(config.rope_parameters)
    if kind != "mistral" and getattr(config, "sliding_window", None):
        raise Cannot(f"llama.cpp's {kind} has no sliding window")
    if kind == "qwen3" and folder.shape.qkv_bias:
        raise Cannot("llama.cpp's qwen3 has no biases in its attention")


def _check_rope(rope: dict[str, Any]) -> None:
    kind = rope.get("rope_type", "default")
    if kind not in ROPES or rope.get("partial_rotary_factor", 1) != 1:
        raise Cannot(f"its rotary embedding ({kind}) is not written here", f"{CONVERTER}.")
    if lacks := [key for key in ROPES[kind] if not isinstance(rope.get(key), int | float) or rope[key] <= 0]:
        raise Cannot(f"its rotary embedding ({kind}) has no sensible {lacks[0]}")
    if kind == "yarn" and (strange := {key for key, value in rope.items() if value is not None} - YARN):
        raise Cannot(f"its YaRN sets {min(strange)}, which llama.cpp does not compute alike", f"{CONVERTER}.")


def _unquantised(gguf: Gguf) -> list[str]:
    """What stayed in half precision although a quantisation was asked for."""
    wide = [entry for entry in entries(gguf) if len(entry.shape) > 1 and gguf.stored_as(entry) != gguf.dtype]
    return [f"{len(wide)} matrices stay {HALF}: their rows are no multiple of {GROUP} long"] if wide else []


def _notes(folder: Folder) -> list[str]:
    window = getattr(folder.settings, "sliding_window", None)
    return [f"llama.cpp ignores its window of {window} tokens: longer texts come out otherwise"] if window else []
