"""What came out of a run, derived from its journal alone: a summary, and the report for people."""

from __future__ import annotations

from runs.report.render import render_card, write
from runs.report.summary import Row, Summary, Trial, summary

__all__ = ["Row", "Summary", "Trial", "render_card", "summary", "write"]
