"""Slash commands: their names, what they take and what they do. Help, completion and palette read this list."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """`/name takes`; the app does it in its method `command_NAME`."""

    name: str
    does: str
    takes: str = ""

    @property
    def usage(self) -> str:
        """As a person types it: `/resume [RUN]`."""
        return f"/{self.name} {self.takes}".rstrip()


COMMANDS = (
    Command("pause", "Stop where it is; /resume goes on"),
    Command("resume", "Go on with this run, or with another", "[RUN]"),
    Command("open", "Show a run, live or as it was", "RUN"),
    Command("watch", "Follow a run without touching it", "RUN"),
    Command("stop", "End the search after this step and conclude"),
    Command("next", "What can be done with a finished run"),
    Command("back", "End a chat with the models"),
    Command("new", "Back to the first screen; what runs goes on"),
    Command("candidates", "The table of candidates"),
    Command("layers", "Sparsity and statistics by block"),
    Command("thoughts", "The graph of thoughts"),
    Command("progress", "Budget, curve and Pareto front"),
    Command("runs", "All runs"),
    Command("memory", "What past runs found", "[WORDS]"),
    Command("show", "One candidate in full", "CANDIDATE"),
    Command("compare", "Put runs side by side", "RUN RUN..."),
    Command("report", "Write the report and open it"),
    Command("export", "Copy the pruned model to a folder", "DIR"),
    Command("copy", "Copy a candidate's formula, or with `recipe` its recipe", "[CANDIDATE] [recipe]"),
    Command("remove", "Delete a run with everything in it", "RUN"),
    Command("theme", "Change colours", "[NAME]"),
    Command("screenshot", "Save the screen as a picture (SVG)", "[FILE]"),
    Command("help", "What can be said and pressed"),
    Command("quit", "Leave; what runs goes on"),
)


NAMED = {command.name: command for command in COMMANDS}


def matching(text: str) -> list[Command]:
    """Commands that a line with a slash at its start may become."""
    if not text.startswith("/"):
        return []
    name, space, _ = text[1:].partition(" ")
    return [c for c in COMMANDS if (c.name == name if space else c.name.startswith(name))]


def parse(text: str) -> tuple[Command | None, list[str]]:
    """The command that a line means, also by an unmistakable beginning, and its arguments."""
    name, *arguments = text[1:].split() or [""]
    exact = [NAMED[name]] if name in NAMED else []
    near = exact or [c for c in COMMANDS if name and c.name.startswith(name)]
    return (near[0] if len(near) == 1 else None), arguments
