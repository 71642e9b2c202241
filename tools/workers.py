"""Work that is many small independent pieces, on all cores of a CPU.

A matrix of a small model is too small to be worth cutting up among torch's threads, and selection knows nothing of
them. Here every thread takes whole pieces and computes alone, so that no two kinds of threads wait for each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import cache

import torch

MOST = 8
"""Each thread holds temporaries of its own."""


def each(work: Callable[[int], None], count: int, device: str) -> None:
    """work(0) to work(count - 1), in any order and at the same time on a CPU; one after the other on an accelerator.

    When it returns or raises, none of them is running any more.
    """
    if device != "cpu" or torch.get_num_threads() == 1:
        for index in range(count):
            work(index)
        return
    pieces = [_threads().submit(work, index) for index in range(count)]
    try:
        wait(pieces, return_when=FIRST_EXCEPTION)
    finally:
        for piece in pieces:
            piece.cancel()
        wait(pieces)
    for piece in pieces:
        if not piece.cancelled():
            piece.result()


@cache
def _threads() -> ThreadPoolExecutor:
    before = torch.get_num_threads()
    count = min(before, MOST)
    pool = ThreadPoolExecutor(count, "prune", initializer=torch.set_num_threads, initargs=(1,))
    together = threading.Barrier(count)  # none of the first pieces ends before every thread has started
    wait([pool.submit(together.wait) for _ in range(count)])
    torch.set_num_threads(before)  # a part of the setting is the whole process's
    return pool
