"""A conversation in plain lines: `say` takes one and returns what to print, so terminal, pipe and test talk alike.

The thread of words, results and plans that wait is checkpointed in the home, so that whoever comes back finds it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START as BEGINNING
from langgraph.types import Command

from agent.session.exchange import Exchange, returns
from agent.session.settings import Settings
from agent.session.talk.beside import answered_beside
from agent.session.talk.graph import MODELS, Speaker, State, Talking, build, done, resumed
from agent.session.talk.known.past import readable
from agent.session.talk.session import POLL, Carry, Session
from agent.session.talk.speakers import Rules
from agent.session.talk.tools import TOOLS
from agent.session.talk.tools.deliver import Export
from agent.session.talk.waiting import AFTER, WAITS, Call, about, reminder, shown, turn_to, words
from agent.session.told import told
from runs.events import PLANNED, Replied
from runs.fold.history import History
from runs.run import Run, Status, open_run
from runs.used import called, use_line
from tools.io.errors import SecateurError, reason
from tools.io.shelf import set_aside

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.types import StateSnapshot

THREAD = "home"
LETS_GO = 30.0
"""Seconds in which an engine that has concluded ends."""
START = "Start? yes or no"
STILL = "start? yes or no"
TO_MODELS = "to models"
"""Who says what is said to the models, as the screen calls them."""
RETURNED = "You talk to Secateur again; the models are let go."
BROKEN_OFF = "this was broken off when the program ended; nothing is known of it"


class Talk:
    """One conversation: its thread, what it is about, and who answers."""

    def __init__(
        self,
        settings: Settings,
        carry: Carry,
        *,
        model: str = "",
        yes: bool = False,
        speaker: Speaker | None = None,
        thread: str = THREAD,
    ) -> None:
        self.session = Session(settings, carry, model=model, yes=yes)
        self.speaker: Speaker = speaker or Rules()
        self.session.answered_by = self._answered_by
        self._config: RunnableConfig = {"configurable": {"thread_id": thread}, "recursion_limit": 200}
        self.gone: list[str] = []
        """What the thread was about and cannot be had any more, a line each, for whoever opens it."""
        self._asked = ""
        """What was asked below the last answer."""
        self._turning = threading.Lock()
        self._connection = _opened(settings.home / "conversations.sqlite")
        self._graph = build(SqliteSaver(self._connection))
        self._take_up()

    def _take_up(self) -> None:
        """Go on where an earlier process left the thread; what it broke off in the middle is not done again."""
        state = self._graph.get_state(self._config)
        if not state.values:
            start = State(
                messages=[],
                waiting=[],
                later=[],
                found=0,
                run="",
                model=self.session.model,
                designer=self.session.designer,
            )
            self._graph.invoke(start, self._config, context=self._context, durability="sync")
            return
        values = state.values
        self.session.model = self.session.model or values["model"]
        if values["run"]:
            try:
                self.session.run = open_run(self.settings.home, values["run"])
            except SecateurError as error:  # it was removed since
                self.gone.append(f'The run that was talked about cannot be opened: {error}. "which runs are there?"')
        if values["designer"]:
            self._answered_as_before(values["designer"])
        if state.next not in (("listen",), ("approve",)):
            self._close(state)

    def _answered_as_before(self, designer: str) -> None:
        """Have it answer again; where it cannot be had any more, the settings' designer does, which is said."""
        try:
            self._answered_by(designer)
        except SecateurError as error:
            instead = self.settings.values.designer
            self.gone.append(
                f"{designer}, which was chosen here, cannot be had: {error}. {instead} designs and answers instead; "
                f'"use {designer}" tries again.'
            )

    def _close(self, state: StateSnapshot) -> None:
        """Calls that were under way get an answer, which a model wants to see, and the thread listens again."""
        values = state.values
        last = values["messages"][-1]
        open_calls = last.tool_calls if isinstance(last, AIMessage) else []
        results = [ToolMessage(BROKEN_OFF, name=call["name"], tool_call_id=call["id"] or "") for call in open_calls]
        begun = self._begun(state, {call["name"] for call in (*values["waiting"], *open_calls)})
        if open_calls and begun is None:
            broken = ", ".join(called(call["name"], call["args"]) for call in open_calls)
            self.gone.append(f"Broken off when the program ended, so look whether it is done: {broken}.")
        behind = [call for call in values["waiting"] if not call["plan"]]
        later = [*values["later"], *(behind if begun else [])]
        if begun is not None:
            self.session.run = begun
            then = f" Then still: {shown(later)[len('Then: ') :]}" if later else ""
            self.gone.append(f'Run {begun.id} was broken off when the program ended: "resume" goes on with it.{then}')
        elif behind:
            self.gone.append(f"Not done, as the program ended before: {shown(behind)[len('Then: ') :]}")
        change = {"messages": [*results, AIMessage(BROKEN_OFF)], "waiting": [], "later": later, **about(self.session)}
        self._graph.update_state(self._config, change, as_node="converse")
        self._graph.invoke(None, self._config, context=self._context, durability="sync")

    def _begun(self, state: StateSnapshot, names: set[str]) -> Run | None:
        """The run that was worked on in this very process when it ended: the one that was written last since."""
        if not names & {"prune", "resume", "go_on"} or state.created_at is None:
            return None
        since = datetime.fromisoformat(state.created_at).timestamp() - 1.0
        written = [(_written(run), run) for run in readable(self.settings.home)]
        left = [(at, run) for at, run in written if at >= since and run.status() is not Status.FINISHED]
        return max(left, key=lambda found: found[0])[1] if left else None

    def _answered_by(self, designer: str) -> None:
        """Have it answer from the next line on; who answers now stays where it cannot be had."""
        from agent.session.talk.speaker import warmed

        before, self.session.designer = self.session.designer, designer
        try:
            self.speaker = warmed(self.settings, self.session)
        except BaseException:
            self.session.designer = before
            raise

    @property
    def settings(self) -> Settings:
        """Home and values."""
        return self.session.settings

    @property
    def run(self) -> Run | None:
        """The run that is talked about."""
        return self.session.run

    @run.setter
    def run(self, run: Run | None) -> None:
        self.session.run = run
        if self._turning.acquire(blocking=False):  # else the turn that is under way keeps it at its end
            try:
                self._keep_subject()
            finally:
                self._turning.release()

    def _keep_subject(self) -> None:
        """Have the thread know what is talked about, so that whoever takes it up opens that and nothing else."""
        state, subject = self._graph.get_state(self._config), about(self.session)
        if all(state.values[name] == value for name, value in subject.items()):
            return
        heading = "converse" if state.values["messages"] else BEGINNING
        self._graph.update_state(self._config, subject, as_node=heading)
        self._graph.invoke(None, self._config, context=self._context, durability="sync")

    @property
    def over(self) -> bool:
        """Whether the person said goodbye."""
        return self.session.over

    @property
    def asks(self) -> bool:
        """Whether a plan waits for a yes."""
        return self._graph.get_state(self._config).next == ("approve",)

    @property
    def plan(self) -> str:
        """What waits for a yes; empty where nothing does."""
        return _plan(self._graph.get_state(self._config))

    @property
    def words(self) -> list[tuple[str, str]]:
        """What was said so far: who, and what."""
        found: list[tuple[str, str]] = []
        calls: dict[str, str] = {}
        for message in self._graph.get_state(self._config).values["messages"]:
            if message.name == MODELS:
                found.append((TO_MODELS if isinstance(message, HumanMessage) else MODELS, message.text))
            elif isinstance(message, HumanMessage):
                found.append(("you", message.text))
            elif isinstance(message, AIMessage):
                calls = {call["id"] or "": called(call["name"], call["args"]) for call in message.tool_calls}
                found += [("secateur", message.text)] if message.text else []
            elif isinstance(message, ToolMessage) and message.text.startswith(WAITS):
                plan = message.text.removeprefix(WAITS).strip()
                found += [("secateur", plan)] if plan != AFTER else []
            elif isinstance(message, ToolMessage) and message.id and message.id.startswith("m-"):
                found += _used(message, calls)
        return found

    def result(self, name: str) -> str:
        """What a tool found, by its id, as m-7; empty where there is none of that name."""
        messages = self._graph.get_state(self._config).values["messages"]
        return next((message.text for message in messages if message.id == name), "")

    def say(self, text: str, *, aside: bool = False) -> str:
        """Take one line; returns the answer, with the plan that waits below it. `aside`: not for models that are talked
        to."""
        if self.session.exchange is not None and not aside:
            return self._to_models(self.session.exchange, text)
        self.session.private = False
        try:
            with self._turning:
                reply = self._turn(text)
                self._keep_subject()
        except Exception as error:  # a conversation goes on, and no traceback shows what is in memory
            reply = told(error)
        finally:
            self.session.stopped.clear()  # not before: a stop may come with the first millisecond
        if not self.session.private:  # a plan is settled later, and a run tells what was
            self._remember(text, reply.removesuffix(self._asked).strip() or PLANNED)
        return reply

    @property
    def to_models(self) -> str:
        """The models that the next line goes to; empty where it is for the program."""
        exchange = self.session.exchange
        return "" if exchange is None else " and ".join(exchange.names)

    def _to_models(self, exchange: Exchange, text: str) -> str:
        """Put a line to the models, or come back from them; kept in the thread under their name."""
        try:
            if returns(text):
                self.session.leave_models()
                reply = RETURNED
            else:
                reply = exchange.say(text, self.session.hear, self.session.stopped.is_set)
        except Exception as error:  # a conversation goes on without them
            reply = f"{told(error)}\n{RETURNED}"
            self.session.leave_models()
        finally:
            self.session.stopped.clear()
        said = [HumanMessage(text, name=MODELS), AIMessage(reply, name=MODELS)]
        self._graph.update_state(self._config, {"messages": said}, as_node="converse")
        self._graph.invoke(None, self._config, context=self._context, durability="sync")
        state = self._graph.get_state(self._config)
        if self.session.exchange is None and (question := _question(state, _waiting(state))):
            reply += f"\n{question}"
        return reply

    @property
    def later(self) -> bool:
        """Whether something was asked for that follows the end of a run."""
        return bool(self._graph.get_state(self._config).values["later"])

    def go_on(self) -> str:
        """Do what was to follow the run, now that it has ended; a plan that waits is first to be answered."""
        state = self._graph.get_state(self._config)
        if state.next != ("listen",) or not state.values["later"]:
            return ""
        end = time.monotonic() + LETS_GO
        while self.session.working and time.monotonic() < end:  # an engine lets go of its run after its last event
            time.sleep(POLL)
        if self.session.unfinished_run:
            return ""
        turn_to(self.session, state.values["later"][0])
        change = resumed(state.values["later"], state.values["found"])
        with self._turning:
            self._graph.update_state(self._config, change, as_node="converse")
            self._graph.invoke(None, self._config, context=self._context, durability="sync")
            return self._said_since(state)

    def stop(self) -> None:
        """End what is under way in this conversation: a call of a model, a child process. For another thread."""
        self.session.stopped.set()

    def close(self) -> None:
        """Let go of the file, and of models that were talked to."""
        self.session.leave_models()
        self._connection.close()

    @property
    def _context(self) -> Talking:
        return Talking(self.session, self.speaker, TOOLS)

    def _turn(self, text: str) -> str:
        before, self._asked = self._graph.get_state(self._config), ""
        self._graph.invoke(Command(resume=text), self._config, context=self._context, durability="sync")
        return self._said_since(before)

    def _said_since(self, before: StateSnapshot) -> str:
        """What was answered since a state, with what is asked below it; a plan that waited then is only named."""
        state = self._graph.get_state(self._config)
        messages = state.values["messages"][len(before.values["messages"]) :]
        said = [message.text for message in messages if isinstance(message, AIMessage) and message.text]
        self._asked = _question(state, _waiting(before))
        return "\n".join([*said, *filter(None, [self._asked])])

    def say_beside(self, run: Run, text: str) -> str:
        """Take one line while this process works on a run."""
        self.session.run = run
        return answered_beside(self.session, text)

    def export(self, folder: str) -> str:
        """Copy the pruned model to a folder, and keep that with the run as if it had been said."""
        reply = done(Export(folder=folder), self.session)[0]
        self._remember(f"export it to {folder}", reply)
        return reply

    def _remember(self, text: str, reply: str) -> None:
        """Keep both with the run, so that its journal tells the conversation, too."""
        run = self.session.run
        if run is None or run.engine is not None or run.status() is Status.NEW:
            return
        run.say(text)
        for said in run.unheard(History.of(run.journal.read())):
            run.journal.append(said)
        run.journal.append(Replied(text=reply))


