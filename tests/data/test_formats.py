"""Readers: formats by content, exact row numbers, bounded memory, a clear finding for every kind of bad file."""

import csv
import io
import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.findings import Collector
from data.formats import Limits, Options, Row, open_source


def read(path: Path, **kwargs: object) -> tuple[list[Row], Collector]:
    collector = Collector()
    source = open_source(path, collector, **kwargs)  # type: ignore[arg-type]
    return (list(source.rows()) if source else []), collector


def put(folder: Path, content: bytes | str, name: str = "upload.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def codes(collector: Collector) -> dict[str, int]:
    return {finding.code: finding.count for finding in collector}


FOREIGN = {
    "program": b"\x7fELF\x02\x01\x01" + bytes(200),
    "pdf": b"%PDF-1.7\n1 0 obj",
    "zip": b"PK\x03\x04" + bytes(60),
    "gzip": b"\x1f\x8b\x08\x00" + bytes(60),
    "png": b"\x89PNG\r\n\x1a\n" + bytes(60),
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05hello\x94.",
    "html": b"<!DOCTYPE html><html><body>text,label</body></html>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>',
    "xxe": b'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    "noise": bytes(range(256)) * 8,
    "zeros": bytes(4096),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_content_that_is_not_data_is_refused_whatever_its_name(tmp_path: Path, name: str) -> None:
    rows, collector = read(put(tmp_path, FOREIGN[name], "data.csv"))
    assert rows == []
    assert collector.fatal is not None
    assert collector.fatal.code in ("binary_file", "empty_file")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"   \r\n"])
def test_an_empty_file_says_so(tmp_path: Path, content: bytes) -> None:
    _, collector = read(put(tmp_path, content))
    assert codes(collector) == {"empty_file": 1}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_unicode_encodings_are_read_alike(tmp_path: Path, encoding: str) -> None:
    rows, collector = read(put(tmp_path, "text,label\nGrüße 你好,a\nwo ist meine Karte,b\n".encode(encoding)))
    assert [(row.number, row.values["text"]) for row in rows] == [(1, "Grüße 你好"), (2, "wo ist meine Karte")]
    assert ("encoding_converted" in collector) == encoding.startswith("utf-16")


def test_a_latin_1_file_is_refused_with_a_guess(tmp_path: Path) -> None:
    _, collector = read(put(tmp_path, "text,label\nGrüße,a\nMüller,b\n".encode("latin-1")))
    assert collector.fatal is not None
    assert "Windows-1252" in collector.fatal.as_dict()["message"]


def test_one_broken_byte_costs_one_row_and_names_it(tmp_path: Path) -> None:
    good = "".join(f"täxt {i},a\n" for i in range(50)).encode()
    rows, collector = read(put(tmp_path, b"text,label\n" + good + b"bad\xff,b\n" + good))
    assert len(rows) == 100
    assert collector.get("invalid_characters").rows == [51]  # type: ignore[union-attr]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_the_delimiter_is_found_by_looking(tmp_path: Path, delimiter: str) -> None:
    content = f"text{delimiter}label\n" + "".join(f"well, hello {i}{delimiter}greeting\n" for i in range(5))
    if delimiter == ",":
        content = content.replace("well, ", "well ")
    rows, collector = read(put(tmp_path, content))
    assert len(rows) == 5
    assert rows[0].values["label"] == "greeting"
    assert not codes(collector)


def test_ragged_rows_are_all_listed_with_row_and_physical_line(tmp_path: Path) -> None:
    rows, collector = read(put(tmp_path, 'text,label\n"two\nlines",a\nx\ny,b,c\nz,d\n'))
    assert [(row.number, row.line) for row in rows] == [(1, 2), (4, 6)]
    finding = collector.get("ragged_rows")
    assert finding is not None
    assert finding.rows == [2, 3]
    assert [sample.line for sample in finding.samples] == [4, 5]


def test_a_quote_left_open_is_fatal_and_names_the_line(tmp_path: Path) -> None:
    _, collector = read(put(tmp_path, 'text,label\nok,a\n"never closed,b\nmore,c\nmore,d\n'))
    assert collector.fatal is not None
    assert (collector.fatal.code, collector.fatal.params["line"]) == ("unclosed_quote", 3)


