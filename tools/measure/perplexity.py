"""Perplexity of non-overlapping windows.

exp of the mean loss over all predicted tokens, length - 1 per window; the first token of a window is context. The code
of SparseGPT and Wanda multiplies each window's mean loss by the length and divides by all tokens, which is the same
number for windows of one length. What the field never mixes is its two lengths, 2048 and the model's longest
(LLaMA-2-7B dense: 5.47 and 5.12 on WikiText-2), so every protocol states the length. It states what windows begin with,
too: those two figures are of one text cut into windows without BOS, and every window here has the one that Llama's
tokenizer puts before a text, which makes perplexity a little lower.
"""

from __future__ import annotations

import math
import time

import torch

from tools.model.checkpoint import Model
from tools.model.room import logits_bytes, require_memory
from tools.recipe.measurement import Measurement, Protocol, libraries
from tools.text.windows import Windows


def protocol(model: Model, windows: Windows, form: str) -> Protocol:
    """How a number on these windows is measured."""
    return Protocol.model_validate(
        {
            "text": windows.text,
            "text_sha256": windows.sha256,
            "windows": windows.ids.shape[0],
            "length": windows.ids.shape[1],
            "begin": windows.begin,
            "notes": windows.notes,
            "dtype": model.dtype,
            "device": model.device,
            "model": model.fingerprint,
            "form": form,
            "libraries": libraries(),
        }
    )


def losses(model: Model, windows: Windows) -> torch.Tensor:
    """(windows,) float64: mean negative log-likelihood (nats) of the predicted tokens of each window."""
    found = []
    require_memory({"logits of a window": logits_bytes(model.network, windows.ids.shape[1])}, model.device)
    with torch.inference_mode():
        for ids in windows.ids:
            row = ids.to(model.device)
            logits = model.network(row.unsqueeze(0), use_cache=False).logits[0, :-1].float()
            found.append(torch.nn.functional.cross_entropy(logits, row[1:]).double().cpu())
    return torch.stack(found)


def perplexity(model: Model, windows: Windows, *, sparsity: float = 0.0, form: str = "as loaded") -> Measurement:
    """Perplexity of the model as it is, over all windows."""
    start = time.perf_counter()
    mean = float(losses(model, windows).mean())
    return Measurement(
        kind="perplexity",
        value=math.exp(mean) if mean < 700 else math.inf,
        tokens=windows.ids.shape[0] * (windows.ids.shape[1] - 1),
        sparsity=sparsity,
        seconds=time.perf_counter() - start,
        peak_mib=peak_mib(model.device),
        protocol=protocol(model, windows, form),
    )


def peak_mib(device: str) -> float:
    """Largest memory used so far: of the device, or of this process on a CPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
