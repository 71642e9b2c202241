"""Prove that a saved model is what was measured: a fresh process reloads the folder and compares.

`verify_saved` is the question, `python -m tools.deliver.verify FOLDER REQUEST` is the process that answers it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tools.io.errors import SecateurError
from tools.model.sparsity import sparsities

if TYPE_CHECKING:
    import torch

SPARSITY_TOLERANCE = 1e-6
"""Shares of zeros may differ by rounding of the division only."""

LOGITS_TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2, "float16": 5e-3}
"""Largest relative (Frobenius) difference of logits: two processes may add up in another order."""


def verify_saved(
    folder: Path, *, expected_sparsity: dict[str, float], probe: torch.Tensor, logits: torch.Tensor, dtype: str
) -> None:
    """Reload a saved folder in a fresh process; compare the logits of a probe and the zeros of every projection.

    Args:
        folder: what `save_model` wrote.
        expected_sparsity: share of zeros by projection name, as measured on the model in memory; all projections.
        probe: token ids (1, n).
        logits: what the model in memory says to the probe, (1, n, vocabulary); computed anew on the same device.
        dtype: what they were computed in, whatever the weights are saved in.

    Raises:
        SecateurError: the folder does not load, or is not the model that was measured.
    """
    with tempfile.TemporaryDirectory() as scratch:
        request = Path(scratch) / "request.safetensors"
        write_request(request, expected_sparsity=expected_sparsity, probe=probe, logits=logits, dtype=dtype)
        if said := asked_elsewhere(folder, request):
            raise SecateurError(f"{folder} did not pass its check: {said}")


def asked_elsewhere(folder: Path, request: Path) -> str:
    """Have a fresh process compare the folder with a request; returns what is wrong, or nothing."""
    command = [sys.executable, "-m", "tools.deliver.verify", str(folder.absolute()), str(request)]
    root = Path(__file__).parents[2]  # where `tools` is found from
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {done.returncode}"


def write_request(
    request: Path, *, expected_sparsity: dict[str, float], probe: torch.Tensor, logits: torch.Tensor, dtype: str
) -> None:
    """Write down what the fresh process shall find."""
    from safetensors.torch import save_file

    tensors = {"probe": probe.cpu().contiguous(), "logits": logits.float().cpu().contiguous()}
    facts = {"sparsity": json.dumps(expected_sparsity), "device": str(logits.device), "dtype": dtype}
    save_file(tensors, request, metadata=facts)


def answer(folder: Path, request: Path) -> None:
    """Compare the folder with a request; runs in the fresh process."""
    import torch
    from safetensors import safe_open

    from tools.model.checkpoint import open_model

    with safe_open(request, framework="pt") as file:
        facts = file.metadata()
        probe, logits = file.get_tensor("probe"), file.get_tensor("logits")
    model = open_model(str(folder), cache=folder, dtype=facts["dtype"], device=facts["device"])
    _compare_sparsity(json.loads(facts["sparsity"]), sparsities(model))
    with torch.no_grad():
        again = model.network(input_ids=probe.to(model.device), use_cache=False).logits.float().cpu()
    _compare_logits(logits, again, LOGITS_TOLERANCE[model.dtype])


def _compare_sparsity(expected: dict[str, float], found: dict[str, float]) -> None:
    if expected.keys() != found.keys():
        name = sorted(expected.keys() ^ found.keys())[0]
        raise SecateurError(f"{name} is only {'expected' if name in expected else 'in the saved folder'}")
    for name, share in expected.items():
        if not abs(found[name] - share) <= SPARSITY_TOLERANCE:
            raise SecateurError(f"{name} has {found[name]:.4%} zeros after reloading, {share:.4%} expected")


def _compare_logits(expected: torch.Tensor, found: torch.Tensor, tolerance: float) -> None:
    if expected.shape != found.shape:
        raise SecateurError(f"logits have shape {tuple(found.shape)} after reloading, not {tuple(expected.shape)}")
    difference = float((found - expected).norm() / expected.norm())
    if not difference <= tolerance:  # also where it is not a number
        raise SecateurError(f"logits differ by {difference:.2g} (relative) after reloading, {tolerance:g} is allowed")


def main() -> int:
    """The fresh process: folder and request are its arguments, its exit code says whether they agree."""
    try:
        answer(Path(sys.argv[1]), Path(sys.argv[2]))
    except SecateurError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