def test_quotes_in_tab_separated_messages_swallow_no_rows(tmp_path: Path) -> None:
    content = 'label\ttext\nham\t"Hi there he said\nspam\tWin "now"\nham\t"whole"\nham\tok\n'
    rows, collector = read(put(tmp_path, content))
    assert [row.values["text"] for row in rows] == ['"Hi there he said', 'Win "now"', '"whole"', "ok"]
    assert not codes(collector)


def test_quotes_that_enclose_values_between_tabs_are_taken_off(tmp_path: Path) -> None:
    content = 'label\ttext\nham\t"with ""quotes"" and\ttab"\nspam\t"two\nlines"\nham\tplain\n'
    rows, _ = read(put(tmp_path, content))
    assert [row.values["text"] for row in rows] == ['with "quotes" and\ttab', "two\nlines", "plain"]


def test_values_over_several_lines_are_noted(tmp_path: Path) -> None:
    rows, collector = read(put(tmp_path, 'text,label\n"two\nlines",a\none,b\n'))
    assert rows[0].values["text"] == "two\nlines"
    assert collector.get("multiline_values").rows == [1]  # type: ignore[union-attr]


def test_line_ends_of_all_kinds_are_read(tmp_path: Path) -> None:
    rows, collector = read(put(tmp_path, b"text,label\r\na b,x\rc d,y\ne f,z"))
    assert [row.values["text"] for row in rows] == ["a b", "c d", "e f"]
    assert "mixed_line_ends" in collector


def test_nul_characters_cost_their_row(tmp_path: Path) -> None:
    rows, collector = read(put(tmp_path, b"text,label\nok,a\nb\x00d,b\n" + b"fine row here,a\n" * 20))
    assert len(rows) == 21
    assert collector.get("nul_bytes").rows == [2]  # type: ignore[union-attr]


def test_a_missing_header_is_noticed_and_the_first_row_can_be_data(tmp_path: Path) -> None:
    path = put(tmp_path, "where is my card?,card\nhello there,hi\nlost it,card\nmy card is gone,card\n")
    rows, collector = read(path)
    assert "missing_header" in collector
    assert len(rows) == 4
    rows, collector = read(path, options=Options(has_header=False))
    assert [row.number for row in rows] == [1, 2, 3, 4]
    assert not codes(collector)


def test_columns_of_one_name_are_told_apart(tmp_path: Path) -> None:
    rows, collector = read(put(tmp_path, "text,label,text,\na,b,c,d\n"))
    assert list(rows[0].values) == ["text", "label", "text_2", "column_4"]
    assert codes(collector) == {"duplicate_columns": 1, "unnamed_column": 1}


