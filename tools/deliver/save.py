"""Save a pruned model as an ordinary Hugging Face folder, with its recipe, its model card and whatever small files its
input has."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.io.disk import require_room
from tools.io.errors import SecateurError, reason
from tools.io.files import aside
from tools.io.quiet import quiet
from tools.model.companions import RECIPE, TOKENIZERS, clean_settings, copy_small_files
from tools.model.configuration import finish_configuration
from tools.model.gguf import ORIGIN, make_plain
from tools.model.pruned.marks import MODELING
from tools.recipe import Recipe

if TYPE_CHECKING:
    from tools.model.checkpoint import Model


def save_model(
    model: Model, folder: Path, *, recipe: Recipe, card: str, finish: Callable[[Path], None] | None = None
) -> None:
    """Write weights, tokenizer, recipe and card; the folder appears whole or not at all.

    Args:
        model: the pruned model; saved in its checkpoint's precision (see `tools.model.precision`).
        folder: is created; one that this function wrote before is replaced.
        recipe: what was done, as `recipe.yaml`.
        card: the model card, Markdown, as `README.md`.
        finish: adds to the folder, or checks it, before it takes the place of what was there.

    Raises:
        SecateurError: the folder holds something else, the disk is full, or it may not be written.
    """
    try:
        check_place(model, folder)
        with aside(folder) as partial:
            _write(model, partial)
            recipe.save(partial / RECIPE)
            (partial / "README.md").write_text(card, encoding="utf-8")
            if finish is not None:
                finish(partial)
    except SecateurError:
        raise
    except Exception as error:  # besides OSError: safetensors reports a full disk as an error of its own
        raise SecateurError(f"{folder} cannot be written: {reason(error)}") from error


def check_place(model: Model, folder: Path) -> None:
    """Refuse a folder that cannot take the result, before anything is done for it.

    Raises:
        SecateurError: it holds something else, may not be written, or its disk is too small.
    """
    from tools.model.precision import stored_bytes

    # Also by its name: what was packed is opened from a copy in the cache.
    if folder.resolve() in (model.folder.resolve(), Path(model.name)):
        raise SecateurError(f"{folder} is the model that was opened. Choose another folder for the result.")
    if folder.is_file():
        raise SecateurError(f"{folder} is a file. Choose another folder for the result.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RECIPE).exists():
        raise SecateurError(f"{folder} is not empty and holds no pruned model. Choose another folder, or empty it.")
    require_room(folder, stored_bytes(model))


def _write(model: Model, folder: Path) -> None:
    from tools.model.precision import as_delivered
    from tools.model.pruned.code import write_code

    with quiet(), as_delivered(model) as dtype:
        make_plain(model.network)
        _repair_generation(model.network)
        model.network.save_pretrained(folder)
        copy_small_files(model.folder, folder)
        if not any((folder / file).exists() for file in TOKENIZERS):
            model.tokenizer.save_pretrained(folder)
    write_code(model.network, folder)
    finish_configuration(folder, str(dtype).removeprefix("torch."))
    own_type = (folder / f"{MODELING}.py").exists()  # one that nobody finds a tokenizer by
    clean_settings(folder, type(model.tokenizer).__name__ if own_type else None)
    if model.origin:  # what was dequantised stays so after pruning
        shutil.copy(model.folder / ORIGIN, folder)


def _repair_generation(network: Any) -> None:
    """Mend generation settings that contradict each other: transformers loads them, but refuses to save them."""
    settings = getattr(network, "generation_config", None)
    if settings is None:
        return
    try:
        settings.validate(strict=True)
    except ValueError:
        settings.do_sample = True  # the usual contradiction: a temperature is given and sampling is off
