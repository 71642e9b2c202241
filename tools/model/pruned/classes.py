"""Classes for models whose blocks differ, and what opens their folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tools.io.errors import SecateurError
from tools.model.architecture.families import Family, family_named
from tools.model.pruned.marks import differs, native


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
    family = family_named(written["model_type"])
    if family is None:
        raise SecateurError(f"{folder}: its blocks differ, and {written['model_type']} is not a family that is known")
    config = CONFIG_MAPPING[written["model_type"]].from_dict(written)
    return pruned_class(AutoModelForCausalLM._model_mapping[type(config)], family), {"config": config}


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
