"""How quickly the app answers on a terminal. Run by hand, from the root: python -m tests.benchmarks.terminal [MODEL]

Aims: the first frame within 1.5 s. While a model is being pruned and a designer speaks 50 tokens a second, 95 of 100
characters are on the screen within 50 ms of being typed, and the app uses less than 20 % of one core. The same holds
while an answer of the conversation streams, too, whose first word is on the screen within 100 ms of being sent by the
server. An answer without a model takes 300 ms at most, from Enter on. A journal of 100,000 events opens within 2 s. All
is measured from outside, on the bytes that reach the terminal.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from agent.session.engines import POLITENESS
from runs.events import CandidateMeasured
from runs.goal import Goal
from runs.run import Run, create, list_runs, remove
from tests.agent.loopback import Reply, serving
from tests.benchmarks.long_run import TOKENS_PER_SECOND, speak, tokens, write
from tests.tui.terminal import Display, Terminal

SECATEUR = str(Path(sys.executable).with_name("secateur"))
SIZE = (120, 40)
PROMPT = "›"
EVENTS = 100_000
LAST = "thelastwordofthejournal"
TYPED = "zqkeepwhatrunsattwotofour"
"""Typed over and over. No blanks, whose echo cannot be seen, and no beginning that a hint might have."""
PAUSE = 0.15
BARE = """
import os, tty
tty.setraw(0)
os.write(1, "› ".encode())
while data := os.read(0, 64):
    os.write(1, data.replace(b"\\x7f", b"\\b \\b"))
