"""Classes for models that no configuration of their family describes, and what opens their folders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.io.errors import SecateurError
from tools.model.architecture.families import Family, family_named
from tools.model.pruned.marks import SHAPES, differs, native


def opening(folder: Path) -> tuple[Any, dict[str, Any]]:
    """What opens a folder, and what it is to be given: transformers' own choice; the class that the folder names, where
    transformers has no choice for a part of a larger model (the text of Emu3); or the class for blocks that differ with
    its configuration, where the folder needs it.

    Raises:
        SecateurError: its blocks differ, and its family is not known.
    """
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not differs(written):
        return auto_class(written), {}
    written = native(written)
    if SHAPES in written.get("text_config", written):
        config = CONFIG_MAPPING[written["model_type"]].from_dict(written)
        return narrow_class(AutoModelForCausalLM._model_mapping[type(config)]), {"config": config}
    family = family_named(written["model_type"])
    if family is None:
        raise SecateurError(f"{folder}: its blocks differ, and {written['model_type']} is not a family that is known")
    config = CONFIG_MAPPING[written["model_type"]].from_dict(written)
    return pruned_class(AutoModelForCausalLM._model_mapping[type(config)], family), {"config": config}


def auto_class(written: Mapping[str, Any]) -> Any:
    """Which of transformers' classes opens the folder of a config.json with all that is in it.

    A model that also sees or hears has a class with its towers, and some have one of the language model alone beside it
    (Llama 4, Qwen 3.5): config.json names the one that was saved.
    """
    from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
    )

    kind, named = str(written.get("model_type")), written.get("architectures")
    asked = named[0] if isinstance(named, list) and named else None
    made = {
        AutoModelForCausalLM: MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind),
        AutoModelForMultimodalLM: MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES.get(kind),
    }
    there = [auto for auto, name in made.items() if name] or [_named_class(asked, kind) or AutoModelForCausalLM]
    return next((auto for auto in there if made.get(auto) == asked), there[0])


def _named_class(name: Any, kind: str) -> Any:
    """A causal language model of transformers that no Auto class makes of its own `model_type` (the language model of
    Llama 3.2 Vision, saved alone); None where there is none of that name."""
    import transformers

    found = getattr(transformers, name, None) if str(name).endswith("ForCausalLM") else None
    of = getattr(found, "config_class", None)
    return found if of is not None and of.model_type == kind else None


def plain_class(kind: type[Any]) -> type[Any]:
    """The family's own class, also of a model that needs another already."""
    from tools.model.pruned.modeling_narrow import Narrow
    from tools.model.pruned.modeling_pruned import Pruned

    return kind.__mro__[2] if issubclass(kind, Narrow | Pruned) else kind


def narrow_class(base: type[Any]) -> type[Any]:
    """The family's class for MLPs that are narrower than its configuration can say."""
    from tools.model.pruned.modeling_narrow import Narrow

    return base if issubclass(base, Narrow) else type(f"Pruned{base.__name__}", (Narrow, base), {})


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
