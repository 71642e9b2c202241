"""The agent: a LangGraph state machine around a designer that proposes recipes.

`engine.work` does a run. The journal is the truth; every node reads from it what was already done, so a run that was
killed anywhere goes on from there and reaches the same end.
"""

import os

# LangGraph reads this once, when it is imported: checkpoints then load only safe types.
os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")
