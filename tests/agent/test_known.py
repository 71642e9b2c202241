"""Final measurements of references are kept whole, and damage is said in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.known import Known
from tools.errors import SecateurError


def test_what_is_kept_is_read_and_damage_is_one_line(tmp_path: Path, story: Any) -> None:
    place = tmp_path / "references" / "a.json"
    assert Known.read(place) is None
    known = Known(measurement=story.measurement(40.0, "perplexity"), sparsities={"model.layers.0.mlp.up_proj": 0.5})
    known.keep(place)
    assert Known.read(place) == known
    place.write_bytes(place.read_bytes()[:50])
    with pytest.raises(SecateurError, match=r"a\.json: is damaged .* Delete it, and it is measured again\."):
        Known.read(place)
