"""Final measurements of references are kept whole, and one that was changed is measured again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from agent.known import Known
from tools.kept import Kept


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
