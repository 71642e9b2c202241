from __future__ import annotations

from pathlib import Path

import pytest

from agent.session.goal import build
from agent.session.options import Wish
from agent.session.settings import Values, load
from runs.goal import Evaluation, Goal, Workers
from tools.io.errors import UsageError


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("home", *Values.model_fields):
        monkeypatch.delenv(f"SECATEUR_{name.upper()}", raising=False)


def test_each_source_outranks_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text("threads = 2\nwindows = 3\nlength = 64\n")
    monkeypatch.setenv("SECATEUR_WINDOWS", "5")
    monkeypatch.setenv("SECATEUR_LENGTH", "128")
    found = load(tmp_path, {"length": 256, "seed": None})
    assert (found.values.threads, found.values.windows, found.values.length, found.values.seed) == (2, 5, 256, 0)
    assert {name: found.sources[name] for name in ("home", "threads", "windows", "length", "seed")} == {
        "home": "command line",
        "threads": "config.toml",
        "windows": "environment",
        "length": "command line",
        "seed": "default",
    }


def test_the_home_comes_from_the_environment_where_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECATEUR_HOME", str(tmp_path))
    assert (load().home, load().sources["home"]) == (tmp_path, "environment")


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ("widows = 3", 'config.toml: "widows" is not known; did you mean windows?'),
        ("windows = 0", "config.toml: windows: Input should be greater than or equal to 1"),
        ("dtype = 'int7'", "config.toml: dtype: Input should be"),
        ("windows = ", "config.toml: is not TOML"),
    ],
)
def test_a_wrong_config_is_named(tmp_path: Path, config: str, complaint: str) -> None:
    (tmp_path / "config.toml").write_text(config)
    with pytest.raises(UsageError) as raised:
        load(tmp_path)
    assert complaint in str(raised.value)


def test_an_option_is_named_as_it_is_typed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--gpus-per-worker: Input should be less than or equal to 1"):
        load(tmp_path, {"gpus_per_worker": 2.0})
    with pytest.raises(UsageError, match=r"^--windows: Input should be greater"):
        load(tmp_path, {"test_windows": 0})


def test_a_wrong_variable_is_named_even_where_the_command_line_outranks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECATEUR_THREADS", "many")
    with pytest.raises(UsageError, match=r"^SECATEUR_THREADS: Input should be a valid integer"):
        load(tmp_path, {"threads": 1})


def test_what_nobody_sets_is_what_a_goal_holds_by_itself(tmp_path: Path) -> None:
    found = build(load(tmp_path), "tiny", Wish(sparsity=0.5))
    bare = Goal(model="tiny", sparsity=0.5)
    assert (found.calibration, found.evaluation, found.workers) == (bare.calibration, Evaluation(), Workers())
    assert (found.designer, found.prompting, found.seed) == (bare.designer, bare.prompting, bare.seed)
    assert (found.recall, found.compensation_allowed) == (bare.recall, bare.compensation_allowed)


def test_a_folder_in_the_place_of_the_config_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(UsageError, match=r"config\.toml: cannot be read \(it is a folder\)"):
        load(tmp_path)
