"""Prices of layers: taken on this machine, kept, rising with width; a target of time is met by them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.io.errors import SecateurError
from tools.model.architecture import describe
from tools.model.checkpoint import Model, open_model
from tools.prune.bench import Bench
from tools.prune.structures.anatomy import layers_of
from tools.prune.structures.seconds import Seconds, _interpolated
from tools.prune.structures.sizes import left
from tools.prune.structures.timed import _rising, seconds_of
from tools.recipe import Recipe, Request, Structured
from tools.text.windows import windows

REQUEST = Request(batch=2, prompt=128, new=4)


@given(st.dictionaries(st.integers(1, 500), st.floats(-1e-5, 1), min_size=1), st.lists(st.integers(1, 600), min_size=2))
def test_wider_is_dearer_whatever_was_timed(table: dict[int, float], widths: list[int]) -> None:
    rising = _rising(table)
    assert list(rising) == sorted(table)
    asked = sorted(set(widths))
    found = [_interpolated(rising, width) for width in asked]
    assert found[0] > 0
    assert all(a < b for a, b in itertools.pairwise(found))


def test_between_two_widths_that_were_timed_the_price_is_linear() -> None:
    table = {2: 1.0, 4: 3.0}
    assert [_interpolated(table, n) for n in (1, 2, 3, 4, 8)] == [0.5, 1.0, 2.0, 3.0, 6.0]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return open_model("tiny", cache=tmp_path_factory.mktemp("cache"))


def test_times_are_taken_once_per_machine_and_request(
    tiny: Model, tmp_path: Path, work_clock: Callable[[], float]
) -> None:
    layers = layers_of(tiny)
    found = seconds_of(tiny, layers, REQUEST, tmp_path)
    assert set(found.attention) == {1, 2}
    assert max(found.mlp) == 256
    taken = work_clock()
    assert seconds_of(tiny, layers, REQUEST, tmp_path) == found
    assert work_clock() == taken, "nothing was timed again"
    other = seconds_of(tiny, layers, Request(batch=1, prompt=16, new=1), tmp_path)
    assert other.whole < found.whole
    (kept,) = [file for file in (tmp_path / "seconds").iterdir() if str(found.whole) in file.read_text()]
    kept.write_text(kept.read_text().replace(str(found.whole), "1e-9"))
    assert seconds_of(tiny, layers, REQUEST, tmp_path).whole != 1e-9
    assert (kept.parent / f"{kept.name}.damaged").exists()


@pytest.mark.usefixtures("work_clock")
def test_blocks_take_what_the_model_takes_without_its_head(tiny: Model) -> None:
    layers = layers_of(tiny)
    found = seconds_of(tiny, layers, REQUEST, None)
    head = 1e-9 * REQUEST.batch * (1 + REQUEST.new) * tiny.network.lm_head.weight.numel()
    assert sum(found.of(of, of.units) for of in layers) == pytest.approx(found.whole - head)


@pytest.mark.usefixtures("work_clock")
def test_a_target_of_time_is_kept_by_the_table(tiny: Model, tmp_path: Path) -> None:
    calibration = windows("builtin", tiny, part="calibration", count=2, length=64)
    bench = Bench(tiny, calibration, calibration, tmp_path)
    pattern = Structured(kind="width+depth", multiple=16, request=REQUEST)
    ready = bench.prepare(Recipe(pattern=pattern, sparsity=0.25, metric="W"))
    layers = layers_of(tiny)
    seconds = seconds_of(tiny, layers, REQUEST, tmp_path)
    dense = left(layers, [layer.units for layer in layers], seconds.of)
    fell = 1 - left(layers, ready.sizes, seconds.of) / dense
    assert fell >= seconds.of_blocks(layers, 0.25) - 1e-6
    assert bench.divergence(ready.recipe, 64).sparsity > 0


def test_more_than_the_blocks_take_cannot_be_asked_for(tiny: Model) -> None:
    seconds = Seconds(request=REQUEST, attention={1: 1.0, 2: 2.0}, mlp={256: 3.0}, whole=100.0)
    layers = layers_of(tiny)
    assert seconds.of_blocks(layers, 0.1) == pytest.approx(10 / 25)
    with pytest.raises(SecateurError, match=r"2 times faster cannot be reached: .* 1\.33 times faster on this machine"):
        seconds.of_blocks(layers, 0.5)


def test_blocks_that_cannot_be_taken_apart_are_not_timed(build: Callable[[str], Any]) -> None:
    network = build("opt")
    model = Model("opt", Path("nowhere"), network, None, describe(network), "opt", "float32", "cpu")  # type: ignore[arg-type]  # no text
    with pytest.raises(SecateurError, match="cannot be timed in parts: give --sparsity"):
        seconds_of(model, layers_of(model), Request(prompt=8, new=1), None)


@pytest.mark.usefixtures("work_clock")
@pytest.mark.parametrize(
    ("family", "prompt"),
    # With an explicit mask (Gemma 2) a cache that grew from call to call would not fit; beyond its window none grows.
    [("qwen3", 8), ("gemma2", 8), ("gemma2", 2), ("phi3", 8), ("gpt_neox", 8), ("gpt2", 8)],
)
def test_blocks_of_other_families_are_timed_too(family: str, prompt: int, build: Callable[[str], Any]) -> None:
    network = build(family)
    model = Model(family, Path("nowhere"), network, None, describe(network), family, "float32", "cpu")  # type: ignore[arg-type]  # no text
    found = seconds_of(model, layers_of(model), Request(prompt=prompt, new=2), None)
    assert min(found.attention.values()) > 0 < min(found.mlp.values())


def test_a_request_beyond_the_positions_is_refused(build: Callable[[str], Any]) -> None:
    network = build("gpt2")
    model = Model("gpt2", Path("nowhere"), network, None, describe(network), "gpt2", "float32", "cpu")  # type: ignore[arg-type]  # no text
    with pytest.raises(SecateurError, match="positions, too few for a prompt of 100,000"):
        seconds_of(model, layers_of(model), Request(prompt=100_000, new=1), None)
