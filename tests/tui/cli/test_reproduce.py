"""`reproduce` from end to end on the tiny sample: the same numbers to the last digit, or what is not the same."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.engine import work
from agent.reproduce import judged
from runs.goal import Evaluation, Goal, Size
from runs.reproduction import load
from runs.run import Run, create, list_runs
from tools.model.sample import TINY
from tools.recipe import Calibration, Request, Structured
from tools.text.sources import read
from tui.cli import run

SMALL = ["--windows", "2", "--length", "64", "--threads", "1"]
PART = Size(windows=2, length=64)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def model(home: Path) -> Path:
    """A folder that may be changed."""
    return Path(shutil.copytree(TINY, home / "model"))


@pytest.fixture(scope="module")
def texts(home: Path) -> tuple[Path, Path]:
    """Files to calibrate and to test on."""
    files = home / "calibration.txt", home / "test.txt"
    for file, part in zip(files, ("calibration", "test"), strict=True):
        file.write_text(read("builtin", part)[0][:20_000])  # type: ignore[arg-type]  # the names are parts
    return files


def pruned(home: Path, *arguments: str) -> Path:
    """The reproduction file of a run."""
    with pytest.MonkeyPatch.context() as patch:
        for part in ("SEARCH", "TEST"):
            patch.setenv(f"SECATEUR_{part}_WINDOWS", "2")
            patch.setenv(f"SECATEUR_{part}_LENGTH", "64")
        before = {found.id for found in list_runs(home)}
        assert run(["prune", *arguments, "--home", str(home), *SMALL]) == 0
    [new] = [found for found in list_runs(home) if found.id not in before]
    return new.reproduction_file


@pytest.fixture(scope="module")
def by_method(home: Path, model: Path, texts: tuple[Path, Path]) -> Path:
    calibration, test = map(str, texts)
    more = ["--calibration", calibration, "--text", test]
    return pruned(home, str(model), "--sparsity", "0.5", "--method", "wanda", *more)


@pytest.fixture
def reproduced(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any, str]]:
    """Exit code, the JSON object and what stands on stderr."""

    def reproduce(file: Path, *more: str) -> tuple[int, Any, str]:
        capsys.readouterr()
        code = run(["reproduce", str(file), "--home", str(home), "--json", *more])
        printed = capsys.readouterr()
        return code, json.loads(printed.out) if printed.out else None, printed.err

    return reproduce


@contextmanager
def changed(file: Path, change: Callable[[bytes], bytes]) -> Iterator[None]:
    """While open, the file is another."""
    before = file.read_bytes()
    file.write_bytes(change(before))
    try:
        yield
    finally:
        file.write_bytes(before)


def test_a_method_reproduces_to_the_last_digit(by_method: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reproduce", str(by_method), "--home", str(home)]) == 0
    printed = capsys.readouterr()
    lines, rows = printed.out.splitlines(), load(by_method).rows
    assert [row.name for row in rows] == ["dense", "wanda"]
    for row in rows:
        line = next(line for line in lines if line.split()[:2] == [row.name, "perplexity"])
        assert line.split()[2:] == [repr(row.perplexity)] * 2 + ["the", "same", "to", "the", "last", "digit"]
    assert "  now     the same libraries, hardware and threads" in lines
    assert lines[-2:] == [
        "  tolerance in float32: perplexity 0.001 relative, sparsity 0.0001 absolute",
        "4 of 4 numbers are the same to the last digit.",
    ]
    assert [line.split()[:2] for line in printed.err.splitlines()] == [["1/2", "dense"], ["2/2", "wanda"]]


def test_a_search_reproduces_in_a_fresh_process_without_what_the_run_kept(home: Path, tmp_path: Path) -> None:
    file = pruned(home, "tiny", "--sparsity", "0.5", "--candidates", "2")
    expected = load(file).rows
    assert {row.role for row in expected} == {"dense", "reference", "result"}
    command = [sys.executable, "-m", "secateur", "reproduce", str(file), "--home", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    found = json.loads(done.stdout)
    assert (done.returncode, found["same"], found["differs_from"]) == (0, True, {})
    for row in expected:
        for name, value in row.numbers.items():
            same = {"expected": value, "found": value, "verdict": "the same to the last digit"}
            assert found["rows"][row.name][name] == same
    assert not list(tmp_path.rglob("*.safetensors")), "statistics are not kept"


@pytest.mark.usefixtures("work_clock")
def test_a_smaller_model_reproduces_from_the_times_of_its_run(
    home: Path, reproduced: Callable[..., tuple[int, Any, str]], tmp_path: Path
) -> None:
    made = smaller(home)
    code, found, _ = reproduced(made.reproduction_file)
    assert code == 0
    verdicts = {number["verdict"] for row in found["rows"].values() for number in row.values()}
    assert verdicts == {"the same to the last digit"}

    file = load(made.reproduction_file)
    assert file.times is not None
    dearer = {units: 3 * seconds for units, seconds in file.times.mlp.items()}
    other = file.model_copy(update={"times": file.times.model_copy(update={"mlp": dearer})})
    (tmp_path / "f.yaml").write_text(other.yaml)
    code, found, _ = reproduced(tmp_path / "f.yaml")
    assert code == 1
    assert found["rows"]["wanda_sp"]["sparsity"]["verdict"] == "differs", "the sizes follow from the times in the file"


def smaller(home: Path) -> Run:
    asked = Goal(
        model="tiny",
        sparsity=0.25,
        pattern=Structured(kind="width", multiple=8, request=Request(batch=1, prompt=64, new=4)),
        method="wanda_sp",
        calibration=Calibration(windows=2, length=64),
        evaluation=Evaluation(search=PART, selection=PART, test=PART),
    )
    made = create(home, asked)
    work(made)
    return made


def test_a_recipe_that_was_changed_differs(
    by_method: Path, reproduced: Callable[..., tuple[int, Any, str]], tmp_path: Path
) -> None:
    file = tmp_path / "edited.yaml"
    file.write_text(by_method.read_text().replace("metric: W * X", "metric: W * 1"))
    code, found, _ = reproduced(file, "--threads", "2")
    assert (code, found["same"], found["file"]) == (1, False, str(file))
    assert found["differs_from"] == {"threads": {"then": "1", "now": "2"}}
    assert found["rows"]["wanda"]["perplexity"]["verdict"] == "differs"
    assert found["rows"]["wanda"]["sparsity"]["verdict"] == "the same to the last digit"
    assert found["rows"]["dense"]["perplexity"]["verdict"].startswith("the same")


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("model/model.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1]), "is not what it was (weights):"),
        ("model/config.json", lambda data: data + b"\n", "is not what it was (configuration):"),
        ("model/tokenizer_config.json", lambda data: data + b"\n", "is not what it was (tokenizer):"),
        ("calibration.txt", lambda data: b"Not " + data, "the text is not what it was (calibration: {file}):"),
        ("test.txt", lambda data: b"Not " + data, "the text is not what it was (test: {file}):"),
    ],
)
def test_what_was_changed_is_named_and_nothing_is_measured(
    name: str,
    change: Callable[[bytes], bytes],
    says: str,
    by_method: Path,
    home: Path,
    reproduced: Callable[..., tuple[int, Any, str]],
) -> None:
    with changed(home / name, change):
        code, found, told = reproduced(by_method)
    assert (code, found) == (1, None)
    [line] = told.splitlines()
    assert line.startswith("secateur: ")
    assert says.format(file=home / name) in line
    assert line.endswith("so nothing was measured")


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("format: 1", "format: 9", "its format is 9"),
        ("metric: W * X", "metric: W * NONE", "wanda cannot be measured again: "),
        ("windows: 2", "windows: 9999999", "tokens are too few"),
        ("device: cpu", "device: quantum", 'device "quantum" cannot be used here'),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    before: str,
    after: str,
    says: str,
    by_method: Path,
    reproduced: Callable[..., tuple[int, Any, str]],
    tmp_path: Path,
) -> None:
    file = tmp_path / "edited.yaml"
    file.write_text(by_method.read_text().replace(before, after))
    code, found, told = reproduced(file)
    assert code in (1, 2)
    assert found is None
    [line] = told.splitlines()
    assert says in line


@pytest.mark.parametrize(
    ("name", "expected", "found", "dtype", "verdict"),
    [
        ("perplexity", 10.0, 10.0, "float32", "the same to the last digit"),
        ("perplexity", 10.0, 10.009, "float32", "the same within tolerance"),
        ("perplexity", 10.0, 10.02, "float32", "differs"),
        ("perplexity", 10.0, 10.02, "bfloat16", "the same within tolerance"),
        ("perplexity", 10.0, 9.8, "bfloat16", "differs"),
        ("perplexity", math.inf, math.inf, "float32", "the same to the last digit"),
        ("perplexity", math.inf, 1e300, "float32", "differs"),
        ("perplexity", 1e300, math.inf, "float16", "differs"),
        ("sparsity", 0.5, 0.50009, "bfloat16", "the same within tolerance"),
        ("sparsity", 0.5, 0.5002, "bfloat16", "differs"),
        ("sparsity", 0.0, 0.0, "float32", "the same to the last digit"),
    ],
)
def test_a_number_is_the_same_or_within_tolerance_or_differs(
    name: str, expected: float, found: float, dtype: str, verdict: str
) -> None:
    assert judged(name, expected, found, dtype) == verdict
