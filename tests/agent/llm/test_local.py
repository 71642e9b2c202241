"""A local model as a designer: even one that babbles calls only what exists, in the form that was asked for."""

from __future__ import annotations

from functools import reduce
from operator import add
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from agent.designer_tools.proposals.allocation import FormulaOrRates
from agent.llm.conversation import prompt
from agent.llm.guided_calls import Terminals
from agent.llm.local import LocalChatModel
from tools.expression import ALLOCATION, METRIC, parse, used_terminals
from tools.io.errors import UsageError

CHATML = (
    "{% for m in messages %}{{ '[' + m['role'] + ']' + m['content'] + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LocalChatModel:
    return LocalChatModel.open("tiny", cache=tmp_path_factory.mktemp("cache"), temperature=1.5, top_p=1.0)


class Propose(BaseModel):
    """Propose a metric."""

    metric: Annotated[str, Field(description="who falls", max_length=300, json_schema_extra={"grammar": "metric"})]
    why: Annotated[str, Field(max_length=60)]
    base: Annotated[str, Field(pattern=r"^c-\d{1,5}$")]
    compensation: Literal["none", "obs"] = "none"


class Allocate(BaseModel):
    """Propose an allocation."""

    allocation: FormulaOrRates
    width: Annotated[float, Field(gt=0, le=0.5)]


class Rate(BaseModel):
    """The sparsity of a block."""

    block: Annotated[int, Field(ge=0, le=4)]
    sparsity: Annotated[float, Field(gt=0, lt=1)]


class Rates(BaseModel):
    """Propose sparsities."""

    values: Annotated[list[Rate], Field(max_length=2)]
    parent: int | None = None
    exact: bool = False


@tool(args_schema=Propose)
def propose(metric: str, **rest: str) -> str:
    """Propose a metric."""
    return f"{metric} is measured"


@tool(args_schema=Allocate)
def allocate(allocation: str, width: float) -> str:
    """Propose an allocation."""
    return f"{allocation} is measured at {width}"


@tool(args_schema=Rates)
def rates(values: list[Rate], parent: int | None, exact: bool) -> str:
    """Propose sparsities."""
    return f"{len(values)} are measured"


@tool(return_direct=True)
def finish() -> str:
    """End."""
    return "done"


TOOLS = [propose, allocate, rates, finish]
LANGUAGES = {"metric": METRIC, "allocation": ALLOCATION}


def only_call(reply: AIMessage) -> tuple[str, dict[str, Any]]:
    assert not reply.invalid_tool_calls
    (call,) = reply.tool_calls
    return call["name"], call["args"]


def test_every_call_of_a_babbling_model_is_valid(model: LocalChatModel) -> None:
    bound = model.bind_tools(TOOLS)
    by_name = {tool.name: tool for tool in TOOLS}
    called, written = set(), set()
    for seed in range(100):
        reply = bound.invoke("Propose something.", seed=seed)
        name, arguments = only_call(reply)
        by_name[name].get_input_schema().model_validate(arguments)
        assert by_name[name].invoke(arguments)
        for key, language in LANGUAGES.items():
            if key in arguments:
                parse(arguments[key], language)
                written.add(arguments[key])
        assert reply.usage_metadata is not None
        assert 0 < reply.usage_metadata["output_tokens"] <= model.most
        assert reply.content == ""
        called.add(name)
    assert called == set(by_name)
    assert len(written) > 20


def test_formulas_read_what_they_may(model: LocalChatModel) -> None:
    limited = model.model_copy(update={"terminals": Terminals(metric=("W", "X"), allocation=("depth",))})
    bound = limited.bind_tools(TOOLS)
    for seed in range(20):
        _, arguments = only_call(bound.invoke("Propose.", seed=seed))
        for key, language in LANGUAGES.items():
            if key in arguments:
                assert used_terminals(parse(arguments[key], language)) <= {"W", "X", "depth"}


def test_the_choice_of_a_tool_is_kept(model: LocalChatModel) -> None:
    for choice in ("allocate", {"type": "function", "function": {"name": "allocate"}}):
        bound = model.bind_tools(TOOLS, tool_choice=choice)
        assert {only_call(bound.invoke("Go.", seed=seed))[0] for seed in range(5)} == {"allocate"}
    brief = model.model_copy(update={"max_tokens": 30})
    assert not brief.bind_tools(TOOLS, tool_choice="none").invoke("Go.").tool_calls
    with pytest.raises(UsageError, match="prune is none of the tools propose"):
        model.bind_tools(TOOLS, tool_choice="prune")


def test_streaming_says_the_same_piece_by_piece(model: LocalChatModel) -> None:
    for bound in (model, model.bind_tools([propose])):
        whole = bound.invoke("Propose.", seed=5)
        chunks: list[AIMessageChunk] = list(bound.stream("Propose.", seed=5))
        together = reduce(add, chunks)
        assert len(chunks) > 5
        assert together.content == whole.content
        assert together.tool_calls == whole.tool_calls
        assert together.usage_metadata == whole.usage_metadata
        assert [chunk.chunk_position for chunk in chunks].count("last") == 1


def test_a_seed_is_a_reply(model: LocalChatModel) -> None:
    bound = model.bind_tools([propose])
    replies = [bound.invoke("Propose.", seed=seed) for seed in (1, 1, 2)]
    assert replies[0].tool_calls == replies[1].tool_calls
    assert replies[0].tool_calls[0]["args"] != replies[2].tool_calls[0]["args"]
    greedy = model.model_copy(update={"temperature": 0.0}).bind_tools([propose])
    assert only_call(greedy.invoke("Propose.", seed=1)) == only_call(greedy.invoke("Propose.", seed=2))


def test_it_thinks_before_it_calls_where_it_has_a_template(model: LocalChatModel) -> None:
    tokenizer = model.opened.tokenizer
    tokenizer.chat_template = CHATML
    try:
        thoughtful = model.model_copy(update={"thought": 40}).bind_tools([rates])
        replies = [thoughtful.invoke("Propose.", seed=seed) for seed in range(10)]
        silent = model.model_copy(update={"thought": 0}).bind_tools([rates]).invoke("Propose.")
    finally:
        tokenizer.chat_template = None
    texts = [str(reply.content) for reply in replies]
    assert all(only_call(reply)[0] == "rates" for reply in [*replies, silent])
    assert any(texts)
    assert all(len(text) <= 40 and "{" not in text for text in texts)
    assert silent.content == ""


def test_an_agent_runs_until_it_is_finished(model: LocalChatModel) -> None:
    agent = create_agent(model, TOOLS, system_prompt="You prune.")
    ends = []
    for seed in range(4):
        agent = create_agent(model.model_copy(update={"seed": seed}), TOOLS, system_prompt="You prune.")
        messages = agent.invoke({"messages": [HumanMessage("Go.")]}, {"recursion_limit": 100})["messages"]
        results = [message for message in messages if isinstance(message, ToolMessage)]
        assert all(message.status == "success" for message in results)
        assert (results[-1].name, results[-1].content) == ("finish", "done")
        ends.append(len(messages))
    assert max(ends) > 3


def test_a_long_conversation_loses_its_oldest_turns(model: LocalChatModel) -> None:
    long = [SystemMessage("You prune.")]
    for turn in range(40):
        long += [HumanMessage(f"Question {turn}"), AIMessage(f"Answer {turn}")]
    long.append(HumanMessage("The last question"))
    read = prompt(long, [], model.opened.tokenizer, 100)
    text = model.opened.tokenizer.decode(read.tokens)
    assert len(read.tokens) <= 100
    assert text.startswith("You prune.")
    assert "The last question" in text
    assert "Question 39" in text
    assert "Question 0" not in text
    assert read.dropped > 60
    assert read.cut == 0
    brief = model.model_copy(update={"max_tokens": 30})
    assert brief.invoke(long).response_metadata["dropped_turns"] > 0


def test_a_conversation_that_goes_on_is_not_read_again(model: LocalChatModel) -> None:
    talk = [SystemMessage("You prune. " * 10), HumanMessage("Go.")]
    longer = [*talk, AIMessage("Yes."), HumanMessage("And?")]
    lengths: list[int] = []
    hook = model.opened.network.register_forward_pre_hook(
        lambda network, given, named: lengths.append(named["input_ids"].shape[1]), with_kwargs=True
    )
    try:
        fresh = LocalChatModel(opened=model.opened, max_tokens=30).invoke(longer)
        first = lengths[0]
        other = LocalChatModel(opened=model.opened, max_tokens=30)
        other.invoke(talk)
        lengths.clear()
        again = other.invoke(longer)
    finally:
        hook.remove()
    assert again.content == fresh.content
    assert lengths[0] < first / 2


def test_the_model_reads_of_its_tools_and_of_what_they_said(model: LocalChatModel) -> None:
    call = {"name": "finish", "args": {}, "id": "1"}
    messages = [
        HumanMessage("Go."),
        AIMessage("", tool_calls=[call]),
        ToolMessage("done", tool_call_id="1", name="finish"),
    ]
    tools = model.bind_tools(TOOLS).kwargs["tools"]  # type: ignore[attr-defined]
    text = model.opened.tokenizer.decode(prompt(messages, tools, model.opened.tokenizer, 2000).tokens)
    assert "- propose: Propose a metric.\n    metric (metric formula): who falls\n" in text
    assert 'compensation ("none" | "obs")' in text
    assert "width (number 0..0.5)" in text
    assert "parent (integer | null)" in text
    assert 'Assistant: {"name": "finish", "arguments": {}}\n\nUser: Result of finish: done\n\nAssistant:' in text


def test_what_it_cannot_do_is_said(model: LocalChatModel, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="takes no stop words"):
        model.invoke("Go.", stop=["."])
    with pytest.raises(UsageError, match="give it fewer tools"):
        model.model_copy(update={"max_tokens": 20}).bind_tools(TOOLS).invoke("Go.")
