"""How many of sixty requests a language model does right in conversation. Run by hand:

    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 python -m tests.benchmarks.requests openai:NAME [FIRST]

The tools only note that they were called. Right is a request whose calls, validated, are those of
`tests/agent/requests.jsonl`, in order; where no tool is meant, one that calls none. Where the model failed and the
grammar read, that is said and does not count.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from agent.session.settings import load
from agent.session.talk import conversation
from agent.session.talk.conversation import Talk
from agent.session.talk.session import Session
from agent.session.talk.speaker import speaker
from agent.session.talk.tools import TOOLS
from agent.session.talk.tools.tool import SessionTool
from tests.agent.session.test_requests import REQUESTS, meant


def noting(kind: type[SessionTool], done: list[SessionTool]) -> type[SessionTool]:
    """The same tool, which only notes that it was called."""

    def work(self: SessionTool, about: Session) -> str:
        done.append(kind.model_validate(self.model_dump()))
        return "done"

    return type(kind.__name__, (kind,), {"plan": lambda self, about: "", "work": work, "__doc__": kind.__doc__})


def main() -> None:
    """Print a line for every request, and the figure."""
    designer, first = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else len(REQUESTS)
    done: list[SessionTool] = []
    conversation.TOOLS = {name: noting(kind, done) for name, kind in TOOLS.items()}
    right = 0
    for request in REQUESTS[:first]:
        with tempfile.TemporaryDirectory() as home:
            talk = Talk(load(Path(home), {"designer": designer}), lambda run: "")
            talk.speaker = speaker(talk.settings, talk.session)
            done.clear()
            start = time.perf_counter()
            answer = talk.say(request["said"])
            seconds = time.perf_counter() - start
            talk.close()
        failed = "rules read what you say" in answer
        good = not failed and done == meant(request)
        right += good
        verdict = "right" if good else "no answer" if failed else "wrong"
        print(f"{verdict:<9} {seconds:5.1f} s  {request['said']}  ->  {', '.join(map(repr, done)) or answer[:80]!r}")
    print(f"{designer}: {right} of {first} right")


if __name__ == "__main__":
    main()
