"""Pieces of work: all are done, a failure is told, and nothing runs on behind it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch

from tools.workers import each


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("device", ["cpu", "elsewhere"])
def test_every_piece_is_done_once(device: str) -> None:
    done: list[int] = []
    each(done.append, 100, device)
    assert sorted(done) == list(range(100))


def test_pieces_compute_alone_and_leave_torch_as_it_was() -> None:
    seen: set[int] = set()
    each(lambda _: seen.add(torch.get_num_threads()), 20, "cpu")
    assert seen == {1}
    assert torch.get_num_threads() == 2


def test_a_failure_is_told_when_nothing_runs_any_more() -> None:
    running, started = set(), []

    def work(index: int) -> None:
        started.append(index)
        running.add(index)
        time.sleep(0.02)
        running.remove(index)
        if index == 1:
            raise ValueError("piece 1")

    with pytest.raises(ValueError, match="piece 1"):
        each(work, 200, "cpu")
    assert not running
    assert len(started) < 20
