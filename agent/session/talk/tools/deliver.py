"""What becomes of the pruned model: handed out, trained a little, put on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from agent.session.talk.known.past import copied, export
from agent.session.talk.session import Session
from agent.session.talk.tools.subjects import priced, reading, subject
from agent.session.talk.tools.tool import Group, NoResult, SessionTool
from runs.fold.words import number
from runs.run import Run
from tools.io.errors import SecateurError, UsageError, reason
from tools.io.files import expanded

Form = Literal["folder", "gguf", "vllm"]
CALLED = {"q8": "q8_0", "q5": "q5_0", "q4": "q4_0", "fp16": "f16", "fp32": "f32", "float16": "f16", "bfloat16": "bf16"}
"""How people call what a GGUF is written in."""
OFFSET = ("q5_1", "q4_1")
"""Quantisations whose groups have a smallest value: zero lies between two steps."""
STEPS = 100
"""Of a recovery, where nobody says how many."""
TRAINING = 3
"""Readings that a training step of a window takes: one forward pass, and a backward pass of about two."""


class Export(SessionTool):
    """Hand the pruned model out: where it is, a copy in a folder, a GGUF file for llama.cpp and Ollama (quantised or
    not), or what vLLM needs; or another model that is named. The form follows from a path that ends with .gguf."""

    group: ClassVar[Group] = "deliver"
    agreed_ahead: ClassVar[bool] = True

    folder: str | None = Field(
        default=None, max_length=300, description="Where it goes, as said; empty for where it is."
    )
    form: Form | None = Field(default=None, description="gguf, vllm or folder (Hugging Face); leave out if not said.")
    quantisation: str | None = Field(
        default=None, max_length=20, description="Of a GGUF: q8_0, q5_1, q5_0, q4_1, q4_0, or f16, bf16, f32."
    )
    model: str = Field(default="", max_length=300, description="A model that is named; empty for the result.")

    def plan(self, session: Session) -> str:
        """Where it is written, if that is outside the home; what cannot be made is refused."""
        form = self._form()
        self._dtype()
        source, name, first = self._source(session)
        place = self._place(name)
        if place is None:
            return ""
        if place.exists():
            raise UsageError(f"{place} is there already. Name another place.")
        if place.is_relative_to(session.settings.home.resolve()):
            return ""
        what = {"folder": "a copy of the model", "vllm": "what vLLM needs", "gguf": f"a GGUF ({self._precision})"}[form]
        of = f" of {self.model}" if self.model else ""
        size = "" if source is None else f", from {_megabytes(source)} MB of weights"
        return " ".join(filter(None, [f"Plan: {what}{of} goes to {place}{size}.", first]))

    def work(self, session: Session) -> str:
        """Write it, or say where it is; a run that was recovered has two models, which is told."""
        if self.model:
            return self._of_another(session)
        run, form = _pruned(session), self._form()
        place = self._place(run.id)
        if form == "gguf":
            told = self._gguf(session, run.model_folder, place, zeros=run.goal.pattern.zeros)
        elif form == "vllm":
            told = _for_vllm(session, run.model_folder, place)
        else:
            told = export(run, None if place is None else str(place))
        recovered = _recovered(run)
        return told + (f" The recovered one is in {recovered}." if recovered.exists() else "")

    def _of_another(self, session: Session) -> str:
        """Of a model that is named, which is no result of this run."""
        from tools.model.checkpoint import locate

        place = self._place(self._source(session)[1])
        source = locate(subject(session, self.model), session.settings.cache)
        match self._form():
            case "gguf":
                return self._gguf(session, source, place, zeros=False)
            case "vllm":
                return _for_vllm(session, source, place)
        assert place is not None  # else it was asked for
        if place.exists():
            raise UsageError(f"{place} is there already. Name another folder.")
        return copied(source, place)

    def _source(self, session: Session) -> tuple[Path | None, str, str]:
        """The folder that is exported, where it lies here; what a file of it is called; what is to be done first.

        Raises:
            SecateurError: there is no pruned model yet, or no model of that name; or no place was said for it.
        """
        if not self.model:
            run = _pruned(session)
            return run.model_folder, run.id, ""
        if self.folder is None:
            raise UsageError(f'Where shall it go? "export {self.model} as gguf to PLACE" writes it there.')
        from tools.model.checkpoint import ahead, local_folder

        name = subject(session, self.model)
        return local_folder(name, session.settings.cache), Path(name).stem, ahead(name, session.settings.cache)

    def _gguf(self, session: Session, source: Path, place: Path | None, *, zeros: bool) -> str:
        dtype = self._dtype()
        more = ["--output", str(place)] if place is not None else []
        more += ["--dtype", dtype] if dtype is not None else []
        told = _lines(_exported(session, source, "llama.cpp", more))
        moved = zeros and dtype in OFFSET
        return f"{told}\n{dtype} moves zeros a little: q8_0, q5_0 and q4_0 keep them exactly." if moved else told

    def _form(self) -> Form:
        named = self.folder is not None and self.folder.lower().endswith(".gguf")
        if named and self.form not in (None, "gguf"):
            raise UsageError(f"{self.folder} names a GGUF, and {self.form} was asked for: say which of the two")
        if self.form is None:
            return "gguf" if named or self.quantisation else "folder"
        if self.quantisation and self.form != "gguf":
            raise UsageError(f"Only a GGUF is quantised here, and {self.form} was asked for: say gguf")
        return self.form

    def _dtype(self) -> str | None:
        """Raises UsageError where the quantisation is none that can be written here."""
        from tools.deliver.export import DTYPES

        if self.quantisation is None:
            return None
        said = self.quantisation.lower().replace("-", "_")
        dtype = CALLED.get(said, said)
        if dtype not in DTYPES:
            raise UsageError(
                f"{self.quantisation} cannot be written here: there are {', '.join(DTYPES)}. For another, export f16 "
                "and run llama.cpp's llama-quantize on it."
            )
        return dtype

    @property
    def _precision(self) -> str:
        return self._dtype() or "half precision"

    def _place(self, name: str) -> Path | None:
        """Where it goes, called by the name where that is a folder; None for where it is, or beside it."""
        if self.folder is None:
            return None
        place = expanded(self.folder).resolve()
        if self._form() != "gguf" or place.suffix.lower() == ".gguf":
            return place
        return place / f"{name}.gguf" if place.is_dir() else place.with_name(f"{place.name}.gguf")


class Recover(SessionTool):
    """Train the pruned model a little (LoRA, zeros stay zeros) so that its perplexity recovers; the result is another
    model beside it."""

    group: ClassVar[Group] = "deliver"

    steps: int | None = Field(default=None, ge=1, le=100_000, description="Training steps, a window of text each.")
    minutes: float | None = Field(default=None, gt=0, description="In place of steps, where minutes were said.")
    text: str = Field(default="builtin", max_length=300, description="builtin, wikitext2, c4, or a .txt file.")

    def plan(self, session: Session) -> str:
        """How much is trained and where the result goes."""
        from tools.deliver.recover import check_peft

        check_peft()
        run, steps = _pruned(session), self._steps(session)
        length = session.settings.values.length
        doing = f"{steps} training steps on windows of {length} tokens of {self.text}; the result goes to"
        doing = f"{doing} {_recovered(run)}" + (" in the place of what is there" if _recovered(run).exists() else "")
        cost = priced(session, doing, [str(run.model_folder)], TRAINING * steps * length, reading)
        return cost or f"Plan: {doing}."

    def work(self, session: Session) -> str:
        """Train, and say what it did to the perplexity."""
        run = _pruned(session)
        more = ["--steps", str(self._steps(session)), "--text", self.text, "--output", str(_recovered(run))]
        values = session.settings.values
        more += ["--length", str(values.length), "--seed", str(values.seed)]
        found = session.command("recover", str(run.model_folder), *more, *session.machine)
        before, after = (number(found["perplexity"][when]) for when in ("before", "after"))
        said = found["protocol"]
        return (
            f"After {found['steps']} steps ({found['seconds']:.0f} s) perplexity is {after}, before {before}, on "
            f"{said['text']} ({found['tokens']:,} tokens). {100 * found['sparsity']:.1f} % of the weights are zero. "
            f"The recovered model is in {found['output']}; the pruned one is as it was."
        )

    def _steps(self, session: Session) -> int:
        """As said; of minutes, as many as fit by what was measured before.

        Raises:
            UsageError: minutes were said, and nothing tells what a step takes.
        """
        if self.minutes is None:
            return self.steps or STEPS
        run = _pruned(session)
        history = run.history()
        pace = reading(history, history.winner or "")
        if not pace:
            raise UsageError(f"How long a step takes is not known here: say how many steps, for example {STEPS}.")
        return max(1, int(60 * self.minutes / (pace * TRAINING * session.settings.values.length)))


class Upload(SessionTool):
    """Put the pruned model with its card into a repository of the Hugging Face hub; private unless the person said that
    it shall be public."""

    group: ClassVar[Group] = "deliver"

    repository: str = Field(
        default="", pattern=r"^([\w.-]+/[\w.-]+)?$", max_length=100, description="owner/name; empty if it was not said."
    )
    private: bool = Field(default=True, description="False only where the person said public.")

    def plan(self, session: Session) -> str:
        """What goes where, and who can see it; refused without a token, and without a repository that is asked for."""
        run, _ = _pruned(session), _token()
        folder = run.model_folder
        if not self.repository:
            session.unfinished = (self.called(), self.model_dump(exclude_defaults=True))
            name = f"{Path(run.goal.model).name}-pruned"
            raise UsageError(f"Into which repository? Say owner/name, as me/{name}. Nothing was sent.")
        files = [file for file in folder.rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in files) / 1e6
        seen = "private, only its owner sees it" if self.private else "PUBLIC, everybody sees it"
        card = "its card" if (folder / "README.md").exists() else "no card, as there is none"
        return (
            f"Plan: {len(files)} files ({size:,.1f} MB, with {card}) go from {folder} to "
            f"https://huggingface.co/{self.repository} ({seen})."
        )

    def work(self, session: Session) -> str:
        """Make the repository where it is not there, and put the folder into it."""
        from huggingface_hub import HfApi

        folder, hub = _pruned(session).model_folder, HfApi(token=_token())
        try:
            hub.create_repo(self.repository, private=self.private, exist_ok=True)
            if self.private and not hub.repo_info(self.repository).private:
                raise UsageError(f"{self.repository} is there and public: name another, or say that it shall be public")
            hub.upload_folder(repo_id=self.repository, folder_path=folder, commit_message="Pruned with Secateur")
        except SecateurError:
            raise
        except Exception as error:  # the client's exceptions change from release to release
            raise SecateurError(f"{self.repository} was not uploaded: {reason(error)}") from error
        return f"The model is at https://huggingface.co/{self.repository} ({'private' if self.private else 'public'})."


def _token() -> str:
    """Raises UsageError where there is none."""
    from huggingface_hub import get_token

    token = get_token()
    if not token:
        raise UsageError("There is no token of the hub: `hf auth login` makes one, or set HF_TOKEN. Nothing was sent.")
    return token


def _pruned(session: Session) -> Run:
    """The run, whose model is there.

    Raises:
        UsageError: there is no pruned model yet.
    """
    if session.run is None or not session.run.model_folder.exists():
        raise NoResult("There is no pruned model yet.")
    return session.run


def _recovered(run: Run) -> Path:
    return run.model_folder.with_name(f"{run.model_folder.name}-recovered")


def _megabytes(folder: Path) -> str:
    return f"{sum(file.stat().st_size for file in folder.glob('*.safetensors')) / 1e6:,.1f}"


def _for_vllm(session: Session, source: Path, place: Path | None) -> str:
    """vLLM serves plain folders as they are, so these are copied; of others an own form is written."""
    found = _exported(session, source, "vllm", [] if place is None else ["--output", str(place)])
    if place is None or found["files"]:
        return _lines(found)
    copied(_located(session, source), place)
    return _lines(_exported(session, place, "vllm", []))


def _exported(session: Session, folder: Path, target: str, more: list[str]) -> Any:
    """The verdict of `secateur export --json`, on what was packed from its unpacked copy."""
    return session.command("export", str(_located(session, folder)), "--for", target, *more)


def _located(session: Session, folder: Path) -> Path:
    from tools.model.checkpoint import locate

    return locate(str(folder), session.settings.cache)


def _lines(verdict: dict[str, Any]) -> str:
    return "\n".join(verdict["lines"])
