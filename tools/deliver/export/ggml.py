"""Writing a GGUF: hyperparameters and tensors, one tensor in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.deliver.export.folder import BlockSizes, Folder
from tools.deliver.export.verdict import Dtype
from tools.deliver.export.vocabulary import Vocabulary
from tools.io.errors import SecateurError
from tools.model.gguf.rotary import FACTORS, llama3_divisors

if TYPE_CHECKING:
    import torch

BYTES: dict[str, int] = {"f32": 4, "f16": 2, "bf16": 2}
HALF: Dtype = "f16"
"""Of matrices whose rows cannot be quantised: their length is no multiple of `GROUP`."""
GROUP = 32
"""Weights that share a scale, in every quantisation that is written here."""

INTERLEAVED = ("llama", "deci")
"""Architectures whose rotary embedding turns neighbours, where transformers turns the two halves of a head."""


@dataclass(frozen=True)
class GgufBlock:
    """A block of the GGUF."""

    source: int
    """Its place in the folder."""
    layer: BlockSizes
    """As written."""
    stored: BlockSizes
    """As it is in the folder; what it lacks of `layer` is zeros."""


@dataclass(frozen=True)
class Gguf:
    """What is written."""

    folder: Folder
    architecture: str
    blocks: list[GgufBlock]
    dtype: Dtype
    """Of matrices; norms and biases are float32."""

    def stored_as(self, entry: Entry) -> Dtype:
        """What a tensor is written in."""
        if len(entry.shape) < 2:
            return "f32"
        return HALF if self.dtype not in BYTES and entry.shape[-1] % GROUP else self.dtype


@dataclass(frozen=True)
class Entry:
    """A tensor of the GGUF."""

    name: str
    shape: tuple[int, ...]
    source: str | None
    """Its name in the folder; None for zeros."""
    heads: int = 0
    """Where rows are interleaved: how many heads they belong to."""


def entries(gguf: Gguf) -> Iterator[Entry]:
    """Every tensor, in the order in which it is written."""
    from gguf import MODEL_ARCH, get_tensor_name_map

    names = get_tensor_name_map(MODEL_ARCH[gguf.architecture.upper()], len(gguf.blocks))
    shape = gguf.folder.shape
    around = [name for name in shape.tensors() if not name.startswith("model.layers.")]
    for name in around:
        yield Entry(names.get_name(name, try_suffixes=(".weight",)), shape.tensors()[name], name)
    for index, block in enumerate(gguf.blocks):
        layer = block.layer
        there = shape.attention(block.stored) | shape.mlp(block.stored)
        norms = [name for name, size in zip(shape.norms, (layer.heads, layer.intermediate), strict=True) if size]
        wanted = shape.attention(layer) | shape.mlp(layer) | {f"{name}.weight": (shape.hidden,) for name in norms}
        for name, size in wanted.items():
            path = f"model.layers.{block.source}.{name}"
            source = path if name in there or name.removesuffix(".weight") in norms else None
            written = names.get_name(f"model.layers.{index}.{name}", try_suffixes=(".weight", ".bias"))
            yield Entry(written, size, source, _interleaved(gguf.architecture, name, layer))


def _interleaved(architecture: str, name: str, layer: BlockSizes) -> int:
    if architecture not in INTERLEAVED:
        return 0
    if name.startswith("self_attn.q_proj"):
        return layer.heads
    return layer.kv_heads if name.startswith("self_attn.k_proj") else 0


def file_size(gguf: Gguf) -> int:
    """Bytes of all tensors, about what the file will take."""
    return sum(_bytes(entry.shape, gguf.stored_as(entry)) for entry in entries(gguf))


def _bytes(shape: tuple[int, ...], dtype: Dtype) -> int:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    values, size = GGML_QUANT_SIZES[GGMLQuantizationType[dtype.upper()]]
    return math.prod(shape) // int(values) * int(size)


def write(gguf: Gguf, words: Vocabulary, file: Path) -> None:
    """Write the file.

    Raises:
        SecateurError: a weight is not finite, or too large for f16.
        OSError: the file cannot be written.
    """
    import numpy
    from gguf import GGMLQuantizationType, GGUFWriter

    writer = GGUFWriter(file, gguf.architecture)
    try:
        _write_settings(gguf, writer)
        words.write(writer, gguf.folder.path)
        everything = list(entries(gguf))
        factors = rope_factors(gguf.folder)
        if factors is not None:
            everything.append(Entry(FACTORS, tuple(factors.shape), None))
        for entry in everything:
            kind = gguf.stored_as(entry)
            raw = GGMLQuantizationType[kind.upper()]
            size = _bytes(entry.shape, kind)
            writer.add_tensor_info(entry.name, entry.shape, numpy.dtype("float32"), size, raw_dtype=raw)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for entry in everything:
            tensor = factors if factors is not None and entry.name == FACTORS else load(gguf.folder, entry)
            writer.write_tensor_data(_as_stored(tensor, gguf.stored_as(entry), entry))
    finally:
        writer.close()


def _write_settings(gguf: Gguf, writer: Any) -> None:
    from gguf import LlamaFileType

    config, shape = gguf.folder.settings, gguf.folder.shape
    layers = [block.layer for block in gguf.blocks]
    writer.add_name(gguf.folder.path.name)
    writer.add_file_type(LlamaFileType["ALL_F32" if gguf.dtype == "f32" else f"MOSTLY_{gguf.dtype.upper()}"])
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(len(layers))
    # One number where blocks are equal, one for each where they differ.
    every = gguf.architecture == "deci"
    for add, sizes in (
        (writer.add_feed_forward_length, [layer.intermediate for layer in layers]),
        (writer.add_head_count, [layer.heads for layer in layers]),
        (writer.add_head_count_kv, [layer.kv_heads for layer in layers]),
    ):
        add(sizes if every else sizes[0])
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    _write_rope(gguf, writer)


def _write_rope(gguf: Gguf, writer: Any) -> None:
    from gguf import RopeScalingType

    rope = gguf.folder.settings.rope_parameters
    writer.add_rope_dimension_count(gguf.folder.shape.head_dim)
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    match rope.get("rope_type", "default"):
        case "linear":
            writer.add_rope_scaling_type(RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(float(rope["factor"]))
        case "yarn":
            writer.add_rope_scaling_type(RopeScalingType.YARN)
            writer.add_rope_scaling_factor(float(rope["factor"]))
            context = rope.get("original_max_position_embeddings") or gguf.folder.settings.max_position_embeddings
            writer.add_rope_scaling_orig_ctx_len(int(context))
            writer.add_rope_scaling_yarn_beta_fast(float(rope.get("beta_fast") or 32))
            writer.add_rope_scaling_yarn_beta_slow(float(rope.get("beta_slow") or 1))
        case "llama3":  # llama.cpp takes the divisors, which leave the context open where heads are small
            writer.add_rope_scaling_orig_ctx_len(int(rope["original_max_position_embeddings"]))


def rope_factors(folder: Folder) -> torch.Tensor | None:
    """Llama 3.1's divisors of the rotary frequencies, (head_dim / 2,); None where frequencies are not stretched so."""
    rope = folder.settings.rope_parameters
    if rope.get("rope_type") != "llama3":
        return None
    factor, low, high = (float(rope[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    context = rope["original_max_position_embeddings"]
    return llama3_divisors(float(rope["rope_theta"]), folder.shape.head_dim, factor, low, high, context)


def load(folder: Folder, entry: Entry) -> torch.Tensor:
    """A tensor of the folder, in the order of rows that llama.cpp wants."""
    import torch
    from safetensors import safe_open

    if entry.source is None:
        return torch.zeros(entry.shape)
    with safe_open(folder.tensors[entry.source].file, framework="pt") as opened:
        tensor: torch.Tensor = opened.get_tensor(entry.source)
    return interleave(tensor, entry.heads) if entry.heads else tensor


def interleave(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows (heads, 2, half) -> (heads, half, 2): the two that are turned together become neighbours.

    llama.cpp's `LlamaModel.permute` in conversion/llama.py; weights or a bias.
    """
    return tensor.reshape(heads, 2, -1, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)


def _as_stored(tensor: torch.Tensor, dtype: Dtype, entry: Entry) -> Any:
    """As a numpy array of the bytes to be written."""
    import torch

    types = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
    converted = tensor.to(types.get(dtype, torch.float32)).contiguous()
    if not converted.isfinite().all():
        hint = "; --dtype bf16 or f32 holds larger ones" if tensor.isfinite().all() else ""
        raise SecateurError(f"{entry.source} holds values that are not finite in {dtype}{hint}")
    if dtype in types:
        return converted.view(torch.uint8).numpy()
    from gguf import GGMLQuantizationType, quants

    return quants.quantize(converted.numpy(), GGMLQuantizationType[dtype.upper()])
