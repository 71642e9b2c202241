"""How many of sixty requests a language model does right in conversation. Run by hand:

    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 python -m tests.benchmarks.requests openai:NAME [--first 10] [--alone]

The tools only note that they were called. Right is a request whose calls, validated, are those of
`tests/agent/requests.jsonl`, in order; where no tool is meant, one that calls none. Where the model failed and the
grammar read, that is said and does not count. A small model is helped by the grammar, as in the product; `--alone`
asks it about every line. `--patience` is for machines that are slower than those that people talk on.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from agent.session.settings import load
from agent.session.talk import conversation
from agent.session.talk import speaker as speaking
from agent.session.talk.conversation import Talk
from agent.session.talk.session import Session
from agent.session.talk.small import Small
from agent.session.talk.tools import TOOLS
from agent.session.talk.tools.tool import SessionTool
from tests.agent.session.test_requests import REQUESTS, meant


def noting(kind: type[SessionTool], done: list[SessionTool]) -> type[SessionTool]:
    """The same tool, which only notes that it was called."""

    def work(self: SessionTool, about: Session) -> str:
        done.append(kind.model_validate(self.model_dump()))
        return "done"

    return type(kind.__name__, (kind,), {"plan": lambda self, about: "", "work": work, "__doc__": kind.__doc__})


def asked(designer: str, said: str, alone: bool) -> str:
    """What is answered to one line in a conversation of its own."""
    with tempfile.TemporaryDirectory() as home:
        talk = Talk(load(Path(home), {"designer": designer}), lambda run: "")
        talk.speaker = speaking.speaker(talk.settings, talk.session)
        if isinstance(talk.speaker, Small):
            talk.speaker.alone = alone
        answer = talk.say(said)
        talk.close()
    return answer


def main() -> None:
    """Print a line for every request, and the figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("designer")
    parser.add_argument("--first", type=int, default=len(REQUESTS))
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--patience", type=float, default=speaking.PATIENCE)
    given = parser.parse_args()
    speaking.PATIENCE = given.patience
    done: list[SessionTool] = []
    conversation.TOOLS = {name: noting(kind, done) for name, kind in TOOLS.items()}
    right = 0
    for request in REQUESTS[: given.first]:
        done.clear()
        start = time.perf_counter()
        answer = asked(given.designer, request["said"], given.alone)
        seconds = time.perf_counter() - start
        failed = "rules read what you say" in answer
        good = not failed and done == meant(request)
        right += good
        verdict = "right" if good else "no answer" if failed else "wrong"
        said = ", ".join(map(repr, done)) or repr(answer[:80])
        print(f"{verdict:<9} {seconds:5.1f} s  {request['said']}  ->  {said}", flush=True)
    how = "alone" if given.alone else "with the grammar"
    print(f"{given.designer}, {how}, {given.patience:.0f} s of patience: {right} of {given.first} right")


if __name__ == "__main__":
    main()
