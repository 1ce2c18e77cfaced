"""Streaming readers: open any upload by its content and yield its rows, never holding the whole file.

`open_source(path, collector)` decides the format from the bytes (the file's name plays no part), reports what is wrong
to the collector, and returns a `Source` whose `rows()` can be iterated once, or None when the file cannot be read.
"""

from __future__ import annotations

from pathlib import Path

from data.findings import Collector
from data.formats.base import DEFAULT_LIMITS, Limits, Options, Row, Source
from data.formats.delimited import open_delimited
from data.formats.detect import DELIMITED, JSONL, PARQUET, detect
from data.formats.jsonl import open_jsonl

__all__ = ["Limits", "Options", "Row", "Source", "open_source"]


def open_source(
    path: Path,
    collector: Collector,
    *,
    options: Options | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Source | None:
    """Open `path` as what its content says; None if a fatal finding was reported."""
    options = options or Options()
    found = detect(path, collector)
    if found is None:
        return None
    if found.kind == PARQUET:
        from data.formats.parquet import open_parquet  # loads Arrow, a third of a reader's start, for this kind alone

        return open_parquet(path, collector, limits)
    if found.kind == JSONL:
        return open_jsonl(path, found.encoding, collector, limits)
    if found.kind == DELIMITED:
        return open_delimited(path, found.encoding, collector, options, limits)
    return None
