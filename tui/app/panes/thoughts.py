"""The thought graph as a tree to walk through."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.widgets import Static, Tree
from textual.widgets.tree import TreeNode

from runs.fold.thoughts import thought_graph
from tui.app.panes.outline import Branch, outline
from tui.app.panes.pane import OpenCandidate, Pane
from tui.app.view import RunView

_BESIDE = 4
"""Columns of a line that are no text: the arrow and the scrollbar."""
_GUIDE = 2


class ThoughtsPane(Pane):
    """Lessons and generations; what is under the cursor is told in full below.

    The tree is brought up to date line by line, so the cursor and what is open stay as they are.
    """

    NAME = "Thoughts"
    DEFAULT_CSS = """
    ThoughtsPane { padding: 0 1; }
    ThoughtsPane Tree { height: 1fr; padding: 0; background: transparent; overflow-x: hidden; }
    ThoughtsPane #missing { height: auto; color: $text-muted; }
    ThoughtsPane #whole { height: auto; max-height: 40%; overflow-y: auto; border-top: solid $panel; display: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: tuple[Branch, ...] = ()
        self._counted: object = None
        self._width = 0
        """Columns that the labels were last fitted to."""

    def compose(self) -> ComposeResult:
        """The tree, and below it the whole of what is under the cursor."""
        yield Static("No thoughts yet: they come when the designer looks at the model's statistics.", id="missing")
        tree: Tree[Branch] = Tree("thoughts")
        tree.show_root = False
        tree.auto_expand = False
        tree.guide_depth = _GUIDE
        yield tree
        yield Static(id="whole", markup=False)

    def show(self, view: RunView) -> None:
        """The outline is made anew only where something was thought or measured."""
        if (counted := _count(view)) != self._counted:
            self._counted = counted
            self._lines = outline(thought_graph(view.history))
            self._draw()

    def on_resize(self) -> None:
        """Labels are cut to the width of the pane."""
        self._draw()

    @property
    def tree_of_thoughts(self) -> Tree[Branch]:
        """The widget; each of its nodes holds a line of the outline."""
        return self.query_one(Tree)

    def _draw(self) -> None:
        if self.is_mounted:
            self.query_one("#missing").display = not self._lines
            tree = self.tree_of_thoughts
            tree.root.expand()
            fitted, self._width = self.size.width == self._width, self.size.width
            self._merge(tree.root, self._lines, self._width - _BESIDE, fitted)

    def _merge(self, parent: TreeNode[Branch], lines: Iterable[Branch], width: int, fitted: bool) -> None:
        """Make the children of `parent` what `lines` say, and touch only those that differ.

        `fitted`: whether the labels that are there were made for this width.
        """
        wanted = {line.key: line for line in lines}
        for child in list(parent.children):
            if child.data is None or child.data.key not in wanted:
                child.remove()
        known = {child.data.key: child for child in parent.children if child.data is not None}
        for place, (key, line) in enumerate(wanted.items()):
            node = known.get(key)
            if node is None:
                node = parent.add(_label(line, width), before=place, expand=parent.is_root)
            elif not fitted or node.data != line:
                node.set_label(_label(line, width))
            else:
                continue
            node.data = line
            node.allow_expand = bool(line.children) and line.key != "lessons"
            self._merge(node, line.children, width - _GUIDE, fitted)

    @on(Tree.NodeHighlighted)
    def _tell(self, event: Tree.NodeHighlighted[Branch]) -> None:
        if event.node.data is not None:
            whole = self.query_one("#whole", Static)
            whole.update(event.node.data.whole)
            whole.display = True

    @on(Tree.NodeSelected)
    def _follow(self, event: Tree.NodeSelected[Branch]) -> None:
        """Open a candidate, go to a thought, or open and close what holds others."""
        event.stop()
        line = event.node.data
        goal = "" if line is None else line.leads_to
        if goal.startswith("c-"):
            self.post_message(OpenCandidate(goal))
        elif line is not None and goal not in ("", line.key):
            self._go_to(goal)
        elif event.node.allow_expand:
            event.node.toggle()

    def _go_to(self, thought: str) -> None:
        """Thoughts stand right below the lessons or their generation."""
        tree = self.tree_of_thoughts
        for branch in tree.root.children:
            for node in branch.children:
                if node.data is not None and node.data.key == thought:
                    branch.expand()
                    self.call_after_refresh(tree.move_cursor, node)


def _label(line: Branch, width: int) -> Text:
    """As much of the line as fits, cut between two words."""
    short = textwrap.shorten(line.whole, max(10, width), placeholder=" …", break_on_hyphens=False)
    text = Text(short)
    text.stylize("bold", 0, len(line.head))
    return text


def _count(view: RunView) -> object:
    """Changes whenever the graph of the run does."""
    history = view.history
    measured = sum(len(found) for found in history.divergences.values())
    return (
        view.run,
        len(history.thoughts),
        len(history.candidates),
        measured,
        len(history.rejected),
        len(history.likened),
    )
