"""Measure again what a reproduction file says, and compare.

No run, no journal and no number or statistic that was kept: everything is computed from the model and the texts, in the
way of the end of a run (`agent.nodes.deliver`). Where one of the two is not what it was, nothing is measured.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from agent.identity import changed_in
from runs.reproduction import Asked, Machine, Measured, Reproduction, Text
from tools.io.errors import SecateurError
from tools.io.files import sha256
from tools.model.hub import tokenizer_sha256

if TYPE_CHECKING:
    from tools.measure.tasks.process import Harness
    from tools.model.checkpoint import Model, Reader
    from tools.prune.bench import Bench
    from tools.text.sources import Part
    from tools.text.windows import Windows

SPARSITY = 1e-4
"""Absolute."""
PERPLEXITY, IN_HALF = 1e-3, 1e-2
"""Relative; the second in float16 and bfloat16, whose sums keep two or three digits."""
SCORE = 5e-3
"""Absolute, of a task: an answer that is a near tie may turn."""

Kind = Literal["absolute", "relative", "of one"]
"""`of one`: absolute for shares, relative for what is larger."""
Verdict = Literal["the same to the last digit", "the same within tolerance", "differs"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True)
class Number:
    """A number of one row, then and now."""

    row: str
    name: str
    expected: float
    found: float
    verdict: Verdict


@dataclass(frozen=True)
class Reproduced:
    """What came out."""

    numbers: tuple[Number, ...]
    differs_from: Mapping[str, tuple[str, str]]
    """What else is not as it was, a likely reason where numbers differ: what -> then, now."""

    @property
    def same(self) -> bool:
        """Whether no number differs by more than it may."""
        return all(number.verdict != "differs" for number in self.numbers)

    def count(self, verdict: Verdict) -> int:
        """How many numbers got that verdict."""
        return sum(number.verdict == verdict for number in self.numbers)


def tolerance(name: str, dtype: str) -> tuple[float, Kind]:
    """How far a number may be from what it was and still count as the same."""
    if name == "sparsity":
        return SPARSITY, "absolute"
    if name != "perplexity":
        return SCORE, "of one"
    return PERPLEXITY if dtype == "float32" else IN_HALF, "relative"


def judged(name: str, expected: float, found: float, dtype: str) -> Verdict:
    """Whether a number came out the same; nothing but infinity is near infinity."""
    if expected == found:
        return "the same to the last digit"
    allowed, kind = tolerance(name, dtype)
    scale = {"absolute": 1.0, "relative": expected, "of one": max(1.0, expected)}[kind]
    apart = abs(expected - found) / scale
    return "the same within tolerance" if apart <= allowed else "differs"


def reproduce(
    file: Reproduction,
    *,
    cache: Path,
    device: str | None = None,
    threads: int | None = None,
    listen: Callable[[Measured, Measured], None] = lambda expected, found: None,
) -> Reproduced:
    """Measure every row of the file again, in its order, with its number of threads.

    Args:
        cache: models that were fetched or converted lie there; nothing else of it is read.
        device, threads: in place of the file's.
        listen: is told of every row as it was and as it is now.

    Raises:
        SecateurError: model or text are not what they were, or a row cannot be measured; the line names it.
    """
    import torch

    from tools.model.checkpoint import open_model

    if (count := threads or file.machine.threads) is not None:
        torch.set_num_threads(count)
    parts = _texts(file, _reader(file, cache))
    model = open_model(file.model.name, cache=cache, dtype=file.model.dtype, device=device or file.machine.device)
    bench = _bench(file, model, parts["calibration"])
    numbers: list[Number] = []
    with _examined(file.tasks) as harness:
        for row in file.rows:
            found = _measured(row, bench, parts["test"])
            if harness is not None and file.tasks is not None:
                found = found.model_copy(update={"scores": _scores(row, bench, harness, file.tasks)})
            listen(row, found)
            for name, value in found.numbers.items():
                then = row.numbers[name]
                numbers.append(Number(row.name, name, then, value, judged(name, then, value, file.model.dtype)))
    return Reproduced(tuple(numbers), _differs(file, model.device))


@contextmanager
def _examined(asked: Asked | None) -> Iterator[Harness | None]:
    """lm-eval with the file's tasks, where it has some."""
    from tools.measure.tasks.process import Harness

    if asked is None:
        yield None
        return
    with Harness(asked.plan) as harness:
        yield harness


