"""Rows that findings name, as a download: complete, exact, safe in a spreadsheet, and never whole in memory."""

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data import lease
from data.offenders import offenders
from kit.spreadsheets import safe
from tests.conftest import Cast, Person
from tests.data.making import checked_file, sample, stored_file
from tests.data.test_files_api import problem
from tests.data.test_talks import chat_row, jsonl

EVIL = b'=HYPERLINK("http://x";"y"),@,extra\n'
DIRTY = sample() + b',refund\n"two\nlines",,more\n' + EVIL + sample().split(b"\n")[1] + b"\n \xff broken,refund\n"
DIRTY += "the café in Zürich is closed,delivery\nmy naïve brother wants a crêpe,password\n".encode()


def body_of(response: Any) -> bytes:
    """All of a streamed answer."""
    assert response.status_code == 200, response.content
    return b"".join(response.streaming_content)


def rows_of(person: Person, file_id: str, query: str = "") -> list[dict[str, Any]]:
    """The JSON lines of a download."""
    answer = person.api.get(f"/v1/files/{file_id}/findings/rows{query}")
    assert answer["Content-Type"] == "application/x-ndjson"
    return [json.loads(line) for line in body_of(answer).splitlines()]


def test_rejected_rows_come_as_uploaded_with_number_code_and_advice(cast: Cast) -> None:
    file = checked_file(cast.owner, DIRTY)
    found = rows_of(cast.owner, file.public_id, "?level=blocking")
    assert [(row["row"], row["line"], row["code"]) for row in found] == [
        (61, 62, "empty_text"), (62, 63, "ragged_rows"), (63, 65, "ragged_rows"), (65, 67, "invalid_characters"),
    ]  # fmt: skip
    assert found[1]["content"] == '"two\nlines",,more' and found[2]["content"] == EVIL.decode().strip()
    assert found[3]["content"] == " \\xff broken,refund"
    assert all(row["level"] == "blocking" and row["message"].endswith(".") for row in found)
    assert "2 columns" not in found[1]["message"] and "quotes around values" in found[1]["message"]
    everything = Counter(row["code"] for row in rows_of(cast.owner, file.public_id))
    assert everything["exact_duplicates"] == 1 and everything["ragged_rows"] == 2
    copies = rows_of(cast.owner, file.public_id, "?code=exact_duplicates")
    assert [(row["row"], row["content"]) for row in copies] == [(64, sample().split(b"\n")[1].decode())]


def test_the_csv_opens_in_a_spreadsheet_without_running_anything(cast: Cast) -> None:
    file = checked_file(cast.owner, DIRTY, "=cmd|x.csv")
    answer = cast.owner.api.get(f"/v1/files/{file.public_id}/findings/rows?format=csv&level=blocking")
    assert "attachment" in answer["Content-Disposition"] and answer["Content-Type"].startswith("text/csv")
    content = body_of(answer)
    assert content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert [row["row"] for row in rows] == ["61", "62", "63", "65"]
    assert rows[2]["content"] == "'" + EVIL.decode().strip().replace(';"y"', ';"y"')
    assert all(not value.startswith(tuple("=+-@\t\r")) for row in rows for value in row.values())


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+49 30", "'+49 30"),
        ("-2", "'-2"),
        ("@here", "'@here"),
        ("\t=1", "'\t'=1"),
        ("\uff1d1", "'\uff1d1"),
        ("a;=1", "a;'=1"),
        ("a\n =1", "a\n' =1"),
        ("a=1; b-2, c", "a=1; b-2, c"),
        (-2, -2),
    ],
)
def test_a_cell_that_could_run_opens_with_an_apostrophe(cell: Any, shown: Any) -> None:
    assert safe(cell) == shown


def test_no_row_is_cut_at_the_thousand_that_a_finding_lists(cast: Cast) -> None:
    content = sample() + b"only one column\n" * 1500 + sample().split(b"\n")[1] + b"\n"
    file = checked_file(cast.owner, content * 1)
    assert len(rows_of(cast.owner, file.public_id, "?code=ragged_rows")) == 1500
    assert [row["row"] for row in rows_of(cast.owner, file.public_id, "?level=warning")] == [1561]


def test_conversations_and_parquet_rows_come_as_json(cast: Cast, tmp_path: Path) -> None:
    file = checked_file(cast.owner, jsonl([*(chat_row(i) for i in range(12)), {"messages": []}, chat_row(3)]))
    found = rows_of(cast.owner, file.public_id)
    assert [(row["row"], row["code"]) for row in found] == [(13, "missing_messages"), (14, "duplicate_examples")]
    assert found[0]["content"] == '{"messages": []}'
    table = pa.table({"text": ["fine text", ""], "label": ["a", "b"]})
    pq.write_table(table, tmp_path / "f.parquet")
    columns = {"text": "text", "label": "label"}
    (one,) = offenders(tmp_path / "f.parquet", frozenset(("empty_text",)), columns=columns)
    assert (one.row, json.loads(one.content)) == (2, {"text": "", "label": "b"})


def test_wrong_wishes_are_refused_and_a_sound_file_has_no_rows(cast: Cast) -> None:
    good = checked_file(cast.owner).public_id
    path = f"/v1/files/{good}/findings/rows"
    for query in ("?format=xlsx", "?level=fatal", "?code=nope", "?code=%00"):
        problem(cast.owner.api.get(path + query), 400)
    assert rows_of(cast.owner, good) == []
    assert body_of(cast.owner.api.get(f"{path}?format=csv")).count(b"\n") == 1
    waiting = stored_file(cast.owner).public_id
    problem(cast.owner.api.get(f"/v1/files/{waiting}/findings/rows"), 409, "file_not_ready")


def test_two_downloads_at_once_are_enough_and_a_left_one_frees_its_place(cast: Cast) -> None:
    path = f"/v1/files/{checked_file(cast.owner, DIRTY).public_id}/findings/rows"
    first, second = cast.owner.api.get(path), cast.owner.api.get(path)
    next(iter(first.streaming_content))
    problem(cast.owner.api.get(path), 429, "too_many_downloads")
    first.close()
    assert body_of(second)
    assert body_of(cast.owner.api.get(path))
    slot = lease.taken(f"rows:{cast.owner.tenant.id}", 2)
    assert slot is not None


def test_a_download_nobody_begins_to_read_holds_no_place(cast: Cast) -> None:
    path = f"/v1/files/{checked_file(cast.owner, DIRTY).public_id}/findings/rows"
    for method in ("HEAD", "GET", "HEAD"):
        answer = cast.owner.api.request(method, path)
        assert answer.status_code == 200
        answer.close()
    assert body_of(cast.owner.api.get(path))


def test_the_page_offers_the_rows_and_sends_them(cast: Cast) -> None:
    file = checked_file(cast.owner, DIRTY)
    page = cast.owner.browser.get(f"{cast.owner.workspace}/files/{file.public_id}/").content.decode()
    assert "Rejected rows, CSV" in page and "code=ragged_rows" in page
    answer = cast.owner.browser.get(f"{cast.owner.workspace}/files/{file.public_id}/rows?level=blocking")
    assert answer["Content-Type"].startswith("text/csv") and b"ragged_rows" in body_of(answer)
