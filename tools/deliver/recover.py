"""Recovery: a short training of low-rank corrections (LoRA, Hu et al. 2021) after pruning, merged into the weights.

For each linear map of the blocks the corrected weights are

    W' = M * (W + 2 B A),        M = 1 where W is not zero

with B (out, rank) and A (rank, in) trained by AdamW on next-token prediction and W left alone. The mask is part of the
training and not only of the merging: what is merged is exactly what was trained, and zeros stay zeros. Where a matrix
has none (a structured, smaller model), that is LoRA as `peft` computes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch

from tools.deliver.keep_zeros import MASKS, masks_of, write_masks
from tools.deliver.save import check_place, save_model
from tools.deliver.verify import verify_saved
from tools.io.errors import SecateurError, UsageError, reason
from tools.measure.perplexity import perplexity
from tools.model.companions import RECIPE
from tools.model.precision import round_to_delivered
from tools.model.sparsity import overall, sparsities
from tools.recipe import Recipe
from tools.recipe.measurement import Measurement
from tools.text.sources import SOURCES, Part
from tools.text.windows import Wanted, Windows
from tools.text.windows import texts as cut

if TYPE_CHECKING:
    from tools.model.checkpoint import Model

SCALE = 2
"""LoRA's alpha / rank."""
WARMUP = 0.1
"""Share of the steps in which the learning rate grows to its full size; then it falls to zero in a straight line."""
CLIP = 1.0
"""Largest norm of the gradient."""
PROBE_TOKENS = 64


@dataclass(frozen=True)
class Recovered:
    """What a recovery did to a model."""

    before: Measurement
    after: Measurement
    steps: int
    rank: int
    trained: int
    """Trained parameters."""
    text: Windows
    """What was trained on."""
    seconds: float
    """Of the training alone."""
    spared: int = 0
    """Matrices of experts that lie in one parameter and were given no corrections."""


def check_peft() -> None:
    """Complain before anything is loaded.

    Raises:
        UsageError: peft is not installed.
    """
    if find_spec("peft") is None:
        raise UsageError("recover needs peft: pip install 'secateur[recover]'")


def check(model: Model, output: Path) -> None:
    """Complain before anything is trained about what could not be saved.

    Raises:
        SecateurError: the model is none that Secateur saved, or the output cannot take the result.
    """
    if not (model.folder / RECIPE).exists():
        raise SecateurError(f"{model.name} holds no {RECIPE}: give a folder that `secateur prune` saved")
    Recipe.load(model.folder / RECIPE)
    _card(model)
    check_place(model, output)


def texts(
    model: Model, source: str, *, train: tuple[int, int], test: tuple[int, int], seed: int
) -> tuple[Windows, Windows]:
    """Windows to train on (calibration part) and to measure on (test part), disjoint; each as (count, length).

    Of a local file the last tenth is measured on, so that all but that can be trained on.
    """
    measured: Part = "test" if source in SOURCES else "selection"
    wanted = {"calibration": train, measured: test}
    found = cut(model, {part: Wanted(source, *size, seed) for part, size in wanted.items()})
    return found["calibration"], found[measured]


