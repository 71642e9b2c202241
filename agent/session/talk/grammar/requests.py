"""A line as requests: cut where one may end, read as few acts as account for all of it, made tools."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from pydantic import ValidationError

from agent.session.talk.grammar.acts import CUTS, FREE, REFS, Call, Heard, Lacking, Twofold, Unclear
from agent.session.talk.grammar.amounts import amounts
from agent.session.talk.grammar.behind import bare, lacks
from agent.session.talk.grammar.lists import ACTS
from agent.session.talk.grammar.offers import EXAMPLES, not_understood
from agent.session.talk.grammar.tokens import FAR, Token, heard
from agent.session.talk.grammar.whole import LEFT_OUT, addressed, again, first, folded, follows, put, timed
from agent.session.talk.grammar.words import written
from agent.session.talk.session import Session
from agent.session.talk.tools import TOOLS
from agent.session.talk.tools.run import OWN
from agent.session.talk.tools.tool import SessionTool
from tools.io.files import expanded
from tools.io.frozen import first_problem

AT_ONCE = ("stop", "pause", "leave")
"""Tools that never wait for a language model."""
FOLLOWS = frozenset(name for name, tool in TOOLS.items() if tool.group in ("measure", "deliver")) | {
    *("prune", "go_on", "report", "reproduce", "lessons", "standing", "chat_with_models")
}
"""Tools that can be asked for when the run at work has ended."""
LONGEST = 600
"""Characters of a line that is read; longer ones are texts, not requests."""
MOST = 8
"""Pieces that a line is cut into at most."""
BARE = FREE | frozenset(
    [
        "faster",
        "smaller",
        "sparse",
        "times",
        "candidate_id",
        "share",
        "nm",
        "pattern",
        "number",
        "task",
        "method",
        "ask",
        *REFS,
    ]
)
"""What says nothing by itself behind an `and`: it belongs to what was said before."""
_HELLO = ("greeting", *CUTS)
_CONDITIONS = ("not", "spare")
"""Where a rule of an order begins that stands in its sentence."""
_THEN = frozenset({"then", "dann", "danach", "puis", "ensuite", "luego", "después", "poi", "dopo", "depois", "daarna"})
_THEN |= {"potem", "затем", "потом", "然后", "之后"}
_VERBS = ("prune", "compress", "shrink", "stop", "export", "evaluate", "upload", "recover", "quantise")
_KANA = re.compile("[\u3040-\u309f]")
"""What Japanese puts behind the thing that it is said of, so that no request begins there."""
_AMOUNTS = frozenset({"share", "nm", "times", "prune", "compress", "shrink", "method"})
WELCOME = "You are welcome."
WAITS_NOT = "Nothing waits for a yes or no."
NOTHING_DONE = "Nothing is done."
QUEUED = 'When the run has ended follows what "drop the queue" takes back: '
COMMAND = (
    "is an option of the command line, which belongs into a terminal behind `secateur`; here say it in words: "
    '"prune MODEL to 50 % for 20 minutes".'
)
NEVER = "That cannot be meant: "


@dataclass(frozen=True)
class Missed:
    """A request that is not read: what of it nothing accounts for, and whether the rest would be something."""

    words: str
    meant: bool


def read(text: str, session: Session) -> list[SessionTool] | str:
    """The tools that one line asks for, in order, or the line that says that it was not understood and what is near."""
    line = written(text)
    if (asked := put(line)) is not None:
        return [_tool(asked, session)]
    if len(line) > LONGEST:
        return not_understood([], "")
    if option := re.search(r"(?<!\S)--(?!help)[a-z][a-z-]*", line):
        return f"{NEVER}{option[0]} {COMMAND}"
    if (named := _repository(line)) and _asked_of(session) == "upload":
        return [_tool(Call("upload", {"repository": named}), session)]
    rest, ended = timed(line)
    if ended and _follows_the_run(rest, session):
        line = rest
    else:
        ended = False
    code, found = heard(line)
    cut = _pieces(_with_tasks(amounts(found), session))
    kinds = {token.kind for piece in cut for token in piece}
    if kinds - FREE in ({"yes"}, {"not"}, {"no_word"}):
        if session.waits is not None:
            return NOTHING_DONE
        return f"{WAITS_NOT} {QUEUED}{', '.join(session.queue)}." if session.queue else WAITS_NOT
    if kinds <= FREE and "thanks" in kinds:
        return WELCOME
    try:
        calls = _calls(cut, _asked_of(session) == "prune")
        if isinstance(calls, str):
            return not_understood([token for piece in cut for token in piece], calls)
        session.behind = follows(line) or (ended and (len(calls) == 1 or calls[0].name != "prune"))
        return [_tool(call, session, code) for call in addressed(first(folded(calls), session), session)]
    except (Unclear, Twofold) as problem:
        return f"{NEVER}{problem}."
    except ValidationError as error:  # what a tool takes no value for
        return f"{NEVER}{first_problem(error)}."


def _follows_the_run(rest: str, session: Session) -> bool:
    """Whether what is left without `when it has ended` asks for things that can follow a run."""
    try:
        calls = _calls(_pieces(_with_tasks(amounts(heard(rest)[1]), session)), unfinished=False)
    except Unclear:  # which is told when it is read
        return True
    return not isinstance(calls, str) and all(call.name in FOLLOWS for call in calls)


def calls_of(text: str) -> list[Call]:
    """What a line asks for in a conversation that has just begun; empty where it is not understood."""
    if (asked := put(written(text))) is not None:
        return [asked]
    calls = _calls(_pieces(amounts(heard(timed(written(text))[0])[1])), unfinished=False)
    return [] if isinstance(calls, str) else calls


def _asked_of(session: Session) -> str:
    """The tool that still lacks something that the person was asked for."""
    return "" if session.unfinished is None else session.unfinished[0]


def _repository(line: str) -> str:
    """The repository that a line is, if it is nothing else."""
    found = re.fullmatch(r"(?:in)?(?:to )?([\w.-]+/[\w.-]+?)[.!]?", line)
    return "" if found is None else found[1]


def meanings() -> list[tuple[str, list[Call]]]:
    """Every example with what it asks for."""
    return [(example, calls_of(example)) for example in EXAMPLES]


def parts(line: str) -> int:
    """How many things a line may ask for, by the words between them."""
    return len(_pieces(amounts(heard(written(line))[1])))


def numbers(line: str) -> set[float]:
    """The numbers of a line, in figures or in words, shares as shares."""
    found = [token.value for token in amounts(heard(written(line))[1])]
    return {float(value) for value in found if isinstance(value, int | float)}


@lru_cache(maxsize=8)
def quick(text: str) -> SessionTool | None:
    """Orders that never wait for a language model: stop, pause and goodbye."""
    line = written(text)
    if len(line) > LONGEST:
        return None
    try:
        found = _act(amounts(heard(line)[1]), unfinished=False)
    except (Unclear, Twofold):
        return None
    return TOOLS[found.name]() if isinstance(found, Call) and found.name in AT_ONCE else None


def _with_tasks(found: Sequence[Token], session: Session) -> list[Token]:
    """Words that are tasks of the person's own are tasks: the files of the folder that the settings name."""
    folder = session.settings.values.task_data
    own = set() if folder is None else {path.stem for path in expanded(folder).glob("*.jsonl")}
    return [Token("task", token.text, token.text) if token.text in own else token for token in found]


