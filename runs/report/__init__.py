"""What came out of a run, derived from its journal alone: a summary, and the report for people."""

from __future__ import annotations

from runs.fold.summary import Row, Summary, Trial, summary
from runs.report.render import render_card, write

__all__ = ["Row", "Summary", "Trial", "render_card", "summary", "write"]
