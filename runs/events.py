"""Events: what happens in a run, one frozen class each, one discriminated union on `event`.

Every event is one line of the journal. Readers skip kinds they do not know and ignore fields they do not know, so an
older program reads a newer journal.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from runs.candidate import Candidate, PastCandidate, Text
from runs.goal import Goal
from runs.messages import Message, ToolCall
from runs.plain import plain
from tools.measure.continuation import Continuation
from tools.measure.tasks.scores import TaskScores
from tools.prune.reach import Reach
from tools.recipe import Recipe, Request
from tools.recipe.measurement import Measurement


def _now() -> datetime:
    return datetime.now(UTC)


class Happened(BaseModel):
    """What all events share: when it was, in UTC."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: datetime = Field(default_factory=_now)


class RunStarted(Happened):
    """An engine took the run up: for the first time, or again after an interruption."""

    event: Literal["run_started"] = "run_started"
    run: str
    goal: Goal
    versions: dict[str, str]
    host: str
    pid: int
    hardware: str = ""
    """What the CPU or GPU is called that this engine computes on; empty where that was not noted."""
    threads: int | None = None
    """CPU threads that it computes with."""


class Stage(Happened):
    """What is running now; `total` steps where they can be counted."""

    event: Literal["stage"] = "stage"
    name: str
    detail: Text = ""
    total: int | None = None


class Progress(Happened):
    """`done` of `total` steps of the stage called `stage`."""

    event: Literal["progress"] = "progress"
    stage: str
    done: int
    total: int


class SurveyDone(Happened):
    """The model was opened and its statistics were taken."""

    event: Literal["survey_done"] = "survey_done"
    parameters: int
    blocks: int
    fingerprint: str
    dtype: str
    seconds: float
    units: dict[str, tuple[float, ...]]
    """One value per block of each statistic: `skew`, `kurtosis`, `outliers`, `redundancy`, `size` (weights)."""
    reach: Reach | None = None
    """How much of the model the run's pattern can remove; None in runs of before it was noted."""
    configuration: str = ""
    """SHA-256 of config.json; with the fingerprint it tells changed weights from a changed configuration."""
    tokenizer: str = ""
    """SHA-256 of the tokenizer's files."""
    texts: dict[str, str] = Field(default_factory=dict)
    """Part of the text -> SHA-256 of the token ids that are read of it."""


class Timed(Happened):
    """What layers cost on the machine that the run began on: times are never the same twice, and what a recipe comes
    to follows from them."""

    event: Literal["timed"] = "timed"
    request: Request
    attention: dict[int, float]
    """Head groups -> seconds."""
    mlp: dict[int, float]
    """Neurons -> seconds."""
    whole: float
    """Seconds of the dense model."""


class Recalled(Happened):
    """What memory knew about similar models, best first."""

    event: Literal["recalled"] = "recalled"
    entries: tuple[PastCandidate, ...]


class ReferenceMeasured(Happened):
    """A reference was measured on the search or selection text; the dense model has no recipe."""

    event: Literal["reference_measured"] = "reference_measured"
    name: str
    recipe: Recipe | None
    measurement: Measurement


class CandidateProposed(Happened):
    """A candidate came into the world."""

    event: Literal["candidate_proposed"] = "candidate_proposed"
    candidate: Candidate


class CandidateRejected(Happened):
    """A candidate fell before it had a number: screened out for nothing, or failed while it was measured."""

    event: Literal["candidate_rejected"] = "candidate_rejected"
    candidate_id: str
    reason: Text
    stage: Literal["screen", "measure"] = "screen"


class CandidateMeasured(Happened):
    """A candidate was measured; one that climbs the cascade is measured again on more tokens."""

    event: Literal["candidate_measured"] = "candidate_measured"
    candidate_id: str
    recipe_id: str
    measurement: Measurement
    rates: tuple[float, ...] = ()
    """Sparsity of every block; none where the pattern prescribes it."""


class Selected(Happened):
    """A generation ended: who lives on, and who leads."""

    event: Literal["selected"] = "selected"
    generation: int
    population: tuple[str, ...]
    best: str | None


class Thought(Happened):
    """A thought of the designer: a node of the thought graph."""

    event: Literal["thought"] = "thought"
    id: str = ""
    """`t-3`, counted up within the run."""
    kind: str
    """`observation`, `hypothesis` or `lesson`."""
    text: Text
    about: tuple[str, ...] = ()
    """Ids of candidates and thoughts that it is drawn from."""
    supports: tuple[str, ...] = ()
    contradicts: tuple[str, ...] = ()
    topic: str = ""
    """What a lesson is on; a later one on the same topic replaces it."""
    generation: int | None = None
    """The generation whose design it leads to."""


class Likened(Happened):
    """How alike a candidate's metric ranks a fixed probe of the model's weights to those of earlier candidates."""

    event: Literal["likened"] = "likened"
    candidate_id: str
    correlations: dict[str, float]
    """Earlier candidate -> Spearman correlation."""


class Asked(Happened):
    """The designer's LLM is asked; `messages` are those that the call before it in the conversation did not have."""

    event: Literal["asked"] = "asked"
    call: str
    """`3/design/2`: generation, what for, number within the conversation."""
    model: str
    messages: tuple[Message, ...]
    tools: tuple[str, ...] = ()


