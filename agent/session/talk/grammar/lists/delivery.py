"""Measuring a model, and what becomes of it: tasks, perplexity, texts, speed; export, recovery, upload; the rest."""

from __future__ import annotations

from agent.session.talk.grammar.acts import (
    ASKS,
    FREE,
    REFS,
    Act,
    Call,
    Heard,
    Lacking,
    Unclear,
    count,
    designers,
    is_text,
    objects,
    positive,
    some,
    texts,
)
from agent.session.talk.grammar.tokens import Token

_MODELS = "model name path quoted both dense pruned result and compare run between candidate_id"
_MEASURE = "evaluate good does what how aux ask result show tell compare make does"
QUANTISED = "q8_0, q5_1, q5_0, q4_1, q4_0"


def _tasks(heard: Heard) -> Call:
    tasks = heard.all("task")
    named = heard.one("model", "name", "path", "candidate_id") or next(
        (one.text for one in objects(heard, "evaluate", "aux")), ""
    )
    named = named or ("dense" if heard.has("dense") and not heard.has("pruned", "compare", "both", "and") else "")
    samples = count(heard.one("samples_of"), "samples")
    every = heard.has("all")
    first = heard.has("ahead") or (heard.has("first") and samples is None)
    return Call("evaluate_tasks", some(tasks=tasks, model=named, samples=samples, all_samples=every, ahead=first))


def _models(heard: Heard) -> list[str]:
    """The models to measure; none for the result beside the dense model, which is what both are."""
    named = [str(value) for value in heard.all("model", "name", "path", "candidate_id") if not is_text(str(value))]
    if heard.has("both") or (heard.has("dense") and heard.has("pruned", "compare", "faster", "between")):
        return named
    if heard.has("dense"):
        return [*named, "dense"]
    if len(named) > 2:
        raise Unclear("at most two models can be measured beside each other")
    return named


def _perplexity(heard: Heard) -> Call | None:
    named = texts(heard)
    tasks = heard.all("task")
    if tasks and tasks != ["wikitext"]:
        return None
    named += ["wikitext2"] * bool(tasks)
    if len(named) > 1:
        raise Unclear(f"{' and '.join(named)} at once; say them one after the other")
    return Call("perplexity", some(models=_models(heard), text=named[0] if named else ""))


def _loss(heard: Heard) -> Call | None:
    """How much worse the result is: perplexities beside each other tell."""
    return None if heard.has("at", "by", "with") else Call("perplexity")


def _evaluated(heard: Heard) -> Call | None:
    """`evaluate`, of whatever there is; a bare `test` or `check` may be anything."""
    said = [token.text.lower() for token in heard.tokens if token.kind == "evaluate"]
    return None if len(said) != 1 or said[0] in _ANYTHING else Call("perplexity")


def _evaluated_first(heard: Heard) -> Call:
    """`evaluate it first`: what is pruned afterwards, as it is now."""
    return Call("perplexity", {**some(models=_models(heard)), "ahead": True})


_ANYTHING = ("test", "check", "rate", "examine", "assess", "compute", "calculate", "note", "miss")


def _generations(heard: Heard) -> Call:
    return Call("generations", some(prompts=heard.all("quoted"), models=_models(heard)))


def _speed(heard: Heard) -> Call | None:
    asked = heard.kinds - FREE != {"fast"} or any(token.text.lower() in _MEASURABLE for token in heard.tokens)
    if not asked and heard.tokens[0].text.isascii():  # `be quick` is no question
        return None
    return Call("speed", some(models=_models(heard), batch=count(heard.one("batch_of"), "sequences")))


def _place(heard: Heard) -> str | None:
    """Where something goes: the last path, or a word behind `to`."""
    paths = [token for token in heard.tokens if token.kind in ("path", "quoted")]
    if len(paths) > 1:
        raise Unclear("two places are named: say what is exported by opening its run first")
    if paths:
        return str(paths[0].value)
    for place, token in enumerate(heard.tokens):
        if token.kind in ("word", "name", "model") and heard.before(place) in ("to", "as", "in"):
            return token.text
    return None


