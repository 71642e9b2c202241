"""One family: its tiny model is saved, opened, pruned in every way, saved again, and loaded elsewhere."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.families import fresh
from tests.families.count import experts_of, reached, touched
from tests.families.tiny import VOCABULARY, build
from tools.deliver.save import save_model
from tools.io.errors import SecateurError
from tools.model.checkpoint import Model, open_model
from tools.model.sample import TINY
from tools.prune.bench import Bench
from tools.recipe import NM, Recipe, Structured
from tools.recipe.methods import method
from tools.text.windows import Windows

WAYS: dict[str, Callable[[], Recipe]] = {
    "weights": lambda: method("wanda", 0.5),
    "2:4": lambda: method("sparsegpt", 0.5, NM(n=2, m=4)),
    "depth": lambda: method("shortgpt", 0.25),
    "width": lambda: method("wanda_sp", 0.25, Structured(kind="width", multiple=4)),
    "experts": lambda: method("reap", 0.3),
}
Said = dict[str, Any]
"""`end` is one of ok, refused, crash, wrong, none (no experts); `why` the line; `reached` a share of the weights."""


@dataclass
class Fresh:
    """The process that knows nothing of the project."""

    process: subprocess.Popen[str]

    def says(self, folders: Sequence[Path]) -> list[str]:
        """What is wrong with each folder, or nothing."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if not folders:
            return []
        self.process.stdin.write("\t".join(map(str, folders)) + "\n")
        self.process.stdin.flush()
        return [self.process.stdout.readline().strip() for _ in folders]


@contextmanager
def fresh_process() -> Iterator[Fresh]:
    """Start it, in a folder of its own."""
    with tempfile.TemporaryDirectory() as home:
        outside = {"HF_HOME": home, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
        command = [sys.executable, "-P", str(Path(fresh.__file__))]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, cwd=home, env=outside, text=True, **pipes)
        try:
            yield Fresh(process)
        finally:
            process.kill()
            process.wait()


def tried(name: str, scratch: Path, other: Fresh, ways: Sequence[str] = tuple(WAYS)) -> Said:
    """Everything that there is to know about a family; whatever goes wrong is part of it."""
    try:
        network = build(name)
        _forward(network)
    except Exception as error:  # transformers' own, before the product is asked
        return {"family": name, "built": False, "why": _last(error)}
    found: Said = {"family": name, "built": True, "mixture": experts_of(network) > 0, "generates": _generates(network)}
    try:
        model = _opened(network, scratch / "dense")
    except Exception as error:
        said = _failed(error)
        return found | {"ways": dict.fromkeys(ways, said | {"why": said["why"].replace(f"{scratch}/", "")})}
    ends: Said = {}
    for way in ways:
        if way == "experts" and not found["mixture"]:
            ends[way] = {"end": "none", "why": ""}
        else:
            one = replace(model, network=copy.deepcopy(model.network))
            ends[way] = _pruned(way, one, _place(scratch, way), not found["generates"])
    done = [way for way, said in ends.items() if said["end"] == "ok"]
    for way, why in zip(done, other.says([_place(scratch, way) for way in done]), strict=True):
        ends[way] |= {"end": "wrong" if why else "ok", "why": why}
    return found | {"ways": ends}


def _place(scratch: Path, way: str) -> Path:
    return scratch / way.replace(":", "_")


def _generates(network: Any) -> str:
    """Why the dense model does not generate with a cache as it should: transformers' own affair."""
    try:
        return fresh.by_cache(network, IDS)
    except Exception as error:
        return _last(error)


def _opened(network: Any, folder: Path) -> Model:
    """As a person has it: from a folder, with a tokenizer."""
    network.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY / file, folder)
    return open_model(str(folder), cache=folder.parent)


def _pruned(way: str, model: Model, folder: Path, generates: bool) -> Said:
    """One way of pruning, from the recipe to a folder, with what a process that loads it shall find beside it."""
    before = {name: p.clone() for name, p in model.network.named_parameters()}
    recipe = WAYS[way]()
    said: Said = {}
    try:
        ids = torch.randint(8, VOCABULARY, (4, 32), generator=torch.Generator().manual_seed(0))
        bench = Bench(model, Windows(ids, "random", "random", "random", (0, 32, 64, 96)), None)
        bench.finish(recipe)
        said["reached"] = reached(model.network, before) if recipe.pattern.zeros else None
        if why := _wrong(bench, recipe, before):
            return said | {"end": "wrong", "why": why}
        result = bench.result()
        expected = {"ids": IDS, "logits": _forward(result.network).contiguous()}
        save_model(result, folder, recipe=recipe, card="")
        save_file(expected | ({"cached": torch.ones(1)} if generates else {}), folder.with_suffix(".safetensors"))
    except Exception as error:
        return said | _failed(error)
    return said | {"end": "ok", "why": ""}


def _wrong(bench: Bench, recipe: Recipe, before: Mapping[str, torch.Tensor]) -> str:
    """What a pruned model in memory is not, though it was said to be done."""
    network, result = bench.model.network, bench.result().network
    if recipe.pattern.zeros:
        return f"{name} was pruned or changed" if (name := touched(network, before)) else ""
    if not _size(result) < sum(p.numel() for p in before.values()):
        return "nothing became smaller"
    same = torch.allclose(_forward(result), _forward(network), atol=1e-3, rtol=1e-3)
    return "" if same else "the smaller model is not the one with zeros"


IDS = torch.arange(8, 40).reshape(2, 16)


def _forward(network: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = network(IDS, use_cache=False).logits
    if not logits.isfinite().all():
        raise ValueError("logits are not finite")
    return logits


def _size(network: Any) -> int:
    return sum(p.numel() for p in network.parameters())


def _failed(error: Exception) -> Said:
    """A refusal is one line of the product; anything else is a crash, where and what."""
    if isinstance(error, SecateurError) and error.__cause__ is None:
        return {"end": "refused", "why": str(error)}
    if isinstance(error, SecateurError):
        return {"end": "refused", "why": str(error), "cause": _last(error.__cause__)}
    return {"end": "crash", "why": _last(error)}


def _last(error: BaseException | None) -> str:
    """A traceback's last line, and where."""
    assert error is not None
    place = traceback.extract_tb(error.__traceback__)[-1]
    said = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {said} ({Path(place.filename).name}, line {place.lineno})"
