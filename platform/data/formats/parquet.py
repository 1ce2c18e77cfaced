"""Parquet: the footer is judged before any page is read; batches stream. Extension types are read as plain storage."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.findings import Collector
from data.formats.base import Limits, Row, Source
from data.formats.header import name_columns
from data.formats.lines import broken_code

BATCH_ROWS = 1_024
MAGIC = b"PAR1"


def open_parquet(path: Path, collector: Collector, limits: Limits) -> Source | None:
    """Open a Parquet file after checking its footer against the limits; None after a fatal finding."""
    if not _footer_fits(path, collector, limits):
        return None
    try:
        meta = pq.read_metadata(path, memory_map=False)
        schema = meta.schema.to_arrow_schema()
    except (pa.ArrowException, OSError, ValueError) as error:
        _unreadable(collector, error)
        return None
    if not _metadata_fits(meta, collector, limits):
        return None
    columns = name_columns(list(schema.names), collector)
    for name, field in zip(columns, schema, strict=True):
        if not _supported(field.type):
            collector.add("column_type", key=name, params={"column": name, "type": str(field.type)})
            return None
    reader = _Reader(path, columns, meta.num_rows, collector)
    return Source(
        kind="parquet",
        columns=columns,
        read=reader.rows,
        encoding="utf-8",
        details={"row_groups": meta.num_row_groups},
        raw=reader.raw,
    )


def _unreadable(collector: Collector, error: Exception) -> None:
    reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
    collector.add("unreadable", params={"kind": "Parquet", "reason": reason})


def _footer_fits(path: Path, collector: Collector, limits: Limits) -> bool:
    """Read the last eight bytes: footer length and magic."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size >= 12:
            file.seek(-8, 2)
        tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if size < 12 or tail[4:] != MAGIC or length > size - 12:
        reason = "the end of the file is missing or damaged"
    elif length > limits.parquet_footer_bytes:
        reason = f"its footer takes {length:,} bytes; the limit is {limits.parquet_footer_bytes:,}"
    else:
        return True
    collector.add("unreadable", params={"kind": "Parquet", "reason": reason})
    return False


def _metadata_fits(meta: Any, collector: Collector, limits: Limits) -> bool:
    if meta.num_columns > limits.columns:
        collector.add("too_many_columns", params={"found": meta.num_columns, "limit": limits.columns})
        return False
    if meta.num_rows > limits.rows or meta.num_rows < 0:
        collector.add("too_many_rows", params={"limit": f"{limits.rows:,}"})
        return False
    groups = [meta.row_group(index) for index in range(meta.num_row_groups)]
    if sum(group.num_rows for group in groups) != meta.num_rows:
        collector.add("unreadable", params={"kind": "Parquet", "reason": "its footer contradicts itself"})
        return False
    largest = max((group.total_byte_size for group in groups), default=0)
    if largest > limits.parquet_group_bytes:
        params = {"found": f"{largest:,}", "limit": f"{limits.parquet_group_bytes:,}"}
        collector.add("too_large_inside", params=params)
        return False
    return True


def _supported(kind: pa.DataType) -> bool:
    """Scalars, and lists and structs of them (conversations); no binary, map, union or extension types."""
    if isinstance(kind, pa.ExtensionType):
        return False
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _supported(kind.value_type)
    if pa.types.is_struct(kind):
        return all(_supported(kind.field(index).type) for index in range(kind.num_fields))
    if pa.types.is_dictionary(kind):
        return _supported(kind.value_type)
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_temporal(kind)
        or pa.types.is_null(kind)
    )


class _Reader:
    """One pass over a Parquet file."""

    def __init__(self, path: Path, columns: list[str], expected: int, collector: Collector) -> None:
        self.path, self.columns, self.expected, self.collector = path, columns, expected, collector
        self._last: tuple[Any, ...] = ()

    def raw(self) -> str:
        """The row that was read last, as a JSON object."""
        return json.dumps(dict(zip(self.columns, self._last, strict=True)), ensure_ascii=False, default=str)

    def rows(self) -> Iterator[Row]:
        """Yield usable rows; report the others."""
        number = 0
        try:
            with pq.ParquetFile(self.path, memory_map=False, pre_buffer=False) as file:
                for batch in file.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
                    lists = [_values(batch.column(index)) for index in range(batch.num_columns)]
                    for values in zip(*lists, strict=True):
                        number += 1
                        self._last = values
                        code = _broken(values)
                        if code:
                            self.collector.add(code, row=number, params={"encoding": "UTF-8"})
                            continue
                        yield Row(number, dict(zip(self.columns, values, strict=True)))
        except (pa.ArrowException, OSError, ValueError, UnicodeDecodeError) as error:
            _unreadable(self.collector, error)
            return
        if number != self.expected:
            reason = f"it promises {self.expected:,} rows and holds {number:,}"
            _unreadable(self.collector, ValueError(reason))


def _values(column: pa.Array) -> list[Any]:
    return column.to_pylist()


def _broken(values: Iterable[Any]) -> str | None:
    """Return the finding code of the first unusable string in a row, or None."""
    for value in values:
        code = broken_code(value) if isinstance(value, str) else None
        if code:
            return code
    return None
