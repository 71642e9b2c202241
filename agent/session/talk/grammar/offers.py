"""What is offered where a line was not understood, and which tools a line is near to."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from agent.session.talk.grammar.acts import FREE
from agent.session.talk.grammar.tokens import Token, tokens

EXAMPLES = (
    "prune smollm2-135m to 50 %",
    "make smollm2-135m 1.4 times faster",
    "prune tiny to 2:4 and keep perplexity within 10 %",
    "prune ./my-model with sparsegpt to 60 %",
    "remove a quarter of the experts of ./mixtral",
    "how does it stand?",
    "what did you learn?",
    "compare c-1 and c-2",
    "explain c-3",
    "why not 2:4?",
    "which layers matter most?",
    "what is smollm2-135m?",
    "try the metric sqr(W) * X on layer 3",
    "what would owl do?",
    "how good is it on HellaSwag?",
    "evaluate c-3 on piqa and mmlu with 200 samples",
    "what is the perplexity of both?",
    "how fast is it?",
    'what do both write after "Once upon a time"?',
    "chat with both",
    "reproduce it",
    "prune the result further to 70 %",
    "go on for ten more minutes",
    "no OBS",
    "stop using OBS",
    "spare block 0",
    "stop after this one",
    "continue what we did on smollm2 yesterday",
    "which runs are there?",
    "show the thoughts",
    "open the report",
    "export it to ./pruned",
    "export it as gguf q8_0 to x.gguf",
    "fine-tune it for 200 steps",
    "upload it to me/my-model",
    "use openai:qwen",
    "prune tiny to 30 % and export it to ./out",
    "only depth",
    "prefer wanda",
    "pause",
    "how much time is left?",
    "what will it cost to prune tiny to 50 %?",
    "show the sparsity of all blocks",
    "what do earlier runs say about ria?",
    "ask both: what is a tree?",
    "what is 2:4?",
    "explain structured pruning",
    "does it need retraining?",
    "remove run calm-heron-7",
    "what is the plan?",
    "without the evaluation",
    "when it has ended export it to ./out",
    "keep the first block whole",
    "allow OBS again",
    "was OBS used?",
    "why did c-1 win?",
    "compare c-1 with wanda",
    "what happened?",
    "how much memory does a 7B model need?",
    "use the tasks in ./mytasks",
    "what can you do?",
    "bye",
)
"""What is offered where a line was not understood; every one of them is understood."""


STRANGE = "I did not understand that."
"""How the answer begins where nothing of a line was understood."""


def not_understood(said: Sequence[Token], part: str) -> str:
    """Says so, of the whole line or of a part, with the three nearest examples by what they speak of."""
    head = f'I did not understand "{part[:80]}", so nothing was done.' if part else STRANGE
    kinds = {token.kind for token in said} - FREE
    scored = sorted(EXAMPLES, key=lambda example: -_shared(kinds, _kinds(example)))
    return "\n".join([f"{head} The nearest that I can do:", *(f"  {one}" for one in scored[:3])])


def _shared(kinds: set[str], others: frozenset[str]) -> float:
    """Concepts in common, over all of the example's so that long examples are not always near."""
    return len(kinds & others) / (1 + len(others))


@cache
def _kinds(example: str) -> frozenset[str]:
    return frozenset(token.kind for token in tokens(example, "en")) - FREE
