"""Rows of a version's Parquet file: one row group at a time, only the columns that are asked for.

A page of a million rows costs what its own row group costs. A filter reads the small columns it needs (labels and
splits are dictionaries of a few bytes a row), skips groups whose statistics rule it out, and decodes texts only where a
row of the page stands or a text is searched for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.columns import CHAT, CLASSIFICATION, LABEL
from data.formats.jsonl import BadLine, parse_value
from data.shapes import KEPT
from data.talk import JSON_DEPTH

Indices = npt.NDArray[np.int64]
SEARCH_BYTES = 200_000_000
"""Texts that one page reads through when they are searched: a few seconds. More is searched on from there."""


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Which rows to show. `rows`: only these row numbers; `text`: a piece of the text, any case; `shortest` and
    `longest`: characters of the text, both included; `behind`: skips the row groups that end at this row or before."""

    label: str | None = None
    split: str | None = None
    rows: frozenset[int] | None = None
    text: str = ""
    shortest: int | None = None
    longest: int | None = None
    behind: int = 0

    @property
    def reads_texts(self) -> bool:
        """Whether the texts themselves must be looked at."""
        return bool(self.text) or self.shortest is not None or self.longest is not None

    @property
    def active(self) -> bool:
        """Whether anything is left out."""
        return self.label is not None or self.split is not None or self.rows is not None or self.reads_texts

    def takes(self, row: Mapping[str, Any]) -> bool:
        """Tell whether the filter lets a row of a file through."""
        return (
            (self.label is None or row.get("label") == self.label)
            and (self.split is None or row.get("split") == self.split)
            and (self.rows is None or row["row_id"] in self.rows)
            and (not self.text or self.text.casefold() in str(row.get("text", "")).casefold())
        )


EVERYTHING = RowFilter()


