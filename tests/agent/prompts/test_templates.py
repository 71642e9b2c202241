"""Prompts: templates follow the fitness of their children."""

from __future__ import annotations

import math
from typing import Any

import pytest

from agent.prompts.templates import RATE, Template, template_weights
from runs.candidate import Candidate
from runs.fold.history import History
from tools.recipe import Recipe

RECIPE = Recipe(sparsity=0.5, metric="W * X")


def test_templates_are_weighted_by_what_their_children_reached(story: Any) -> None:
    history = History()
    for number, (template, value) in enumerate(
        [("modify", 0.4), ("modify", 0.5), ("explore", 0.9), ("", 0.6), ("combine", 0.7)], 1
    ):
        name = f"c-{number}"
        history.candidates[name] = Candidate(id=name, recipe=RECIPE, operator="x", template=template)
        history.divergences[name] = {64: story.measurement(value)}
    weights = template_weights(history, list(Template))
    assert math.fsum(weights.values()) == pytest.approx(1)
    # places 1, 0.5, 0, -0.5, -1 from best to worst; unused templates weigh 1
    raw = {"modify": math.exp(RATE * 0.75), "explore": math.exp(-RATE), "combine": math.exp(-RATE * 0.5)}
    total = sum(raw.values()) + 2
    for template in Template:
        assert weights[template] == pytest.approx(raw.get(str(template), 1.0) / total)
