"""What a finished run came to, on a card, and what can be done from there: a step is a sentence to be said."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runs.fold.summary import Summary, describe
from runs.fold.words import number, short_time

FASTER = 1.4
"""Times as fast, where the next run shall be about speed."""

NUMBER = 6
"""Columns that the number of a step takes."""
CUT = 0.2
"""Share of what is left that a next run removes of a model that was made smaller."""


@dataclass(frozen=True)
class Step:
    """One thing to do next."""

    label: str
    sentence: str
    """What is said for it."""


def card(found: Summary) -> str:
    """What fell, what it cost, beside which references, size and speed, where the model is."""
    rows = [("fell", _fell(found)), ("quality", _quality(found)), ("", found.verdict), ("tasks", found.on_tasks)]
    rows += [
        ("design", found.stood_in),
        ("cost", _cost(found)),
        ("size, speed", found.gain if found.recipe is not None else ""),
    ]
    if found.output is not None:
        rows.append(("model", f"{found.output}   checked: {found.verified}"))
    return "\n".join(f"{label:<11} {text}" for label, text in rows if text)


def _fell(found: Summary) -> str:
    winner = found.winner
    if winner is None or found.recipe is None:
        return ""
    parts = [f"{100 * winner.sparsity:.1f} % by {winner.name}: {describe(found.recipe)}.", found.extent]
    return " ".join(part for part in parts if part)


def _quality(found: Summary) -> str:
    """The winner beside the dense model and the references: one protocol for all."""
    if found.winner is None or found.protocol is None:
        return ""
    others = ", ".join(f"{row.name} {number(row.perplexity)}" for row in found.table if row.role != "result")
    beside = f" beside {others}" if others else ""
    return f"perplexity {number(found.winner.perplexity)}{beside} ({found.protocol.text}: {found.protocol.read})"


def _cost(found: Summary) -> str:
    spent = found.spent
    parts = [f"{spent.candidates} candidates" if spent.candidates else "", short_time(60 * spent.minutes)]
    parts += [f"{spent.tokens:,} tokens" if spent.tokens else "", f"${spent.money:.2f}" if spent.money else ""]
    return ", ".join(part for part in parts if part)


def steps(found: Summary) -> list[Step]:
    """What can be done with the result; without one only what begins anew."""
    model = Path(found.goal.model)
    name = model.parent.name if model.name == "model" else model.name  # a result of an earlier run lies in a `model`
    anew = [
        Step("make it faster", f"make {found.goal.model} {FASTER} times faster"),
        Step("search on from here", "go on for ten more minutes"),
    ]
    if found.output is None:
        return anew
    return [
        Step("chat with it, the dense model beside", "chat with both"),
        Step("compare what both write", 'what do both write after "Once upon a time"?'),
        Step("evaluate it on tasks", "evaluate it on hellaswag, piqa and arc easy with 100 samples"),
        Step("measure how fast it is", "how fast is it?"),
        *anew,
        Step("start the next from here", f"prune the result further to {_further(found)}"),
        Step("recover it by a little training", "fine-tune it for 100 steps"),
        Step("export a folder (Hugging Face)", f"export it to ./{name}-pruned"),
        Step("export a GGUF (q8_0, q5_0 and q4_0 keep zeros)", f"export it as gguf q8_0 to ./{name}-pruned.gguf"),
        Step("export for vLLM", f"export it for vllm to ./{name}-vllm"),
        Step("upload it, private", "upload it"),
        Step("reproduce it", "reproduce it"),
        Step("read the report", "open the report"),
    ]


def _further(found: Summary) -> str:
    """How much of the result the next run could remove: half of the weights that are left of an unstructured one,
    where zeros count, and a fifth of a model that was cut."""
    sparsity = 0.0 if found.winner is None else found.winner.sparsity
    if found.recipe is None or found.recipe.pattern.zeros:
        return f"{50 * (1 + sparsity):.0f} %"
    return f"{100 * CUT:.0f} % {found.goal.pattern.option.partition('/')[0]}"


def numbered(found: Sequence[Step], width: int | None = None) -> str:
    """The steps as a list to choose from by number, for a terminal of that width."""
    room = width or shutil.get_terminal_size(fallback=(120, 24)).columns
    lines = [f"  {place:>2}  {line}" for place, line in enumerate(beside(found, room - NUMBER), 1)]
    return "\n".join(["What next? A number says its sentence:", *lines])


def beside(found: Sequence[Step], room: int) -> list[str]:
    """A line for each step: what it is for and its sentence beside it; where that does not fit, its sentence alone."""
    label = max((len(step.label) for step in found), default=0)
    lines = [f"{step.label:<{label}}   {step.sentence}" for step in found]
    return lines if all(len(line) <= room for line in lines) else [step.sentence for step in found]


def meant(text: str, found: Sequence[Step]) -> str:
    """The sentence of the step whose number was said; what is no such number stays as it is."""
    said = text.strip().rstrip(".)")
    return found[int(said) - 1].sentence if said.isdecimal() and 1 <= int(said) <= len(found) else text