BAD_LINES = {
    "not json": ("invalid_json", "nope"),
    "cut": ("invalid_json", '{"text": "a", "label'),
    "array": ("not_an_object", "[1, 2]"),
    "number": ("not_an_object", "7"),
    "nan": ("not_finite", '{"text": NaN}'),
    "infinity": ("not_finite", '{"text": -Infinity}'),
    "overflow": ("not_finite", '{"text": 1e999}'),
    "endless integer": ("not_finite", '{"text": ' + "9" * 5000 + "}"),
    "twice": ("duplicate_keys", '{"text": "a", "text": "b"}'),
    "surrogate": ("lone_surrogates", '{"text": "\\ud83d"}'),
    "nul": ("nul_bytes", '{"text": "a\\u0000b"}'),
    "deep": ("json_too_deep", '{"a":' * 40 + "1" + "}" * 40),
    "very deep": ("json_too_deep", "[" * 100_000 + "]" * 100_000),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_each_bad_json_line_is_listed_and_the_rest_is_read(tmp_path: Path, name: str) -> None:
    code, line = BAD_LINES[name]
    rows, collector = read(put(tmp_path, f'{{"text": "a", "label": "b"}}\n{line}\n\n{{"text": "c", "label": "d"}}\n'))
    assert [row.number for row in rows] == [1, 4]
    assert collector.get(code).rows == [2]  # type: ignore[union-attr]
    assert collector.get("blank_lines").count == 1  # type: ignore[union-attr]


def test_a_last_line_cut_off_is_told_apart(tmp_path: Path) -> None:
    rows, collector = read(put(tmp_path, '{"text": "a", "label": "b"}\n{"text": "c", "la'))
    assert len(rows) == 1
    assert collector.get("last_line_cut").params["line"] == 2  # type: ignore[union-attr]


def test_a_json_array_is_refused_with_advice(tmp_path: Path) -> None:
    _, collector = read(put(tmp_path, '[{"text": "a", "label": "b"}]'))
    assert collector.fatal is not None
    assert collector.fatal.code == "json_array"


def test_an_object_over_many_lines_is_refused_with_advice(tmp_path: Path) -> None:
    _, collector = read(put(tmp_path, json.dumps({"rows": [{"text": "a"}]}, indent=2)))
    assert codes(collector) == {"json_pretty": 1}


def test_parquet_is_read_with_row_numbers(tmp_path: Path) -> None:
    path = tmp_path / "upload.bin"
    pq.write_table(pa.table({"text": [f"t{i}" for i in range(3000)], "label": ["a", "b", "c"] * 1000}), path)
    rows, collector = read(path)
    assert [row.number for row in rows] == list(range(1, 3001))
    assert rows[-1].values == {"text": "t2999", "label": "c"}
    assert not codes(collector)


def test_parquet_cut_short_or_lying_is_refused_fast(tmp_path: Path) -> None:
    path = tmp_path / "whole.parquet"
    pq.write_table(pa.table({"text": ["a"] * 100, "label": ["b"] * 100}), path)
    whole = path.read_bytes()
    for broken in (
        whole[:-20],
        whole[:40],
        b"PAR1",
        whole[:-8] + b"\xff\xff\xff\x7fPAR1",
        b"PAR1" + whole[4:80] + whole[-60:],
    ):
        rows, collector = read(put(tmp_path, broken))
        assert rows == []
        assert collector.fatal is not None


def test_parquet_over_its_limits_is_refused_from_the_footer(tmp_path: Path) -> None:
    path = tmp_path / "wide.parquet"
    pq.write_table(pa.table({f"c{i}": [1] * 30 for i in range(30)}), path)
    for limits, code in (
        (Limits(columns=10), "too_many_columns"),
        (Limits(rows=10), "too_many_rows"),
        (Limits(parquet_group_bytes=10), "too_large_inside"),
    ):
        _, collector = read(path, limits=limits)
        assert collector.fatal is not None
        assert collector.fatal.code == code


def test_parquet_with_binary_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "binary.parquet"
    pq.write_table(pa.table({"text": [b"\x80\x04."], "label": ["a"]}), path)
    _, collector = read(path)
    assert codes(collector) == {"column_type": 1}


@pytest.mark.slow
@pytest.mark.parametrize("opening", [b"", b"text,label\n", b'text,label\n"', b'{"text": "'])
def test_one_line_of_200_megabytes_ends_in_a_finding_with_bounded_memory(tmp_path: Path, opening: bytes) -> None:
    path = tmp_path / "endless.csv"
    with path.open("wb") as file:
        file.write(opening)
        for _ in range(50):
            file.write(b"x" * (4 << 20))
    tracemalloc.start()
    rows, collector = read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows == []
    assert collector.fatal is not None
    assert collector.fatal.code in ("line_too_long", "unclosed_quote")
    assert peak < 32 << 20


cell = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n\t", exclude_characters="\ufffd"), max_size=40
)


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(rows=st.lists(st.tuples(cell, cell), min_size=1, max_size=30), end=st.sampled_from(["\n", "\r\n"]))
def test_whatever_the_csv_module_writes_comes_back_with_its_row_numbers(
    tmp_path: Path, rows: list[tuple[str, str]], end: str
) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerow(["text", "label"])
    writer.writerows(rows)
    path = put(tmp_path, buffer.getvalue())
    found, collector = read(path, options=Options(delimiter=","))
    assert [(row.number, row.values["text"], row.values["label"]) for row in found] == [
        (number, text, label) for number, (text, label) in enumerate(rows, start=1)
    ]
    assert collector.fatal is None


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(["text", "label", "n"]), cell, min_size=1), min_size=1, max_size=20)
)
def test_whatever_json_writes_comes_back_with_its_line_numbers(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    path = put(tmp_path, "".join(json.dumps(row) + "\n" for row in rows))
    found, _ = read(path)
    assert [(row.number, row.values) for row in found] == list(enumerate(rows, start=1))


@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(content=st.binary(max_size=400))
def test_no_bytes_whatever_raise(tmp_path: Path, content: bytes) -> None:
    for opening in (b"", b"text,label\n", b'{"a":1}\n', b"PAR1", b"\xff\xfe"):
        found, _ = read(put(tmp_path, opening + content))
        assert all(row.number >= 1 for row in found)
