"""Measure how fast models are: seconds of reading a prompt and of writing tokens, memory, bytes on disk.

Models are timed in turn in one process (A, B, A, B, ...), so that whatever else the machine does meets all of them
alike. Prefill is one forward pass over (batch, prompt) tokens that fills the cache, with logits of the last position.
The blocks alone are timed as well, without cache, embedding, final norm and output head, as pruning acts on them only.
Decoding is greedy, one forward pass per token with a key-value cache; no token ends it. This is the plain loop over the
network of transformers: nothing is compiled, and no server puts requests together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from tools.io.errors import SecateurError
from tools.io.hardware import hardware_of
from tools.measure.speed import ELSEWHERE, ON_CUDA, Latency, LatencyProtocol, Speed, Spread, Times, Timing
from tools.measure.step import step
from tools.model.blocks import calls_of, trunk_of
from tools.model.checkpoint import Model
from tools.model.hub import weight_files
from tools.model.packed import is_packed
from tools.model.positions import require_positions
from tools.recipe.measurement import libraries

clock = time.perf_counter
"""Where seconds come from; tests put a clock here that counts work."""


def time_calls(
    calls: Sequence[Callable[[], object]],
    repeats: int,
    synchronise: Callable[[], None] = lambda: None,
    *,
    warm_up: int = 1,
) -> list[list[float]]:
    """Seconds of every call, `repeats` of each: all calls in their order, then all again, in inference mode.

    For example the median time of one block: `Spread.of(time_calls([partial(block, hidden)], 9)[0]).median`.

    Args:
        synchronise: waits until the device has done what it was given; see `synchroniser`.
        warm_up: rounds before those that count.
    """
    taken: list[list[float]] = [[] for _ in calls]
    with torch.inference_mode():
        for _ in range(warm_up + repeats):
            for call, seconds in zip(calls, taken, strict=True):
                synchronise()
                start = clock()
                call()
                synchronise()
                seconds.append(clock() - start)
    return [seconds[warm_up:] for seconds in taken]


def synchroniser(device: str) -> Callable[[], None]:
    """Waits for a device that works behind the back of Python; for a CPU it does nothing."""
    return (lambda: torch.cuda.synchronize(device)) if device.startswith("cuda") else lambda: None


def measure_latency(
    models: Sequence[Model], plan: Timing | None = None, begin: Callable[[int], None] = lambda batch: None
) -> Latency:
    """Measure models, opened on one device in one precision, in turn.

    Args:
        begin: is told each batch size before it is measured.

    Raises:
        SecateurError: prompt and new tokens are more than a model has positions, or the precisions differ.
    """
    start, plan = clock(), plan or Timing()
    _check(models, plan)
    found: list[list[Times]] = [[] for _ in models]
    for batch in plan.batches:
        begin(batch)
        for times, new in zip(found, _times(models, plan, batch), strict=True):
            times.append(new)
    return Latency(
        protocol=_protocol(models[0], plan),
        models=tuple(_speed(model, times) for model, times in zip(models, found, strict=True)),
        seconds=clock() - start,
    )


def _check(models: Sequence[Model], plan: Timing) -> None:
    for model in models:
        require_positions(model.name, model.config, plan.prompt, plan.new)
        if (model.dtype, model.device) != (models[0].dtype, models[0].device):
            raise SecateurError(
                f"{models[0].name} is {models[0].dtype} on {models[0].device}, {model.name} {model.dtype} on "
                f"{model.device}: times of the two do not compare; say which with --dtype and --device"
            )


def _protocol(model: Model, plan: Timing) -> LatencyProtocol:
    return LatencyProtocol(
        **plan.model_dump(),
        memory=ON_CUDA if _on_cuda(model) else ELSEWHERE,
        dtype=model.dtype,
        device=model.device,
        hardware=hardware_of(model.device),
        threads=torch.get_num_threads(),
        libraries=libraries(),
    )


def _on_cuda(model: Model) -> bool:
    return torch.device(model.device).type == "cuda"


def _speed(model: Model, times: Iterable[Times]) -> Speed:
    return Speed(
        model=model.name,
        fingerprint=model.fingerprint,
        attention=str(getattr(model.network.config, "_attn_implementation", None) or "its own"),
        parameters=sum(parameter.numel() for parameter in model.network.parameters()),
        blocks=model.architecture.n_blocks,
        weight_bytes=_weight_bytes(model),
        disk_bytes=_disk_bytes(model),
        times=tuple(times),
    )


def _disk_bytes(model: Model) -> int:
    """Of the weights where they lie; a packed model is opened from a restored copy, which nobody asked for."""
    named = Path(model.name)
    folder = named if named.is_dir() and is_packed(named) else model.folder
    files = folder.glob("*.safetensors") if is_packed(folder) else weight_files(folder)
    return sum(file.stat().st_size for file in files)


def _weight_bytes(model: Model) -> int:
    return _bytes([*model.network.parameters(), *model.network.buffers()])


def _bytes(values: Iterable[Any]) -> int:
    return sum(value.numel() * value.element_size() for value in values if isinstance(value, torch.Tensor))


def _times(models: Sequence[Model], plan: Timing, batch: int) -> list[Times]:
    """One batch size for every model. A round is: prefill of every model, blocks of every model, decoding of every."""
    vocabulary = min(model.network.get_input_embeddings().weight.shape[0] for model in models)
    ids = torch.randint(vocabulary, (batch, plan.prompt), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        benches = [_Bench(model, ids, plan.new) for model in models]
        memory = [bench.warm_up() for bench in benches]
    calls = [bench.prefill for bench in benches] + [b.blocks for b in benches] + [b.decode for b in benches]
    seconds = time_calls(calls, plan.repeats, synchroniser(models[0].device), warm_up=0)
    found, count = [], len(models)
    for i, (cache, peak) in enumerate(memory):
        prefill = Spread.of(seconds[i])
        decode = Spread.of(taken / plan.new for taken in seconds[2 * count + i])
        found.append(
            Times(
                batch=batch,
                prefill=prefill,
                blocks=Spread.of(seconds[count + i]),
                decode=decode,
                prefill_tokens_per_second=batch * plan.prompt / prefill.median,
                decode_tokens_per_second=batch / decode.median,
                cache_bytes=cache,
                peak_bytes=peak,
            )
        )
    return found


class _Bench:
    """What is timed of one model at one batch size; `decode` goes on from the cache that `prefill` left."""

    def __init__(self, model: Model, ids: torch.Tensor, new: int) -> None:
        self.model, self.new, self.ids = model, new, ids.to(model.device)
        blocks = model.architecture.blocks
        self.calls = calls_of(trunk_of(model.network, blocks), model.network.get_submodule(blocks), self.ids)
        self.cache: dict[str, Any] = {}
        self.token = self.ids[:, -1:]

    def prefill(self) -> None:
        self.cache = {}  # or the last round's would be held beside the new one
        self._forward(self.ids)

    def blocks(self) -> None:
        for call in self.calls:
            call()

    def decode(self) -> None:
        for _ in range(self.new):
            self._forward(self.token)

    def _forward(self, ids: torch.Tensor) -> None:
        logits, self.cache = step(self.model.network, ids, self.cache)
        self.token = logits.argmax(-1, keepdim=True)

    def warm_up(self) -> tuple[int, int]:
        """Do everything once; returns the bytes of the cache and of the peak (`ON_CUDA`, `ELSEWHERE`)."""
        device, weights = self.model.device, _weight_bytes(self.model)
        self.blocks()
        if _on_cuda(self.model):
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
        self.prefill()
        self.decode()
        cache = _bytes(value for held in self.cache.values() for layer in held.layers for value in vars(layer).values())
        self.cache = {}
        if not _on_cuda(self.model):
            return cache, weights + cache
        torch.cuda.synchronize(device)
        return cache, weights + torch.cuda.max_memory_allocated(device) - before
