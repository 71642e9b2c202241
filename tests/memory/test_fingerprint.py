from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.fingerprint import MODEL_SIZE, RECIPE_SIZE, STATISTICS, cosine, model_vector, recipe_vector
from tools.recipe import NM, Allocation, Compensation, Recipe, Unstructured

courses = st.lists(st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6), min_size=0, max_size=40)


def near(a: Recipe, b: Recipe) -> float:
    return float(cosine(recipe_vector(a)[None], recipe_vector(b))[0])


@given(course=courses, scale=st.floats(1e-3, 1e3))
def test_a_model_vector_does_not_know_the_scale(course: list[float], scale: float) -> None:
    vector = model_vector({"skew": course})
    assert vector.shape == (MODEL_SIZE,)
    assert np.isfinite(vector).all()
    np.testing.assert_allclose(model_vector({"skew": [scale * x for x in course]}), vector, atol=1e-6)


def test_a_model_vector_follows_depth_not_the_number_of_blocks() -> None:
    def course(blocks: int) -> dict[str, list[float]]:
        depth = np.linspace(0, 1, blocks)
        return {"skew": list(2 - depth), "outliers": list(np.sin(3 * depth) + 2)}

    vectors = np.array([model_vector(course(blocks)) for blocks in (12, 30)])
    other = model_vector({"skew": list(np.linspace(1, 2, 12)), "outliers": [1.0] * 12})
    assert cosine(vectors, vectors[0]).min() > 0.999
    assert cosine(vectors, other).max() < 0.5


def test_what_hardly_varies_is_no_signal() -> None:
    noisy = [np.random.default_rng(seed).normal(3, 0.01, 30) for seed in (1, 2)]
    first, second = (model_vector({"kurtosis": list(course)}) for course in noisy)
    assert cosine(first[None], second)[0] > 0.8


def test_missing_and_broken_numbers_are_bridged() -> None:
    whole = model_vector({"skew": [1.0, 2.0, 3.0, 4.0]})
    broken = model_vector({"skew": [1.0, float("nan"), 3.0, 4.0]})
    np.testing.assert_allclose(broken, whole)
    assert np.isfinite(model_vector({name: [float("inf")] for name in STATISTICS})).all()
    assert model_vector({}).tolist() == model_vector({"skew": [5.0]}).tolist()


def test_recipe_vectors_tell_recipes_apart_by_what_matters() -> None:
    wanda = Recipe(metric="W * X", sparsity=0.5)
    assert recipe_vector(wanda).shape == (RECIPE_SIZE,)
    assert near(wanda, Recipe(metric="X*W", sparsity=0.5)) == pytest.approx(1)
    power = Recipe(metric="W * X ** 0.5", sparsity=0.5)
    assert near(power, Recipe(metric="W * X ** 0.75", sparsity=0.5)) == pytest.approx(1)
    different = [
        power,
        Recipe(metric="W * X", sparsity=0.7),
        Recipe(metric="W * X", sparsity=0.5, compensation=Compensation(kind="obs")),
        Recipe(metric="W * X", sparsity=0.5, pattern=NM(n=2, m=4)),
        Recipe(metric="W * X", sparsity=0.5, pattern=Unstructured(group="matrix")),
        Recipe(metric="W * X", sparsity=0.5, allocation=Allocation(expression="z(skew)", width=0.1)),
        Recipe(metric="W * X", sparsity=0.5, allocation=Allocation(expression=None, vector=(0.4, 0.6))),
    ]
    vectors = np.array([recipe_vector(recipe) for recipe in [wanda, *different]])
    for row in range(len(vectors)):
        others = np.delete(vectors, row, axis=0)
        assert cosine(others, vectors[row]).max() < 0.999


def test_cosine_with_nothing_is_zero() -> None:
    assert cosine(np.zeros((2, 3)), np.ones(3)).tolist() == [0.0, 0.0]
    assert cosine(np.eye(3), np.array([0.0, 2.0, 0.0])).tolist() == [0.0, 1.0, 0.0]
