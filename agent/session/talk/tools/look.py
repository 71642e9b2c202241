"""What is known: the standing of a run, its candidates, lessons, and runs of before."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from agent.session.talk.known import advice, beside, lessons
from agent.session.talk.known.happened import happened
from agent.session.talk.known.past import listed, readable
from agent.session.talk.known.uses import uses
from agent.session.talk.session import Session
from agent.session.talk.tools.tool import Group, SessionTool
from runs.fold.summary import summary
from runs.fold.words import number

CANDIDATE = r"^c-\d+$"
MOST = 6
"""Memories in one answer."""


class Standing(SessionTool):
    """How the run stands: the best candidates so far, and whether the winner beats the references, or one of them."""

    group: ClassVar[Group] = "look"

    most: int = Field(default=advice.BEST, ge=1, le=100, description="Candidates that are listed.")
    reference: str = Field(default="", max_length=40, description="A published method to compare with: wanda.")

    def work(self, session: Session) -> str:
        """From the journal."""
        history = session.history()
        return advice.against(history, self.reference) if self.reference else advice.standing(history, self.most)


class Candidates(SessionTool):
    """What candidates are, why they were made, and what was measured."""

    group: ClassVar[Group] = "look"

    names: tuple[str, ...] = Field(min_length=1, max_length=10, description="c-1, c-2.")

    def work(self, session: Session) -> str:
        """One paragraph each."""
        return advice.about(session.history(), self.names)


class Compare(SessionTool):
    """Two candidates, or a candidate and a reference, side by side: in what they differ, and by how much one is
    better."""

    group: ClassVar[Group] = "look"

    one: str = Field(pattern=CANDIDATE)
    other: str = Field(pattern=r"^(c-\d+|[a-z][a-z0-9_]*)$", max_length=40, description="c-2, or a method: wanda.")

    def work(self, session: Session) -> str:
        """From the journal."""
        if self.other.startswith("c-"):
            return advice.compare(session.history(), self.one, self.other)
        session.present()
        return beside.against_reference(session.history(), self.one, self.other)


class WhyWon(SessionTool):
    """Why a candidate is the result of the run, by what was measured; that it is not, where another one won."""

    group: ClassVar[Group] = "look"

    name: str = Field(pattern=CANDIDATE)

    def work(self, session: Session) -> str:
        """From the journal."""
        session.present()
        return beside.won(session.history(), self.name)


class Uses(SessionTool):
    """Whether a published method, compensation or allocation (obs, wanda, owl) was used: by which candidates, and by
    the winner."""

    group: ClassVar[Group] = "look"

    method: str = Field(max_length=40, description="obs, sparsegpt, wanda, owl.")

    def work(self, session: Session) -> str:
        """From the journal."""
        session.present()
        return uses(session.history(), self.method)


class Happened(SessionTool):
    """What became of the run: how it ended, why it failed or broke off, and what can be done."""

    group: ClassVar[Group] = "look"

    def work(self, session: Session) -> str:
        """From the journal of the run that is talked about, else of the newest one."""
        run = session.run
        if run is None:
            found = readable(session.settings.home)
            if not found:
                return 'Nothing happened here: there is no run yet. "prune MODEL to 50 %" starts one.'
            run = found[-1]
        return happened(run, run.history())


class Lessons(SessionTool):
    """What the run has learnt: what to prefer and what to avoid in recipes, with the evidence."""

    group: ClassVar[Group] = "look"

    def work(self, session: Session) -> str:
        """From the thought graph."""
        return advice.lessons(session.history())


class Thoughts(SessionTool):
    """The thought graph of the run: observations, hypotheses, designs, outcomes and lessons, and what supports or
    contradicts what."""

    group: ClassVar[Group] = "look"

    words: str = Field(default="", max_length=200, description="Words or ids, as t-3 or lesson; empty for the newest.")

    def work(self, session: Session) -> str:
        """From the journal."""
        session.present()
        return lessons.thoughts(session.history(), self.words)


class Recall(SessionTool):
    """What earlier runs left in memory: candidates whose model, metric, allocation or pattern names all of the words,
    best first."""

    group: ClassVar[Group] = "look"

    words: str = Field(default="", max_length=200, description="For example a model, wanda, 2:4; empty for the best.")

    def work(self, session: Session) -> str:
        """From the index of memories."""
        from memory.index import Memory

        found = Memory(session.settings.home).search(self.words)
        if not found:
            return (
                f'Memory holds nothing that names "{self.words}".' if self.words else "Memory is empty: no run ended."
            )
        lines = [f"{len(found)} memories; below 1 a divergence is smaller than that of the best reference of its run:"]
        for item in found[:MOST]:
            beside = "not compared" if item.relative is None else f"{item.relative:.3f} of the best reference"
            final = "" if item.perplexity is None else f", perplexity {number(item.perplexity)}"
            lines.append(f"  {item.id} on {Path(item.model).name}: {beside}{final}: {item.recipe}")
        return "\n".join([*lines, *([f"  and {len(found) - MOST} more"] if len(found) > MOST else [])])


class Report(SessionTool):
    """The report of the run: where the page is, and its conclusion. It is written anew where the run went on since."""

    group: ClassVar[Group] = "look"

    def work(self, session: Session) -> str:
        """Write it where it is missing or older than the journal."""
        from runs.report import write

        run = session.present()
        found = summary(run.history())
        page = run.report_html
        if not page.exists() or page.stat().st_mtime < run.journal.path.stat().st_mtime:
            write(run)
        told = [found.verdict, found.extent, found.on_tasks, f"The result is {found.gain}" if found.winner else ""]
        return "\n".join([f"The report is in {page} (and {run.report_md.name} beside it).", *filter(None, told)])


class Pattern(SessionTool):
    """What was measured with an N:M pattern, here or in earlier runs."""

    group: ClassVar[Group] = "look"

    pattern: str = Field(pattern=r"^\d+:\d+$")

    def work(self, session: Session) -> str:
        """From this run, else from memory."""
        from memory.index import Memory

        return advice.about_pattern(self.pattern, session.history(), Memory(session.settings.home).all())


class PastRuns(SessionTool):
    """Which runs there are, newest first: their goals, states and results."""

    group: ClassVar[Group] = "look"

    words: str = Field(default="", max_length=200, description="Words of the goal or the id; empty for all.")

    def work(self, session: Session) -> str:
        """From the home."""
        return listed(session.settings.home, self.words)
