"""Routers, gates of a mixture, norms, embeddings, convolutions, states and positions are no projections, anywhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM
from transformers.models.auto import modeling_auto

from tests.families.roles import forbidden
from tests.families.tiny import tiny_config
from tools.io.errors import SecateurError
from tools.model.architecture import describe

FEWEST = 185
"""Classes that can be built tiny of transformers 5.24; 196 are there."""
TOWERS = ("llava", "qwen2_5_vl", "mllama", "llama4", "qwen3_vl_moe", "idefics3", "qwen2_audio", "blip-2")


def shapes(auto: Any, family: str) -> Any:
    """The family's tiny network without values; None where transformers does not build it so small."""
    try:
        with torch.device("meta"):
            return auto.from_config(tiny_config(family)).eval()
    except Exception:  # transformers' own
        return None


def found_in(network: Any) -> dict[str, str]:
    """The projections that must be none, and why."""
    described = describe(network)
    of = [p for p in described.projections if p.expert in (None, 0)]
    found = {p.name: forbidden(network, described.blocks, p) for p in of}
    return {name: why for name, why in found.items() if why}


def test_no_family_has_a_projection_that_must_stay() -> None:
    built, wrong = 0, {}
    for family in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        network = shapes(AutoModelForCausalLM, family)
        if network is None:
            continue
        try:
            wrong[family] = found_in(network)
        except (SecateurError, AttributeError):  # of a network without values more is asked than it can say
            continue
        built += 1
    assert {family: names for family, names in wrong.items() if names} == {}
    assert built >= FEWEST


@pytest.mark.parametrize("family", TOWERS)
def test_of_a_model_that_sees_or_hears_only_the_language_model_has_projections(family: str) -> None:
    network = shapes(AutoModelForMultimodalLM, family)
    found = describe(network)
    assert found_in(network) == {}
    assert "language_model" in found.blocks or "text_model" in found.blocks
    assert not [name for name in found.blocks.split(".") if "vision" in name or "audio" in name]
    assert len(found.projections) > 4
