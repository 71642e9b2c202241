"""OBS: the compiled, batched update is the sequential one of the papers, computed here by plain dense algebra."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.io.errors import SecateurError
from tools.prune.weights import obs as compensation
from tools.prune.weights.obs import compensate
from tools.statistics.hessian import hessian, obs_factor

OUT, TOKENS = 7, 400


def problem(columns: int, seed: int = 0, tokens: int = TOKENS) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (out, in) and inputs (tokens, in) that are correlated, so that there is something to compensate with."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(columns, columns, generator=generator) + 2 * torch.eye(columns)
    return torch.randn(OUT, columns, generator=generator), torch.randn(tokens, columns, generator=generator) @ mix


def one_after_the_other(w: torch.Tensor, h: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Optimal brain surgeon, column by column: where a weight falls, the columns after it make up for it.

    The inverse Hessian is written out and after every column downdated to that of the columns that are left.
    """
    current, inverse = w.double().clone(), torch.linalg.inv(h.double())
    for j in range(w.shape[1]):
        error = torch.where(mask[:, j], current[:, j], 0.0) / inverse[j, j]
        current[:, j:] -= torch.outer(error, inverse[j, j:])
        inverse = inverse - torch.outer(inverse[:, j], inverse[j]) / inverse[j, j]
    return current.masked_fill(mask, 0)


def fixed(mask: torch.Tensor) -> compensation.ChooseMask:
    return lambda current, diagonal, first, last: mask[:, first:last]


def random_mask(columns: int, share: float, seed: int) -> torch.Tensor:
    return torch.rand(OUT, columns, generator=torch.Generator().manual_seed(seed)) < share


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 50), st.floats(0, 1), st.integers(0, 1000))
def test_the_update_is_the_sequential_solution(columns: int, share: float, seed: int) -> None:
    w, x = problem(columns, seed)
    gram, mask = x.T @ x, random_mask(columns, share, seed + 1)
    found = compensate(w, obs_factor(gram, TOKENS, 0.01), fixed(mask), batch=columns)
    plain = one_after_the_other(w, hessian(gram, TOKENS, 0.01), mask)
    assert bool((found[mask] == 0).all())
    torch.testing.assert_close(found.double(), plain, rtol=1e-3, atol=1e-3 * float(plain.abs().max()))


def test_the_last_weight_to_fall_is_made_up_for_as_well_as_any_weights_can() -> None:
    """With one column masked, OBS over the columns after it is least squares on these columns: solved directly."""
    w, x = problem(12)
    mask = torch.zeros(OUT, 12, dtype=torch.bool)
    mask[:, 3] = True
    h = hessian(x.T @ x, TOKENS, 0.01)
    found = compensate(w, obs_factor(x.T @ x, TOKENS, 0.01), fixed(mask), batch=12)
    rest = slice(4, None)
    plain = w.double().clone()
    plain[:, rest] += w[:, 3:4].double() @ torch.linalg.solve(h[rest, rest].double(), h[rest, 3:4].double()).T
    torch.testing.assert_close(found.double(), plain.masked_fill(mask, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 3, 16, 32, 64, 70, 128])
