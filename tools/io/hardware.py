"""What a number was computed on."""

from __future__ import annotations

import platform
import re
from pathlib import Path


def hardware_of(device: str) -> str:
    """What the GPU behind a torch device is called, or the CPU.

    Raises:
        RuntimeError, AssertionError: there is no such device here.
    """
    import torch

    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else cpu_name()


def cpu_name() -> str:
    """What the CPU calls itself, or at least its architecture."""
    try:
        named = re.search(r"^model name\s*: *(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:  # no Linux
        named = None
    return named[1].strip() if named else platform.processor() or platform.machine()
