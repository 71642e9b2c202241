"""What vLLM needs to serve a folder.

Plain folders it serves as they are. Of models whose blocks differ it knows one class with blocks of their own,
DeciLMForCausalLM (model type nemotron-nas): a Llama whose blocks choose the number of key-value heads and of neurons,
or go without attention or MLP; the number of query heads is one for all. Anything else takes vLLM's Transformers
backend and the folder's own code. Facts from vLLM's sources: model_executor/models/nemotron_nas.py and qwen2.py,
transformers_utils/config.py, models/transformers/base.py; what it makes of pruned Llamas was tried with vLLM 0.32
(tests/benchmarks/vllm.py).
"""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

from tools.deliver.export import cards
from tools.deliver.export.folder import PER_LAYER, BlockSizes, Folder, Shape
from tools.deliver.export.huggingface import modeling_file
from tools.deliver.export.place import check_place, folder_aside
from tools.deliver.export.verdict import Cannot, Verdict
from tools.model.companions import PLAIN_CLASS, TOKENIZERS, clean_settings, copy_small_files

NATIVE = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "opt", "gpt_neox", "gpt2")

TEXTS = ("recipe.yaml", "README.md")
"""Besides configuration, weights and the small files of any model: what is copied as it is."""

CONFIGURATION = Path(__file__).with_name("configuration_deci.py")
"""Lies beside the weights of a copy: vLLM reads blocks as attributes, config.json holds dictionaries."""

TRIED = "tried with vLLM 0.32 on a pruned Llama"


def export(folder: Folder, output: Path | None) -> Verdict:
    """Serve as it is, as a copy for DeciLMForCausalLM, or through the Transformers backend.

    Raises:
        Cannot: something is missing, contradictory or unknown.
        SecateurError: the output is taken or cannot be written.
    """
    checked = folder.check()
    if not folder.has_tokenizer:
        raise Cannot(f"there is no tokenizer (looked for {', '.join(TOKENIZERS)})")
    if not folder.differs:
        return _plain(folder, checked)
    if why_not := _not_deci(folder):
        return _backend(folder, checked, why_not)
    place = output or folder.path.with_name(f"{folder.path.name}-vllm")
    check_place(place, sum(file.stat().st_size for file in {stored.file for stored in folder.tensors.values()}))
    with folder_aside(place) as partial:
        _write(folder, partial)
    return Verdict(
        target="vllm",
        verdict="needs",
        lines=(
            checked,
            f"wrote {place}: a copy for DeciLMForCausalLM, whose blocks may differ",
            f"needs --trust-remote-code, for {CONFIGURATION.name} of that copy ({TRIED})",
            cards.line(folder),
            f"vllm serve {shlex.quote(str(place))} --trust-remote-code",
        ),
        files=(place,),
    )


def _plain(folder: Folder, checked: str) -> Verdict:
    serve = f"vllm serve {shlex.quote(str(folder.path))}"
    shared = (found,) if (found := cards.line(folder)) else ()
    if folder.model_type not in NATIVE:
        line = f"{folder.model_type} is not among what was looked up in vLLM; its Transformers backend may serve it"
        lines = (checked, line, *shared, f"{serve} --model-impl transformers")
        return Verdict(target="vllm", verdict="needs", lines=lines)
    if folder.model_type == "qwen2" and _own_head_dim(folder.shape, folder.settings.num_attention_heads):
        # Its Qwen2Attention takes hidden_size / num_attention_heads and does not look at head_dim.
        line = "needs the Transformers backend: vLLM's own qwen2 ignores head_dim, which heads were removed without"
        lines = (checked, line, *shared, f"{serve} --model-impl transformers")
        return Verdict(target="vllm", verdict="needs", lines=lines)
    return Verdict(target="vllm", verdict="ok", lines=(checked, "the folder itself is served", *shared, serve))


def _own_head_dim(shape: Shape, heads: int) -> bool:
    return shape.head_dim * heads != shape.hidden


