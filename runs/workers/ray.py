"""Workers that are Ray actors, on this machine or on a cluster.

Ray only starts and reaches them. It restarts no actor and repeats no call by itself: what was already measured is known
to the crew alone.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from runs.candidate import Candidate
from runs.workers import Outcome
from runs.workers.results import Results
from runs.workers.worker import Builder, Worker
from tools.io.errors import SecateurError, reason

if TYPE_CHECKING:
    from runs.goal import Workers

CLIENT_PORT = 10001
"""Where a Ray cluster listens for clients unless somebody chose another port."""
STARTS = 2
"""Ray gives up on a machine so busy that its own helpers take longer than some seconds, fixed in Ray, to start."""
OBJECT_STORE = 100 * 2**20
"""Bytes for objects that workers share: recipes and numbers, while Ray would take a third of the memory."""


class Ray:
    """Connects to Ray and starts actors there."""

    def __init__(self, wanted: Workers, *, cpus: int, gpus: float) -> None:
        """Start Ray on this machine, or connect to the cluster that the executor names.

        Args:
            wanted: which Ray, and on which accelerator.
            cpus: CPU cores of a worker.
            gpus: GPUs of a worker, or the share of one.

        Raises:
            SecateurError: Ray runs here already, cannot be reached, or has no room for a single worker.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns of a future default
        import ray
        from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError

        if ray.is_initialized():
            raise SecateurError("Ray is already in use by this process: call ray.shutdown() first")
        self.deaths: tuple[type[Exception], ...] = (RayActorError, OutOfMemoryError, NodeDiedError)
        self._ray = ray
        self._actor = ray.remote(Worker).options(
            num_cpus=cpus, num_gpus=gpus, accelerator_type=wanted.accelerator, max_restarts=0, max_task_retries=0
        )
        _connect(ray, wanted, cpus)
        need = needs(cpus, gpus, wanted.accelerator)
        try:
            self.room = sum(fitting(need, node) for node in ray.nodes())
            if self.room == 0:
                asked = ", ".join(f"{name} {amount:g}" for name, amount in need.items())
                raise SecateurError(f"no node of {wanted.executor} has what a worker needs: {asked}")
        except BaseException:
            ray.shutdown()
            raise

    def start(self, builder: Builder, results: Results) -> _Actor:
        """An actor, placed by Ray where there is room."""
        return _Actor(self._ray, self._actor.remote(builder, results))

    def close(self) -> None:
        """Leave Ray; a Ray that was started for this run ends."""
        self._ray.shutdown()


def needs(cpus: int, gpus: float, accelerator: str | None) -> dict[str, float]:
    """What Ray sets aside for a worker, by Ray's names of it."""
    found = {"CPU": float(cpus), "GPU": gpus, f"accelerator_type:{accelerator}": 0.001 if accelerator else 0.0}
    return {name: amount for name, amount in found.items() if amount}


def fitting(need: dict[str, float], node: dict[str, Any]) -> int:
    """How many workers a node of `ray.nodes()` can hold when nothing else runs on it."""
    has = node["Resources"] if node["Alive"] else {}
    return min(int(has.get(name, 0) / amount) for name, amount in need.items())


class _Actor:
    """A `Worker` in an actor."""

    def __init__(self, ray: Any, handle: Any) -> None:
        self._ray = ray
        self._handle = handle

    def open(self) -> Future[str]:
        future: Future[str] = self._handle.open.remote().future()
        return future

    def measure(self, candidate: Candidate, tokens: int) -> Future[Outcome | str]:
        future: Future[Outcome | str] = self._handle.measure.remote(candidate, tokens).future()
        return future

    def stop(self) -> None:
        self._ray.kill(self._handle)


def _connect(ray: Any, wanted: Workers, cpus: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    local = wanted.executor == "ray"
    if local:
        cores = max(os.cpu_count() or 1, cpus * (wanted.count or 1))
        more = {"num_cpus": cores, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
        address = "local"
    else:
        more = {}
        has_port = ":" in wanted.executor.removeprefix("ray://")
        address = wanted.executor if has_port else f"{wanted.executor}:{CLIENT_PORT}"
    for left in reversed(range(STARTS if local else 1)):
        try:
            ray.init(address, **more, **quiet)
            return
        except Exception as error:  # Ray has no class of its own for what can go wrong here
            if not left:
                raise SecateurError(f"{wanted.executor}: Ray cannot be reached or started ({reason(error)})") from error