def _pieces(found: Sequence[Token]) -> list[list[Token]]:
    """The tokens between the words where a request may end; those words stay at the beginning of what follows."""
    made: list[list[Token]] = [[]]
    for token in found:
        said = {one.kind for one in made[-1]}
        cut = bool(said - {*CUTS}) and (token.kind in CUTS or token.text.lower() in _THEN)
        cut = cut or (token.kind in _CONDITIONS and bool(said & _AMOUNTS) and not _KANA.match(token.text))
        cut = cut or (bool(made[-1]) and _is_linked(made[-1][-1]) and token.kind not in FREE)
        if cut and len(made) < MOST:
            made.append([])
        made[-1].append(token)
    return made


def _is_linked(token: Token) -> bool:
    """Whether it is a Japanese verb in a form that another one follows."""
    return token.kind in _VERBS and token.text.endswith(("て", "で", "し")) and bool(re.search(f"[{FAR}]", token.text))


def _calls(pieces: list[list[Token]], unfinished: bool) -> list[Call] | str:
    """The fewest acts, in order, that account for all pieces; else the words that nothing accounts for."""
    if not any(piece for piece in pieces) or all(token.kind in _HELLO for piece in pieces for token in piece):
        return [Call("help")]
    reading = _partition(pieces, unfinished)
    return reading if reading is not None else _missed(pieces, unfinished)


