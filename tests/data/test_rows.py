"""Pages of a version's rows: the right ones under any filter, read group by group, never the whole file."""

import io
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.rows import RowFilter, VersionFile
from data.shapes import schema_of
from kit.ranges import Ranges

LABELS = ("a", "b", "c", "ä")
SIDES = ("train", "validation", "test")


def rows(count: int) -> list[dict[str, Any]]:
    """Rows with gaps in their numbers, as dropped rows leave them."""
    return [
        {
            "row_id": 3 * i + 1 + i % 2,
            "text": f"Text {i} {'Needle' if i % 17 == 0 else 'straw'}",
            "label": LABELS[i * 7 % 11 % 4],
            "split": SIDES[i % 10 // 8 + (i % 10 == 9)],
        }
        for i in range(count)
    ]


def written(path: Path, found: list[dict[str, Any]], group: int) -> Path:
    """A version's file with small row groups."""
    pq.write_table(pa.Table.from_pylist(found, schema_of("text-classification")), path, row_group_size=group)
    return path


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(0, 90),
    group=st.integers(1, 30),
    label=st.sampled_from([None, "a", "ä", "nobody"]),
    split=st.sampled_from([None, *SIDES]),
    text=st.sampled_from(["", "NEEDLE", "text 1", "(", "nothing"]),
    numbers=st.none() | st.frozensets(st.integers(0, 300), max_size=40),
    offset=st.integers(0, 100),
    after=st.integers(0, 300),
)
def test_every_page_is_what_a_plain_loop_would_give(
    tmp_path: Path,
    count: int,
    group: int,
    label: str | None,
    split: str | None,
    text: str,
    numbers: frozenset[int] | None,
    offset: int,
    after: int,
) -> None:
    found = rows(count)
    where = RowFilter(label=label, split=split, rows=numbers, text=text)
    expected = [row for row in found if where.takes(row)]
    with VersionFile(written(tmp_path / "v.parquet", found, group)) as version:
        assert version.page(where, offset=offset, limit=7) == (expected[offset : offset + 7], len(expected))
        assert version.after(where, after=after, limit=7) == [row for row in expected if row["row_id"] > after][:7]
        assert version.place(where, after) == sum(row["row_id"] < after for row in expected)


def test_a_page_in_the_middle_reads_one_group_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "v.parquet", rows(5000), 100)
    read: list[int] = []
    whole = pq.ParquetFile.read_row_group

    def counting(self: Any, group: int, **options: Any) -> Any:
        read.append(group)
        return whole(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    with VersionFile(path) as version:
        page, total = version.page(RowFilter(), offset=2510, limit=50)
        assert (len(page), total, read) == (50, 5000, [25])
        read.clear()
        version.after(RowFilter(), after=page[0]["row_id"], limit=10)
        assert set(read) == {25}
        read.clear()
        version.page(RowFilter(rows=frozenset((page[0]["row_id"],))), offset=0, limit=50)
        assert set(read) == {25}
        read.clear()
        assert version.page(RowFilter(label="Z"), offset=0, limit=50) == ([], 0) and read == []


def test_memory_stays_flat_whatever_the_page(tmp_path: Path) -> None:
    path = written(tmp_path / "v.parquet", rows(60_000), 2_000)
    with VersionFile(path) as version:
        version.page(RowFilter(text="needle"), offset=0, limit=50)
        before = pa.total_allocated_bytes()
        tracemalloc.start()
        for offset in (0, 30_000, 59_990):
            version.page(RowFilter(text="straw", split="train"), offset=offset, limit=50)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
        tracemalloc.stop()
        assert pa.total_allocated_bytes() - before < 1 << 20


class Bucket:
    """An object of a store that only gives ranges, and counts what it gave."""

    def __init__(self, content: bytes) -> None:
        self.content, self.given = content, 0

    def get(self, *, Range: str) -> dict[str, Any]:
        first, last = (int(part) for part in Range.removeprefix("bytes=").split("-"))
        self.given += last + 1 - first
        return {"Body": io.BytesIO(self.content[first : last + 1])}


def test_an_object_store_is_asked_for_the_pages_bytes_alone(tmp_path: Path) -> None:
    found = rows(20_000)
    content = written(tmp_path / "v.parquet", found, 1_000).read_bytes()
    bucket = Bucket(content)
    with VersionFile(Ranges(bucket, len(content))) as version:  # type: ignore[arg-type]
        page, _ = version.page(RowFilter(), offset=12_345, limit=50)
    assert page == found[12_345:12_395]
    assert bucket.given < len(content) / 2


def test_rows_are_found_by_the_length_of_their_text(tmp_path: Path) -> None:
    made = rows(400)
    path = written(tmp_path / "v.parquet", made, 64)
    sizes = [len(row["text"]) for row in made]
    low, high = sorted(set(sizes))[1], sorted(set(sizes))[-2]
    for where, fits in (
        (RowFilter(shortest=low), lambda size: size >= low),
        (RowFilter(longest=high), lambda size: size <= high),
        (RowFilter(shortest=low, longest=high), lambda size: low <= size <= high),
        (RowFilter(longest=0), lambda size: size == 0),
    ):
        with VersionFile(path) as version:
            found, total = version.page(where, offset=0, limit=400)
        assert [row["row_id"] for row in found] == [row["row_id"] for row in made if fits(len(row["text"]))]
        assert total == len(found)


def test_a_search_of_long_texts_stops_says_where_and_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "v.parquet", rows(300), 50)
    where = RowFilter(text="needle")
    with VersionFile(path) as version:
        whole, total = version.page(where, offset=0, limit=300)
        assert version.stopped_at is None
    monkeypatch.setattr("data.rows.SEARCH_BYTES", 1)
    found: list[dict[str, Any]] = []
    behind = 0
    for _ in range(6):
        with VersionFile(path) as version:
            some, _count = version.page(RowFilter(text="needle", behind=behind), offset=0, limit=300)
            found += some
            assert (version.stopped_at is None) == (behind == rows(300)[249]["row_id"])
            behind = version.stopped_at or 0
    assert found == whole and len(found) == total
