"""Whether a checkpoint is what it seems to be: what would load and compute something else is refused, in one line.

Files are looked at before anything is read, weights and tokenizer when they are there. Everything in a folder is
untrusted.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tools.io.errors import SecateurError, reason
from tools.model import hub
from tools.model.companions import TOKENIZERS
from tools.model.room import require_memory

ADAPTER = "adapter_config.json"
"""With peft at hand transformers would load what lies beside it, and then not say which weights are missing."""


def check_files(name: str, folder: Path) -> None:
    """Find the usual damage before transformers does, which says less of it: missing parts and cut files."""
    from safetensors import SafetensorError, safe_open

    if not (folder / "config.json").exists():
        raise SecateurError(f"{name} has no config.json, so its architecture is not known")
    if missing := hub.missing_shards(folder):
        raise SecateurError(f"{name} is incomplete: {missing[0]} is missing. Download it again.")
    if not any((folder / file).exists() for file in TOKENIZERS):
        raise SecateurError(f"{name} has no tokenizer (looked for {', '.join(TOKENIZERS)})")
    if (folder / ADAPTER).exists():
        raise SecateurError(f"{name} has a LoRA adapter beside its weights ({ADAPTER}). Merge it, or take it away.")
    for file in hub.weight_files(folder):
        try:
            with safe_open(file, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise SecateurError(f"{file} is damaged or unreadable: {reason(error)}. Download it again.") from error


def check_memory(folder: Path, dtype: str, device: str) -> None:
    """Complain before anything is read where the weights alone do not fit."""
    widths = {"float32": 4, "bfloat16": 2, "float16": 2}
    needed = stored_bytes(folder) if dtype == "auto" else widths[dtype] * stored_weights(folder)
    require_memory({"weights": needed}, device)


def stored_bytes(folder: Path) -> int:
    """Of a folder's files of weights."""
    return sum(file.stat().st_size for file in hub.weight_files(folder))


def stored_weights(folder: Path) -> int:
    """How many weights a folder's files hold, from their headers; a matrix that is used twice lies there once."""
    from safetensors import safe_open

    count = 0
    for file in hub.weight_files(folder):
        with safe_open(file, framework="np") as opened:
            for key in opened.keys():  # noqa: SIM118  # not a dictionary
                count += math.prod(opened.get_slice(key).get_shape())
    return count


def belongs(tensor: str, network: Any) -> bool:
    """Whether a tensor that was not read is of a part that the network has: of a block, or of a module with parameters.

    What stands beside those (heads for other tasks, towers of other senses, blocks that predict further tokens) is
    none of it, nor are the rotary frequencies that old versions of transformers saved.
    """
    from torch import nn

    *path, leaf = tensor.split(".")
    if leaf == "inv_freq" or not path:
        return False
    owner, in_block = network if path[0] in network._modules else network.base_model, False
    for place, part in enumerate(path, start=1):
        if part not in owner._modules:
            if part.isdigit() and isinstance(owner, nn.ModuleList) and len(owner):  # a block more than are counted
                return in_block or ".".join([*path[place:], leaf]) in dict(owner[0].named_parameters())
            return in_block
        in_block = in_block or isinstance(owner, nn.ModuleList)
        owner = owner._modules[part]
    return any(True for _ in owner.parameters(recurse=False))


def check_stored(name: str, folder: Path, network: Any) -> None:
    """Refuse weights that are stored as whole or complex numbers, which transformers turns into others and loads.

    Buffers may be whole numbers: positions, masks.
    """
    from safetensors import safe_open

    prefix = f"{network.base_model_prefix}."
    weights = {path.removeprefix(prefix) for path, _ in network.named_parameters()}
    for file in hub.weight_files(folder):
        with safe_open(file, framework="np") as opened:
            for key in opened.keys():  # noqa: SIM118  # not a dictionary
                stored = str(opened.get_slice(key).get_dtype())
                if not stored.startswith(("F", "BF")) and (
                    key.removeprefix(prefix) in weights or key.endswith(".weight")
                ):
                    raise SecateurError(
                        f"{name}: {key} is stored as {stored}; pruning needs plain floating-point weights"
                    )


SENSES = ("image", "audio", "video", "boi", "eoi", "boa", "eoa")
"""How names of tokens begin that stand for what is not text; a tokenizer may know them where the network is without."""


def check_ids(name: str, tokenizer: Any, rows: int) -> None:
    """Raise SecateurError if the tokenizer can make an id that the input embedding has no row for."""
    known = {**tokenizer.init_kwargs, **tokenizer.special_tokens_map}
    elsewhere = {str(token) for kind, token in known.items() if kind.startswith(SENSES)}
    beyond = {token: row for token, row in tokenizer.get_vocab().items() if row >= rows and token not in elsewhere}
    if beyond:
        token = max(beyond, key=lambda one: beyond[one])
        raise SecateurError(
            f"{name}: its tokenizer goes up to id {beyond[token]} ({token!r}), its embedding has {rows} rows. Give it"
            " the tokenizer that it was trained with."
        )


def check_finite(name: str, network: Any) -> None:
    """Refuse values that are not finite at once; whatever is measured with them says nothing."""
    import torch

    for path, parameter in network.named_parameters():
        # One sum in place of a mask as large as the matrix: it is not finite if any entry is not.
        if parameter.is_floating_point() and not parameter.detach().sum(dtype=torch.float32).isfinite():
            raise SecateurError(f"{name} is damaged: {path} holds values that are not finite")
