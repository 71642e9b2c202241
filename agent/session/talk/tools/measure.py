"""Measuring what a model is worth, beside the model that it came from."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from agent.session.talk.examiner import Examiner
from agent.session.talk.session import Session
from agent.session.talk.tools.subjects import called, priced, reading, subjects, writing
from agent.session.talk.tools.tool import Group, SessionTool
from runs.fold.summary import Summary, summary
from runs.fold.words import number
from tools.io.errors import UsageError
from tools.io.files import expanded

NEW = 64
"""Tokens that are written after each prompt, where nobody says how many."""
MODELS = Field(
    default=(),
    max_length=2,
    description="As said, or `result` and `dense`; empty for the result of the run beside the dense model.",
)


class EvaluateTasks(SessionTool):
    """How good a model is on tasks such as HellaSwag, by having it answer them beside the model it came from."""

    group: ClassVar[Group] = "measure"

    tasks: tuple[str, ...] = Field(
        min_length=1,
        max_length=20,
        description="Names of lm-eval: hellaswag, piqa, arc_easy, mmlu, gsm8k; commonsense is the seven of the papers.",
    )
    model: str = Field(default="", max_length=300, description="As said; empty for the result of the run.")
    samples: int | None = Field(default=None, ge=1, description="Of every task.")
    all_samples: bool = Field(default=False, description="Whether all samples are asked for.")

    def plan(self, session: Session) -> str:
        """What would be asked, and minutes; nothing where the run's own table answers."""
        if self._known(session):
            return ""
        plan, costs = self._examiner(session).plan()
        return plan if costs else ""

    def work(self, session: Session) -> str:
        """The run's own table, or what the models answer now."""
        return self._known(session) or self._examiner(session).answer()

    def _known(self, session: Session) -> str:
        return "" if session.run is None else self._examiner(session).known(session.history())

    def _examiner(self, session: Session) -> Examiner:
        return Examiner(session, self.tasks, self.model, self.samples, every=self.all_samples)


class Perplexity(SessionTool):
    """Measure the perplexity of one model, or of two on the same text. With nothing named, the run's own table answers
    for its result, the references and the dense model."""

    group: ClassVar[Group] = "measure"

    models: tuple[str, ...] = MODELS
    text: str = Field(default="", max_length=300, description="builtin, wikitext2, c4, or a .txt or .jsonl file.")
    windows: int | None = Field(default=None, ge=1, description="Of the text.")
    length: int | None = Field(default=None, ge=8, description="Tokens of a window.")

    def plan(self, session: Session) -> str:
        """What is read and how long it takes; a text or a model that is not there is refused."""
        if self._known(session):
            return ""
        text, models = self._text(session), subjects(session, self.models)
        windows, length = self._size(session)
        who = " and ".join(called(session, model) for model in models)
        doing = f"perplexity of {who} on {windows} windows of {length} tokens of {text}"
        return priced(session, doing, models, windows * length, reading)

    def work(self, session: Session) -> str:
        """The run's own table, or measured now."""
        if known := self._known(session):
            return known
        windows, length = self._size(session)
        more = ["--text", self._text(session), "--windows", str(windows), "--length", str(length)]
        found, models = _evaluated(session, self.models, more)
        lines = [_perplexity(session, models[0], found)]
        if beside := found.get("against"):
            lines += [_perplexity(session, models[1], beside), f"That is {number(found['ratio'])} times as much."]
        return "\n".join(lines)

    def _known(self, session: Session) -> str:
        if self.models or self.text or self.windows or self.length:
            return ""
        found = _summary(session)
        if found is None or found.winner is None or found.protocol is None:
            return ""
        protocol = found.protocol
        rows = [f"  {row.name} ({row.role}): perplexity {number(row.perplexity)}" for row in found.table]
        head = f"From the table of run {found.run}, on {protocol.text}, {protocol.read}:"
        return "\n".join([head, *rows])

    def _size(self, session: Session) -> tuple[int, int]:
        values = session.settings.values
        return self.windows or values.test_windows, self.length or values.test_length

    def _text(self, session: Session) -> str:
        from tools.text.sources import SOURCES

        text = self.text or ("builtin" if session.run is None else session.run.goal.test_text)
        if text not in SOURCES and not expanded(text).is_file():
            raise UsageError(f"{text} is no text here: give {', '.join(SOURCES)}, or a .txt or .jsonl file that exists")
        return text if text in SOURCES else str(expanded(text))


