"""Names for runs that a person can say and remember: `calm-heron-7`."""

from __future__ import annotations

import random

# fmt: off
ADJECTIVES = (
    "amber", "brave", "bright", "brisk", "calm", "clear", "cool", "deft", "early", "even", "fair", "fine", "fleet",
    "fond", "gentle", "glad", "golden", "green", "keen", "kind", "late", "light", "lively", "lucid", "mellow", "merry",
    "mild", "neat", "noble", "pale", "patient", "plain", "proud", "quick", "quiet", "rapid", "ready", "sharp",
    "silent", "silver", "sober", "soft", "steady", "still", "sunny", "swift", "tidy", "warm", "wise", "young",
)
NOUNS = (
    "alder", "ash", "aspen", "badger", "beech", "birch", "bison", "cedar", "crane", "crow", "dove", "eagle", "elder",
    "elm", "falcon", "fern", "finch", "fir", "fox", "grouse", "hare", "hawk", "hazel", "heron", "holly", "ibex", "ivy",
    "jay", "juniper", "kestrel", "larch", "lark", "linden", "lynx", "maple", "marten", "moss", "oak", "olive",
    "osprey", "otter", "owl", "pine", "plover", "poplar", "raven", "robin", "rowan", "swan", "thorn", "vine", "willow",
    "wren", "yew",
)
# fmt: on


def propose(rng: random.Random) -> str:
    """One of some 240,000 names."""
    return f"{rng.choice(ADJECTIVES)}-{rng.choice(NOUNS)}-{rng.randint(1, 99)}"
