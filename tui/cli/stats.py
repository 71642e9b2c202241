"""`secateur stats`: look at the layers of a model without changing it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tui.cli.options import MACHINE, Json, Model, takes
from tui.cli.shell import print_json

if TYPE_CHECKING:
    from agent.session.settings import Settings


@takes("model", "calibration", "windows", "length", "json", *MACHINE)
def stats(model: Model, settings: Settings, json: Json = False) -> None:
    """Show statistics of every prunable linear."""
    from agent.session.measures import layers
    from tui.text.layers import table

    start = time.perf_counter()
    text, fingerprint, rows = layers(model, settings)
    if json:
        print_json(
            {
                "model": model,
                "fingerprint": fingerprint,
                "parameters": sum(row.parameters for row in rows),
                "calibration": {"text": text.text, "sha256": text.sha256, "tokens": text.tokens},
                "seconds": round(time.perf_counter() - start, 3),
                "linears": [row.model_dump(mode="json") for row in rows],
            }
        )
        return
    print(f"{model}: {len(rows)} prunable linears, statistics over {text.tokens:,} tokens of {text.text}")
    print(table(rows))
