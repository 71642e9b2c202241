"""Masks on disk, and zeros that stay zeros while a pruned model is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from secateur import keep_zeros
from tools.deliver.keep_zeros import MASKS, hold_zeros, masks_of, read_masks, write_masks
from tools.io.errors import SecateurError
from tools.model.architecture import describe, weight
from tools.model.checkpoint import Model


def pruned_model(network: Any, folder: Path) -> Model:
    """A random model, half of every second projection zero, in a folder that has its masks."""
    torch.manual_seed(0)
    model = Model("m", folder, network, None, describe(network), "f", "float32", "cpu")  # type: ignore[arg-type]
    for projection in model.architecture.projections[::2]:
        matrix = weight(network, projection)
        matrix.mul_(torch.rand(matrix.shape) < 0.5)
    (folder / "config.json").touch()
    write_masks(model, folder)
    return model


def train(network: Any, optimizer: torch.optim.Optimizer, steps: int) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        ids = torch.randint(8, 64, (2, 16), generator=generator)
        network(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("family_name", ["llama", "gpt2"])
def test_masks_are_a_bit_per_weight_and_come_back(
    family_name: str, build: Callable[[str], Any], tmp_path: Path
) -> None:
    model = pruned_model(build(family_name), tmp_path)
    found = read_masks(tmp_path)
    assert found.keys() == {f"{p.name}.weight" for p in model.architecture.projections}
    for name, mask in found.items():
        assert torch.equal(mask, model.network.get_parameter(name) != 0)
    assert (tmp_path / MASKS).stat().st_size < model.architecture.size / 8 + 5000
    assert [file.name for file in (tmp_path / MASKS).parent.iterdir()] == [MASKS.name]


@pytest.mark.parametrize(
    "make",
    [
        lambda ps: torch.optim.AdamW(ps, lr=0.01, weight_decay=0.1, foreach=False),
        lambda ps: torch.optim.AdamW(ps, lr=0.01, weight_decay=0.1, foreach=True),
        lambda ps: torch.optim.SGD(ps, lr=1.0, momentum=0.9, nesterov=True),
    ],
)
def test_zeros_stay_and_the_others_move(make: Any, build: Callable[[str], Any], tmp_path: Path) -> None:
    network = build("llama")
    model = pruned_model(network, tmp_path)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    hold = keep_zeros(network, tmp_path)
    optimizer = make(network.parameters())
    train(network, optimizer, 4)
    for name, mask in read_masks(tmp_path).items():
        after = network.get_parameter(name).detach()
        assert torch.equal(after != 0, mask)
        assert (after[mask] != before[name][mask]).float().mean() > 0.9
        moments = optimizer.state[network.get_parameter(name)].values()
        assert all(not moment[~mask].any() for moment in moments if moment.shape == mask.shape)
    assert masks_of(model).keys() == read_masks(tmp_path).keys()
    hold.remove()
    train(network, optimizer, 1)
    name = next(name for name, mask in read_masks(tmp_path).items() if not mask.all())
    assert (network.get_parameter(name) != 0).float().mean() > 0.99


def test_moments_from_before_the_masks_move_nothing(build: Callable[[str], Any], tmp_path: Path) -> None:
    network = build("llama")
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    train(network, optimizer, 2)
    pruned_model(network, tmp_path)
    other = torch.nn.Linear(3, 3)
    keep_zeros(network, str(tmp_path))
    train(network, optimizer, 2)
    for name, mask in read_masks(tmp_path).items():
        assert not network.get_parameter(name)[~mask].any()
    other(torch.ones(3)).sum().backward()
    torch.optim.SGD(other.parameters(), lr=0.1).step()  # a hook for all optimizers leaves those of others alone


def test_an_infinite_gradient_does_not_become_a_nan(tmp_path: Path) -> None:
    layer = torch.nn.Linear(2, 1, bias=False)
    hold_zeros(layer, {"weight": torch.tensor([[True, False]])})
    layer(torch.tensor([[1.0, float("inf")]])).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [[1.0, 0.0]]


def test_masks_that_do_not_fit_are_refused(build: Callable[[str], Any], tmp_path: Path) -> None:
    pruned_model(build("llama"), tmp_path)
    with pytest.raises(SecateurError, match="the masks are of another network"):
        keep_zeros(build("gpt2"), tmp_path)
    file = tmp_path / MASKS
    whole = file.read_bytes()
    for damaged in (b"", whole[:50], whole[:-1], whole.replace(b"[32, 32]", b"[32, 99]", 1)):
        file.write_bytes(damaged)
        with pytest.raises(SecateurError, match=r"masks\.safetensors is damaged") as caught:
            read_masks(tmp_path)
        assert "\n" not in str(caught.value)
    file.unlink()
    with pytest.raises(SecateurError, match="Prune with --masks"):
        keep_zeros(build("llama"), tmp_path)
