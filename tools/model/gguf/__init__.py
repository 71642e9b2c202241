"""GGUF files: turned once into a folder of plain weights that everything else can read.

A GGUF mostly holds quantised weights; here they are dequantised. Float32 represents them exactly, so figures of the
folder are figures of the GGUF, not of the model it was quantised from: `ORIGIN` in the folder says so. Everything that
the file says has to be in the folder (`settings`, `rotary`, `words`), or it is refused and nothing is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import numpy

from tools.io.errors import SecateurError, reason
from tools.io.files import aside, sha256
from tools.io.quiet import quiet
from tools.io.shelf import made
from tools.model.gguf import parts, rotary, settings, words
from tools.model.soundness import check_finite

ORIGIN = "secateur_origin.json"
"""File in a converted folder: which GGUF it came from and how that was quantised."""

PLAIN = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Tensor types of a GGUF that are no quantisation; a file of these only keeps its precision."""

READING = 2
"""Counts changes in what a GGUF is read as, so that nothing is taken from the cache that was read otherwise."""


def converted(digest: str, name: str, cache: Path) -> Path:
    """Where the folder made from what has this SHA-256 lies, or will lie."""
    return cache / "models" / f"{name}-{digest[:16]}.{READING}"


def together(file: Path) -> list[Path]:
    """The files of the model that a GGUF file belongs to, going by its name: itself, or every part in order."""
    return parts.names(file)


def convert(file: Path, cache: Path, *, name: str | None = None) -> Path:
    """The folder made from a GGUF file, or from all parts where it is one of several; made now if it is not in the
    cache yet.

    Raises:
        SecateurError: the file is no GGUF, is damaged, of parts that do not belong together, or holds something that
            transformers cannot read.
    """
    files = parts.gather(file)
    digests = [sha256(part) for part in files]
    digest = digests[0] if len(files) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()

    def make(folder: Path) -> None:
        with aside(folder) as partial:
            _write(file, files, digest, partial)

    return made(converted(digest, name or parts.stem(file), cache), make)


def _write(file: Path, files: Sequence[Path], digest: str, folder: Path) -> None:
    # In a place of its own, where nothing lies that transformers would read beside it.
    whole = folder / ".whole" / "model.gguf"
    whole.parent.mkdir()
    lacking = _lacking(files[0])
    if len(files) > 1 or lacking:
        parts.merge(files, whole, lacking)
    else:
        whole.symlink_to(files[0].resolve())
    reader = parts.read(whole)
    quantisation = _quantisation(file, reader)
    try:
        with quiet(), redirect_stderr(StringIO()):  # the bar of this conversion heeds no setting
            network = _network(whole, reader, PLAIN.get(quantisation, "float32"))
            network.save_pretrained(folder)
            said = _below(reader, "tokenizer.ggml.")
            rows = network.get_input_embeddings().weight.shape[0]
            template = parts.value(reader, "tokenizer.chat_template")
            words.write(said, template, whole, rows, folder)
    except OSError:
        raise
    except Exception as error:  # whatever the readers of transformers trip over in a strange or damaged file
        raise SecateurError(f"{file} cannot be converted: {reason(error)}") from error
    whole.unlink()
    whole.parent.rmdir()
    origin = {"file": file.name, "sha256": digest, "quantisation": quantisation}
    (folder / ORIGIN).write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")


def _lacking(file: Path) -> dict[str, int]:
    """Keys that a file may leave out and transformers cannot do without: it would leave the rows of a Llama's q and k
    in llama.cpp's order, and take 32 key heads for granted elsewhere."""
    reader = parts.read(file)
    heads = f"{parts.value(reader, parts.ARCHITECTURE)}.attention.head_count"
    found, own = parts.value(reader, heads), parts.value(reader, f"{heads}_kv")
    return {f"{heads}_kv": found} if isinstance(found, int) and own is None else {}


