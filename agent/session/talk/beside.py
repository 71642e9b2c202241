"""What is said while this very process works on a run: answered at once where it is brief, else kept for its end."""

from __future__ import annotations

from agent.session.talk import grammar
from agent.session.talk.graph import done
from agent.session.talk.session import Session
from agent.session.talk.tools.run import Steer, Stop
from agent.session.talk.tools.tool import NoResult, SessionTool
from agent.session.told import told
from runs.used import called


def answered_beside(session: Session, text: str) -> str:
    """The answer to one line: the grammar reads it, so that nothing waits for a server."""
    session.beside, session.behind = True, False
    try:
        found = grammar.read(text, session)
        if isinstance(found, str):  # words that are no request at all may be for the designer; no question is
            if text.rstrip().endswith("?") or not found.startswith(grammar.STRANGE):
                return found
            found = [Steer(words=text)]
        return "\n".join(_beside(tool, session) for tool in found)
    except Exception as error:  # what is said beside the work does not end it
        return told(error)
    finally:
        session.beside = False


def _beside(tool: SessionTool, session: Session) -> str:
    """What is brief is done at once; the rest follows the run, as two at a time would take each other's cores."""
    if not session.behind and _brief(tool, session):
        return done(tool, session)[0]
    args = tool.model_dump(mode="json", exclude_defaults=True)
    session.asides.append((tool.called(), args))
    return f"When the run has ended: {called(tool.called(), args)}."


def _brief(tool: SessionTool, session: Session) -> bool:
    """Whether a tool may be used while this process works on a run; what needs its result may not."""
    try:
        return isinstance(tool, Steer | Stop) or not (tool.plan(session) or tool.alone)
    except NoResult:
        return False
