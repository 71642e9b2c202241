"""MLPs that are narrower than a configuration can say: the folder has the code that it needs, and is like any."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.families.fresh import by_cache
from tests.families.tiny import VOCABULARY, build
from tests.families.trial import IDS, fresh_process
from tools.deliver.export import export
from tools.deliver.save import save_model
from tools.model.architecture import describe
from tools.model.checkpoint import Model, open_model
from tools.model.sample import TINY
from tools.prune.bench import Bench
from tools.recipe import Structured
from tools.recipe.methods import method
from tools.text.windows import Windows

RANDOM = torch.randint(8, VOCABULARY, (4, 32), generator=torch.Generator().manual_seed(0))
WINDOWS = Windows(RANDOM, "random", "random", "random", (0, 32, 64, 96))


def logits(network: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = network(IDS, use_cache=False).logits
    return found.contiguous()


def cut(model: Model, kind: Any, folder: Path) -> Model:
    """A quarter falls; what is left is in the folder."""
    bench = Bench(model, WINDOWS, None)
    recipe = method("shortgpt" if kind == "depth" else "wanda_sp", 0.25, Structured(kind=kind, multiple=4))
    bench.finish(recipe)
    smaller = bench.result()
    save_model(smaller, folder, recipe=recipe, card="")
    return smaller


def test_a_narrow_model_is_opened_here_and_elsewhere_and_pruned_again(tmp_path: Path) -> None:
    network = build("bloom")
    tokenizer = open_model("tiny", cache=tmp_path).tokenizer
    model = Model("bloom", TINY, network, tokenizer, describe(network), "bloom", "float32", "cpu")
    smaller = cut(model, "width", tmp_path / "narrow")
    written = json.loads((tmp_path / "narrow" / "config.json").read_text())
    assert written["model_type"] == "pruned_bloom"
    (rows, columns), (again, inner) = (written["pruned_shapes"][f"mlp.dense_{end}"] for end in ("h_to_4h", "4h_to_h"))
    assert (columns, again) == (32, 32)
    assert rows == inner < 4 * 32
    opened = open_model(str(tmp_path / "narrow"), cache=tmp_path)
    assert torch.equal(logits(opened.network), logits(smaller.network))
    assert not by_cache(opened.network, IDS)
    shorter = cut(replace(opened, folder=TINY), "depth", tmp_path / "shorter")
    assert shorter.architecture.n_blocks < opened.architecture.n_blocks
    narrower = cut(open_model(str(tmp_path / "narrow"), cache=tmp_path), "width", tmp_path / "narrower")
    for name, found in (("narrow", smaller), ("shorter", shorter), ("narrower", narrower)):
        save_file({"ids": IDS, "logits": logits(found.network)}, tmp_path / f"{name}.safetensors")
    with fresh_process() as other:
        names = ("narrow", "shorter", "narrower")
        assert other.says([tmp_path / name for name in names]) == ["", "", ""]
    lines = export(tmp_path / "narrow", "hf").lines
    assert (
        "needs trust_remote_code=True (modeling_pruned.py): no field says how wide its MLPs are, read it first" in lines
    )
    assert not any("several sizes" in line for line in lines)
    assert export(tmp_path / "narrow", "llama.cpp").verdict == "cannot"
