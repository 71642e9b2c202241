"""What can be pruned of every family of causal language models? Run by hand: python -m tests.benchmarks.families

A tiny random model of every class that the installed transformers has is pruned by single weights, 2:4 with OBS, depth,
width and experts, saved, and loaded by a process that this project is hidden from, which generates with a cache. What
was found is kept line by line in FILE and not asked again; docs/families.md is written from it. `--only NAME ...` asks
for some again. `--blocks` instead compares, for every family, blocks that run one at a time with whole forward passes
over six windows, and prints the largest difference.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.families import exact
from tests.families.table import written
from tests.families.trial import Fresh, Said, fresh_process, tried
from tools.io.files import file_aside

SECONDS = 120
"""For one family."""
ROOT = Path(__file__).parents[2]


def names() -> list[str]:
    """Every `model_type` with a causal language model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def in_fork(name: str, ask: Callable[[str, Path], Said]) -> Said:
    """What is found about a family by a fork of this process, which may crash or take too long.

    Args:
        ask: of its name and a folder for what it writes.
    """
    scratch, (reading, writing) = Path(tempfile.mkdtemp()), os.pipe()
    child = os.fork()
    if not child:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123  # transformers' warnings
        with os.fdopen(writing, "w") as out:
            json.dump(ask(name, scratch), out)
        os._exit(0)
    os.close(writing)
    said, end = b"", time.monotonic() + SECONDS
    while select.select([reading], [], [], max(0.0, end - time.monotonic()))[0]:
        if not (part := os.read(reading, 65536)):
            break
        said += part
    else:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    os.close(reading)
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        found: Said = json.loads(said)
    except ValueError:
        found = {"family": name, "built": True, "died": f"ends with {status} or takes more than {SECONDS} s"}
    return found


def asked(wanted: Sequence[str], file: Path) -> None:
    """Try these families one after another; each is a line of the file as soon as it is known."""
    with fresh_process() as other, tempfile.TemporaryDirectory() as scratch:
        tried("llama", Path(scratch), other)  # so that forks need not import and prepare what all of them need
    gc.freeze()
    left = list(wanted)
    while left:
        with fresh_process() as other:  # anew after a fork that was killed, whose question it may still answer
            while left:
                name = left.pop(0)
                found = _kept(name, other, file)
                if "died" in found:
                    break


def _kept(name: str, other: Fresh, file: Path) -> Said:
    """What is found about a family, which is a line of the file now."""
    import transformers

    start = time.monotonic()
    found = in_fork(name, partial(tried, other=other))
    line = found | {"transformers": transformers.__version__, "seconds": round(time.monotonic() - start, 1)}
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(line) + "\n")
    ends = {way: said["end"] for way, said in found.get("ways", {}).items()}
    print(f"{name:28} {ends or found.get('why') or found.get('died')}", flush=True)
    return found


def compare_blocks(wanted: Sequence[str]) -> int:
    """Print how far blocks that run one at a time are from whole passes; the number of families beyond the bound."""
    exact.said("llama")  # so that forks need not import
    gc.freeze()
    every = [in_fork(name, lambda name, scratch: exact.said(name)) for name in wanted]
    beyond = 0
    for found in sorted(every, key=lambda one: -one.get("difference", -1)):
        far = "died" in found or found.get("difference", 0) >= exact.BOUND
        beyond += far
        said = next((found[key] for key in ("refused", "why", "died") if key in found), "")
        told = said or f"{found['difference']:.2g} {found['where']}"
        print(f"{'FAR' if far else '':4} {found['family']:28} {told}", flush=True)
    known = [one for one in every if "difference" in one]
    print(f"{len(known)} of {len(every)} families were compared, {beyond} are beyond {exact.BOUND:g}")
    return beyond


def _worker(wanted: Sequence[str], file: Path) -> int:
    """A fork that works through some of the families; its id."""
    child = os.fork()
    if not child:
        asked(wanted, file)
        os._exit(0)
    return child


def known(file: Path, version: str) -> dict[str, Said]:
    """What a file holds of this version of transformers, the last line of every family."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    found = [json.loads(line) for line in lines]
    return {one["family"]: one for one in found if one["transformers"] == version}


def main() -> None:
    import torch
    import transformers

    parser = argparse.ArgumentParser(description="Prune a tiny model of every family.")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, help="families at a time")
    parser.add_argument("--file", type=Path, default=ROOT / ".families.jsonl")
    parser.add_argument("--table", type=Path, default=ROOT / "docs" / "families.md")
    parser.add_argument("--blocks", action="store_true", help="compare blocks with whole passes only")
    chosen = parser.parse_args()
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)  # a process that is forked from one with threads of its own may wait for them for ever
    if chosen.blocks:
        sys.exit(compare_blocks(chosen.only or names()) > 0)
    version = transformers.__version__
    done = known(chosen.file, version)
    wanted = chosen.only or [name for name in names() if name not in done]
    workers = [_worker(wanted[i :: chosen.jobs], chosen.file) for i in range(1, chosen.jobs)]
    asked(wanted[:: chosen.jobs], chosen.file)
    for worker in workers:
        os.waitpid(worker, 0)
    chosen.table.parent.mkdir(exist_ok=True)
    with file_aside(chosen.table) as page:
        page.write_text(written([one for _, one in sorted(known(chosen.file, version).items())], version), "utf-8")


if __name__ == "__main__":
    main()
