"""Talking to a model: turns are read again, in its template or as one text; answers are what it would write."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.io.errors import SecateurError
from tools.measure.generate import continuations
from tools.measure.replies import Listener
from tools.model.checkpoint import Model, open_model

TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}>{% endif %}"
)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return open_model("tiny", cache=tmp_path)


def reply(listener: Listener, line: str) -> str:
    pieces: list[str] = []
    said = listener.reply(line, pieces.append, lambda: False)
    assert "".join(pieces).strip() == said.text
    return said.text


def test_without_a_template_all_that_was_said_is_one_text(model: Model) -> None:
    listener = Listener(model, 8)
    assert not listener.chats
    first = reply(listener, "Thank you")
    assert first == continuations(model, ["Thank you"], 8)[0].text.strip()
    second = reply(listener, "The state")
    whole = f"Thank you{listener.said[0][1]}\nThe state"
    assert second == continuations(model, [whole], 8)[0].text.strip()


def test_with_a_template_roles_alternate(model: Model) -> None:
    model.tokenizer.chat_template = TEMPLATE
    listener = Listener(model, 8)
    assert listener.chats
    reply(listener, "Thank you")
    answer = listener.said[0][1]
    asked = f"[user] Thank you\n[assistant] {answer}\n[user] Go on\n>"
    assert reply(listener, "Go on") == continuations(model, [asked], 8)[0].text.strip()


def test_the_oldest_lines_go_first_where_all_does_not_fit(model: Model) -> None:
    count = model.config.max_position_embeddings
    listener = Listener(model, count // 2)
    reply(listener, "one " * (count // 8))
    found = listener.reply("two", lambda piece: None, lambda: False)
    assert found.forgotten == 1
    assert [line for line, _ in listener.said] == ["two"]
    with pytest.raises(SecateurError, match="positions, too few for a line of"):
        listener.reply("three " * count, lambda piece: None, lambda: False)


def test_an_answer_that_is_broken_off_is_kept_as_far_as_it_came(model: Model) -> None:
    listener, heard = Listener(model, 50), list[str]()
    found = listener.reply("Thank you", heard.append, lambda: len(heard) >= 3)
    assert found.stopped
    assert found.tokens < 50
    assert listener.said == [("Thank you", "".join(heard))]


def test_a_template_that_fails_is_told_in_one_line(model: Model) -> None:
    model.tokenizer.chat_template = "{{ raise_exception('no system here') }}"
    with pytest.raises(SecateurError, match=r"its chat template fails: .*no system here"):
        Listener(model, 4).reply("Hello", lambda piece: None, lambda: False)