def recover(
    model: Model,
    text: Windows,
    test: Windows,
    *,
    steps: int,
    rank: int = 8,
    learning_rate: float = 3e-4,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> Recovered:
    """Train, merge and measure; the model holds the result, rounded to what is saved. On a CPU the same seed gives the
    same bits.

    Args:
        text: trained on, one window a step, in a new order each time all have been read.
        test: perplexity before and after.
        progress: called with the step and its loss (nats per token).

    Raises:
        UsageError: peft is not installed.
        SecateurError: the loss is no number any more.
    """
    check_peft()
    before = _perplexity(model, test)
    start = time.perf_counter()
    masks = masks_of(model)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tuned = with_corrections(model, masks, rank)
        trained = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
        _train(tuned, trained, text, steps, learning_rate, progress)
    count = sum(parameter.numel() for parameter in trained)
    merge(model, tuned, masks)
    round_to_delivered(model)
    seconds = time.perf_counter() - start
    spared = sum(p.part is not None for p in model.architecture.projections)
    return Recovered(before, _perplexity(model, test), steps, rank, count, text, seconds, spared)


def save_recovered(model: Model, output: Path, done: Recovered, probe: torch.Tensor) -> None:
    """Save like a pruned model, with its recipe, its card and what is new, and masks where it had some; verify.

    Args:
        probe: token ids (1 or more, n) that the model in memory and the saved one are compared on.

    Raises:
        SecateurError: the output cannot be written, or is not the model in memory when it is read back.
    """
    source, probe = model.folder, probe[:1, :PROBE_TOKENS]
    with torch.inference_mode():
        logits = model.network(probe.to(model.device), use_cache=False).logits
    expected = sparsities(model)

    def finish(folder: Path) -> None:
        if (source / MASKS).exists():
            write_masks(model, folder)
        verify_saved(folder, expected_sparsity=expected, probe=probe, logits=logits, dtype=model.dtype)

    card = f"{_card(model).rstrip()}\n\n{_section(done)}"
    save_model(model, output, recipe=Recipe.load(source / RECIPE), card=card, finish=finish)


def _card(model: Model) -> str:
    file = model.folder / "README.md"
    try:
        return file.read_text(encoding="utf-8") if file.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SecateurError(f"{file} cannot be read: {reason(error)}. Mend it, or take it away.") from error


def _section(done: Recovered) -> str:
    """Of the model card."""
    protocol = done.after.protocol
    spared = f" {done.spared:,} matrices of experts got none." if done.spared else ""
    return (
        "## Recovery\n\n"
        f"After pruning, low-rank corrections (LoRA, rank {done.rank}, {done.trained:,} parameters) were trained for "
        f"{done.steps} steps on {done.text.tokens:,} tokens of `{done.text.text}` and merged. Zeros are still zeros: "
        f"{100 * done.after.sparsity:.2f} %.{spared}\n\n"
        f"Perplexity {done.before.value:.4g} before, {done.after.value:.4g} after, on `{protocol.text}` (token ids "
        f"sha256 `{protocol.text_sha256}`): {protocol.read}; "
        f"{protocol.convention}; {protocol.dtype} on {protocol.device}. Figures above are of the model before it.\n"
    )


def _perplexity(model: Model, test: Windows) -> Measurement:
    return perplexity(model, test, sparsity=overall(model, sparsities(model)))


def with_corrections(model: Model, masks: dict[str, torch.Tensor], rank: int) -> Any:
    """The network as peft wraps it; where a matrix has zeros, its corrections are masked.

    Experts whose matrices are slices of one parameter get none.
    """
    from peft import LoraConfig, get_peft_model

    names = [projection.name for projection in model.architecture.projections if projection.part is None]
    transposed = any(projection.transposed for projection in model.architecture.projections)
    config = LoraConfig(
        r=rank, lora_alpha=SCALE * rank, target_modules=names, task_type="CAUSAL_LM", fan_in_fan_out=transposed
    )
    tuned = get_peft_model(model.network, config)
    for name in names:
        mask = masks[f"{name}.weight"]
        if not mask.all():
            layer = tuned.base_model.model.get_submodule(name)
            layer.register_buffer("kept", mask, persistent=False)
            layer.forward = MethodType(_masked_forward, layer)
    return tuned


def merge(model: Model, wrapped: Any, masks: dict[str, torch.Tensor]) -> None:
    """Add the corrections to the weights and take the wrapping off; what was zero is zero."""
    model.network = wrapped.merge_and_unload()
    for name, mask in masks.items():
        model.network.get_parameter(name).data.masked_fill_(~mask, 0)
    model.network.requires_grad_(False)


def _masked_forward(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """x W'ᵀ + bias: what peft's layer computes, with the correction masked as it will be when merged."""
    base = layer.base_layer
    correction = layer.get_delta_weight("default").to(base.weight.dtype) * layer.kept
    corrected = base.weight + correction
    return torch.nn.functional.linear(x, corrected.T if layer.fan_in_fan_out else corrected, base.bias)


def _train(
    network: Any,
    trained: list[torch.nn.Parameter],
    text: Windows,
    steps: int,
    learning_rate: float,
    progress: Callable[[int, float], None] | None,
) -> None:
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.0)
    warm = max(1, round(WARMUP * steps))
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm))
    )
    device = trained[0].device
    order: list[int] = []
    for step in range(1, steps + 1):
        order = order or torch.randperm(text.ids.shape[0]).tolist()
        ids = text.ids[order.pop()].unsqueeze(0).to(device)
        logits = network(input_ids=ids, use_cache=False).logits[0, :-1].float()
        loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:])
        if not loss.isfinite():
            raise SecateurError(f"the training broke down at step {step}: give a smaller --learning-rate")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()
        optimizer.zero_grad()
        rate.step()
        if progress is not None:
            progress(step, float(loss.detach()))
