"""Options that several commands share, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A hub id, a folder, a GGUF file or a sample: smollm2-135m, tiny."),
]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="The id of a run, or enough of its start.")]
Home = Annotated[
    Path | None, typer.Option("--home", metavar="DIR", help="Where runs, memory and caches live (or SECATEUR_HOME).")
]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on stdout.")]
Dtype = Annotated[
    str | None,
    typer.Option("--dtype", metavar="TYPE", help="float32 (default on a CPU), bfloat16 or float16."),
]
Device = Annotated[str | None, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:1.")]
Threads = Annotated[int | None, typer.Option("--threads", metavar="N", help="CPU threads.")]
Windows = Annotated[int | None, typer.Option("--windows", metavar="N", help="Windows of text.")]
Length = Annotated[int | None, typer.Option("--length", metavar="L", help="Tokens per window.")]
Calibration = Annotated[
    str | None,
    typer.Option("--calibration", metavar="TEXT", help="builtin, wikitext2, c4, or a .txt or .jsonl file."),
]
Text = Annotated[str, typer.Option("--text", metavar="TEXT", help="builtin, wikitext2, c4, or a .txt or .jsonl file.")]
Executor = Annotated[
    str | None,
    typer.Option(
        "--executor", metavar="E", help="Who measures: in-process (default), processes, ray or ray://HOST:PORT."
    ),
]
Workers = Annotated[int | None, typer.Option("--workers", metavar="N", help="Workers that measure at the same time.")]
GpusPerWorker = Annotated[
    float | None, typer.Option("--gpus-per-worker", metavar="X", help="GPUs of each Ray worker: 1, or a share of one.")
]
Accelerator = Annotated[
    str | None, typer.Option("--accelerator", metavar="TYPE", help="GPUs that Ray chooses, for example A100.")
]
Tasks = Annotated[
    str | None,
    typer.Option("--tasks", metavar="NAME,...", help="Tasks of lm-eval; commonsense is the seven of the papers."),
]
Limit = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=1, help="Samples of every task; all by default.")
]
Shots = Annotated[int | None, typer.Option("--shots", metavar="K", min=0, help="Answered examples before a question.")]
TaskData = Annotated[
    Path | None, typer.Option("--task-data", metavar="DIR", help="Take the tasks from NAME.jsonl in this folder.")
]
