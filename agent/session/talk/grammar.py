"""Reading requests without a language model: the sentences that people type to a program, by pattern.

What it cannot read it says so, with the three nearest things that can be done; it never answers a question with
something else.
"""

from __future__ import annotations

import re

from pydantic import ValidationError

from agent.session.talk.session import Session
from agent.session.talk.tools import TOOLS
from agent.session.talk.tools.deliver import Export
from agent.session.talk.tools.help import Help, Leave
from agent.session.talk.tools.look import Candidates, Compare, Lessons, PastRuns, Pattern, Standing
from agent.session.talk.tools.measure import EvaluateTasks
from agent.session.talk.tools.run import GoOn, Prune, Resume, Stop
from agent.session.talk.tools.tool import SessionTool
from tools.io.frozen import first_problem

_NUMBERS = {
    "one": 1,
    "two": 2,
    "three": 3,
    "five": 5,
    "ten": 10,
    "fifteen": 15,
    "twenty": 20,
    "thirty": 30,
    "sixty": 60,
    "half": 0.5,
    "an": 1,
    "a": 1,
}
_NUMBER = r"(\d+(?:[.,]\d+)?|" + "|".join(_NUMBERS) + r")"
_MODEL = re.compile(r"\bprune\s+(?:the\s+model\s+|model\s+)?(?P<model>(?!to\b|by\b|it\b|this\b|that\b|at\b)\S+)", re.I)
_ASKING = re.compile(
    r"^(why|how|what|which|who|when|where|is|are|does|do|did|can|could|should|would|explain|compare|tell)\b|\?\s*$",
    re.I,
)

_TASKS = {
    "commonsense": "commonsense",
    "boolq": "boolq",
    "piqa": "piqa",
    "hellaswag": "hellaswag",
    "winogrande": "winogrande",
    "arceasy": "arc_easy",
    "arcchallenge": "arc_challenge",
    "openbookqa": "openbookqa",
    "mmlu": "mmlu",
    "gsm8k": "gsm8k",
    "lambada": "lambada_openai",
    "truthfulqa": "truthfulqa_mc1",
}
"""How tasks are called, without spaces and hyphens -> lm-eval's name."""
_STOPPING = re.compile(
    r"(please\s+)?(stop|(that's\s+|that is\s+)?enough|conclude|finish)"
    r"(\s+(it|now|here|please|the (run|search)|searching|"
    r"after (this|that|the next)( one| step| candidate| generation)?|and conclude))*\W*"
)


def read(text: str, session: Session) -> list[SessionTool] | str:
    """The tools that one line asks for, or the line that says that it was not understood and what is near."""
    line = " ".join(text.split())
    try:
        found = _read(line, session)
    except ValidationError as error:  # zero minutes, 150 %
        return f"That cannot be meant: {first_problem(error)}."
    return found or _not_understood(line)


def quick(text: str) -> SessionTool | None:
    """Orders that never wait for a language model: stop and goodbye."""
    low = " ".join(text.lower().split())
    if re.fullmatch(r"(quit|exit|bye|goodbye|leave|:q)\W*", low):
        return Leave()
    return Stop() if _STOPPING.fullmatch(low) else None


def _read(line: str, session: Session) -> list[SessionTool]:
    low = line.lower()
    if (order := quick(line)) is not None:
        return [order]
    if re.match(r"(help|\?)\W*$", low) or not low:
        return [Help()]
    if re.match(r"(please\s+)?export\b|save it\b|give me the model", low):
        return [Export(folder=_folder(line))]
    found = _onward(low) or _evaluate(line) or _looked(low)
    if found is not None:
        return [found]
    if _ASKING.search(low):
        return []
    if re.search(r"\bprun(e|ing)\b|\bsparsity\b|\bfaster\b|\bsmaller\b", low) or _sparsity(low) or _pattern(low):
        return [_completed(_prune(line), session)]
    if session.unfinished is not None and len(line.split()) == 1:  # a bare word answers the question for the model
        return [_completed(Prune(model=line), session)]
    return []


def _completed(now: Prune, session: Session) -> Prune:
    """What was asked for before, with what is said now."""
    before, session.unfinished = session.unfinished, None
    said = now.model_dump(exclude_defaults=True)
    return now if before is None else Prune.model_validate({**before, **said})


