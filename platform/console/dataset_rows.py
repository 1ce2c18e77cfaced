"""Rows of a dataset version for its browser: read from our own Parquet file, filtered and cut to one page."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from console.paging import SIZE, Page
from data.models import DatasetVersion
from kit import storage

SPLITS = ("train", "validation", "test")
CELL = 200


@dataclass(frozen=True, slots=True)
class Filter:
    """What the reader asked for; empty parts ask for nothing."""

    label: str = ""
    split: str = ""
    text: str = ""
    row: int | None = None

    @property
    def active(self) -> bool:
        """Whether anything is filtered."""
        return bool(self.label or self.split or self.text or self.row is not None)

    @classmethod
    def read(cls, query: Any) -> "Filter":
        """From a query string; what makes no sense is left out."""
        split, row = query.get("split", ""), query.get("row", "")
        return cls(
            label=query.get("label", "")[:200],
            split=split if split in SPLITS else "",
            text=query.get("q", "").strip()[:200],
            row=int(row) if row.isascii() and row.isdigit() and len(row) < 12 else None,
        )


def rows_page(version: DatasetVersion, wanted: Filter, number: int) -> Page[dict[str, Any]]:
    """One page of the rows that pass, in the order of the upload."""
    with storage.local_path(version.storage_key) as path:
        table = pq.read_table(path, columns=["row_id", "text", "label", "split"])
    table = _filtered(table, wanted)
    total = table.num_rows
    number = min(number, max(1, -(-total // SIZE)))
    rows = table.slice((number - 1) * SIZE, SIZE).to_pylist()
    for row in rows:
        row["length"] = len(row["text"] or "")
    return Page(rows, number, total)


def _filtered(table: pa.Table, wanted: Filter) -> pa.Table:
    if wanted.label:
        table = table.filter(pc.equal(table["label"], wanted.label))
    if wanted.split:
        table = table.filter(pc.equal(table["split"], wanted.split))
    if wanted.row is not None:
        table = table.filter(pc.equal(table["row_id"], wanted.row))
    if wanted.text:
        table = table.filter(pc.match_substring(table["text"], wanted.text, ignore_case=True))
    return table
