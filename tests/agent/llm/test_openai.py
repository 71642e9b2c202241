"""A model behind a server: what it thinks is kept, and an address that cannot be one is refused."""

from __future__ import annotations

import pytest

from agent.llm.messages import text_of, thinking_of
from agent.llm.openai import open_chat
from tests.agent.loopback import Reply, serving
from tools.io.errors import UsageError


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_what_a_model_thinks_is_kept_apart_from_what_it_says(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reply = Reply(deltas=[{field: "Hm, "}, {field: "well."}, {"content": "Yes."}])
    with serving(lambda request, number: reply) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        whole = sum_of(open_chat("test", seed=1, timeout=10.0, tokens=64))
    assert whole == ("Hm, well.", "Yes.")


def sum_of(model: object) -> tuple[str, str]:
    chunks = list(model.stream("Go."))  # type: ignore[attr-defined]
    return "".join(map(thinking_of, chunks)), "".join(map(text_of, chunks))


def test_an_address_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://host:port/v1")
    with pytest.raises(UsageError, match="OPENAI_BASE_URL cannot be used"):
        open_chat("test", seed=1, timeout=10.0, tokens=64)
