"""How a folder whose blocks differ says so in its config.json, for those who open it and for those who export it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MODELING = "modeling_pruned"
"""The module of the folder's own code."""

PREFIX = "pruned_"
"""Before the family's `model_type`. The family's own class would build what is left out at random, so whoever does not
run the folder's code must not take the folder for one of that family."""

SHAPES = "pruned_shapes"
"""The configuration's field for matrices that are smaller than the family's configuration can say."""


def differs(written: Mapping[str, Any]) -> bool:
    """Whether this config.json is of a folder with differing blocks, as it is written now or was before `PREFIX`.

    Not every `per_layer_config` is: transformers has families of its own whose blocks differ (Gemma 4).
    """
    entry = written.get("auto_map")
    named = entry.get("AutoModelForCausalLM") if isinstance(entry, Mapping) else None
    return str(written.get("model_type", "")).startswith(PREFIX) or str(named).startswith(f"{MODELING}.")


def native(written: Mapping[str, Any]) -> dict[str, Any]:
    """The same for the family's own configuration class: its `model_type`, and no code."""
    plain = {key: value for key, value in written.items() if key != "auto_map"}
    return plain | {"model_type": str(written.get("model_type", "")).removeprefix(PREFIX)}
