"""What the slash commands may use of the app."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from textual.app import App
from textual.worker import Worker

from agent.session.settings import Settings
from runs.run import Run
from tui.app.attached import Attached
from tui.app.panes.pane import Pane
from tui.app.view import RunView

if TYPE_CHECKING:
    from agent.session.talk.conversation import Talk
    from tui.app.dialogue import Dialogue


class Face(App[None]):
    """An app that shows a run and a conversation about it."""

    settings: Settings
    attached: Attached | None
    """The run that is shown."""
    dialogue: Dialogue
    """The conversation."""

    @property
    def view(self) -> RunView:
        """What is shown of it."""
        raise NotImplementedError

    @property
    def pane(self) -> Pane | None:
        """The pane that is visible."""
        raise NotImplementedError

    def attach(self, *run: Any, **how: Any) -> Worker[Any]:
        """Show a run from its beginning, in a worker."""
        raise NotImplementedError

    async def leave_run(self) -> None:
        """Show no run any more."""
        raise NotImplementedError

    def say(self, text: str) -> None:
        """Say something to the program."""
        raise NotImplementedError

    def ask(self, text: str, question: Callable[[Talk], str]) -> None:
        """Show what the person asked, and what the conversation answers."""
        raise NotImplementedError

    def offer(self, text: str, *, to_models: bool = False) -> None:
        """Say what Enter on an empty line would do, or that lines go to the models."""
        raise NotImplementedError

    def talked_of(self, run: Run | None) -> None:
        """Show the run that the conversation is about now."""
        raise NotImplementedError

    def tell(self, label: str, text: str) -> None:
        """Say something in the conversation that the journal does not hold."""
        raise NotImplementedError

    async def show_heard(self) -> None:
        """Show what was just heard of an answer."""
        raise NotImplementedError

    def recall(self, words: Sequence[tuple[str, str]]) -> None:
        """Show what was said before the program was started."""
        raise NotImplementedError

    def show_candidate(self, name: str) -> None:
        """One candidate over everything."""
        raise NotImplementedError

    def draw_pane(self) -> None:
        """Bring the pane that is visible up to date."""
        raise NotImplementedError

    def action_pane(self, number: int) -> None:
        """Show a pane."""
        raise NotImplementedError
