"""One search from its goal to a saved model, for all tests that look at one or go on from a copy of it."""

from __future__ import annotations

import shutil

import pytest

from agent.engine import work
from runs.run import Run, create
from tests.agent.searches import LAST, copied, goal, sql
from tests.conftest import verified_here


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A search that was carried out; not to be written to."""
    run = create(tmp_path_factory.mktemp("home"), goal())
    with verified_here():
        work(run)
    return run


@pytest.fixture(scope="session")
def late(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`finished` as it was when its first finalist was measured."""
    run = copied(finished, tmp_path_factory.mktemp("late"))
    lines = run.journal.path.read_bytes().splitlines(keepends=True)
    kinds = [getattr(getattr(event, "measurement", None), "kind", "") for event in run.journal.read()]
    assert len(kinds) == len(lines)
    run.journal.path.write_bytes(b"".join(lines[: kinds.index("perplexity") + 1]))
    sql(*(f"DELETE FROM {table} WHERE checkpoint_id = {LAST}" for table in ("checkpoints", "writes")))(run.checkpoints)
    for file in (run.recipe_file, run.report_html, run.report_md):
        file.unlink()
    shutil.rmtree(run.model_folder)
    shutil.rmtree(run.home / "memory")
    return run
