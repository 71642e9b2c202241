"""What a designer says and a run notes, made up in the amounts that benchmarks of the app need."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from runs.candidate import Candidate
from runs.events import (
    Answered,
    Asked,
    CandidateMeasured,
    CandidateProposed,
    CandidateRejected,
    Event,
    Progress,
    ReferenceMeasured,
    RunStarted,
    Said,
    Selected,
    Spoke,
    Stage,
    SurveyDone,
    Thought,
    ToolUsed,
)
from runs.goal import Goal
from runs.journal import Journal, encode
from runs.messages import Message
from tools.recipe import Allocation, Recipe
from tools.recipe.measurement import Measurement, Protocol

PIECE_SECONDS = 0.25
"""How often the engine notes what the designer's LLM said since the last piece."""
TOKENS_PER_SECOND = 50
PIECES = 60
"""Pieces of one answer."""
THINKING = 20
"""How many of them are reasoning."""
BLOCKS = 30
PROPOSALS = 5
"""Candidates of a generation, which is one answer."""

_PROSE = """
Block 0 is far more skewed (2.23) than the rest (1.3 to 1.8), so sparing it is worth a try. In c-11 and c-14 that bought
three points; c-12 tried the opposite and lost eleven.

- keep the direction, **widen** it, and see whether the activations of block 7 still carry it
- `sqr(W) * D` where D is flat, and a mild term of X elsewhere
- nothing that divides by a row sum: c-9 fell for it

What the measurements do *not* say is whether the gain survives the update of the weights that stay. The next generation
has one candidate for each of these and one that contradicts all three.
"""


def tokens() -> Iterator[str]:
    """Words with the space before them, about one token each, for ever."""
    return itertools.cycle(word + " " if word.strip() else "\n\n" for word in _PROSE.replace("\n\n", " \n ").split(" "))


def _pieces(words: Iterator[str]) -> Iterator[str]:
    """What is said in PIECE_SECONDS: 12 and 13 tokens in turns at 50 a second."""
    said = 0.0
    for count in itertools.count(1):
        due = round(count * PIECE_SECONDS * TOKENS_PER_SECOND)
        yield "".join(itertools.islice(words, due - round(said)))
        said = due


def _speech(call: str, pieces: Iterator[str]) -> tuple[list[Spoke], Answered]:
    """One answer: its pieces, reasoning first, and the whole."""
    spoken = [Spoke(call=call, text=next(pieces), thinking=n < THINKING) for n in range(PIECES)]
    whole = {kind: "".join(piece.text for piece in spoken if piece.thinking is kind) for kind in (True, False)}
    tokens = round(PIECES * PIECE_SECONDS * TOKENS_PER_SECOND)
    seconds = PIECES * PIECE_SECONDS
    return spoken, Answered(
        call=call, text=whole[False], thinking=whole[True], tokens_in=2000, tokens_out=tokens, seconds=seconds
    )


def speak(path: Path) -> None:
    """Append to a journal what a designer says at TOKENS_PER_SECOND, as the engine does, until the process is ended."""
    journal, pieces = Journal(path), _pieces(tokens())
    due = time.monotonic()
    for number in itertools.count():
        call = f"{number}/benchmark/1"
        journal.append(Asked(call=call, model="benchmark", messages=(Message(role="human", text="Go on."),)))
        spoken, answer = _speech(call, pieces)
        for piece in spoken:
            due += PIECE_SECONDS
            time.sleep(max(0.0, due - time.monotonic()))
            journal.append(piece)
        journal.append(answer)


def write(path: Path, run: str, goal: Goal, events: int, last: str) -> None:
    """A journal of so many events, the last of which a person says: three of five events are pieces of speech."""
    story = itertools.chain(_opening(run, goal), _generations())
    begun = datetime.now(UTC) - timedelta(seconds=events * PIECE_SECONDS)
    with path.open("wb") as file:
        for number, event in enumerate(itertools.islice(story, events - 1)):
            at = begun + timedelta(seconds=number * PIECE_SECONDS)
            file.write(encode(event.model_copy(update={"at": at})) + b"\n")
        file.write(encode(Said(text=last)) + b"\n")


