"""What an entry says of a family is what the model itself says: no entry contradicts the module tree, the traced pass
or the trial."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.families.tiny import build
from tools.model.architecture import Architecture, describe
from tools.model.architecture.families import FAMILIES, Family
from tools.model.checkpoint import Model
from tools.prune.structures.learnt.plan import learn

TYPES = [(family, kind) for family in FAMILIES for kind in family.model_types]


def contradictions(family: Family, kind: str, found: Architecture, neurons: set[str]) -> list[str]:
    """What an entry says that was found otherwise, without it."""
    said = [] if found.blocks == family.blocks else [f"blocks are at {found.blocks}"]
    inside = {p.name.removeprefix(f"{found.blocks}.0."): p for p in found.of_block(0)}
    said += [f"nothing is called at {path}" for path in family.paths if path not in inside]
    said += [f"{path} is none of its own" for path in inside if path not in family.paths]
    for path, (role, sublayer) in family.paths.items():
        p = inside.get(path)
        if p is not None and (p.role, p.sublayer) not in ((role, sublayer), ("linear", sublayer)):
            said.append(f"{path} is the {p.role} of its {p.sublayer}")
    return said + ([] if family.neurons in neurons else [f"its neurons are {', '.join(sorted(neurons))}"])


def alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Architecture, set[str]]:
    """A family as it is found where no entry names it: its architecture, and the fields that state its neurons."""
    monkeypatch.setattr("tools.model.architecture.family_named", lambda _: None)
    network = build(kind)
    found = describe(network)
    model = Model(kind, Path("nowhere"), network, None, found, kind, "float32", "cpu")  # type: ignore[arg-type]  # no text
    learnt = learn(model)
    widths = {of.group for of in learnt.layers if of.sublayer == "mlp"}
    return found, {field for knob in learnt.knobs if widths & set(knob.units) for _, field in knob.fields}


@pytest.mark.parametrize(("family", "kind"), TYPES, ids=[kind for _, kind in TYPES])
def test_no_entry_contradicts_the_model(family: Family, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found, neurons = alone(kind, monkeypatch)
    assert contradictions(family, kind, found, neurons) == []


def test_an_entry_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    llama = next(family for family in FAMILIES if "llama" in family.model_types)
    found, neurons = alone("llama", monkeypatch)
    swapped = replace(llama, attention=llama.attention | {"q": llama.attention["k"], "k": llama.attention["q"]})
    assert contradictions(swapped, "llama", found, neurons) == [
        "self_attn.k_proj is the k of its attention",
        "self_attn.q_proj is the q of its attention",
    ]
    elsewhere = replace(llama, blocks="model.h", neurons="hidden_size", mlp={**llama.mlp, "up": "mlp.up"})
    assert contradictions(elsewhere, "llama", found, neurons)[:2] == [
        "blocks are at model.layers",
        "nothing is called at mlp.up",
    ]
