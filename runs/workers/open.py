"""From what a goal says about workers to an executor that has them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from runs.goal import Workers
from runs.workers import Executor
from runs.workers.pool import Crew
from runs.workers.results import Results
from runs.workers.worker import Blueprint
from tools.io.errors import UsageError


def check(wanted: Workers) -> None:
    """Complain before a run exists about what would only fail once it measures.

    Raises:
        UsageError: Ray is asked for and not installed.
    """
    if wanted.uses_ray and find_spec("ray") is None:
        raise UsageError(f"--executor {wanted.executor} needs Ray: pip install 'secateur[ray]'")


def open_executor(wanted: Workers, blueprint: Blueprint, results: Path) -> Executor:
    """An executor whose workers build their benches from the blueprint; none of them is started yet.

    Args:
        wanted: any executor but `in-process`, which needs no blueprint.
        blueprint: with the engine's device and threads, which are shared out among the workers.
        results: the folder that measurements go to.

    Raises:
        SecateurError: Ray is missing, cannot be reached or has no room.
    """
    check(wanted)
    return _on_ray(wanted, blueprint, results) if wanted.uses_ray else _on_devices(wanted, blueprint, results)


def _on_devices(wanted: Workers, blueprint: Blueprint, results: Path) -> Executor:
    from runs.workers.processes import Processes

    devices = _devices(blueprint.device)
    return Crew(Processes(), shared_out(blueprint, devices, wanted.count or len(devices)), Results(results))


def shared_out(blueprint: Blueprint, devices: list[str], count: int) -> list[Blueprint]:
    """One blueprint for each of `count` workers: the devices in turns, and an equal part of the threads."""
    threads = max(1, blueprint.threads // count)
    return [
        blueprint.model_copy(update={"device": devices[i % len(devices)], "threads": threads}) for i in range(count)
    ]


def _devices(device: str) -> list[str]:
    """Every CUDA device where none of them was named, else the one that was."""
    if device != "cuda":
        return [device]
    import torch

    return [f"cuda:{index}" for index in range(torch.cuda.device_count())]


def _on_ray(wanted: Workers, blueprint: Blueprint, results: Path) -> Executor:
    from runs.workers.ray import Ray

    on_gpu = wanted.gpus is not None or wanted.accelerator is not None or blueprint.device.startswith("cuda")
    gpus = (wanted.gpus or 1.0) if on_gpu else 0.0
    threads = 1 if on_gpu else max(1, blueprint.threads // (wanted.count or 1))
    backend = Ray(wanted, cpus=threads, gpus=gpus)
    # Ray shows a worker no other GPU than its own, so that it is the first one there, whatever it is called here.
    update = {"device": "cuda" if on_gpu else blueprint.device, "threads": threads}
    return Crew(backend, [blueprint.model_copy(update=update)] * (wanted.count or backend.room), Results(results))