def _opening(run: str, goal: Goal) -> Iterator[Event]:
    yield RunStarted(run=run, goal=goal, versions={}, host="alpha", pid=1)
    yield Stage(name="model")
    skew = tuple(1.3 + 1 / (1 + n) for n in range(BLOCKS))
    units = dict.fromkeys(("skew", "kurtosis", "outliers", "redundancy", "size"), skew)
    yield SurveyDone(
        parameters=134_515_008, blocks=BLOCKS, fingerprint="f00d", dtype="float32", seconds=4.8, units=units
    )
    yield Stage(name="references")
    yield ReferenceMeasured(name="dense", recipe=None, measurement=_measured(0.0, 2048))
    yield ReferenceMeasured(name="wanda", recipe=_recipe(1), measurement=_measured(0.52, 2048))
    yield Stage(name="search", total=100_000)


def _generations() -> Iterator[Event]:
    """A hundred events each: 60 pieces of speech, 20 steps, 6 measurements, 5 proposals, 4 uses of tools, 5 others."""
    pieces = _pieces(tokens())
    for generation in itertools.count():
        call, first = f"{generation}/design/1", generation * PROPOSALS + 1
        ids = [f"c-{first + n}" for n in range(PROPOSALS)]
        yield Asked(call=call, model="benchmark", messages=(Message(role="human", text=_PROSE),))
        spoken, answer = _speech(call, pieces)
        yield from spoken
        yield answer
        for kind in ("skew", "outliers", "redundancy", "size"):
            result = " ".join(f"{1 + n / 7:.2f}" for n in range(BLOCKS))
            arguments = f'{{"name": "{kind}", "first": {generation}}}'
            yield ToolUsed(
                name="layer_statistics", arguments=arguments, result=result, seconds=0.2, generation=generation
            )
        yield Thought(id=f"t-{generation + 1}", kind="lesson", text="Sparing block 0 pays.", about=(ids[0],))
        for n, name in enumerate(ids):
            yield _proposed(name, first + n, generation)
        for n, name in enumerate(ids):
            yield from (Progress(stage="search", done=first + n, total=100_000) for _ in range(4))
            yield from _judged(name, first + n)
        yield CandidateMeasured(
            candidate_id=ids[0], recipe_id=_recipe(first).id, measurement=_measured(_value(first), 16384)
        )
        yield CandidateRejected(candidate_id=ids[1], reason="nothing new: like c-1", stage="screen")
        yield Selected(generation=generation, population=tuple(ids[:3]), best=ids[0])


def _proposed(name: str, number: int, generation: int) -> Event:
    why = "The activations of block 0 are skewed, so it keeps more; the others share what is left."
    parents = (f"c-{number - PROPOSALS}",) if generation else ()
    return CandidateProposed(
        candidate=Candidate(
            id=name, recipe=_recipe(number), parents=parents, operator="design", why=why, generation=generation
        )
    )


def _judged(name: str, number: int) -> Iterator[Event]:
    rates = tuple(0.35 + 0.3 * n / BLOCKS for n in range(BLOCKS))
    measured = _measured(_value(number), 2048)
    yield CandidateMeasured(candidate_id=name, recipe_id=_recipe(number).id, measurement=measured, rates=rates)


def _recipe(number: int) -> Recipe:
    allocation = Allocation(expression="z(skew)", width=0.08)
    return Recipe(sparsity=0.5, metric=f"sqr(W) * D * (1 + {number / 1000:g} * X)", allocation=allocation)


def _value(number: int) -> float:
    """Falls slowly, with ups and downs."""
    return 0.4 + 0.2 / (1 + number / 500) + 0.01 * (number % 7)


def _measured(value: float, tokens: int) -> Measurement:
    protocol = Protocol(
        text="builtin/search",
        text_sha256="0" * 64,
        windows=4,
        length=512,
        dtype="float32",
        device="cpu",
        model="f00d",
        form="dense statistics",
        libraries={"torch": "2", "transformers": "5"},
    )
    return Measurement(kind="divergence", value=value, tokens=tokens, sparsity=0.5, seconds=1.2, protocol=protocol)
