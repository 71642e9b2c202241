"""Saved models, loaded by a process that knows transformers and not this project."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SAME = """
import sys
from pathlib import Path
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
assert not any(Path(entry, "tools", "prune").exists() for entry in sys.path), "the project is in reach"
for name in sys.argv[2:]:
    folder = Path(sys.argv[1]) / name
    asked = load_file(folder.with_suffix(".safetensors"))
    network = AutoModelForCausalLM.from_pretrained(folder, dtype="float32", trust_remote_code=False)
    logits = network(asked["ids"], use_cache=False).logits
    difference = float((logits - asked["logits"]).abs().max())
    assert difference < 1e-4, f"{name}: logits differ by {difference}"
    if "generated" in asked:
        again = network.generate(asked["ids"], max_new_tokens=5, do_sample=False)
        assert (again == asked["generated"]).all(), f"{name}: another continuation"
print(len(sys.argv) - 2)
"""
"""For folders with a file beside each: `ids`, the `logits` of these, and what may be `generated` from them."""


def run_elsewhere(code: str, folder: Path, names: Sequence[str]) -> None:
    """Run code that gets a folder and names, and prints how many names it went through; it must go through all."""
    command = [sys.executable, "-P", "-c", code, str(folder), *names]
    outside = {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=outside, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == str(len(names))