def _looked(low: str) -> SessionTool | None:
    """Questions about what was measured."""
    named = tuple(dict.fromkeys(re.findall(r"\bc-\d+\b", low)))
    if len(named) == 2 and re.search(r"\bcompare|\bdiffer|\bbetter\b|\bversus\b|\bvs\b", low):
        return Compare(one=named[0], other=named[1])
    if named:
        return Candidates(names=named)
    if (found := re.search(r"\b\d+:\d+\b", low)) and _ASKING.search(low):
        return Pattern(pattern=found[0])
    if re.search(r"\blesson|\blearn|\bwhy\b.*\b(win|won|best|better)\b|\bprinciple", low):
        return Lessons()
    if re.search(r"\bwhich runs\b|\blist (the )?runs\b|\b(earlier|past|other) runs\b", low):
        return PastRuns()
    if re.search(r"\bhow (does it stand|is it going|good is it)\b|\bstatus\b|\bbest (so far|candidate)", low):
        return Standing()
    return None


def _not_understood(line: str) -> str:
    """Says so, with the three nearest examples by the words that they share."""
    words = set(re.findall(r"[a-z]{3,}", line.lower()))
    scored = sorted(EXAMPLES, key=lambda example: -len(words & set(re.findall(r"[a-z]{3,}", example.lower()))))
    return "\n".join(["I did not understand that. The nearest that I can do:", *(f"  {one}" for one in scored[:3])])


EXAMPLES = (
    "prune smollm2-135m to 50 %",
    "how does it stand?",
    "what did you learn?",
    "compare c-1 and c-2",
    "explain c-3",
    "how good is it on HellaSwag?",
    "go on for ten more minutes",
    "continue what we did on smollm2 yesterday",
    "which runs are there?",
    "export it to ./pruned",
)
"""What is offered where a line was not understood; every one of them is understood."""


_EXAMINE = r"(?:please\s+)?(?:evaluate|score|test|measure)\b"


def _evaluate(line: str) -> SessionTool | None:
    """`how good is it on HellaSwag?`, `evaluate ./pruned on arc easy and piqa with 100 samples`."""
    low = line.lower()
    asked = re.match(rf"{_EXAMINE}|(?:and\s+)?how (?:good|well)\b|what does it score", low)
    if not asked or re.search(r"\bprun(e|ing)\b", low):
        return None
    plain = re.sub(r"[\s_-]+", "", low)
    tasks = [name for word, name in _TASKS.items() if word in plain]
    named = re.match(rf"{_EXAMINE}.*\bon\s+([\w,+ ]+?)(?:\s+with\b.*)?\W*$", low)
    if not tasks and named:
        tasks = [task.strip() for task in re.split(r"\s*(?:,|\band\b)\s*", named[1])]
    if not tasks:
        return None
    word = r"(?!(?:it|this|that|the|on)\b)(\S+)"
    model = re.match(rf"{_EXAMINE}\s+{word}\s+on\b", line, re.I) or re.match(
        rf"(?:and\s+)?how (?:good|well) (?:is|does)\s+{word}\s+(?:(?:do|perform|score)\s+)?on\b", line, re.I
    )
    found = re.search(r"(\d+)\s+samples", low)
    return EvaluateTasks(
        tasks=tuple(tasks),
        model=model[1] if model else "",
        samples=int(found[1]) if found else None,
        all_samples=bool(re.search(r"\ball (?:of )?(?:its |the )?samples\b", low)),
    )


def _onward(low: str) -> SessionTool | None:
    if re.match(r"(please\s+)?(resume\b|continue (what|with what|the run|where|on)|take up\b|pick up\b)", low):
        day = re.search(r"\b(today|yesterday)\b", low)
        words = re.sub(
            r"\b(please|resume|continue|take|pick|up|what|we|i|did|on|with|the|run|where|left|off|today|yesterday)\b",
            " ",
            low,
        )
        return Resume(words=" ".join(words.split()), day="any" if day is None else day[1])  # type: ignore[arg-type]
    if re.match(r"(please\s+)?(go on|continue|keep going|carry on|more\b|search on)", low):
        return GoOn(minutes=_minutes(low), candidates=_candidates(low))
    return None


