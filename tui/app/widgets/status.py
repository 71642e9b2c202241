"""The line at the top: what, how far, how long, how much, what now."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from runs.fold.tally import eta
from runs.fold.words import short_time
from tui.app.view import RunView

_SIGNS = {"finished": "✔", "failed": "✘", "interrupted": "‖", "new": "○"}


class StatusLine(Static):
    """Parts that do not fit are left out whole, the least important first."""

    DEFAULT_CSS = """
    StatusLine { height: 1; padding: 0 1; background: $panel; color: $foreground; text-wrap: nowrap; }
    """

    def show(self, view: RunView | None, note: str = "") -> None:
        """`note`: what stands at the right where no run is shown."""
        self._view, self._note = view, note
        self._draw()

    _view: RunView | None = None
    _note: str = ""

    def on_resize(self) -> None:
        """Another width holds other parts."""
        self._draw()

    def _draw(self) -> None:
        width = max(20, self.size.width or self.app.size.width - 2)
        left, right = ("secateur", self._note) if self._view is None else parts(self._view, width)
        gap = max(1, width - len(left) - len(right))
        self.update(Content.assemble((left[:8], "bold"), left[8:], " " * gap, (right, "bold")), layout=False)


def parts(view: RunView, width: int) -> tuple[str, str]:
    """The left side and the state, in at most `width` columns together."""
    right = f"{_SIGNS.get(view.state, '●')} {view.doing}"
    goal, spent, allowed = view.history.goal, view.spent, view.budget.candidates
    wanted = f"/{allowed}" if allowed else ""
    clock = short_time(60 * spent.minutes)
    if (left := eta(view.history)) is not None and view.state == "working":
        clock += f" of ~{short_time(60 * spent.minutes + left)}"
    pieces = [  # in their order on the line, with what each is worth
        (9, "secateur"),
        (8, "" if goal is None else str(goal)),
        (4, f"run {view.run}"),
        (3, f"gen {view.generation}" if view.history.candidates else ""),
        (7, f"cand {spent.candidates}{wanted}" if goal and goal.searches else ""),
        (6, clock),
        (5, f"${spent.money:.2f}" if spent.money else ""),
        (2, f"{spent.tokens:,} tokens" if spent.tokens else ""),
        (1, "" if goal is None else f"{goal.designer} · {goal.device}"),
    ]
    kept = [(worth, text) for worth, text in pieces if text]
    while len(kept) > 1 and sum(len(text) + 3 for _, text in kept) + len(right) > width:
        kept.remove(min(kept))
    return "   ".join(text for _, text in kept), right
