"""The code that stands beside the weights of a model whose blocks differ, for transformers to run elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tools.model.architecture.families import family_named
from tools.model.pruned.classes import plain_class
from tools.model.pruned.marks import MODELING, PREFIX


def write_code(network: Any, folder: Path) -> None:
    """Put the code that a network with differing blocks needs beside its weights, and name it in the configuration.

    Whoever does not run it fails: no version of transformers knows the `model_type`; and a class of the family that is
    told to open the folder finds MLPs of one neuron in the configuration, which the weights do not fit.
    """
    from tools.model.pruned import modeling_pruned

    kind, prefix = type(network), network.base_model_prefix
    if not issubclass(kind, modeling_pruned.Pruned):
        return
    own, of, family = plain_class(kind), type(network.config), family_named(network.config.model_type)
    assert family is not None, "or its blocks could not be made to differ"
    inner = type(network.get_submodule(prefix))  # what AutoModel makes, as vLLM's Transformers backend does
    # In this order: vLLM loads the classes as they come, and the configuration's has to be first.
    names = {"AutoConfig": f"Pruned{of.__name__}", "AutoModel": f"Pruned{inner.__name__}"}
    names["AutoModelForCausalLM"] = kind.__name__
    source = Path(modeling_pruned.__file__).read_text(encoding="utf-8")
    imports = ", ".join(sorted((of.__name__, inner.__name__, own.__name__)))
    source = source.replace("import torch\n", f"import torch\nfrom transformers import {imports}\n", 1)
    model_type = f"{PREFIX}{of.model_type}"
    source += f'\n\nclass {names["AutoConfig"]}({of.__name__}):\n    model_type = "{model_type}"\n'
    blocks = kind.BLOCKS.removeprefix(f"{prefix}.")
    for auto, base, path in (("AutoModel", inner, blocks), ("AutoModelForCausalLM", own, kind.BLOCKS)):
        paths = f'BLOCKS, ATTENTION, MLP = "{path}", "{kind.ATTENTION}", "{kind.MLP}"'
        source += f"\n\nclass {names[auto]}(Pruned, {base.__name__}):\n"
        source += f"    config_class = {names['AutoConfig']}\n    {paths}\n"
    (folder / f"{MODELING}.py").write_text(source, encoding="utf-8")
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    depth = network.config.get_text_config().num_hidden_layers
    _say_neurons_by_block(config.get("text_config", config), family.neurons, depth)
    config |= {"model_type": model_type, "architectures": [kind.__name__]}
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
