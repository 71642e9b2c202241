"""Beginning and end of a conversation."""

from __future__ import annotations

from typing import ClassVar

from agent.session.talk.session import Session
from agent.session.talk.tools.tool import Group, SessionTool

HELP = """You can say, for example:
  prune smollm2-135m to 50 %            prune ./my-model to 2:4, keep perplexity within 10 %
  why not 2:4?      explain c-12        what did you learn?
  go on for ten more minutes            continue what we did on smollm2 yesterday
  how good is it on HellaSwag?          evaluate it on piqa and arc easy with 100 samples
  export it to ./pruned                 stop      bye"""


class Help(SessionTool):
    """What can be said."""

    group: ClassVar[Group] = "talk"

    def work(self, session: Session) -> str:
        """Examples."""
        return HELP


class Leave(SessionTool):
    """The person says goodbye."""

    group: ClassVar[Group] = "talk"

    def work(self, session: Session) -> str:
        """End the conversation; it can be taken up again."""
        session.over = True
        return "Bye." + (f" `secateur chat --run {session.run.id}` takes this up again." if session.run else "")
