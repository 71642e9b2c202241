"""The model that is really smaller: weights cut, blocks left out, configuration changed.

Where every block that stays has the same sizes, the result is an ordinary model of its family. Otherwise it is the
family's class with `modeling_pruned.Pruned` mixed in, and the configuration's `per_layer_config` holds what differs.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tools.io.errors import SecateurError
from tools.model.architecture import FAMILIES, Family, describe, family_of
from tools.model.pruned.marks import MODELING, PREFIX, differs, native
from tools.prune.structures.anatomy import Layer, head_size
from tools.prune.structures.cut import Layout

if TYPE_CHECKING:
    from tools.model.checkpoint import Model


@dataclass(frozen=True)
class Block:
    """What stays of one block."""

    index: int
    """In the dense model."""
    attention: int
    """Head groups; 0 where the attention is gone."""
    mlp: int
    """Neurons."""
    queries: int
    """Query heads of a group; 0 where the family's heads cannot be cut."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.attention, self.mlp


def blocks_of(layout: Layout) -> list[Block]:
    """The blocks of which something stays, in forward order."""
    found: dict[int, Block] = {}
    for layer, kept in zip(layout.layers, layout.kept, strict=True):
        known = found.get(layer.block, Block(layer.block, 0, 0, 0))
        change = {layer.sublayer: len(kept)} | ({"queries": layer.queries} if layer.queries else {})
        found[layer.block] = replace(known, **change)
    return [block for block in found.values() if any(block.shape)]


def is_uniform(layout: Layout) -> bool:
    """Whether every block that stays has an attention and an MLP, all of one size that the configuration accepts."""
    shapes = {block.shape for block in blocks_of(layout)}
    said = all(
        not layer.statable or len(kept) in (0, *layer.statable)
        for layer, kept in zip(layout.layers, layout.kept, strict=True)
    )
    return said and len(shapes) == 1 and all(next(iter(shapes)))


def shrink(model: Model, layout: Layout) -> Model:
    """A new model with what stays of `model`, which holds the candidate (see `cut`); on the CPU.

    On a CPU it shares the memory of what was not cut.

    Raises:
        SecateurError: the family's configuration cannot say what the result looks like.
    """
    family = family_of(model.architecture)
    assert family is not None, "layers were found, so the family is known"
    blocks = blocks_of(layout)
    config = copy.deepcopy(model.network.config)
    uniform = is_uniform(layout)
    check_sayable(model, layout.layers, [len(kept) for kept in layout.kept])
    shorten(config.get_text_config(), [block.index for block in blocks], model.architecture.n_blocks)
    _set_sizes(config.get_text_config(), family, blocks, uniform)
    tensors = _tensors(model, layout, blocks)
    _set_biases(model, config.get_text_config(), family, tensors)
    base = plain_class(type(model.network))
    if base is not type(model.network):
        vars(config).pop("auto_map", None)  # the code beside the weights, which the result may not need
    kind = base if uniform else pruned_class(base, family)
    network = _build(kind, config, tensors, model)
    return replace(model, network=network, architecture=describe(network), device="cpu")


def _build(kind: type[Any], config: Any, tensors: dict[str, torch.Tensor], model: Model) -> Any:
    """The network, with the given tensors as they are; nothing is initialised at random."""
    from transformers.initialization import no_init_weights

    with no_init_weights():
        network = kind(config).eval()
    network.generation_config = copy.deepcopy(model.network.generation_config)
    network.load_state_dict(tensors, strict=True, assign=True)
    network.tie_weights()
    network.requires_grad_(False)
    return network


def opening(folder: Path) -> tuple[Any, dict[str, Any]]:
    """What opens a folder, and what it is to be given: transformers' own choice, or the class for blocks that differ
    with its configuration, where the folder needs it.

    Raises:
        SecateurError: its blocks differ, and its family is not known.
    """
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not differs(written):
        return AutoModelForCausalLM, {}
    written = native(written)
    family = _family(written["model_type"])
    if family is None:
        raise SecateurError(f"{folder}: its blocks differ, and {written['model_type']} is not a family that is known")
    config = CONFIG_MAPPING[written["model_type"]].from_dict(written)
    return pruned_class(AutoModelForCausalLM._model_mapping[type(config)], family), {"config": config}