def _used(message: ToolMessage, calls: dict[str, str]) -> list[tuple[str, str]]:
    """The line of a tool that was used; nothing where that is no work."""
    tool = TOOLS.get(message.name or "")
    if tool is None or tool.group == "talk":
        return []
    return [("tool", use_line(calls.get(message.tool_call_id, message.name or ""), result=message.id or ""))]


def _written(run: Run) -> float:
    """When something happened in a run last, in seconds of the clock."""
    return max(run.created, run.journal.path.stat().st_mtime if run.journal.path.exists() else 0.0)


def _plan(state: StateSnapshot) -> str:
    """What waits for a yes in a state; empty where nothing does."""
    return shown(state.values["waiting"]) if state.next == ("approve",) else ""


def _waiting(state: StateSnapshot) -> list[str]:
    """What waits for a yes in a state, without the news of it."""
    calls: list[Call] = state.values["waiting"] if state.next == ("approve",) else []
    return [call["plan"] or words(call) for call in calls]


def _question(state: StateSnapshot, seen: Sequence[str] = ()) -> str:
    """The plans that wait, and what is asked below them; a line that names them where they were seen before; empty
    where nothing waits."""
    if not (plan := _plan(state)):
        return ""
    waiting: list[Call] = state.values["waiting"]
    if _waiting(state) == list(seen):
        return f"{reminder(waiting)}: {STILL}"
    plans = sum(bool(call["plan"]) for call in waiting)
    return f"{plan}\n{START if plans < 2 else f'{plans} plans. {START}'}"


def _opened(path: Path) -> sqlite3.Connection:
    """The file of conversations; one that cannot be read is set aside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, check_same_thread=False)
    try:
        if (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(found)
    except sqlite3.DatabaseError as error:
        connection.close()
        set_aside(path, reason(error))
        connection = sqlite3.connect(path, check_same_thread=False)
    connection.execute("PRAGMA synchronous=NORMAL")  # whole after any kill; only a loss of power takes the last words
    return connection
