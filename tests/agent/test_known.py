"""Final measurements of references are kept whole, and one that was changed is measured again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from agent.known import Known, known_place
from tools.io.shelf import Kept
from tools.model.checkpoint import open_model
from tools.prune.bench import Bench
from tools.text.windows import windows


@pytest.mark.parametrize("value", [40.0, math.inf])
def test_what_is_kept_is_read_and_what_was_changed_is_not(tmp_path: Path, story: Any, value: float) -> None:
    place = Kept(tmp_path / "references", "a.json")
    assert place.read_model(Known) is None
    known = Known(measurement=story.measurement(value, "perplexity"), sparsities={"model.layers.0.mlp.up_proj": 0.5})
    place.keep_model(known)
    assert place.read_model(Known) == known
    [file] = place.files
    file.write_text(file.read_text().replace("0.5", "0.4"))
    assert place.read_model(Known) is None
    assert [path.name for path in file.parent.iterdir()] == [f"{file.name}.damaged"]


def test_a_reference_that_other_threads_measured_is_another(tmp_path: Path) -> None:
    model = open_model("tiny", cache=tmp_path)
    text = windows("builtin", model, part="test", count=1, length=16)
    bench, places = Bench(model, text, None), []
    for threads in (1, 2, 1):
        torch.set_num_threads(threads)
        places.append(known_place(tmp_path, bench, text, None).name)
    assert places[0] == places[2] != places[1]