def _scores(row: Measured, bench: Bench, harness: Harness, asked: Asked) -> dict[str, float]:
    """What the resident model, in the form of a row, answers now."""
    from tools.measure.tasks.evaluate import evaluate, resident

    with _named(row):
        subject = replace(resident(bench.model), open=bench.result)
        found = evaluate(harness, subject, cache=None, batch_tokens=asked.batch_tokens).tasks
    now = {name: of.version for name, of in found.items()}
    if changed := sorted(name for name in now | asked.versions if now.get(name) != asked.versions.get(name)):
        raise SecateurError(
            f"the tasks are not what they were ({', '.join(changed)}): their scores could not be those of the file"
        )
    return {name: of.value for name, of in found.items()}


def _reader(file: Reproduction, cache: Path) -> Reader:
    """What cuts the texts, of a model that is what it was; told before any weights are read."""
    from tools.model.checkpoint import fingerprint, locate, open_reader

    folder, was = locate(file.model.name, cache), file.model
    now = was.model_copy(
        update={
            "fingerprint": fingerprint(folder),
            "configuration": sha256(folder / "config.json"),
            "tokenizer": tokenizer_sha256(folder),
        }
    )
    if changed := changed_in(was, now, folder):
        raise _refused(f"{was.name} is not what it was ({', '.join(changed)})")
    return open_reader(was.name, cache)


def _texts(file: Reproduction, reader: Reader) -> dict[Part, Windows]:
    """Both texts at once: a local file that is read for both is dealt between them as it was."""
    from tools.text.windows import Wanted, texts

    asked: dict[Part, Text] = {"calibration": file.calibration, "test": file.test}
    found = texts(reader, {part: Wanted(of.source, of.windows, of.length, of.seed) for part, of in asked.items()})
    if changed := [part for part, of in asked.items() if found[part].sha256 != of.sha256]:
        named = ", ".join(f"{part}: {asked[part].source}" for part in changed)
        raise _refused(f"the text is not what it was ({named})")
    return found


def _refused(what: str) -> SecateurError:
    return SecateurError(f"{what}: its numbers could not be those of the file, so nothing was measured")


def _differs(file: Reproduction, device: str) -> dict[str, tuple[str, str]]:
    import torch

    from tools.io.hardware import hardware_of

    now = Machine(device=device, hardware=hardware_of(device), threads=torch.get_num_threads())
    pairs = {
        "secateur": (file.program, _version("secateur")),
        **{name: (of, _version(name)) for name, of in file.libraries.items()},
        **{name: (str(of), str(getattr(now, name))) for name, of in file.machine.model_dump().items()},
    }
    return {name: (then, is_now) for name, (then, is_now) in pairs.items() if then not in (is_now, "", "None")}


def _version(name: str) -> str:
    if name == "python":
        return platform.python_version()
    try:
        return version(name)
    except (PackageNotFoundError, ValueError):
        return "none"


def _bench(file: Reproduction, model: Model, calibration: Windows) -> Bench:
    from tools.prune.bench import Bench
    from tools.prune.metric import needs_of
    from tools.prune.structures.seconds import Seconds

    needs: frozenset[str] = frozenset()
    for row in file.rows:
        if row.recipe is not None:
            with _named(row):
                needs |= needs_of(row.recipe)
    seconds = None if file.times is None else Seconds.model_validate(file.times.model_dump())
    return Bench(model, calibration, None, None, needs, seconds)


def _measured(row: Measured, bench: Bench, test: Windows) -> Measured:
    with _named(row):
        if row.recipe is None:
            bench.restore()
        else:
            bench.finish(row.recipe)
        found = bench.perplexity(test, "dense" if row.recipe is None else "propagated")
    return row.model_copy(update={"perplexity": found.value, "sparsity": found.sparsity, "tokens": found.tokens})


@contextmanager
def _named(row: Measured) -> Iterator[None]:
    """Say which row it was that failed."""
    try:
        yield
    except SecateurError as error:
        raise SecateurError(f"{row.name} cannot be measured again: {error}") from error