class Generations(SessionTool):
    """Show what models write after the same prompts, side by side: the result of the run beside the dense model, or the
    models that are named."""

    group: ClassVar[Group] = "measure"

    prompts: tuple[str, ...] = Field(
        default=(), max_length=8, description="First words of texts; empty for those that the run kept."
    )
    models: tuple[str, ...] = MODELS
    new: int | None = Field(default=None, ge=1, le=512, description="Tokens that each writes at most.")

    def plan(self, session: Session) -> str:
        """How long it takes; nothing where the run kept texts."""
        if self._kept(session):
            return ""
        models, prompts = subjects(session, self.models), self._prompts()
        tokens = len(prompts) * (self.new or NEW)
        who = " and ".join(called(session, model) for model in models)
        doing = f"{who} continue {len(prompts)} prompts by at most {self.new or NEW} tokens each"
        return priced(session, doing, models, tokens, writing)

    def work(self, session: Session) -> str:
        """Texts that the run kept, or new ones."""
        if kept := self._kept(session):
            return kept
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "prompts.jsonl"
            file.write_text("".join(json.dumps({"prompt": one}) + "\n" for one in self._prompts()), encoding="utf-8")
            found, models = _evaluated(session, self.models, ["--generate", str(file), "--new", str(self.new or NEW)])
        columns = [found, *([found["against"]] if "against" in found else [])]
        names = [called(session, model) for model in models]
        texts = [[one["text"] for one in column["prompts"]] for column in columns]
        return _side_by_side(self._prompts(), names, texts)

    def _prompts(self) -> tuple[str, ...]:
        prompts = tuple(prompt for prompt in self.prompts if prompt.strip())
        if not prompts:
            raise UsageError("After which words shall they write? Give a prompt or several.")
        return prompts

    def _kept(self, session: Session) -> str:
        found = None if self.prompts or self.models or self.new else _summary(session)
        if found is None or not found.sides:
            return ""
        prompts = [dense.prompt for dense, _ in found.sides]
        texts = [[dense.text for dense, _ in found.sides], [ours.text for _, ours in found.sides]]
        told = _side_by_side(prompts, ["dense", f"the result of {found.run}"], texts)
        return f"Kept by run {found.run}, after the first words of test windows:\n{told}"


