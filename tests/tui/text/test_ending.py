"""What can follow a run, in as many columns as fit."""

from __future__ import annotations

from typing import Any

from runs.fold.history import History
from runs.fold.summary import summary
from runs.fold.words import course
from tui.text.ending import numbered, steps


def test_a_menu_that_does_not_fit_has_one_column(story: Any) -> None:
    found = steps(summary(History.of(story.whole().events)))
    wide = numbered(found, 160).splitlines()
    assert wide[1].split("  ")[-1].strip() == found[0].sentence
    assert found[0].label in wide[1]
    narrow = numbered(found, 40).splitlines()
    assert narrow[1:] == [f"  {place:>2}  {step.sentence}" for place, step in enumerate(found, 1)]


def test_a_best_that_does_not_move_says_so() -> None:
    assert course([0.9, 0.4]) == "best KL 0.900 → 0.400"
    assert course([0.9]) == "best KL 0.900"
    assert course([0.9, 0.9]) == "best KL 0.900, not moved since the first"
    assert course([0.9001, 0.9]) == "best KL 0.900, hardly moved since the first"
