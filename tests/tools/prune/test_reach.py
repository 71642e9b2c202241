"""How much of a model a pattern can remove is counted, and told before anything starts where it is little."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.families.tiny import build
from tests.tools.mixtures import mixture
from tools.model.architecture import describe
from tools.model.checkpoint import Model, local_folder, open_model, outline
from tools.prune.reach import Reach, foreseen, reach_of
from tools.recipe import NM, Experts, Unstructured


def test_a_reach_counts_what_the_pattern_can_remove() -> None:
    model = mixture("mixtral")
    layers = model.network.model.layers
    attention = 2 * (2 * 32 * 32 + 2 * 16 * 32)
    experts = sum(
        p.numel() for layer in layers for p in (*layer.mlp.gate.parameters(), *layer.mlp.experts.parameters())
    )
    blocks, every = (sum(p.numel() for p in of.parameters()) for of in (layers, model.network))
    routers = 2 * 6 * 32
    singly = attention + experts - routers
    assert reach_of(model, Unstructured()) == Reach(weights=singly, blocks=blocks, model=every)
    assert reach_of(model, Experts()) == Reach(weights=experts, blocks=blocks, model=every)
    assert blocks - attention - experts == 4 * 32  # the norms


def test_little_reach_is_told_with_what_it_comes_to() -> None:
    little = Reach(weights=110, blocks=1000, model=2000)
    assert little.of_model(0.5) == pytest.approx(0.0275)
    assert little.warning(NM(n=2, m=4), 0.5) == (
        "2:4 reaches only 11.0 % of the blocks' weights, 5.5 % of the model's: the rest stays as it is. 50 % of what "
        "is reached is 2.8 % of the model."
    )
    assert Reach(weights=800, blocks=1000, model=2000).warning(Unstructured(), 0.5) == ""


def test_the_cross_attention_of_a_decoder_without_its_encoder_is_no_part_of_the_reach() -> None:
    network = build("bart")
    model = Model("bart", Path("nowhere"), network, None, describe(network), "", "float32", "cpu")  # type: ignore[arg-type]  # no text
    reach = reach_of(model, Unstructured())
    crossed = sum(p.numel() for name, p in network.named_parameters() if "encoder_attn." in name and p.dim() == 2)
    assert reach.uncalled == crossed > 0.3 * reach.blocks
    assert reach.share > 0.9
    assert f"{crossed:,} weights that it does not call stay as they are" in str(reach)


def test_a_reach_is_foreseen_from_the_configuration_alone(
    save_random: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_random("model", num_hidden_layers=2)
    expected = reach_of(open_model(str(folder), cache=tmp_path), Unstructured())
    assert expected.share == pytest.approx(1 - 4 * 32 / expected.blocks)
    (folder / "model.safetensors").write_bytes(b"")  # nothing of the weights is read
    assert foreseen(str(folder), tmp_path, Unstructured()) == expected
    assert foreseen(str(folder), tmp_path, Experts()) is None  # there are none
    assert foreseen("smollm2-135m", tmp_path, Unstructured()) is None  # it would have to be fetched
    (folder / "config.json").write_text("{")
    assert foreseen(str(folder), tmp_path, Unstructured()) is None


def test_an_outline_has_shapes_and_no_values(tmp_path: Path) -> None:
    folder = local_folder("tiny", tmp_path)
    assert folder is not None
    found, opened = outline("tiny", folder), open_model("tiny", cache=tmp_path)
    assert all(parameter.device.type == "meta" for parameter in found.network.parameters())
    assert found.architecture.projections == opened.architecture.projections


@pytest.mark.parametrize("other", ["qwen2_moe", "qwen3_moe"])
def test_what_is_no_expert_is_not_counted_as_one(other: Any) -> None:
    model: Model = mixture(other)
    elsewhere = sum(p.size for p in model.architecture.projections if p.expert is None)
    assert reach_of(model, Experts()).weights + elsewhere < model.architecture.block_weights