class Spoke(Happened):
    """A piece of what the LLM is saying, while it says it."""

    event: Literal["spoke"] = "spoke"
    call: str
    text: Text
    thinking: bool = False
    """Reasoning that is not part of the answer."""


class Answered(Happened):
    """The LLM's whole answer and what it used: tokens read and written, US dollars."""

    event: Literal["answered"] = "answered"
    call: str
    text: Text = ""
    thinking: Text = ""
    calls: tuple[ToolCall, ...] = ()
    tokens_in: int = 0
    tokens_out: int = 0
    money: float = 0.0
    seconds: float = 0.0
    problem: Text = ""
    """Why there is no answer, where the call failed for good."""


class ToolUsed(Happened):
    """The designer used a tool of its own."""

    event: Literal["tool_used"] = "tool_used"
    name: str
    arguments: Text
    """JSON."""
    result: Text
    seconds: float
    generation: int


class Chosen(Happened):
    """Of several designers, who holds a conversation of a design step."""

    event: Literal["chosen"] = "chosen"
    topic: str
    """The conversation: `3/design`, `3/design-2`."""
    designer: str
    wanted: int = 1
    """Candidates that it is asked for."""
    why: Text = ""


class Extended(Happened):
    """The person wants more: so many candidates or minutes beyond what is spent. Where one is named, the other is
    not limited any more; limits of tokens and money stay."""

    event: Literal["extended"] = "extended"
    candidates: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)


class FinalMeasured(Happened):
    """The dense model, a reference or the winner was measured on the held-out text.

    The winner carries its candidate id, or the name of the method that was asked for, as its name.
    """

    event: Literal["final_measured"] = "final_measured"
    name: str
    recipe: Recipe | None
    measurement: Measurement
    sparsities: dict[str, float] = Field(default_factory=dict)
    """Measured share of zeros of every prunable projection, in forward order."""


class TasksAnswered(Happened):
    """The dense model, a reference, a finalist or the winner answered tasks; `scores` says which part of them.

    The name is that of `FinalMeasured`, or a finalist's where the judging part was answered.
    """

    event: Literal["tasks_answered"] = "tasks_answered"
    name: str
    recipe: Recipe | None
    scores: TaskScores


class Saved(Happened):
    """The pruned model is on disk; `verified` says what was checked after reloading it."""

    event: Literal["saved"] = "saved"
    folder: str
    verified: str


class SpeedMeasured(Happened):
    """How fast the saved model is beside the dense one, measured in turn on this machine."""

    event: Literal["speed_measured"] = "speed_measured"
    request: Request
    dense_seconds: float
    """Of the whole request, median."""
    seconds: float
    hardware: str
    threads: int

    @property
    def speedup(self) -> float:
        """How many times faster the saved model is."""
        return self.dense_seconds / self.seconds


def _plain(found: Continuation) -> Continuation:
    return found.model_copy(update={"prompt": plain(found.prompt), "text": plain(found.text)})


class Continued(Happened):
    """What a model wrote after the first words of test windows, to be read beside what another did."""

    event: Literal["continued"] = "continued"
    name: str
    """`dense`, or the name under which the result was finally measured."""
    continuations: tuple[Annotated[Continuation, AfterValidator(_plain)], ...]


class Note(Happened):
    """A line for the reader."""

    event: Literal["note"] = "note"
    text: Text


class Unreadable(Note):
    """Where a journal holds lines that cannot be read; its reader tells of them, it is never written."""


class Heeded(Note):
    """The engine read what the person said, and says what is otherwise from here on; a limit is one on the whole."""

    event: Literal["heeded"] = "heeded"  # type: ignore[assignment]  # a kind of its own, told like any note
    words: int = 1
    """How many of the person's lines are read with it, those that were answered before not among them."""
    candidates: int | None = Field(default=None, ge=0)
    minutes: float | None = Field(default=None, ge=0)


class Said(Happened):
    """What the person said."""

    event: Literal["said"] = "said"
    text: Text


PLANNED = "A plan was shown."
"""What stands in the place of an answer that was nothing but a plan, which is settled later."""


class Replied(Happened):
    """What the program answered in conversation."""

    event: Literal["replied"] = "replied"
    text: Text


class RunFinished(Happened):
    """The run reached its end; `best` is the name under which the winner was finally measured."""

    event: Literal["run_finished"] = "run_finished"
    best: str | None
    summary: Text


class RunFailed(Happened):
    """The run cannot go on; `reason` is the one line a person reads."""

    event: Literal["run_failed"] = "run_failed"
    reason: Text


class RunInterrupted(Happened):
    """The run was stopped on request and can be resumed."""

    event: Literal["run_interrupted"] = "run_interrupted"


_OfRun = RunStarted | RunFinished | RunFailed | RunInterrupted | Extended | Stage | Progress
_OfModel = SurveyDone | Timed | Recalled | ReferenceMeasured
_OfCandidates = CandidateProposed | CandidateRejected | CandidateMeasured | Likened | Selected
_OfDesigners = Thought | Chosen | Asked | Spoke | Answered | ToolUsed
_OfResults = FinalMeasured | TasksAnswered | Saved | SpeedMeasured | Continued
_OfTalk = Note | Heeded | Said | Replied
Event = Annotated[_OfRun | _OfModel | _OfCandidates | _OfDesigners | _OfResults | _OfTalk, Field(discriminator="event")]
