"""Masks: exact counts always, ties as a stable sort has them, N:M exact in every group."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tools.io.errors import SecateurError
from tools.prune.weights.masks import lowest_of_all, lowest_per_group, lowest_per_row, ranks, spread

DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def stable(scores: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """What the papers write: sort every row, mark the first so many."""
    order = scores.sort(dim=1, stable=True).indices
    mask = torch.zeros_like(scores, dtype=torch.bool)
    for row, count in enumerate(counts.tolist()):
        mask[row, order[row, :count]] = True
    return mask


@st.composite
def matrices(draw: st.DrawFn, columns: int | None = None) -> torch.Tensor:
    """Scores with many ties, of any sign, some of them minus infinity (dead columns)."""
    shape = draw(st.integers(1, 6)), columns or draw(st.integers(1, 24))
    kinds = draw(st.integers(1, 30))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scores = torch.randint(-kinds, kinds + 1, shape, generator=generator).to(draw(st.sampled_from(DTYPES))) / 7
    dead = torch.rand(shape[1], generator=generator) < draw(st.sampled_from((0.0, 0.3)))
    return scores.masked_fill(dead, -torch.inf)


@given(matrices(), st.data())
def test_every_row_loses_its_count_of_lowest_scores(scores: torch.Tensor, data: st.DataObject) -> None:
    rows, columns = scores.shape
    counts = torch.tensor(data.draw(st.lists(st.integers(0, columns), min_size=rows, max_size=rows)))
    before = scores.clone()
    assert torch.equal(lowest_per_row(scores, counts), stable(scores, counts))
    assert torch.equal(scores, before)


@given(st.lists(matrices(), min_size=1, max_size=4), st.data())
def test_matrices_that_compete_lose_the_lowest_of_all(scores: list[torch.Tensor], data: st.DataObject) -> None:
    scores = [s.float() for s in scores]
    count = data.draw(st.integers(0, sum(s.numel() for s in scores)))
    masks = lowest_of_all(scores, count)
    flat = torch.cat([s.flatten() for s in scores]).unsqueeze(0)
    assert [m.shape for m in masks] == [s.shape for s in scores]
    assert torch.equal(torch.cat([m.flatten() for m in masks]), stable(flat, torch.tensor([count]))[0])


@given(st.integers(2, 40), st.integers(1, 3), st.data())
def test_of_every_group_exactly_n_stay(m: int, groups: int, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, m - 1))
    scores = data.draw(matrices(columns=m * groups))
    mask = lowest_per_group(scores, n, m)
    grouped = scores.reshape(-1, m)
    assert torch.equal(mask.reshape(-1, m), stable(grouped, torch.full((len(grouped),), m - n)))


def test_a_row_that_is_not_whole_groups_is_refused() -> None:
    with pytest.raises(
        SecateurError, match=r"^2:4 needs rows that are a multiple of 4 long; this matrix has 6 columns$"
    ):
        lowest_per_group(torch.ones(2, 6), 2, 4)


@given(st.integers(0, 10_000), st.integers(1, 300))
def test_what_is_dealt_is_all_there_and_even(total: int, parts: int) -> None:
    dealt = spread(total, parts)
    assert int(dealt.sum()) == total
    assert int(dealt.max() - dealt.min()) <= 1


@pytest.mark.parametrize("ties", [True, False])
def test_large_matrices_are_cut_like_small_ones(ties: bool) -> None:
    torch.manual_seed(0)
    scores = torch.rand(700, 1100)
    scores = (scores * 50).floor() if ties else scores
    counts = spread(700 * 1100 * 37 // 100 + 350, 700)
    assert len(counts.unique()) == 2
    assert torch.equal(lowest_per_row(scores, counts), stable(scores, counts))
    flat = lowest_of_all([scores[:300], scores[300:]], 123_457)
    assert torch.equal(torch.cat(flat).reshape(1, -1), stable(scores.reshape(1, -1), torch.tensor([123_457])))


def test_scores_that_are_a_view_are_read_only() -> None:
    row = torch.tensor([[3.0, 1.0, 2.0, 0.0]])
    mask = lowest_per_row(row.expand(5, 4), torch.full((5,), 2))
    assert mask.tolist() == [[False, True, False, True]] * 5
    column = torch.arange(6.0).reshape(2, 3).T
    assert lowest_per_row(column, torch.tensor([1, 1, 1])).tolist() == [[True, False]] * 3
    assert lowest_of_all([column], 2)[0].tolist() == [[True, False], [True, False], [False, False]]


def test_ranks_break_ties_as_masks_do() -> None:
    """In index order, also in rows so long that a sort on a CPU is not stable unless it is asked to be."""
    values = torch.tensor([[1.0, 0.0] * 40, [0.5] * 80])
    zeros_first = [40 + i // 2 if i % 2 == 0 else i // 2 for i in range(80)]
    assert ranks(values).tolist() == [zeros_first, list(range(80))]
    for row, places in zip(values, ranks(values), strict=True):
        for count in (1, 17, 40, 63):
            mask = lowest_per_row(row[None], torch.tensor([count]))[0]
            assert torch.equal(mask, places < count)
