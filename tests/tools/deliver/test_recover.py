"""Recovery: what was trained is what is merged, zeros stay, and a trained model gets better by it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tools.deliver.keep_zeros import masks_of
from tools.deliver.recover import check, check_peft, merge, recover, texts, with_corrections
from tools.deliver.save import save_model
from tools.io.errors import SecateurError, UsageError
from tools.model.architecture import describe, weight
from tools.model.checkpoint import Model
from tools.prune.weights.masks import lowest_per_row
from tools.recipe import Recipe

IDS = torch.arange(8, 40)[None]


def prune(model: Model) -> None:
    """Half of every row by magnitude, but nothing of the last block."""
    for projection in model.architecture.projections:
        if projection.block < model.architecture.n_blocks - 1:
            matrix = weight(model.network, projection)
            half = torch.full((matrix.shape[0],), matrix.shape[1] // 2)
            matrix.masked_fill_(lowest_per_row(matrix.abs(), half), 0)


def logits(network: Any) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = network(input_ids=IDS, use_cache=False).logits
    return out


@pytest.mark.parametrize("name", ["llama", "gpt2", "phi3"])
def test_what_is_merged_is_what_was_trained(name: str, build: Callable[[str], Any]) -> None:
    network = build(name)
    model = Model(name, Path("nowhere"), network, None, describe(network), name, "float32", "cpu")  # type: ignore[arg-type]
    prune(model)
    dense, masks = logits(network), masks_of(model)
    wrapped = with_corrections(model, masks, rank=2)
    torch.testing.assert_close(logits(wrapped), dense)  # B starts at zero
    trained = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
    assert len(trained) == 2 * len(model.architecture.projections)
    for parameter in trained:
        torch.nn.init.normal_(parameter, std=0.1)
    corrected = logits(wrapped)
    assert (corrected - dense).abs().max() > 0.01
    merge(model, wrapped, masks)
    torch.testing.assert_close(logits(model.network), corrected, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(found, masks[key]) for key, found in masks_of(model).items())
    assert describe(model.network) == model.architecture


def test_a_pruned_model_recovers_alike_each_time_and_keeps_its_zeros(trained: Model) -> None:
    network = trained.network
    prune(trained)
    masks = masks_of(trained)
    pruned = {name: value.clone() for name, value in network.state_dict().items()}
    train, test = texts(trained, "builtin", train=(24, 96), test=(4, 96), seed=0)
    losses: list[float] = []
    found = []
    for seed in (3, 3, 4):
        trained.network.load_state_dict(pruned)
        done = recover(
            trained,
            train,
            test,
            steps=30,
            rank=4,
            learning_rate=2e-3,
            seed=seed,
            progress=lambda _, loss: losses.append(loss),
        )
        found.append({name: value.clone() for name, value in trained.network.state_dict().items()})
        assert done.after.value < 0.97 * done.before.value
        assert done.after.sparsity == done.before.sparsity > 0.3
        assert all(torch.equal(mask, masks[name]) for name, mask in masks_of(trained).items())
        projections = trained.architecture.projections
        assert done.trained == sum(4 * (p.in_features + p.out_features) for p in projections)
    assert len(losses) == 90
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    assert any(not torch.equal(value, found[2][name]) for name, value in found[0].items())


def test_a_training_that_breaks_down_says_so(trained: Model) -> None:
    train, test = texts(trained, "builtin", train=(2, 32), test=(1, 32), seed=0)
    with pytest.raises(SecateurError, match="give a smaller --learning-rate"):
        recover(trained, train, test, steps=20, learning_rate=float("inf"))


def test_a_local_file_is_measured_on_its_end(trained: Model, tmp_path: Path) -> None:
    file = tmp_path / "story.txt"
    file.write_text(" ".join(f"Year {year} was good." for year in range(600)))
    train, test = texts(trained, str(file), train=(8, 32), test=(2, 32), seed=0)
    assert (train.ids.shape, test.ids.shape) == ((8, 32), (2, 32))
    assert max(train.starts) + 32 <= min(test.starts)
    with pytest.raises(SecateurError, match=r"story\.txt"):
        texts(trained, str(file), train=(100_000, 32), test=(2, 32), seed=0)
    total = len(trained.tokenizer(file.read_text())["input_ids"]) // 32
    with pytest.raises(SecateurError, match=r"too few for .*first 90 %.* and 2 windows of 32 \(selection, last 10 %\)"):
        texts(trained, str(file), train=(total, 32), test=(2, 32), seed=0)


def test_what_cannot_be_saved_is_refused_before_the_training(trained: Model, tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match=r"tiny holds no recipe\.yaml"):
        check(trained, tmp_path / "out")
    folder = tmp_path / "pruned"
    save_model(trained, folder, recipe=Recipe(sparsity=0.5, metric="W"), card="")
    pruned = replace(trained, folder=folder)
    check(pruned, tmp_path / "out")
    (folder / "README.md").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(SecateurError, match=r"README\.md cannot be read: .* Mend it, or take it away"):
        check(pruned, tmp_path / "out")
    (folder / "recipe.yaml").write_text("metric: W\nfrom_tomorrow: 1\n")
    with pytest.raises(SecateurError, match=r"recipe\.yaml"):
        check(pruned, tmp_path / "out")


def test_without_peft_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UsageError, match=r"pip install 'secateur\[recover\]'"):
        check_peft()