def test_lazy_batches_do_not_change_the_result(batch: int) -> None:
    w, x = problem(70)
    factor, mask = obs_factor(x.T @ x, TOKENS, 0.01), random_mask(70, 0.5, 5)
    whole = compensate(w, factor, fixed(mask), batch=70)
    torch.testing.assert_close(compensate(w, factor, fixed(mask), batch), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("strip", [1, 5, 70, 1000])
def test_strips_do_not_change_the_result(strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    w, x = problem(70)
    factor, mask = obs_factor(x.T @ x, TOKENS, 0.01), random_mask(70, 0.5, 5)
    usual = compensate(w, factor, fixed(mask), batch=40)
    monkeypatch.setattr(compensation, "STRIP", strip)
    torch.testing.assert_close(compensate(w, factor, fixed(mask), batch=40), usual, rtol=1e-4, atol=1e-4)


def test_the_rule_sees_the_weights_as_they_are_when_its_batch_comes() -> None:
    w, x = problem(12)
    factor, mask = obs_factor(x.T @ x, TOKENS, 0.01), random_mask(12, 0.5, 5)
    seen: list[torch.Tensor] = []

    def choose(current: torch.Tensor, diagonal: torch.Tensor, first: int, last: int) -> torch.Tensor:
        assert torch.equal(diagonal, factor.diagonal() ** 2)
        seen.append(current.clone())
        return mask[:, first:last]

    compensate(w, factor, choose, batch=4)
    assert torch.equal(seen[0], w)
    for number, current in enumerate(seen[1:], 1):
        done = torch.zeros_like(mask)
        done[:, : 4 * number] = mask[:, : 4 * number]
        plain = one_after_the_other(w, hessian(x.T @ x, TOKENS, 0.01), done)
        torch.testing.assert_close(current.double(), plain, rtol=1e-3, atol=1e-3)


def test_compensation_lowers_the_error_of_the_layer() -> None:
    generator = torch.Generator().manual_seed(0)
    few = torch.randn(TOKENS, 12, generator=generator) @ torch.randn(12, 48, generator=generator)
    x = few + 0.1 * torch.randn(TOKENS, 48, generator=generator)  # 48 inputs that say 12 things
    w, mask = torch.randn(OUT, 48, generator=generator), random_mask(48, 0.5, 5)
    mask[:, 30:] = False  # nothing can make up for what falls last
    updated = compensate(w, obs_factor(x.T @ x, TOKENS, 0.01), fixed(mask), batch=16)
    error = (x @ (updated - w).T).square().sum()
    assert error < 0.1 * (x @ w.masked_fill(mask, 0).T - x @ w.T).square().sum()


def test_the_hessian_is_that_of_the_squared_error() -> None:
    _, x = problem(6)
    h = hessian(x.T @ x, TOKENS, 0.1)
    plain = 2 * x.double().T @ x.double() / TOKENS
    plain += 0.1 * plain.diagonal().mean() * torch.eye(6, dtype=torch.float64)
    torch.testing.assert_close(h.double(), plain, rtol=1e-5, atol=1e-5)


def test_the_factor_squares_to_the_inverse_and_its_diagonal_to_what_is_left() -> None:
    _, x = problem(9)
    h = hessian(x.T @ x, TOKENS, 0.01).double()
    u = obs_factor(x.T @ x, TOKENS, 0.01).double()
    assert bool((u.tril(-1) == 0).all())
    torch.testing.assert_close(u.T @ u, torch.linalg.inv(h), rtol=1e-3, atol=1e-4)
    for j in range(9):
        left = torch.linalg.inv(h[j:, j:])[0, 0]
        torch.testing.assert_close(u[j, j] ** 2, left, rtol=1e-3, atol=1e-6)


def test_dead_columns_neither_break_nor_move_anything() -> None:
    w, x = problem(10)
    x[:, [2, 7]] = 0
    mask = random_mask(10, 0.5, 5)
    mask[:, [2, 7]] = True
    found = compensate(w, obs_factor(x.T @ x, TOKENS, 0.01), fixed(mask), batch=10)
    alive = [0, 1, 3, 4, 5, 6, 8, 9]
    h = hessian(x.T @ x, TOKENS, 0.01)
    assert h[2, 2] == h[7, 7]
    assert float(h[2].abs().sum()) == float(h[2, 2])
    plain = one_after_the_other(w[:, alive], h[alive][:, alive], mask[:, alive])
    torch.testing.assert_close(found[:, alive].double(), plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("damping", [0.1, 0.01, 1e-6])
def test_fewer_tokens_than_columns_are_enough(damping: float) -> None:
    w, x = problem(60, tokens=20)
    found = compensate(w, obs_factor(x.T @ x, 20, damping), fixed(random_mask(60, 0.5, 5)), batch=32)
    assert bool(found.isfinite().all())


def test_damping_grows_until_the_matrix_is_positive_definite() -> None:
    gram = torch.diag(torch.tensor([100.0, 100.0, 100.0, -8.0]))  # as rounding makes it, but larger
    inverse = obs_factor(gram, 2, 0.01).square().sum(0)
    mean = 73.0
    plain = 1 / (gram.diagonal().double() + 0.01 * 100 * mean)
    assert int(torch.linalg.cholesky_ex(hessian(gram, 2, 0.1)).info) > 0
    torch.testing.assert_close(inverse.double(), plain, rtol=1e-4, atol=0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_inputs_that_are_not_finite_get_one_line(bad: float) -> None:
    gram = torch.eye(3)
    gram[1, 1] = bad
    with pytest.raises(SecateurError, match="Gram matrix is not positive definite"):
        obs_factor(gram, 10, 0.01)
