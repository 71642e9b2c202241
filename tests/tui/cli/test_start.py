"""`secateur --help` answers at once: nothing heavy may be imported for it."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {
    "torch",
    "transformers",
    "langgraph",
    "langchain",
    "chromadb",
    "datasets",
    "lm_eval",
    "numpy",
    "pydantic",
    "ray",
}


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from tui.cli import run; code = run(['--help']); print(code, *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *_, last = done.stdout.splitlines()
    code, *modules = last.split()
    assert code == "0"
    assert "evaluate" in done.stdout
    assert HEAVY.isdisjoint(modules)


def test_the_conversation_opens_without_what_models_need() -> None:
    """The app imports it while somebody types; torch alone would take two seconds of that."""
    code = "import sys; from agent.session.talk import conversation, speaker; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"torch", "transformers", "lm_eval", "chromadb"}.isdisjoint(done.stdout.split())


def test_python_dash_m_is_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "secateur", "frobnicate"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("secateur: No such command 'frobnicate'")