def write_code(network: Any, folder: Path) -> None:
    """Put the code that a network with differing blocks needs beside its weights, and name it in the configuration.

    Whoever does not run it fails: no version of transformers knows the `model_type`; and a class of the family that is
    told to open the folder finds MLPs of one neuron in the configuration, which the weights do not fit.
    """
    from tools.model.pruned import modeling_pruned

    kind, prefix = type(network), network.base_model_prefix
    if not issubclass(kind, modeling_pruned.Pruned):
        return
    own, of, family = plain_class(kind), type(network.config), _family(network.config.model_type)
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


def _family(model_type: str) -> Family | None:
    return next((family for family in FAMILIES if model_type in family.model_types), None)


def _say_neurons_by_block(text: dict[str, Any], neurons: str, depth: int) -> None:
    """Have every block that has an MLP say its neurons, and the model as a whole say 1, which fits none of them."""
    blocks = {int(index): own for index, own in text["per_layer_config"].items()}
    for index in range(depth):
        own = blocks.setdefault(index, {})
        if "mlp" not in own.get("skip", ()):
            own.setdefault(neurons, text.get(neurons))
    text["per_layer_config"] = {str(index): own for index, own in sorted(blocks.items()) if own}
    text[neurons] = 1


def plain_class(kind: type[Any]) -> type[Any]:
    """The family's own class, also of a model whose blocks differ already."""
    from tools.model.pruned.modeling_pruned import Pruned

    return kind.__mro__[2] if issubclass(kind, Pruned) else kind


def pruned_class(base: type[Any], family: Family) -> type[Any]:
    """The family's class for blocks that differ."""
    from tools.model.pruned.modeling_pruned import Pruned

    return type(f"Pruned{base.__name__}", (Pruned, base), _paths(family))


def _paths(family: Family) -> dict[str, str]:
    return {"BLOCKS": family.blocks, "ATTENTION": module_of(family.attention), "MLP": module_of(family.mlp)}


def module_of(paths: Any) -> str:
    """The module that holds all projections of a sublayer; empty where they lie in the block itself."""
    parents = {path.rpartition(".")[0] for path in paths.values()}
    return str(parents.pop()) if len(parents) == 1 else ""


def check_sayable(model: Model, layers: Sequence[Layer], sizes: Sequence[int]) -> None:
    """Complain unless a configuration of the family can say what these numbers of units come to.

    Raises:
        SecateurError: blocks fall that cannot, or a part of a block that is no module.
    """
    family = family_of(model.architecture)
    assert family is not None, "layers were found, so the family is known"
    stay = {layer.block for layer, size in zip(layers, sizes, strict=True) if size}
    if len(stay) < model.architecture.n_blocks and getattr(
        model.network.config, "scale_attn_by_inverse_layer_idx", False
    ):
        raise SecateurError("this model scales attention by the layer's index, so no block can be left out: use width")
    for layer, size in zip(layers, sizes, strict=True):
        if not size and layer.block in stay and not _sublayer(family, layer.sublayer):
            what = f"in this family the {layer.sublayer} is no module of its own, so it cannot be left out alone"
            raise SecateurError(f"{what}: use depth, width or width/free")


def shorten(text: Any, stay: Sequence[int], n_blocks: int) -> None:
    """Have the configuration speak of these blocks alone: its depth, and every list that has one entry per block."""
    for name, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == n_blocks and not name.startswith("_"):
            setattr(text, name, [value[index] for index in stay])
    text.num_hidden_layers = len(stay)


def _sizes(block: Block, family: Family) -> dict[str, int]:
    """A block's sizes as the family's configuration calls them."""
    heads = {"num_attention_heads": block.attention * block.queries, "num_key_value_heads": block.attention}
    return (heads if block.queries and block.attention else {}) | ({family.neurons: block.mlp} if block.mlp else {})