"""
"""A program that only echoes: what it takes is the machine's, not the app's."""
AIM_FRAME, AIM_ECHO, AIM_SHARE, AIM_OPEN, AIM_WORD, AIM_ANSWER = 1.5, 0.050, 0.20, 2.0, 0.100, 0.300
ANSWER = 15.0
"""Seconds of an answer; a model in conversation has 20."""
THINKING = 1.0
"""Seconds before its first word."""
NO_RUNS = "There are no runs yet."


def prompt(display: Display) -> str | None:
    """What stands in the prompt line, the lowest that begins with its sign."""
    for y in reversed(range(display.lines)):
        before, sign, text = display.row(y).partition(PROMPT)
        if sign and not re.search(r"\w", before):
            return text.strip()
    return None


def typed(display: Display, text: str) -> bool:
    return (prompt(display) or "").startswith(text)


def seconds_until(command: list[str], wanted: str | None) -> float:
    """Seconds from starting the app until a text, or else the prompt, is on the screen."""

    def there(display: Display) -> bool:
        return prompt(display) is not None if wanted is None else any(wanted in row for row in display.rows())

    with Terminal(command, size=SIZE) as terminal:
        return terminal.wait_until(there, 120, wanted or "the prompt") - terminal.started


def first_frame(folder: Path, times: int) -> list[float]:
    """Every time in a home that is not there yet."""
    return [seconds_until([SECATEUR, "--home", str(folder / f"empty-{n}")], None) for n in range(times)]


def opening(folder: Path, times: int) -> list[float]:
    goal = Goal(model="tiny", sparsity=0.5)
    run = create(folder / "long", goal)
    write(run.journal.path, run.id, goal, EVENTS, LAST)
    size = run.journal.path.stat().st_size / 2**20
    print(f"\na journal of {EVENTS:,} events, {size:.0f} MiB")
    return [seconds_until([SECATEUR, "watch", run.id, "--home", str(run.home)], LAST) for _ in range(times)]


@contextmanager
def pruning(model: str, home: Path) -> Iterator[Run]:
    """A run that measures candidates for the length of the block, and whose designer never stops to speak.

    Its engine is as polite as one that the app starts.
    """
    known = {run.id for run in list_runs(home)}
    limits = ["--candidates", "100000", "--minutes", "60"]
    engine = subprocess.Popen(
        ["nice", "-n", str(POLITENESS), SECATEUR, "prune", model, "--sparsity", "0.5", "--home", str(home), *limits],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    run, voice = None, None
    try:
        run = _at_work(engine, home, known)
        voice = multiprocessing.get_context("spawn").Process(target=speak, args=(run.journal.path,))
        voice.start()
        yield run
        if engine.poll() is not None or not voice.is_alive():
            raise SystemExit("the run, or its speech, ended before the measurement did: the figures mean nothing")
    finally:
        if voice is not None:
            voice.terminate()
            voice.join()
        engine.send_signal(signal.SIGKILL)
        engine.wait()
        if run is not None:
            remove(run)


def _at_work(engine: subprocess.Popen[bytes], home: Path, known: set[str]) -> Run:
    """The new run, once a candidate was measured."""
    while engine.poll() is None:
        for run in list_runs(home):
            if run.id not in known and any(isinstance(event, CandidateMeasured) for event in run.journal.read()):
                return run
        time.sleep(0.5)
    raise SystemExit(f"`secateur prune` ended with code {engine.returncode} before it measured anything")


def attached(run: Run, how: str, *more: str, environment: Mapping[str, str] | None = None) -> Terminal:
    """The app, showing a run: opened on it, or opened and then sent there by a command."""
    where = ["--home", str(run.home), *more]
    command = [SECATEUR, "watch", run.id, *where] if how == "opened" else [SECATEUR, *where]
    terminal = Terminal(command, size=SIZE, environment=environment)
    terminal.wait_until(lambda display: prompt(display) is not None, 60, "the prompt")
    if how != "opened":
        send(terminal, f"/{'watch' if how == 'sent' else how} {run.id}")
    terminal.wait_for(re.compile(r"\bc-\d+\b"), 60)
    time.sleep(2)  # opening is measured elsewhere
    return terminal


def echoes(terminal: Terminal, seconds: float) -> tuple[list[float], float]:
    """Seconds until each of the typed characters was seen, and the share of one core that the app used meanwhile."""
    rng = random.Random(0)
    found: list[float] = []
    begun, worked = time.perf_counter(), terminal.cpu_seconds
    due = begun
    for count in itertools.cycle(range(1, len(TYPED) + 1)):
        due += PAUSE * rng.uniform(0.8, 1.2)  # in step with the app's own clock, every echo would be alike
        time.sleep(max(0.0, due - time.perf_counter()))
        if due - begun > seconds:
            break
        sent = terminal.type(TYPED[count - 1])
        found.append(terminal.wait_until(partial(typed, text=TYPED[:count]), 10, "the echo") - sent)
        if count == len(TYPED):
            terminal.press(*["backspace"] * count)
            terminal.wait_until(lambda display: not typed(display, TYPED[0]), 10, "an empty prompt")
    return found, (terminal.cpu_seconds - worked) / (time.perf_counter() - begun)


def typing(model: str, home: Path, how: str, seconds: float) -> None:
    with pruning(model, home) as run:
        with Terminal([sys.executable, "-c", BARE], size=SIZE) as terminal:
            terminal.wait_for(PROMPT)
            bare, _ = echoes(terminal, seconds / 2)
        with attached(run, how) as terminal:
            found, share = echoes(terminal, seconds)
    print(
        f"\n{model} being pruned, {TOKENS_PER_SECOND} tokens a second, {len(found)} characters typed in {seconds:g} s"
    )
    line("echo, median", 1000 * statistics.median(found), "ms")
    line("echo, 95th percentile", 1000 * late(found), "ms", 1000 * AIM_ECHO)
    line("echo, longest", 1000 * max(found), "ms")
    line("  without an app, median", 1000 * statistics.median(bare), "ms")
    line("  without an app, 95th", 1000 * late(bare), "ms")
    line("share of one core", 100 * share, "%", 100 * AIM_SHARE)


def send(terminal: Terminal, text: str) -> float:
    """Type a line and send it; returns when."""
    terminal.type(text)
    terminal.wait_until(partial(typed, text=text), 30, "what was typed")
    return terminal.press("enter")


class Paced:
    """A server's model that thinks a moment and then says TOKENS_PER_SECOND; it knows when it sent its first words."""

    def __init__(self) -> None:
        self.sent: dict[str, float] = {}

    def __call__(self, request: dict[str, Any], number: int) -> Reply:
        return Reply(deltas=self._deltas(f"word{number}first"))

    def _deltas(self, first: str) -> Iterator[dict[str, Any]]:
        time.sleep(THINKING)
        self.sent[first] = due = time.perf_counter()
        yield {"content": f"{first} "}
        for token in itertools.islice(tokens(), round(ANSWER * TOKENS_PER_SECOND)):
            due += 1 / TOKENS_PER_SECOND
            time.sleep(max(0.0, due - time.perf_counter()))
            yield {"content": token}


