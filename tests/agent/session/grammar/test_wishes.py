"""What testers typed, each with what it means and with near misses: lines that must not be read as it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.session.settings import load
from agent.session.talk import grammar
from agent.session.talk.session import Session
from agent.session.talk.tools.account import RemoveRun, Sparsities
from agent.session.talk.tools.deliver import Export, Upload
from agent.session.talk.tools.help import UseTasks
from agent.session.talk.tools.look import Compare, Happened, Standing, Uses, WhyWon
from agent.session.talk.tools.measure import EvaluateTasks, Perplexity
from agent.session.talk.tools.model import LayerStatistics, MemoryNeed
from agent.session.talk.tools.run import Foresee, Prune, Steer, Stop
from agent.session.talk.tools.tool import SessionTool
from agent.session.talk.tools.waits import WhatWaits, Withdraw
from agent.session.talk.waiting import YES
from runs.events import Said
from runs.goal import Budget, Goal
from runs.run import create

PLAN = {"model": "tiny", "sparsity": 0.5}
X = Export(folder="./x")


def session(**more: Any) -> Session:
    return Session(load(Path("home")), lambda run: "", **more)


def spare(words: str) -> Steer:
    return Steer(words=f"spare {words}")


HALF = Prune(model="tiny", sparsity=0.5)
READ: dict[str, list[SessionTool]] = {
    "keep the first block whole": [spare("block 0")],
    "keep the first two layers as they are": [spare("the first 2 blocks")],
    "keep the first and the last block whole": [spare("the first 1 and last 1 blocks")],
    "leave the last two blocks alone": [Steer(words="leave the last two blocks alone")],
    "behalte den ersten Block ganz": [spare("block 0")],
    "lass die letzten zwei Blöcke in Ruhe": [spare("the last 2 blocks")],
    "deja el primer bloque entero": [spare("block 0")],
    "lascia intatto il primo blocco": [spare("block 0")],
    "garde le premier bloc entier": [spare("block 0")],
    "не трогай первый блок": [spare("block 0")],
    "which blocks are spared?": [Sparsities()],
    "which layers stayed whole?": [Sparsities()],
    "how much is each block pruned?": [Sparsities()],
    "which blocks can be spared?": [LayerStatistics()],
    "without the evaluation": [Withdraw(parts=("evaluation",))],
    "leave out the export": [Withdraw(parts=("export",))],
    "without the evaluation and the export": [Withdraw(parts=("evaluation", "export"))],
    "ohne die Auswertung": [Withdraw(parts=("evaluation",))],
    "lass den Export weg": [Withdraw(parts=("export",))],
    "senza la valutazione": [Withdraw(parts=("evaluation",))],
    "sin exportar": [Withdraw(parts=("export",))],
    "allow OBS again": [Steer(words="allow OBS again")],
    "you may use OBS again": [Steer(words="you may use OBS again")],
    "erlaube OBS wieder": [Steer(words="allow obs again")],
    "разреши OBS снова": [Steer(words="allow obs again")],
    "what is the plan?": [WhatWaits()],
    "¿cuál es el plan?": [WhatWaits()],
    "qual è il piano?": [WhatWaits()],
    "what will be exported?": [WhatWaits(part="export")],
    "was wird exportiert?": [WhatWaits(part="export")],
    "was OBS used?": [Uses(method="obs")],
    "wurde OBS benutzt?": [Uses(method="obs")],
    "which candidates used wanda?": [Uses(method="wanda")],
    "compare c-1 with sparsegpt": [Compare(one="c-1", other="sparsegpt")],
    "is c-1 better than wanda?": [Compare(one="c-1", other="wanda")],
    "is the pruned one worse than the dense one?": [Perplexity()],
    "¿es el podado peor que el original?": [Perplexity()],
    "export tiny as gguf to t.gguf": [Export(folder="t.gguf", form="gguf", model="tiny")],
    "export ./my-model as gguf to x.gguf": [Export(folder="x.gguf", form="gguf", model="./my-model")],
    "export the dense one to ./x": [Export(folder="./x", model="dense")],
    "export c-3 to ./x": [Export(folder="./x", model="c-3")],
    "remove all runs": [RemoveRun(run="all")],
    "lösche alle Läufe": [RemoveRun(run="all")],
    "evaluate tiny first, then prune it to 50 %": [Perplexity(models=("tiny",)), HALF],
    "primero evalúa tiny y luego pódalo al 50 %": [Perplexity(models=("tiny",)), HALF],
    "evaluate tiny on piqa first, then prune it to 50 %": [EvaluateTasks(tasks=("piqa",), model="tiny"), HALF],
    "only uniform allocation please": [Steer(words="uniform only")],
    "use the same share everywhere": [Steer(words="uniform only")],
    "solo allocazione uniforme": [Steer(words="uniform only")],
    "prune tiny to 50 % with uniform allocation": [HALF.model_copy(update={"rules": ("uniform only",)})],
    "why did c-1 win?": [WhyWon(name="c-1")],
    "warum hat c-1 gewonnen?": [WhyWon(name="c-1")],
    "обрежь tiny до 50 % потом экспортируй в ./x": [HALF, X],
    "обрежь tiny до 50 % без OBS": [HALF.model_copy(update={"rules": ("no obs",)})],
    "tinyを50%に剪定して評価して": [HALF, Perplexity()],
    "tinyを50%に剪定してOBSなしで": [HALF.model_copy(update={"rules": ("no obs",)})],
    "止めて./xにエクスポートして": [Stop(), X],
    "prune tiny to 50 % then export it to ./x": [HALF, X],
    "How much GPU memory would a 7B model need?": [MemoryNeed(billions=7)],
    "how much memory does a 1.5 billion parameter model need in 4 bit?": [MemoryNeed(billions=1.5)],
    "Wie viel Speicher braucht ein 7B-Modell?": [MemoryNeed(billions=7)],
    "7B模型需要多少显存？": [MemoryNeed(billions=7)],
    "how much memory does tiny need?": [MemoryNeed(model="tiny")],
    "how much memory would it need to prune tiny to 50 %?": [Foresee(model="tiny", sparsity=0.5)],
    "what happened?": [Happened()],
    "why did it fail?": [Happened()],
    "¿qué pasó?": [Happened()],
    "use the tasks in ./mytasks": [UseTasks(folder="./mytasks")],
    "nimm die Aufgaben in ./x": [UseTasks(folder="./x")],
}
NOT_UNDERSTOOD = (
    "keep the first half of the blocks whole",
    "keep 2 blocks whole",
    "keep the attention of the first block whole",
    "lass die letzten zwei Blöcke weg",
    "why is the evaluation without the export?",
    "without the evaluation of the dense one",
    "don't export it to x",
    "allow OBS only for block 3",
    "is OBS allowed?",
    "allow it again",
    "what is the plan of the winner?",
    "change the plan",
    "plan to prune tiny",
    "what was exported?",
    "what can be exported?",
    "what will be exported to x?",
    "should I use OBS?",
    "what was used for calibration?",
    "compare c-1 with sparsegpt and wanda",
    "compare c-1 and c-2 with sparsegpt",
    "is it worse?",
    "did you use wanda or sparsegpt?",
    "how much RAM do I have?",
    "export it and the dense one to ./x",
    "export tiny and gpt2 to x",
    "remove all",
    "remove all runs of yesterday",
    "remove all old runs",
    "delete everything of the run",
    "test",
    "evaluate the first block",
    "what is uniform allocation?",
    "is the allocation uniform?",
    "uniform",
    "how much memory is free?",
    "how much does a 7B model cost?",
    "will a 7B model fit on my GPU?",
    "what happened to c-3?",
    "what happened at 70 %?",
    "what happens when it is done?",
    "why did it stop at 50 %?",
    "use the tasks piqa and mmlu",
    "use the tasks",
    "try the tasks in ./x on c-3",
    "lass es in Ruhe",
)


@pytest.mark.parametrize("text", READ)
def test_what_was_typed_is_read_as_it_was_meant(text: str) -> None:
    assert grammar.read(text, session()) == READ[text]


@pytest.mark.parametrize("text", NOT_UNDERSTOOD)
def test_what_is_near_to_it_is_not_read_as_it(text: str) -> None:
    said = grammar.read(text, session())
    assert isinstance(said, str)
    assert said.startswith("I did not understand")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("don't export it and evaluate it", "one after the other"),
        ("without evaluation and export", "one after the other"),
        ("keep the first and last two blocks whole", "which blocks?"),
        ("prune tiny to 50 % with owl allocation", "an allocation cannot be ordered"),
        ("export ./m as gguf", "it is not said where to"),
    ],
)
def test_what_can_be_meant_in_two_ways_is_asked_about(text: str, part: str) -> None:
    said = grammar.read(text, session())
    assert isinstance(said, str)
    assert said.startswith("That cannot be meant: ")
    assert part in said


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("mach lieber 40 % daraus", Prune(model="tiny", sparsity=0.4)),
        ("fai invece il 40 %", Prune(model="tiny", sparsity=0.4)),
        ("mejor al 40 %", Prune(model="tiny", sparsity=0.4)),
        ("usa solo 2 candidati", Prune(model="tiny", sparsity=0.5, candidates=2)),
        ("nimm nur 3 Kandidaten", Prune(model="tiny", sparsity=0.5, candidates=3)),
        ("keep the first block whole", Prune(model="tiny", sparsity=0.5, rules=("spare block 0",))),
        ("evaluate it first", Perplexity(models=("tiny",))),
        ("how much memory does it need?", Foresee(model="tiny", sparsity=0.5, short=True)),
    ],
)
def test_what_is_said_to_a_plan_is_about_it(text: str, asked: SessionTool) -> None:
    assert grammar.read(text, session(waits=dict(PLAN))) == [asked]


def test_what_is_allowed_again_is_forbidden_no_more() -> None:
    forbidden = {**PLAN, "rules": ["no OBS", "spare block 0"]}
    kept = Prune(model="tiny", sparsity=0.5, rules=("spare block 0",))
    assert grammar.read("allow OBS again", session(waits=forbidden)) == [kept]


def test_a_method_that_is_named_takes_the_place_of_a_search_that_waits() -> None:
    by = Prune(**PLAN, method="sparsegpt")
    for text in ("use sparsegpt", "actually use sparsegpt", "use sparsegpt instead"):
        assert grammar.read(text, session(waits=dict(PLAN))) == [by]
    for text in ("use owl", "try wanda"):  # what a search may have
        (kept,) = grammar.read(text, session(waits=dict(PLAN)))
        assert isinstance(kept, Prune)
        assert (kept.method, kept.rules) == (None, (text,))


def test_not_yet_leaves_a_plan_where_it_is() -> None:
    assert grammar.read("not yet", session(waits=dict(PLAN))) == "Nothing is done."


def test_what_is_done_again_keeps_its_limits_and_what_was_obeyed(tmp_path: Path, story: Any) -> None:
    goal = Goal(model="tiny", sparsity=0.5, budget=Budget(candidates=3))
    run = create(tmp_path, goal)
    story.start()
    said = [Said(text=text) for text in ("spare block 4", "make it purple", "stop", "no OBS")]
    for event in [*story.events, *said]:
        run.journal.append(event)
    (asked,) = grammar.read("do it again with seed 1", session(run=run))
    assert isinstance(asked, Prune)
    assert (asked.candidates, asked.seed, asked.rules) == (3, 1, ("spare block 4", "no OBS"))


@pytest.mark.parametrize("text", ["go ahead", "ok, let's go", "sounds good"])
def test_a_yes_in_other_words(text: str) -> None:
    assert text in YES


@pytest.mark.parametrize("text", ["vergiss es", "lass es", "lascia perdere", "déjalo", "забудь", "忘れて", "forget it"])
def test_where_nothing_waits_nothing_is_dropped(text: str) -> None:
    assert grammar.read(text, session()) == "Nothing waits for a yes or no."


@pytest.mark.parametrize(
    ("text", "tools"),
    [
        ("when it has ended export it to ./x", [X]),
        ("once this run is finished, export it to ./x", [X]),
        ("export it to ./x when it is done", [X]),
        ("as soon as the run is over upload it to me/x", [Upload(repository="me/x")]),
        ("evaluate it when this is done", [Perplexity()]),
        ("wenn es fertig ist, exportiere es nach ./x", [X]),
        ("exportiere es nach ./x, sobald es fertig ist", [X]),
        ("cuando termine, exporta a ./x", [X]),
        ("когда закончится, экспортируй в ./x", [X]),
        ("終わったら./xにエクスポートして", [X]),
    ],
)
def test_what_is_asked_for_the_end_of_a_run_follows_it(text: str, tools: list[SessionTool]) -> None:
    about = session()
    assert grammar.read(text, about) == tools
    assert about.behind


@pytest.mark.parametrize(
    ("text", "tools"),
    [
        ("stop when this one is done", [Stop()]),
        ("is it done?", [Standing()]),
        ("stop when it is done", None),
        ("no OBS when it is done", None),
        ("tell me when it is done", None),
        ("how good is it when it is done?", None),
    ],
)
def test_what_does_not_follow_a_run_is_not_queued(text: str, tools: list[SessionTool] | None) -> None:
    about = session()
    found = grammar.read(text, about)
    assert isinstance(found, str) if tools is None else found == tools
    assert not about.behind