def _set_sizes(text: Any, family: Family, blocks: Sequence[Block], uniform: bool) -> None:
    if getattr(text, "per_layer_config", None):
        text.per_layer_config = None  # of a model whose blocks differed before
    if family.heads:
        text.head_dim = head_size(text)  # no longer hidden size over heads
    if uniform:
        for name, value in _sizes(blocks[0], family).items():
            setattr(text, name, value)
        return
    layers = {}
    for index, block in enumerate(blocks):
        skip = [name for name, size in (("attention", block.attention), ("mlp", block.mlp)) if not size]
        layers[index] = _sizes(block, family) | ({"skip": skip} if skip else {})
    text.allow_global_per_layer_attribute_access = True  # or transformers' own checks trip over what differs
    text.per_layer_config = layers


def _tensors(model: Model, layout: Layout, blocks: Sequence[Block]) -> dict[str, torch.Tensor]:
    """The state of the smaller network: renumbered, cut, on the CPU."""
    architecture = model.architecture
    numbers = {block.index: new for new, block in enumerate(blocks)}
    cuts, gone = _cuts(model, layout)
    found = {}
    for name, tensor in model.network.state_dict().items():
        inside = name.startswith(f"{architecture.blocks}.")
        if not inside:
            found[name] = tensor.detach().cpu()
            continue
        number, _, rest = name.removeprefix(f"{architecture.blocks}.").partition(".")
        if int(number) not in numbers or any(name.startswith(prefix) for prefix in gone):
            continue
        axis, indices = cuts.get(name, (0, None))
        kept = tensor if indices is None else tensor.index_select(axis, indices)
        found[f"{architecture.blocks}.{numbers[int(number)]}.{rest}"] = kept.detach().cpu().contiguous()
    return found


def _cuts(model: Model, layout: Layout) -> tuple[dict[str, tuple[int, torch.Tensor]], tuple[str, ...]]:
    """Parameter -> (axis, indices that stay), and the prefixes of the modules that are left out whole."""
    family = family_of(model.architecture)
    assert family is not None
    cuts: dict[str, tuple[int, torch.Tensor]] = {}
    gone = []
    for layer, kept in zip(layout.layers, layout.kept, strict=True):
        if not len(kept):
            gone.append(f"{family.blocks}.{layer.block}.{_sublayer(family, layer.sublayer)}.")
            continue
        if len(kept) == layer.units:
            continue
        consumer = layer.consumer
        cuts[f"{consumer.name}.weight"] = (0 if consumer.transposed else 1, layer.channels(kept))
        for p in model.architecture.of_block(layer.block):
            if p.name in layer.producers:
                rows = layer.rows(p, kept)
                cuts[f"{p.name}.weight"] = (1 if p.transposed else 0, rows)
                cuts[f"{p.name}.bias"] = (0, rows)
    return cuts, tuple(gone)


def _set_biases(model: Model, text: Any, family: Family, tensors: dict[str, torch.Tensor]) -> None:
    """Where the compensation gave consumers biases that the configuration knows nothing of: switch them on.

    The switch gives every projection of the sublayer a bias; those of the producers are zero.
    """
    for sublayer, switch in family.biases.items():
        if getattr(text, switch, False):
            continue
        members = [n for n in tensors if n.endswith(".weight") and f".{_sublayer(family, sublayer)}." in n]
        biases = {f"{name.removesuffix('.weight')}.bias": tensors[name].shape[0] for name in members}
        if any(bool(tensors[name].any()) for name in biases if name in tensors):
            setattr(text, switch, True)
            for name, size in biases.items():
                tensors.setdefault(name, torch.zeros(size, dtype=model.network.dtype))
        else:
            for name in biases:
                tensors.pop(name, None)


def _sublayer(family: Family, sublayer: str) -> str:
    return module_of(family.attention if sublayer == "attention" else family.mlp)
