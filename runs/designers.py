"""What names of designers stand for. Nothing heavy is imported here, as `secateur --help` reads this file."""

from __future__ import annotations

SIMPLE = ("builtin", "random", "evolution")
"""Designers that are no language models."""
MOST_PARALLEL = 6
"""Conversations of a design step: as many as a generation has candidates."""

NEVER_ASKED = "no LLM was asked"


def nothing_usable(designer: str, generation: int) -> str:
    """The note of a generation that the builtin operators designed in a language model's place."""
    return f"{designer} proposed nothing usable for generation {generation}: builtin operators do"


def designers_of(name: str) -> tuple[str, ...]:
    """The designers that a name stands for: one, or the members of an ensemble, with commas between them."""
    if name.startswith("replay:"):
        return (name,)
    found: list[str] = []
    for part in (part.strip() for part in name.split(",")):
        if found and found[-1].startswith("local:") and ":" not in part and part not in (*SIMPLE, "self"):
            found[-1] += f",{part}"  # a path may have a comma in it
        else:
            found.append(part)
    return tuple(found)