def _export(heard: Heard) -> Call | None:
    _can_be_written(heard)
    source = _source(heard)
    rest = heard if source is None else Heard([token for token in heard.tokens if token is not source], heard.text)
    place = _place(rest)
    if rest.has("dense", "candidate_id") or (place is None and rest.has("word", "name", "model")):
        return None
    form = heard.one("form") or ("gguf" if heard.has("quantisation") else None)
    named = None if source is None else "dense" if source.kind == "dense" else str(source.value)
    return Call("export", some(folder=place, form=form, quantisation=heard.one("quantisation"), model=named))


def _source(heard: Heard) -> Token | None:
    """The model right behind the verb, where another place is named: `export tiny as gguf to t.gguf`. A word is one
    only beside a place that is none."""
    named = [token for token in heard.tokens if token.kind in (*REFS, "word", "dense", "candidate_id")]
    if not named or not _right_behind(heard, heard.tokens.index(named[0])):
        return None
    other = [token for token in named[1:] if heard.before(heard.tokens.index(token)) in ("to", "as", "in", "by")]
    alone = named[0].kind in ("model", "dense", "candidate_id")
    return named[0] if len(other) == len(named) - 1 and (other or alone) else None


def _right_behind(heard: Heard, place: int) -> bool:
    """Whether what stands there is what the verb is about; the dense model has an article."""
    if heard.tokens[place].kind == "dense":
        while place > 1 and heard.tokens[place - 1].kind == "filler":
            place -= 1
    return heard.before(place) == "export"


def _can_be_written(heard: Heard) -> None:
    """Raises Unclear where a form is asked for that there is none of, another model, or fewer bits without a number."""
    other = [token.text for token in heard.tokens if token.kind in ("word", "name") and token.text.lower() in _OTHERS]
    if other:
        raise Unclear(
            f"{other[0]} cannot be written here: there are a folder (Hugging Face, safetensors), gguf and vllm, as "
            '"export it as gguf to x.gguf"'
        )
    kinds = [token.kind for token in heard.tokens if token.kind not in ("filler", "comma")]
    source = next(iter(heard.all("path")), None)
    named = "llama.cpp" if heard.one("form") == "gguf" else heard.one("form")
    direct = ["export", "path"] in [kinds[i : i + 2] for i in range(len(kinds))] and _source(heard) is None
    if direct and heard.has("form") and not str(source).endswith(".gguf"):
        raise Unclear(
            f'{source} right behind "export" would be what is exported, and it is not said where to: '
            f'"export {source} as {heard.one("form")} to PLACE", or "export it to PLACE" for the result of the run; '
            f"`secateur export {source} --for {named}` writes it beside, in a terminal"
        )
    if heard.has("quantise") and heard.one("quantisation") is None:
        raise Lacking(f'to how many bits? A GGUF is quantised as it is exported: "export it as q8_0" ({QUANTISED})')


_OTHERS = frozenset(
    [
        "onnx",
        "awq",
        "gptq",
        "mlx",
        "zip",
        "tar",
        "pytorch",
        "torch",
        "pt",
        "pth",
        "bin",
        "pickle",
        "exl2",
        "exllama",
        "exllamav2",
        "tflite",
        "litert",
        "coreml",
        "openvino",
        "tensorrt",
        "tensorrt-llm",
        "trt",
        "ggml",
        "mnn",
        "ncnn",
        "tensorflow",
        "tf",
        "keras",
        "jax",
        "flax",
        "executorch",
        "torchscript",
        "h5",
        "marlin",
        "hqq",
        "bitsandbytes",
        "bnb",
    ]
)
"""Forms that people know, of which none is written here."""


def _recover(heard: Heard) -> Call:
    named = texts(heard)
    steps, minutes = count(heard.one("steps_of"), "steps"), positive(heard.one("minutes_of"), "minutes")
    return Call("recover", some(steps=steps, minutes=minutes, text=named[0] if named else ""))


