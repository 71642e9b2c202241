"""Numbers: perplexity is the plain loop's, divergence is Kullback's and Leibler's."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import pytest
import torch

from tools.measure.divergence import divergence, remember_dense
from tools.measure.perplexity import perplexity
from tools.model.architecture import weight
from tools.model.checkpoint import Model, open_reader
from tools.model.sample import TINY
from tools.text.windows import Windows, windows

Draw = Callable[..., Windows]


@pytest.fixture(scope="module")
def speeches() -> Windows:
    """Eight windows of 128 tokens of the test text, in the trained sample's tokens."""
    return windows("builtin", open_reader(str(TINY), TINY), part="test", count=8, length=128)


def prune_half(model: Model) -> None:
    for p in model.architecture.projections:
        w = weight(model.network, p)
        with torch.no_grad():
            w[w.abs() < w.abs().median()] = 0


def log_probabilities(model: Model, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model.network(input_ids=ids[None], use_cache=False).logits[0].double().log_softmax(-1)
    return out


def test_perplexity_is_the_plain_loops(trained: Model, speeches: Windows) -> None:
    logs = []
    for ids in speeches.ids:
        said = log_probabilities(trained, ids)
        logs += [float(said[t, ids[t + 1]]) for t in range(127)]
    found = perplexity(trained, speeches)
    assert found.value == pytest.approx(math.exp(-sum(logs) / len(logs)), rel=1e-5)
    assert found.tokens == len(logs) == 8 * 127
    assert found.kind == "perplexity"


def test_the_fields_other_way_to_write_it_is_the_same_number(trained: Model, speeches: Windows) -> None:
    """SparseGPT and Wanda: the mean loss of a window times its length, over all tokens."""
    losses = []
    for ids in speeches.ids:
        with torch.no_grad():
            shift = trained.network(input_ids=ids[None], use_cache=False).logits[:, :-1].reshape(-1, 512)
        losses.append(torch.nn.CrossEntropyLoss()(shift, ids[1:]).float() * 128)
    plain = float(torch.exp(torch.stack(losses).sum() / (8 * 128)))
    assert perplexity(trained, speeches).value == pytest.approx(plain, rel=1e-5)


def test_the_trained_sample_has_learned_and_pruning_hurts_it(trained: Model, speeches: Windows) -> None:
    dense = perplexity(trained, speeches).value
    assert dense < 60  # a guess among its 512 tokens would have 512
    prune_half(trained)
    assert perplexity(trained, speeches).value > 1.3 * dense


def test_a_protocol_says_how_a_number_was_measured(trained: Model, speeches: Windows) -> None:
    found = perplexity(trained, speeches, sparsity=0.25, form="propagated")
    p = found.protocol
    assert (p.text, p.text_sha256, p.windows, p.length) == ("builtin/test", speeches.sha256, 8, 128)
    assert (p.dtype, p.device, p.model, p.form) == ("float32", "cpu", trained.fingerprint, "propagated")
    assert p.libraries["torch"] == torch.__version__
    assert found.sparsity == 0.25
    assert found.seconds > 0
    assert found.peak_mib > 1


def test_a_ruined_model_has_infinite_perplexity_not_an_error(trained: Model, draw: Draw) -> None:
    with torch.no_grad():
        trained.network.get_input_embeddings().weight.mul_(1e4)
        trained.network.model.norm.weight.mul_(1e4)
    assert perplexity(trained, draw(1, 16, 512)).value == math.inf


def test_the_dense_model_does_not_diverge_from_itself(trained: Model, draw: Draw) -> None:
    dense = remember_dense(trained, draw(3, 64, 512))
    found = divergence(trained, dense, 3, sparsity=0.0)
    assert found.value == pytest.approx(0, abs=1e-6)
    assert found.kind == "divergence"
    assert found.tokens == 3 * 64


def test_with_a_small_vocabulary_it_is_the_whole_divergence(trained: Model, draw: Draw) -> None:
    text = draw(3, 64, 512)
    dense = remember_dense(trained, text)
    before = [log_probabilities(trained, ids) for ids in text.ids]
    prune_half(trained)
    after = [log_probabilities(trained, ids) for ids in text.ids]
    plain = [float((p.exp() * (p - q)).sum(1).mean()) for p, q in zip(before, after, strict=True)]
    assert divergence(trained, dense, 3, sparsity=0.5).value == pytest.approx(sum(plain) / 3, rel=1e-4)
    assert divergence(trained, dense, 1, sparsity=0.5).value == pytest.approx(plain[0], rel=1e-4)
    assert min(plain) > 0.01


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 0.3])
def test_it_is_never_negative_and_never_more_than_the_whole(
    trained: Model, draw: Draw, monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    """Events put together lose information: the divergence over the largest few is at most that over all."""
    text = draw(2, 64, 512)
    monkeypatch.setattr(sys.modules["tools.measure.divergence"], "TOP", 20)
    dense = remember_dense(trained, text)
    assert dense.ids.shape == (2, 64, 20)
    before = torch.stack([log_probabilities(trained, ids) for ids in text.ids])
    torch.manual_seed(0)
    with torch.no_grad():
        for p in trained.architecture.projections:
            w = weight(trained.network, p)
            w += scale * w.std() * torch.randn_like(w)
    after = torch.stack([log_probabilities(trained, ids) for ids in text.ids])
    whole = float((before.exp() * (before - after)).sum(-1).mean())
    found = divergence(trained, dense, 2, sparsity=0.0).value
    assert -1e-6 <= found <= whole + 1e-6
    assert found > 0.3 * whole - 1e-6


def test_what_is_kept_is_the_top_of_the_dense_distribution(trained: Model, draw: Draw) -> None:
    text = draw(2, 16, 512)
    dense = remember_dense(trained, text)
    for i, ids in enumerate(text.ids):
        plain = log_probabilities(trained, ids)
        kept = plain.gather(1, dense.ids[i].long())
        torch.testing.assert_close(dense.log_probabilities[i].double(), kept, rtol=0, atol=1e-4)
        assert bool((kept.min(1).values >= plain.min(1).values).all())
        total = dense.log_probabilities[i].double().exp().sum(1) + dense.rest[i].double().exp()
        torch.testing.assert_close(total, torch.ones(16, dtype=torch.float64), rtol=0, atol=1e-5)