class Speed(SessionTool):
    """Measure speed and size of one model, or of two in turn: reading a prompt, writing tokens, bytes on disk. With
    nothing named, what the run measured of its result answers."""

    group: ClassVar[Group] = "measure"

    models: tuple[str, ...] = MODELS
    batch: int | None = Field(default=None, ge=1, description="Sequences at a time.")
    prompt: int | None = Field(default=None, ge=1, description="Tokens of each prompt.")
    new: int | None = Field(default=None, ge=1, description="Tokens that are written after it.")

    def plan(self, session: Session) -> str:
        """What is timed and how long it takes; nothing where the run measured it."""
        if self._known(session):
            return ""
        models = subjects(session, self.models)
        timing = self._timing(session, models)
        rounds = timing.repeats + 1
        tokens = rounds * sum(timing.batches) * (timing.prompt + timing.new)
        who = " and ".join(called(session, model) for model in models)
        doing = f"{who} read {timing.prompt} tokens and write {timing.new} in {rounds} rounds"
        return priced(session, doing, models, tokens, writing)

    def work(self, session: Session) -> str:
        """What the run measured, or measured now."""
        if known := self._known(session):
            return known
        given = self._timing(session, subjects(session, self.models))
        more = ["--batch", ",".join(map(str, given.batches)), "--prompt", str(given.prompt), "--new", str(given.new)]
        found, models = _evaluated(session, self.models, ["--latency", *more])
        lines = [line for model, of in zip(models, found["models"], strict=True) for line in _speed(session, model, of)]
        for ratio in found.get("speedup", ()):
            told = [f"{name} {ratio[name]['median']:.2f} times as fast" for name in ("prefill", "decode")]
            lines.append(f"batch {ratio['batch']}: the first is {', '.join(told)} (median of rounds)")
        said = found["protocol"]
        return "\n".join(
            [*lines, f"Median of {said['repeats']} rounds on {said['hardware']}, {said['threads']} threads."]
        )

    def _known(self, session: Session) -> str:
        found = None if self.models or self.batch or self.prompt or self.new else _summary(session)
        if found is None or found.speed is None:
            return ""
        return f"Measured by run {found.run}: its result is {found.gain}"

    def _timing(self, session: Session, models: Sequence[str]) -> Any:
        """What was said; a prompt that nobody named is as long as all models take."""
        from tools.measure.speed import Timing

        given = {name: value for name in ("prompt", "new") if (value := getattr(self, name)) is not None}
        timing = Timing(batches=(self.batch or 1,), **given)
        room = min((count for model in models if (count := _positions(session, model))), default=0)
        if self.prompt is not None or not timing.new < room < timing.prompt + timing.new:
            return timing
        return timing.model_copy(update={"prompt": room - timing.new})


def _positions(session: Session, model: str) -> int | None:
    """How many tokens a model takes at a time; None where nothing tells it."""
    from tools.model.checkpoint import local_folder, outline
    from tools.model.positions import positions

    folder = local_folder(model, session.settings.cache)
    found = None if folder is None else positions(outline(model, folder).network.config)
    return None if found is None else found.count


def _summary(session: Session) -> Summary | None:
    """Of the run that is talked about; None without one, or where it has not started."""
    history = session.history()
    return None if history.goal is None else summary(history)


def _evaluated(session: Session, named: tuple[str, ...], more: list[str]) -> tuple[Any, list[str]]:
    """What `secateur evaluate --json` prints of one model or two, and which they are."""
    models = subjects(session, named)
    against = [part for other in models[1:] for part in ("--against", other)]
    return session.command("evaluate", models[0], *against, *more, *session.machine), models


def _perplexity(session: Session, model: str, found: dict[str, Any]) -> str:
    said = found["protocol"]
    read = f"{said['windows']} windows of {said['length']} tokens of {said['text']}"
    return f"{called(session, model)}: perplexity {number(found['perplexity'])} ({read}, {said['dtype']})"


def _speed(session: Session, model: str, of: dict[str, Any]) -> list[str]:
    size = f"{of['parameters']:,} parameters, {of['blocks']} blocks, {of['disk_bytes'] / 1e6:,.1f} MB on disk"
    times = [
        f"  batch {one['batch']}: reads {one['prefill_tokens_per_second']:,.0f} tokens/s, "
        f"writes {one['decode_tokens_per_second']:,.1f} tokens/s, peak memory {one['peak_bytes'] / 2**20:,.0f} MiB"
        for one in of["times"]
    ]
    return [f"{called(session, model)}: {size}", *times]


def _side_by_side(prompts: Any, names: list[str], texts: list[list[str]]) -> str:
    """Every prompt, and below it what each model wrote."""
    lines: list[str] = []
    for number_, (prompt, *written) in enumerate(zip(prompts, *texts, strict=True), start=1):
        lines.append(f"prompt {number_}: {' '.join(prompt.split())}")
        lines += [
            f"  {name}: {' '.join(text.split()) or '(nothing)'}" for name, text in zip(names, written, strict=True)
        ]
        lines += ["  They are the same."] if len(written) == 2 and written[0] == written[1] else []
    return "\n".join(lines)
