"""Fine-tuning afterwards: the masks of a pruned model, and a hold on its zeros while somebody trains it.

    hold = keep_zeros(network, "./pruned")        # before the first step, with any optimizer or with Trainer
    hold.remove()                                 # afterwards

Two hooks do it. The gradients of pruned weights are set to zero as soon as they are there, so that neither clipping by
norm nor the moments of Adam see them; and after every step of an optimizer that holds the weights, the pruned ones are
set to zero, which is what counts: weight decay, moments from a checkpoint or updates that mix weights (Muon) cannot
move them. It is for whole parameters on one device or under DDP, not for those that FSDP or DeepSpeed cuts up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from tools.io.errors import SecateurError, reason
from tools.io.files import file_aside

if TYPE_CHECKING:
    from tools.model.checkpoint import Model

MASKS = Path("masks") / "masks.safetensors"
"""In the model's folder; not at its top, where vLLM takes every *.safetensors for weights."""

_SHAPES = "shapes"


def masks_of(model: Model) -> dict[str, torch.Tensor]:
    """Parameter's name -> bool in the parameter's own shape, True where a weight is kept; of every projection.

    A weight that was zero before pruning is not told from a pruned one.
    """
    names = dict.fromkeys(projection.parameter for projection in model.architecture.projections)
    return {name: model.network.get_parameter(name).data != 0 for name in names}


def write_masks(model: Model, folder: Path) -> None:
    """Write the masks of a pruned model into its folder, aside and then in place; a bit per weight, row-major,
    the first is the highest of its byte.

    Raises:
        SecateurError: they cannot be written.
    """
    masks = masks_of(model)
    shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
    file = folder / MASKS
    with file_aside(file) as partial:
        file.parent.mkdir(exist_ok=True)
        bits = {name: _packed(mask) for name, mask in masks.items()}
        save_file(bits, partial, metadata={_SHAPES: json.dumps(shapes)})
        partial.chmod((folder / "config.json").stat().st_mode & 0o777)  # safetensors lets only the owner read


def read_masks(folder: Path) -> dict[str, torch.Tensor]:
    """What `masks_of` said when the masks were written.

    Raises:
        SecateurError: the folder has none, or they are damaged.
    """
    file = folder / MASKS
    if not file.exists():
        raise SecateurError(f"{folder} holds no {MASKS}. Prune with --masks to get it.")
    try:
        with safe_open(file, framework="pt") as opened:
            shapes: dict[str, list[int]] = json.loads(opened.metadata()[_SHAPES])
            return {name: _unpacked(opened.get_tensor(name), shape) for name, shape in shapes.items()}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise SecateurError(f"{file} is damaged: {reason(error)}. Download it again.") from error


def _packed(mask: torch.Tensor) -> torch.Tensor:
    """(ceil(n / 8),) uint8 of a bool tensor of n entries."""
    return torch.from_numpy(np.packbits(mask.cpu().numpy()))


def _unpacked(bits: torch.Tensor, shape: list[int]) -> torch.Tensor:
    """The inverse; ValueError, TypeError or RuntimeError where the bits are not as many as the shape needs, or none."""
    count = torch.Size(shape).numel()
    if bits.shape != (-(-count // 8),):
        raise ValueError(f"{bits.numel()} bytes for {count} weights")
    return torch.from_numpy(np.unpackbits(bits.numpy(), count=count).view(bool)).view(shape)


@dataclass(frozen=True)
class Hold:
    """Hooks that keep zeros; `remove` takes them off."""

    hooks: tuple[Any, ...]

    def remove(self) -> None:
        """Take the hooks off the network and the optimizers."""
        for hook in self.hooks:
            hook.remove()


def keep_zeros(network: torch.nn.Module, folder: str | Path) -> Hold:
    """Keep the pruned weights of a network at exactly zero, now and after every step of any optimizer.

    Args:
        network: as transformers loads it from the folder, before it is wrapped or compiled.
        folder: of the pruned model, with the masks that `secateur prune --masks` writes.

    Raises:
        SecateurError: there are no masks, or they are of another network.
    """
    return hold_zeros(network, read_masks(Path(folder)))


def hold_zeros(network: torch.nn.Module, masks: Mapping[str, torch.Tensor]) -> Hold:
    """`keep_zeros` with masks in memory: parameter's name -> bool of its shape, True where a weight is kept."""
    parameters = dict(network.named_parameters())
    for name, mask in masks.items():
        if name not in parameters or parameters[name].shape != mask.shape:
            raise SecateurError(f"the masks are of another network: this one has no {name} of {tuple(mask.shape)}")
    pruned = {name: ~mask for name, mask in masks.items() if not mask.all()}

    def clear(name: str, tensor: torch.Tensor) -> None:
        pruned[name] = pruned[name].to(tensor.device)  # a network may be moved after the hooks were set
        tensor.masked_fill_(pruned[name], 0)  # not times zero, which leaves an infinite gradient as NaN

    def clear_gradient(name: str) -> Any:
        return lambda parameter: clear(name, parameter.grad)

    def clear_weights(optimizer: Optimizer, *_: object) -> None:
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        for name in pruned:
            if id(parameters[name]) in held:
                clear(name, parameters[name].data)

    for name in pruned:
        clear(name, parameters[name].data)
    after = [parameters[name].register_post_accumulate_grad_hook(clear_gradient(name)) for name in pruned]
    return Hold((*after, register_optimizer_step_post_hook(clear_weights)))