def _network(file: Path, reader: Any, dtype: str) -> Any:
    """The network of a GGUF, everything of the file accounted for.

    Raises:
        SecateurError: a weight has no value, or a tensor or a key of the file is not in the network.
    """
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig, PreTrainedConfig

    architecture = str(parts.value(reader, parts.ARCHITECTURE))
    said = _below(reader, f"{architecture}.")
    tensors = {tensor.name: tuple(int(size) for size in reversed(tensor.shape)) for tensor in reader.tensors}
    rope, windows = _ropes(reader, said)
    source = {"gguf_file": file.name, "local_files_only": True}
    given = PreTrainedConfig.get_config_dict(file.parent, **source)[0]
    special = words.special_ids(_below(reader, "tokenizer.ggml."))
    given |= {f"{kind}_token_id": special[kind] for kind in ("bos", "eos", "pad")}
    given = {key: _short(value) for key, value in given.items() if key != "unk_token_id"}
    config = settings.configuration(given, said, tensors, rope.parameters())
    settings.check_keys(said, config)
    network, found = AutoModelForCausalLM.from_pretrained(
        file.parent,
        config=config,
        dtype=dtype,
        quantization_config=GgufConfig(dequantize=True),
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # or it would end in a line that names none
        **source,
    )
    lacking = sorted(found["missing_keys"])
    for name in [name for name in lacking if settings.may_be_zero(name, config)]:
        torch.nn.init.zeros_(network.get_parameter(name))
        lacking.remove(name)
    lacking += sorted(str(key[0]) for key in found["mismatched_keys"])
    if lacking:
        raise SecateurError(f"{len(lacking)} weights are missing or misshapen, first {lacking[0]}")
    if left := settings.unread(tensors, network, architecture) + sorted(found["unexpected_keys"]):
        raise SecateurError(f"{len(left)} of its tensors are not read by transformers, first {left[0]}")
    rotary.check(network, rope, windows)
    check_finite(file.name, network)
    make_plain(network)
    return network


def _ropes(reader: Any, said: Mapping[str, Any]) -> tuple[rotary.Rope, rotary.Rope | None]:
    """The rotary embedding of a file, and that of its blocks with a window where those turn otherwise."""
    import torch
    from gguf import dequantize

    stored = next((tensor for tensor in reader.tensors if tensor.name == rotary.FACTORS), None)
    factors = None if stored is None else torch.tensor(dequantize(stored.data, stored.tensor_type)).flatten()
    head = int(said.get("attention.key_length") or said["embedding_length"] // (said.get("attention.head_count") or 1))
    architecture = str(parts.value(reader, parts.ARCHITECTURE))
    rope = rotary.read(architecture, said, head, factors)
    if architecture != "gemma3":
        return rope, None
    return rope, rotary.Rope("default", float(said.get("rope.freq_base_swa", 10_000.0)), rope.size)


def _below(reader: Any, prefix: str) -> dict[str, Any]:
    """The keys of a file that begin so, without their beginning."""
    fields = {key: field for key, field in reader.fields.items() if key.startswith(prefix)}
    return {key.removeprefix(prefix): _short(field.contents()) for key, field in fields.items()}


def _short(value: Any) -> Any:
    """A number of 32 bits as it was written, 1e-06 and not 9.999999974752427e-07; everything else as it is."""
    return float(str(numpy.float32(value))) if isinstance(value, float) else value


def _quantisation(file: Path, reader: Any) -> str:
    """The tensor type that most weights of the file are stored in, for example `Q4_1`."""
    sizes: dict[str, int] = {}
    for tensor in reader.tensors:
        sizes[tensor.tensor_type.name] = sizes.get(tensor.tensor_type.name, 0) + int(tensor.n_elements)
    if not sizes:
        raise SecateurError(f"{file} holds no weights")
    return max(sizes, key=lambda kind: sizes[kind])


def make_plain(network: Any) -> None:
    """Take the marks of quantisation off a dequantised network, which would keep it from being saved."""
    for owner, mark in ((network, "hf_quantizer"), (network.config, "quantization_config")):
        if hasattr(owner, mark):
            delattr(owner, mark)
    if getattr(network, "is_quantized", False):
        network.is_quantized = False


def origin(folder: Path) -> str:
    """How the weights of a folder came about, for example `dequantised from Q4_1`; empty for an ordinary folder."""
    file = folder / ORIGIN
    if not file.exists():
        return ""
    try:
        quantisation = str(json.loads(file.read_text(encoding="utf-8"))["quantisation"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SecateurError(f"{file} is damaged. Delete the folder; it will be converted anew.") from error
    return "" if quantisation in PLAIN else f"dequantised from {quantisation}"
