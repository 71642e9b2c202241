"""The code that stands beside the weights of a model that its family cannot say, for transformers to run elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.model.architecture.families import family_named
from tools.model.pruned.classes import plain_class
from tools.model.pruned.marks import MODELING, PREFIX


def write_code(network: Any, folder: Path) -> None:
    """Put the code that a network needs beside its weights, and name it in the configuration.

    Whoever does not run it fails: no version of transformers knows the `model_type`; and a class of the family that is
    told to open the folder finds another number of neurons in the configuration, which the weights do not fit.
    """
    from tools.model.pruned import modeling_narrow, modeling_pruned

    kind, prefix = type(network), network.base_model_prefix
    if issubclass(kind, modeling_narrow.Narrow):
        _write(network, folder, modeling_narrow, "Narrow", {})
    elif issubclass(kind, modeling_pruned.Pruned):
        beyond = f'"{kind.ATTENTION}", "{kind.MLP}"'
        inner = f'BLOCKS, ATTENTION, MLP = "{kind.BLOCKS.removeprefix(f"{prefix}.")}", {beyond}'
        outer = f'BLOCKS, ATTENTION, MLP = "{kind.BLOCKS}", {beyond}'
        _write(network, folder, modeling_pruned, "Pruned", {"AutoModel": inner, "AutoModelForCausalLM": outer})


def _write(network: Any, folder: Path, module: Any, mixed: str, lines: Mapping[str, str]) -> None:
    """Args: module: whose class `mixed` is mixed into those of the family. lines: of the bodies of these classes."""
    own, of = plain_class(type(network)), type(network.config)
    inner = type(network.get_submodule(network.base_model_prefix))  # what AutoModel makes, as vLLM's backend does
    # In this order: vLLM loads the classes as they come, and the configuration's has to be first.
    names = {"AutoConfig": f"Pruned{of.__name__}", "AutoModel": f"Pruned{inner.__name__}"}
    names["AutoModelForCausalLM"] = type(network).__name__
    source = Path(module.__file__).read_text(encoding="utf-8")
    imports = ", ".join(sorted((of.__name__, inner.__name__, own.__name__)))
    source = source.replace("import torch\n", f"import torch\nfrom transformers import {imports}\n", 1)
    model_type = f"{PREFIX}{of.model_type}"
    source += f'\n\nclass {names["AutoConfig"]}({of.__name__}):\n    model_type = "{model_type}"\n'
    for auto, base in (("AutoModel", inner), ("AutoModelForCausalLM", own)):
        source += f"\n\nclass {names[auto]}({mixed}, {base.__name__}):\n    config_class = {names['AutoConfig']}\n"
        source += f"    {lines[auto]}\n" if auto in lines else ""
    (folder / f"{MODELING}.py").write_text(source, encoding="utf-8")
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    if mixed == "Pruned":
        family = family_named(network.config.model_type)
        assert family is not None, "or its blocks could not be made to differ"
        depth = network.config.get_text_config().num_hidden_layers
        _say_neurons_by_block(config.get("text_config", config), family.neurons, depth)
    config |= {"model_type": model_type, "architectures": [type(network).__name__]}
    config["auto_map"] = {auto: f"{MODELING}.{name}" for auto, name in names.items()}
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _say_neurons_by_block(text: dict[str, Any], neurons: str, depth: int) -> None:
    """Have every block that has an MLP say its neurons, and the model as a whole say 1, which fits none of them."""
    blocks = {int(index): own for index, own in text["per_layer_config"].items()}
    for index in range(depth):
        own = blocks.setdefault(index, {})
        if "mlp" not in own.get("skip", ()):
            own.setdefault(neurons, text.get(neurons))
    text["per_layer_config"] = {str(index): own for index, own in sorted(blocks.items()) if own}
    text[neurons] = 1
