"""Twelve families of different kinds, each pruned, saved, and loaded where this project is out of reach.

The whole table is `tests/benchmarks/families.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.families.table import written
from tests.families.tiny import build
from tests.families.trial import WAYS, Fresh, Said, fresh_process, tried
from tools.model.architecture import describe
from tools.model.architecture.discovery import is_linear
from tools.model.checkpoint import Model
from tools.prune.structures.learnt.plan import is_described, learn

ONLY = ("weights",)
DENSE = ("weights", "2:4", "depth", "width")
KINDS: dict[str, tuple[str, ...]] = {
    "llama": DENSE,
    "gpt2": ("weights", "depth"),
    "opt": ("weights", "width"),
    "mixtral": ("weights", "experts"),
    "bloom": ("weights", "width"),
    **dict.fromkeys(("gpt_oss", "falcon_h1", "mamba", "gemma3n_text", "deepseek_v3", "qwen3_next"), ONLY),
    "jetmoe": ("2:4",),
}
"""Family -> ways that end well on it."""


@pytest.fixture(scope="module")
def other() -> Iterator[Fresh]:
    with fresh_process() as process:
        yield process


@pytest.mark.parametrize("family", KINDS)
def test_a_family_is_pruned_and_loaded_elsewhere(family: str, other: Fresh, tmp_path: Path) -> None:
    found = tried(family, tmp_path, other, KINDS[family])
    assert found["built"], found
    ends = {way: (said["end"], said["why"]) for way, said in found["ways"].items()}
    assert ends == dict.fromkeys(KINDS[family], ("ok", "")), found
    if "weights" in KINDS[family] and not found["mixture"]:
        assert found["ways"]["weights"]["reached"] >= 0.99


def test_a_row_says_what_is_possible_and_why_the_rest_is_not() -> None:
    why = "LlamaForCausalLM is of no kind: use another"
    ways: dict[str, Said] = {way: {"end": "ok", "why": ""} for way in WAYS}
    ways |= {"depth": {"end": "refused", "why": why}, "width": {"end": "crash", "why": why}}
    ways |= {"weights": {"end": "ok", "why": "", "reached": 0.5}, "experts": {"end": "none", "why": ""}}
    page = written([{"family": "llama", "built": True, "ways": ways}, {"family": "x", "built": False, "why": "y"}], "9")
    assert f"| llama | yes | yes | no | **crash** |  | 50 % | depth, width: {why} |" in page
    assert "| depth | 0 | 1 | 0 | 0 | 1 |" in page
    assert "| x | y |" in page
    assert "Of 2 classes 1 were built." in page
    assert "transformers 9" in page


@pytest.mark.parametrize(
    ("family", "part"), [("axk2", "norm."), ("inkling2_text", "relative_position"), ("doge", "dt_proj")]
)
def test_norms_that_learn_how_positions_and_the_steps_of_states_stay(family: str, part: str) -> None:
    network = build(family)
    found = describe(network)
    assert any(part in name and is_linear(module) for name, module in network.named_modules())
    assert not [p.name for p in found.projections if part in p.name]
    assert len(found.projections) > 4


def opened(family: str) -> Model:
    network = build(family)
    return Model(family, Path("nowhere"), network, None, describe(network), family, "float32", "cpu")  # type: ignore[arg-type]  # no text


@pytest.mark.parametrize(("family", "groups", "neurons"), [("phi", 2, 48), ("cohere", 2, 48), ("bloom", 1, 128)])
def test_units_of_a_family_that_no_entry_names_are_those_that_stand_the_trial(
    family: str, groups: int, neurons: int
) -> None:
    model = opened(family)
    assert not is_described(model)
    layers = learn(model).layers
    assert {(layer.sublayer, layer.units) for layer in layers} == {("attention", groups), ("mlp", neurons)}


def test_a_family_whose_configuration_has_sizes_of_its_own_for_every_block_is_no_guess() -> None:
    found = describe(build("gemma4_unified_text"))
    assert found.family is None
    assert len(found.projections) > 4
