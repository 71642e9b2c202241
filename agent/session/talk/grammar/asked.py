"""A question that is for the models and not for this program: what follows is theirs, whatever it says."""

from __future__ import annotations

import re

from agent.session.talk.tools.chat import ChatWithModels

_VERB = r"(?:ask|frage?|demande|pregunta(?:le)?|chiedi|pergunte|спроси|问|聞いて)"
_BOTH = r"both(?: models| of them)?|the two(?: models)?|them|beide(?: modelle)?|les deux|(?:a )?(?:los )?dos|обе(?:их)?"
_PRUNED = r"it|the (?:pruned|result)(?: model| one)?|the model|the result|das (?:beschnittene )?modell"
_DENSE = r"the (?:dense|original)(?: model| one)?|das (?:dichte|ursprüngliche) modell"
_LINE = re.compile(
    rf"{_VERB}\s+(?:(?P<both>{_BOTH})|(?P<pruned>{_PRUNED})|(?P<dense>{_DENSE}))\s*[:,]?\s+(?P<question>\S.*)", re.I
)
LONGEST = 2000


def to_models(line: str) -> ChatWithModels | None:
    """The question of `ask both: what is a tree?`; None of a line that is something else."""
    found = _LINE.fullmatch(line)
    if found is None or len(found["question"]) > LONGEST:
        return None
    models = () if found["both"] else ("result",) if found["pruned"] else ("dense",)
    question = found["question"].strip()
    quoted = re.fullmatch(r'"([^"]+)"', question)
    return ChatWithModels(question=quoted[1] if quoted else question, models=models)