def _not_deci(folder: Folder) -> str:
    """Why DeciLMForCausalLM cannot hold the model; empty where it can."""
    if folder.model_type not in ("llama", "mistral"):
        return f"DeciLMForCausalLM is a Llama, and {folder.model_type} is none"
    if getattr(folder.settings, "sliding_window", None):
        return "DeciLMForCausalLM has no sliding window"
    layers = folder.shape.layers
    counts = sorted({layer.heads for layer in layers if layer.heads})
    if len(counts) != 1:
        return f"DeciLMForCausalLM has one number of query heads for all blocks, here are {counts}"
    if folder.shape.hidden % counts[0]:
        return f"transformers wants hidden_size ({folder.shape.hidden}) divisible by the number of heads ({counts[0]})"
    first = next(layer for layer in layers if layer.heads or layer.intermediate)
    # Its block without attention adds to a residual that only an earlier block has made.
    return "" if first.heads else "the first block of DeciLMForCausalLM must have attention"


def _backend(folder: Folder, checked: str, why_not: str) -> Verdict:
    module = modeling_file(folder, "AutoModel")
    bare = [index for index, layer in enumerate(folder.shape.layers) if not layer.heads]
    if bare:
        raise Cannot(
            f"{why_not}; its Transformers backend wants attention in every block, and block {bare[0]} has none"
        )
    lines = (
        checked,
        why_not,
        f"needs the Transformers backend, vLLM 0.32 or newer, and the code in {module}, read it first ({TRIED})",
        cards.line(folder),
        f"vllm serve {shlex.quote(str(folder.path))} --model-impl transformers --trust-remote-code",
    )
    return Verdict(target="vllm", verdict="needs", lines=lines)


def _write(folder: Folder, into: Path) -> None:
    (into / "config.json").write_text(json.dumps(_config(folder), indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(CONFIGURATION, into / CONFIGURATION.name)
    copy_small_files(folder.path, into)
    clean_settings(into, PLAIN_CLASS)
    for name in TEXTS:
        if (folder.path / name).is_file():
            shutil.copyfile(folder.path / name, into / name)
    _write_weights(folder, into)


def _config(folder: Folder) -> dict[str, Any]:
    """config.json of the copy."""
    shape = folder.shape
    heads = max(layer.heads for layer in shape.layers)
    config = {key: value for key, value in folder.config.items() if key != PER_LAYER}
    return config | {
        "model_type": "nemotron-nas",
        "architectures": ["DeciLMForCausalLM"],
        "auto_map": {"AutoConfig": f"{CONFIGURATION.stem}.DeciLMConfig"},
        "num_attention_heads": heads,
        "num_key_value_heads": max(layer.kv_heads for layer in shape.layers),
        "intermediate_size": max(max(layer.intermediate for layer in shape.layers), 1),
        "head_dim": shape.head_dim,
        "block_configs": [_block(layer) for layer in shape.layers],
    }


def _block(layer: BlockSizes) -> dict[str, Any]:
    """One block; `ffn_mult` stays away, as it would be rounded to multiples of 256 and go before the true size."""
    attention = {"no_op": not layer.heads, "n_heads_in_group": layer.heads // layer.kv_heads if layer.heads else None}
    ffn = {"no_op": not layer.intermediate, "intermediate_size": layer.intermediate or None}
    return {"attention": attention | {"replace_with_linear": False}, "ffn": ffn | {"replace_with_linear": False}}


def _write_weights(folder: Folder, into: Path) -> None:
    """Copy the weights, file by file, without the norms before absent sublayers, for which vLLM has no place."""
    from safetensors.torch import load_file, save_file

    unwanted = set(_idle_norms(folder.shape))
    for file in sorted({stored.file for stored in folder.tensors.values()}):
        names = [name for name, stored in folder.tensors.items() if stored.file == file]
        if unwanted.isdisjoint(names):
            shutil.copyfile(file, into / file.name)
        else:
            kept = {name: tensor for name, tensor in load_file(file).items() if name not in unwanted}
            save_file(kept, into / file.name, metadata={"format": "pt"})
    index = folder.path / "model.safetensors.index.json"
    if index.is_file():
        parts = {name: stored.file.name for name, stored in folder.tensors.items() if name not in unwanted}
        given = json.loads(index.read_text(encoding="utf-8"))
        new = {"metadata": given.get("metadata", {}), "weight_map": parts}
        (into / index.name).write_text(json.dumps(new, indent=2) + "\n", encoding="utf-8")


def _idle_norms(shape: Shape) -> list[str]:
    """Names of the norms whose sublayer is absent."""
    found = []
    for index, layer in enumerate(shape.layers):
        if not layer.heads:
            found.append(f"model.layers.{index}.input_layernorm.weight")
        if not layer.intermediate:
            found.append(f"model.layers.{index}.post_attention_layernorm.weight")
    return found