def _partition(pieces: list[list[Token]], unfinished: bool, before: tuple[str, ...] = ()) -> list[Call] | None:
    """As `_calls`, behind the acts that `before` names; None where something is left over."""
    if not pieces:
        return []
    problem: Unclear | None = None
    for length in range(len(pieces), 0, -1):
        try:
            first = _begun([token for piece in pieces[:length] for token in piece], unfinished, before)
            later = pieces[length:]
            if isinstance(first, Missed) or (later and _bare(later[0]) and not bare(later[0])):
                continue
            if (rest := _partition(later, unfinished=False, before=(*before, first.name))) is not None:
                return [first, *rest]
        except Unclear as found:
            problem = problem or found
    if problem is not None:
        raise problem
    return None


def _begun(piece: Sequence[Token], unfinished: bool, before: Sequence[str]) -> Call | Missed:
    """The act of a piece; what lacks a word behind an order is left out of it, which is told."""
    try:
        found = _act(piece, unfinished)
        read = found if isinstance(found, Call) else None
        why = lacks(read, piece) if {"prune", "foresee"} & {*before} else ""
    except Lacking as problem:
        if not before:
            raise
        found, why = Missed("", meant=True), str(problem)
    return Call(LEFT_OUT, {"words": _text(piece), "why": why}) if why else found


def _bare(piece: Sequence[Token]) -> bool:
    return all(token.kind in BARE for token in piece)


def _missed(pieces: list[list[Token]], unfinished: bool) -> str:
    """What of a line to name as not understood: one request of several, or words of one; empty where it is all."""
    telling = [piece for piece in pieces if not _bare(piece)]
    strange = [piece for piece in telling if isinstance(_act(piece, unfinished), Missed)]
    if strange and len(strange) < len(telling):
        return _text(strange[0])
    whole = _act([token for piece in pieces for token in piece], unfinished)
    assert isinstance(whole, Missed)
    return whole.words if whole.meant else ""


def _act(piece: Sequence[Token], unfinished: bool) -> Call | Missed:
    """The first act that accounts for all tokens, or the least that is left over."""
    said = Heard(piece, _text(piece), unfinished)
    left: list[Token] | None = None
    least = (0, False)
    for act in ACTS:
        if not act.met(said):
            continue
        rest = act.left(said)
        call = None if rest else act.make(said)
        if call is not None and not (rest := said.unused(call)):
            return call
        weight = (len(rest), not act.order)
        if rest and act.needs and (left is None or weight < least):
            left, least = rest, weight
    asked = said.has("what", "how", "why", "aux", "ask", "where", "explain") and not said.has("kindly")
    return Missed(_span(piece, left or piece), left is not None and not asked)


def _span(piece: Sequence[Token], left: Sequence[Token]) -> str:
    """The words from the first to the last of what is left over, and what a `without` at its end speaks of."""
    first, last = piece.index(left[0]), len(piece) - 1 - list(reversed(piece)).index(left[-1])
    return _text(piece[first : len(piece) if left[-1].kind == "not" else last + 1])


def _text(piece: Sequence[Token]) -> str:
    words = list(piece)
    while words and words[0].kind in CUTS:
        words.pop(0)
    said = " ".join(token.text for token in words)
    return re.sub(rf"(?<=') | (?=[{FAR}])|(?<=[{FAR}]) ", "", said)


def _tool(call: Call, session: Session, code: str = "en") -> SessionTool:
    """The validated tool; what was said of a prune before is completed by what is said now."""
    kind, args = TOOLS[call.name], call.args
    if call.name == "explain" and code != "en":
        args = {**args, "language": code}
    if args.get("again"):
        args = again(args, session)
    if call.name == "upload" and _asked_of(session) == "upload":
        assert session.unfinished is not None
        args, session.unfinished = {**session.unfinished[1], **args}, None
    if call.name == "prune" and session.unfinished is not None and session.unfinished[0] == "prune":
        (_, before), session.unfinished = session.unfinished, None
        whole = "model" in args and bool({"sparsity", "speedup"} & args.keys())
        kept = {name: value for name, value in before.items() if not whole or name in OWN}
        args = {**kept, **args}
    return kind.model_validate(args)
