"""A conversation as tokens: what does not fit goes, and templates of every kind are served."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from agent.llm.conversation import prompt
from tools.model.checkpoint import open_model

CHATML = (
    "{% for m in messages %}{{ '[' + m['role'] + ']' + m['content'] + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return open_model("tiny", cache=tmp_path_factory.mktemp("cache")).tokenizer


def test_what_never_fits_loses_its_middle(tokenizer: Any) -> None:
    read = prompt([SystemMessage("Begin. " + "very " * 400), HumanMessage("The end.")], [], tokenizer, 60)
    text = tokenizer.decode(read.tokens)
    assert len(read.tokens) == 60
    assert read.cut > 300
    assert text.startswith("Begin.")
    assert "The end." in text


def test_a_template_without_a_system_role_gets_it_from_the_person(tokenizer: Any) -> None:
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
    asked = [HumanMessage("Go."), HumanMessage("Now.")]
    messages = [SystemMessage("You prune."), *asked, AIMessage("Yes."), HumanMessage("?")]
    try:
        tokenizer.chat_template = refusing
        folded = tokenizer.decode(prompt(messages, [], tokenizer, 500).tokens)
        tokenizer.chat_template = CHATML
        usual = tokenizer.decode(prompt(messages, [], tokenizer, 500).tokens)
    finally:
        tokenizer.chat_template = None
    assert folded == "[user]You prune.\n\nGo.\n\nNow.\n[assistant]Yes.\n[user]?\n[assistant]"
    assert usual == "[system]You prune.\n[user]Go.\n\nNow.\n[assistant]Yes.\n[user]?\n[assistant]"
