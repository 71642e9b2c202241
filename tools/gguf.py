"""GGUF files: turned once into a folder of plain weights that everything else can read.

A GGUF mostly holds quantised weights; here they are dequantised. Float32 represents them exactly, so figures of the
folder are figures of the GGUF, not of the model it was quantised from: `ORIGIN` in the folder says so.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from tools.edges import aside, locked, quiet, reason
from tools.errors import SecateurError

ORIGIN = "secateur_origin.json"
"""File in a converted folder: which GGUF it came from and how that was quantised."""

PLAIN = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Tensor types of a GGUF that are no quantisation; a file of these only keeps its precision."""


def sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def converted(digest: str, name: str, cache: Path) -> Path:
    """Where the folder made from the GGUF with this SHA-256 lies, or will lie."""
    return cache / "models" / f"{name}-{digest[:16]}"


def convert(file: Path, cache: Path, *, name: str | None = None) -> Path:
    """The folder made from a GGUF file; made now if it is not in the cache yet.

    Raises:
        SecateurError: the file is no GGUF, is damaged, or is of an architecture that transformers cannot read.
    """
    digest = sha256(file)
    folder = converted(digest, name or file.stem, cache)
    with locked(folder.with_name(f".{digest[:16]}.lock")):
        if not folder.exists():
            with aside(folder) as partial:
                _write(file, digest, partial)
    return folder


def _write(file: Path, digest: str, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    quantisation = _quantisation(file)
    dtype = PLAIN.get(quantisation, "float32")
    source = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
    try:
        with quiet(), redirect_stderr(StringIO()):  # the bar of this conversion heeds no setting
            network = AutoModelForCausalLM.from_pretrained(
                file.parent, dtype=dtype, quantization_config=GgufConfig(dequantize=True), **source
            )
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **source)
            make_plain(network)
            network.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    except OSError:
        raise
    except Exception as error:  # whatever the readers of transformers trip over in a strange or damaged file
        raise SecateurError(f"{file} cannot be converted: {reason(error)}") from error
    origin = {"file": file.name, "sha256": digest, "quantisation": quantisation}
    (folder / ORIGIN).write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")


def _quantisation(file: Path) -> str:
    """The tensor type that most weights of the file are stored in, for example `Q4_1`."""
    from gguf import GGUFReader

    class Bounded(GGUFReader):  # type: ignore[misc]  # the package is untyped
        """Reads nothing past the end, where the reader of the package goes on for as long as a length field says."""

        def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> Any:
            if offset + int(count) * np.dtype(dtype).itemsize > len(self.data):
                raise ValueError("it ends too early")
            return super()._get(offset, dtype, count, override_order)

    try:
        tensors = Bounded(file).tensors
    except Exception as error:  # the reader fails in as many ways as a file can be damaged
        raise SecateurError(f"{file} is not a readable GGUF file: {reason(error)}") from error
    sizes: dict[str, int] = {}
    for tensor in tensors:
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
    except (ValueError, KeyError, TypeError) as error:
        raise SecateurError(f"{file} is damaged. Delete the folder; it will be converted anew.") from error
    return "" if quantisation in PLAIN else f"dequantised from {quantisation}"