def _upload(heard: Heard) -> Call | None:
    kinds = [token.kind for token in heard.tokens]
    denied = "not" in kinds
    if denied and (kinds.index("not") < kinds.index("upload") or not heard.has("public") or heard.has("private")):
        return None
    public = {"private": False} if heard.has("public") and not denied else {}
    return Call("upload", {**some(repository=heard.one("path")), **public})


def _chat(heard: Heard) -> Call:
    if heard.has("pruned", "result") and not heard.has("dense", "both"):
        return Call("chat_with_models", {"models": ("result",)})
    return Call("chat_with_models", some(models=_models(heard)))


def _designer(heard: Heard) -> Call:
    return Call("use_designer", {"name": designers(heard)})


def _reproduce_other(heard: Heard) -> Call:
    run = heard.one("run_id")
    raise Unclear(
        f'only the run that is open is reproduced: say "resume {run}" and then "reproduce it"; in a terminal '
        "`secateur reproduce` takes its reproduce.yaml"
    )


_MEASURABLE = ("speed", "latency", "throughput", "tokens per second", "inference time", "how fast")
_OF_MODEL = "word path quoted name model"
_SAMPLES = "samples samples_of all first ahead"
DELIVERIES = (
    Act(("task",), f"{_MEASURE} {_SAMPLES} pruned dense both run on candidate_id {' '.join(REFS)} word", _tasks),
    Act(("quoted", "generate|compare"), f"{_MEASURE} {_MODELS} generate prompt text_word", _generations),
    Act(("generate",), f"{_MEASURE} {_MODELS} prompt show text_word", _generations),
    Act(("perplexity",), f"{_MEASURE} {_MODELS} text task big text_word count", _perplexity),
    Act(
        ("evaluate|compare", "both|dense|pruned|filler|model|path|result|candidate_id|text"),
        f"{_MODELS} evaluate good text task",
        _perplexity,
    ),
    Act(("evaluate",), "evaluate", _evaluated, order=True),
    Act(("evaluate", "first|ahead"), "model name path dense good", _evaluated_first, order=True),
    Act(("rise|better", "aux", "dense", "ask"), "rise better aux ask dense pruned result than between", _loss),
    Act(("perplexity", "rise|cost", "how|what"), "aux ask rise cost how what many we_did in", _loss),
    Act(("rise", "how|what", "dense|pruned|filler"), f"{ASKS} rise many than dense between pruned result", _loss),
    Act(("fast",), f"{_MEASURE} {_MODELS} fast big faster batch_of", _speed),
    Act(("faster", "aux"), f"{_MEASURE} {_MODELS} more big between many", _speed),
    Act(
        ("export|make|where|quantise", "form|quantisation"),
        "export word path quoted name model pruned where make quantise dense candidate_id",
        _export,
        order=True,
    ),
    Act(("quantise",), "make export pruned quantisation path word quoted name model", _export, order=True),
    Act(("export",), f"{_OF_MODEL} pruned form quantisation result dense candidate_id", _export, order=True),
    Act(("where", "pruned|result|filler"), "aux ask pruned result export done dense", lambda heard: Call("export")),
    Act(("recover",), "steps_of minutes_of text path pruned more", _recover, order=True),
    Act(("upload",), "path hub private public pruned not make", _upload, order=True),
    Act(("designer", "use|designer_word|make"), "use llm designer_word", _designer, order=True),
    Act(("chat",), "pruned result dense both model name path run", _chat, order=True),
    Act(("reproduce", "run_id"), "run", _reproduce_other, order=True),
    Act(("reproduce",), "run past again result pruned", lambda heard: Call("reproduce"), order=True),
    Act(("help",), "help ask what how aux", lambda heard: Call("help")),
    Act(("leave",), "leave", lambda heard: Call("leave"), order=True),
)