def answering(model: str, home: Path, seconds: float, times: int) -> None:
    """A language model answers while another one is pruned and its designer speaks."""
    paced, delays = Paced(), list[float]()
    with pruning(model, home) as run, serving(paced) as server:
        environment = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "none"}
        with attached(run, "open", "--designer", "openai:benchmark", environment=environment) as terminal:
            for number in range(1, times + 1):
                delays.append(first_word(terminal, paced, number))
            first_word(terminal, paced, times + 1, go_on=True)
            found, share = echoes(terminal, min(seconds, ANSWER - 2))
    print(f"\nan answer of {TOKENS_PER_SECOND} tokens a second beside that, {len(found)} characters typed")
    line("first word, median", 1000 * statistics.median(delays), "ms", 1000 * AIM_WORD)
    line("first word, longest", 1000 * max(delays), "ms")
    line("echo, median", 1000 * statistics.median(found), "ms")
    line("echo, 95th percentile", 1000 * late(found), "ms", 1000 * AIM_ECHO)
    line("share of one core", 100 * share, "%")


def first_word(terminal: Terminal, paced: Paced, number: int, *, go_on: bool = False) -> float:
    """Seconds from the server's sending of an answer's first word to the screen; the answer is stopped then."""
    word = f"word{number}first"
    send(terminal, f"tell me more about it, number {number}")
    seen = terminal.wait_until(lambda display: any(word in row for row in display.rows()), 60, word)
    if not go_on:
        terminal.press("escape")
        terminal.wait_until(lambda display: not any("Stop answer" in row for row in display.rows()), 30, "the end")
    return seen - paced.sent[word]


def ruled(folder: Path, times: int) -> list[float]:
    """Seconds from Enter to the answer that rules give, in a home that is not there yet."""
    found: list[float] = []
    with Terminal([SECATEUR, "--home", str(folder / "ruled")], size=SIZE) as terminal:
        terminal.wait_until(lambda display: prompt(display) is not None, 60, "the prompt")
        time.sleep(5)  # a person reads the first screen
        for count in range(1, times + 1):
            asked = send(terminal, "which runs are there?")
            answered = partial(_shown, text=NO_RUNS, count=count)
            found.append(terminal.wait_until(answered, 60, "the answer") - asked)
            time.sleep(0.5)
    return found


def _shown(display: Display, text: str, count: int) -> bool:
    return sum(text in row for row in display.rows()) >= count


def late(times: list[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(times, n=20)[-1]


def line(name: str, value: float, unit: str, aim: float | None = None) -> None:
    aimed = "" if aim is None else f"   aim {aim:g} {unit}" + ("" if value <= aim else "   MISSED")
    print(f"  {name:30} {value:8.2f} {unit:2}{aimed}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="How quickly the app answers on a terminal.")
    parser.add_argument("model", nargs="?", default="tiny", help="what is pruned while characters are typed")
    parser.add_argument("--home", type=Path, help="where the model is cached (default: an empty temporary folder)")
    parser.add_argument("--seconds", type=float, default=30, help="of typing")
    parser.add_argument(
        "--attach", choices=["sent", "opened"], default="sent", help="by /watch in the app, or by `secateur watch`"
    )
    parser.add_argument("--times", type=int, default=5, help="how often the app is started for each figure")
    chosen = parser.parse_args()
    sys.setswitchinterval(0.0005)  # the thread that stamps the time must not wait for the one that draws
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"the app on a terminal of {SIZE[0]} by {SIZE[1]}")
        frames = first_frame(folder, chosen.times)
        line(f"first frame, best of {chosen.times}", min(frames), "s", AIM_FRAME)
        line("first frame, median", statistics.median(frames), "s", AIM_FRAME)
        typing(chosen.model, chosen.home or folder / "home", chosen.attach, chosen.seconds)
        answering(chosen.model, chosen.home or folder / "home", chosen.seconds, chosen.times)
        print("\nanswers without a language model")
        answers = ruled(folder, chosen.times)
        line("the first one", 1000 * answers[0], "ms", 1000 * AIM_ANSWER)
        line("answer, longest of the others", 1000 * max(answers[1:]), "ms", 1000 * AIM_ANSWER)
        opened = opening(folder, chosen.times)
        line(f"open, best of {chosen.times}", min(opened), "s", AIM_OPEN)
        line("open, median", statistics.median(opened), "s", AIM_OPEN)
        line("  beyond the first frame", statistics.median(opened) - statistics.median(frames), "s")


if __name__ == "__main__":
    main()
