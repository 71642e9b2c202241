"""The small files of a model beside its weights: tokenizer, processors, templates, licence, generation settings.

Pruning changes none of them, so a result gets the ones its input has, as they are. What of them speaks of something
that the result lacks is taken out: code, which is never copied, and files of the machine that the input came from.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")
"""One of these is there if a folder has a tokenizer."""

LARGEST = 64 * 10**6
"""Bytes of a file that still counts as small; files of the tokenizer always do."""

NOT_COPIED = re.compile(
    r"\.(safetensors|bin|pt|pth|ckpt|gguf|ggml|onnx|onnx_data|h5|msgpack|npz|npy|pkl|pickle|tflite|pb|ot|nemo|mlmodel"
    r"|zip|tar|gz|tgz|py|so|ipynb|index\.json)$",
    re.IGNORECASE,
)
"""Endings of weights in this form or another, of archives of them, of their index, and of code."""

RECIPE = "recipe.yaml"
"""The file that says what was done to a result, and marks its folder as one that Secateur saved."""

OURS = ("README.md", RECIPE, "secateur_origin.json", "config.json")
"""Written anew with every result."""

OTHER_FORMS = ("params.json", "quantize_config.json", "quant_config.json", "hf_quant_config.json")
"""What is said of the same model in another form: its sizes, and how it was quantised. The result is not in it."""

TEMPLATES = "additional_chat_templates"
"""The one folder that belongs to a tokenizer."""

LEAKED = ("is_local", "local_files_only", "backend", "auto_map", "custom_pipelines")
"""What files of settings hold that is none: arguments of the call that read them, and names of code."""

CLASS = "tokenizer_class"
PLAIN_CLASS, NEW_CLASS = "PreTrainedTokenizerFast", "TokenizersBackend"
"""The class that reads tokenizer.json, as every version of transformers knows it and as 5 calls it."""

INPUTS = ["input_ids", "attention_mask"]
"""What that class gives a model in 5; in 4 it adds `token_type_ids`, which language models refuse."""

MORE_TOKENS = "extra_special_tokens"
"""A list of tokens in 5. In 4 it is a dictionary, and the list is `additional_special_tokens`, which 5 reads, too."""


def belongs(file: Path, folder: Path) -> bool:
    """Whether a file lies in this folder, or in the blobs of the hub's cache that its links lead to.

    What lies elsewhere is not the model's.
    """
    homes = (folder.resolve(), folder.resolve().parent.parent / "blobs")
    target = file.resolve()
    return target.is_file() and any(target.is_relative_to(home) for home in homes)


def small_files(folder: Path) -> list[Path]:
    """The files of a model that are neither weights nor their index, code, too large, nor hidden; paths inside it.

    None where the model was made in memory and has no folder.
    """
    if not folder.is_dir():
        return []
    found = [file for file in sorted(folder.iterdir()) if _small(file, folder)]
    templates = folder / TEMPLATES
    if templates.is_dir() and not templates.is_symlink():
        found += [file for file in sorted(templates.iterdir()) if file.suffix == ".jinja" and belongs(file, folder)]
    return [file.relative_to(folder) for file in found]


def _small(file: Path, folder: Path) -> bool:
    name = file.name
    if name in OURS or name in OTHER_FORMS or name.startswith((".", "config.")) or NOT_COPIED.search(name):
        return False
    if not belongs(file, folder):
        return False
    return name in TOKENIZERS or file.stat().st_size <= LARGEST


def copy_small_files(folder: Path, into: Path) -> None:
    """Give a result the small files of its input; one that is there already is replaced."""
    for file in small_files(folder):
        place = into / file
        place.parent.mkdir(exist_ok=True)
        shutil.copyfile(folder / file, place)


def clean_settings(folder: Path, tokenizer: str | None = None) -> None:
    """Take out of a result's files of settings what is none, and what names a file that is not there.

    Args:
        tokenizer: its class, where readers cannot tell it from the type of the model and need it by name.
    """
    for file in sorted(folder.glob("*_config.json")):
        try:
            settings = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):  # nobody has read it so far: it stays as the input has it
            continue
        if isinstance(settings, dict) and (cleaned := _cleaned(settings, folder)) != settings:
            _write(file, cleaned)
    if tokenizer is None:
        return
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if CLASS not in settings:
        _write(file, _cleaned(settings | {CLASS: tokenizer}, folder))


def _write(file: Path, settings: dict[str, Any]) -> None:
    file.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _cleaned(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    kept = {key: value for key, value in settings.items() if key not in LEAKED and not _lost(key, value, folder)}
    if kept.get(CLASS) == NEW_CLASS:
        kept = kept | {CLASS: PLAIN_CLASS, "model_input_names": kept.get("model_input_names", INPUTS)}
    if isinstance(kept.get(MORE_TOKENS), list):
        kept.setdefault("additional_special_tokens", kept.pop(MORE_TOKENS))
    return kept


def _lost(key: str, value: Any, folder: Path) -> bool:
    """Whether an entry such as `vocab_file` names a file that is not there."""
    return key.endswith("_file") and isinstance(value, str) and not (folder / Path(value).name).is_file()