def _prune(line: str) -> Prune:
    low = line.lower()
    named = _MODEL.search(line)
    model = named["model"].strip("\"'`").rstrip(",.;\"'`") if named else ""
    rest = line.replace(named["model"], " ", 1) if named else line
    low = rest.lower()
    limit = re.search(r"perplexity (?:stays? )?(?:under|below|at most|less than|<)\s*" + _NUMBER, low)
    rise = re.search(r"within\s+" + _NUMBER + r"\s*(?:%|percent)", low)
    shares = low if rise is None else low.replace(rise[0], " ")
    shares = re.sub(_NUMBER + r"\s*(?:%|percent)\s+faster", " ", shares)
    return Prune(
        model=model,
        sparsity=_sparsity(shares),
        pattern=_pattern(low),
        speedup=_speedup(low),
        max_perplexity=_value(limit[1]) if limit else None,
        max_rise=_value(rise[1]) / 100 if rise else None,
        candidates=_candidates(low),
        minutes=_minutes(low),
    )


def _value(text: str) -> float:
    return float(_NUMBERS[text]) if text in _NUMBERS else float(text.replace(",", "."))


def _sparsity(low: str) -> float | None:
    """`50 %`, `0.5`, `half`; nothing where no share is named."""
    if found := re.search(r"(\d+(?:[.,]\d+)?)\s*(?:%|percent|per cent)", low):
        share = _value(found[1]) / 100
    elif found := re.search(r"\b(?:to|by|at|sparsity(?: of)?)\s+(0?[.,]\d+)\b", low):
        share = _value(found[1])
    elif re.search(r"\bhalf\b", low):
        share = 0.5
    else:
        return None
    return share if 0 < share < 1 else None


def _pattern(low: str) -> str | None:
    if found := re.search(r"\b(\d+):(\d+)\b", low):
        return found[0]
    if "unstructured" in low:
        return "unstructured"
    if re.search(r"\bwidth\s*(?:\+|and)\s*depth\b", low):
        return "width+depth"
    if re.search(r"\bwidth\b|\bnarrower\b|\b(?:heads|neurons)\b", low):
        return "width"
    if re.search(r"\bdepth\b|\b(?:whole|drop|remove)\b.*\b(?:blocks|layers)\b", low):
        return "depth"
    return "width+depth" if re.search(r"\bsmaller\b", low) else None


def _speedup(low: str) -> float | None:
    """`1.4 times faster`, `1.4x faster`, `40 % faster`."""
    if found := re.search(r"(\d+(?:[.,]\d+)?)\s*(?:x|times)\s+(?:as\s+)?fast(?:er)?\b", low):
        value = _value(found[1])
    elif found := re.search(r"(\d+(?:[.,]\d+)?)\s*(?:%|percent)\s+faster\b", low):
        value = 1 + _value(found[1]) / 100
    else:
        return None
    return value if value > 1 else None


def _minutes(low: str) -> float | None:
    if found := re.search(_NUMBER + r"\s*(?:more\s+)?(minutes?|mins?|hours?|h)\b", low):
        return _value(found[1]) * (60 if found[2].startswith("h") else 1)
    return None


def _candidates(low: str) -> int | None:
    found = re.search(_NUMBER + r"\s*(?:more\s+)?(?:candidates?|recipes?|tries)\b", low)
    return max(1, int(_value(found[1]))) if found else None


def _folder(line: str) -> str | None:
    found = re.search(r"\b(?:to|into|in|as)\s+(\S+)\s*$", line)
    return found[1].strip("\"'`") if found else None


def nearest(line: str, count: int) -> list[type[SessionTool]]:
    """The tools whose descriptions and examples share most words with a line, for a model that can choose among few."""
    words = set(re.findall(r"[a-z]{3,}", line.lower()))

    def shared(tool: type[SessionTool]) -> int:
        return len(words & set(re.findall(r"[a-z]{3,}", f"{tool.called()} {tool.__doc__}".lower())))

    return sorted(TOOLS.values(), key=lambda tool: -shared(tool))[:count]