class VersionFile:
    """An open version. Row ids rise through the file, so a row's place is found from the groups' statistics."""

    def __init__(self, source: Path | IO[bytes], task: str = CLASSIFICATION) -> None:
        """Read the footer of `source`."""
        self.task = task
        self._file = pq.ParquetFile(source, pre_buffer=False, memory_map=False)
        self._meta = self._file.metadata
        self.stopped_at: int | None = None
        """The last row that `page` looked at, where it stopped because of `SEARCH_BYTES`."""
        self._names = [self._meta.schema.column(index).name for index in range(self._meta.num_columns)]

    def __enter__(self) -> VersionFile:
        """Nothing more to open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    @property
    def rows(self) -> int:
        """How many there are."""
        return int(self._meta.num_rows)

    def page(self, where: RowFilter, *, offset: int, limit: int) -> tuple[list[dict[str, Any]], int]:
        """The matching rows from `offset` on, at most `limit`, and how many match: in all, or up to `stopped_at`."""
        found: list[dict[str, Any]] = []
        seen = searched = 0
        self.stopped_at = None
        for group, indices in self._groups(where):
            size = self._size(group) if indices is None else len(indices)
            first, last = max(offset - seen, 0), min(offset + limit - seen, size)
            if first < last:
                found += self._read(group, indices, first, last)
            seen += size
            searched += self._text_bytes(group) if where.reads_texts else 0
            if searched >= SEARCH_BYTES and group + 1 < self._meta.num_row_groups:
                self.stopped_at = self._range(group, "row_id")[1]
                break
        return found, seen

    def after(self, where: RowFilter, *, after: int, limit: int) -> list[dict[str, Any]]:
        """The matching rows with a row id over `after`, at most `limit`."""
        found: list[dict[str, Any]] = []
        for group, indices in self._groups(where, above=after):
            if indices is None:
                indices = np.arange(self._size(group))
            ids = self._column(group, "row_id").to_numpy()
            wanted = indices[ids[indices] > after][: limit - len(found)]
            if len(wanted):
                found += self._read(group, wanted, 0, len(wanted))
            if len(found) >= limit:
                break
        return found

    def place(self, where: RowFilter, row_id: int) -> int:
        """How many matching rows stand before `row_id`: its offset, or that of the next one if it is not here."""
        before = 0
        for group, indices in self._groups(where, below=row_id):
            _, high = self._range(group, "row_id")
            if high is not None and high < row_id:
                before += self._size(group) if indices is None else len(indices)
                continue
            ids = self._column(group, "row_id").to_numpy()
            before += int((ids if indices is None else ids[indices]).searchsorted(row_id))
        return before

    def _groups(
        self, where: RowFilter, *, above: int | None = None, below: int | None = None
    ) -> Iterator[tuple[int, Indices | None]]:
        """Row groups with the places of their matching rows; None stands for all of them."""
        rows = None if where.rows is None else np.array(sorted(where.rows), np.int64)
        above = max(above or 0, where.behind) or above
        for group in range(self._meta.num_row_groups):
            low, high = self._range(group, "row_id")
            if (above is not None and high is not None and high <= above) or (
                below is not None and low is not None and low >= below
            ):
                continue
            yield group, self._matches(group, where, rows) if where.active else None

    def _matches(self, group: int, where: RowFilter, rows: Indices | None) -> Indices:
        nothing = np.zeros(0, np.int64)
        masks: list[Any] = []
        if rows is not None:
            low, high = self._range(group, "row_id")
            inside = rows if low is None else rows[rows.searchsorted(low) : rows.searchsorted(high, "right")]
            if not len(inside):
                return nothing
            masks.append(np.isin(self._column(group, "row_id").to_numpy(), inside))
        for name, value in ((LABEL, where.label), ("split", where.split)):
            if value is None:
                continue
            if not self._may_hold(group, name, value):
                return nothing
            masks.append(_as_numpy(pc.equal(self._column(group, name), value)))
        mask = np.logical_and.reduce(masks) if masks else np.ones(self._size(group), np.bool_)
        if where.reads_texts and mask.any():
            mask = mask & self._texts_match(group, where)
        return np.flatnonzero(mask)

    def _texts_match(self, group: int, where: RowFilter) -> npt.NDArray[np.bool_]:
        columns = [self._column(group, name) for name in KEPT[self.task] if name != LABEL]
        mask = np.ones(self._size(group), np.bool_)
        if where.text:
            found = [_as_numpy(pc.match_substring(texts, where.text, ignore_case=True)) for texts in columns]
            mask = np.logical_or.reduce(found)
        if where.shortest is not None or where.longest is not None:
            sizes = sum(pc.fill_null(pc.utf8_length(texts), 0).to_numpy() for texts in columns)
            mask &= sizes >= (where.shortest or 0)
            mask &= sizes <= (where.longest if where.longest is not None else np.inf)
        return mask

    def _text_bytes(self, group: int) -> int:
        columns = [self._names.index(name) for name in KEPT[self.task] if name != LABEL]
        return sum(self._meta.row_group(group).column(column).total_uncompressed_size for column in columns)

    def _may_hold(self, group: int, name: str, value: str) -> bool:
        if name not in self._names:
            return False
        low, high = self._range(group, name)
        return low is None or high is None or low <= value <= high

    def _range(self, group: int, name: str) -> tuple[Any, Any]:
        """Lowest and highest value of a column in a group, where its statistics say so."""
        found = self._meta.row_group(group).column(self._names.index(name)).statistics
        return (found.min, found.max) if found is not None and found.has_min_max else (None, None)

    def _size(self, group: int) -> int:
        return int(self._meta.row_group(group).num_rows)

    def _column(self, group: int, name: str) -> Any:
        return self._file.read_row_group(group, columns=[name], use_threads=False).column(0)

    def _read(self, group: int, indices: Indices | None, first: int, last: int) -> list[dict[str, Any]]:
        table = self._file.read_row_group(group, use_threads=False)
        table = table.slice(first, last - first) if indices is None else table.take(pa.array(indices[first:last]))
        rows: list[dict[str, Any]] = table.to_pylist()
        if self.task == CHAT:
            for row in rows:
                for name in KEPT[CHAT]:
                    row[name] = _parsed(row[name])
        return rows


def _as_numpy(mask: Any) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.fill_null(mask, False).to_numpy(zero_copy_only=False), np.bool_)


def _parsed(text: str | None) -> Any:
    """JSON that this house wrote; a cell that is none (nobody wrote one) stays text."""
    if text is None:
        return None
    try:
        return parse_value(text, JSON_DEPTH + 1)
    except BadLine:
        return text


def text_of(row: Mapping[str, Any]) -> str:
    """What a version's row says, on one line: the text, the prompt, or the turns of a conversation."""
    if "text" in row:
        return str(row["text"] or "")
    if "prompt" in row:
        return str(row["prompt"] or "")
    messages: Sequence[Any] = row["messages"] if isinstance(row.get("messages"), list) else ()
    return " ".join(str(message.get("content") or "") for message in messages if isinstance(message, dict))
