"""The rows that findings name, as a download: JSON lines with the exact characters, or CSV for a spreadsheet.

The reading happens in a process of its own (`data.offenders`) and the answer is sent as it comes: the web process holds
one row at a time.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import Any

from django.utils.translation import gettext

from data import lease, reader
from data.checks.codes import CODES, LEVELS
from data.errors import FileNotReady, TooManyDownloads
from data.findings_text import fill
from data.limits import MAX_LABELS, MAX_LENGTH, tokenizer_path
from data.models import File, Finding
from kit import storage
from kit.errors import BadRequest
from kit.spreadsheets import BOM, csv_line
from kit.streams import Held, gathered

FORMATS = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
HEAD = ("row", "line", "code", "level", "message", "content")
AT_ONCE = 2
"""Downloads of rows that run side by side for one organisation; each reads a whole file."""

Words = Mapping[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class RowsDownload:
    """What is sent: `pieces` starts reading when it is first asked, and holds a place until it is closed."""

    filename: str
    content_type: str
    pieces: Iterator[bytes]


def finding_rows(*, file: File, form: str = "jsonl", level: str | None = None, code: str | None = None) -> RowsDownload:
    """The rows of a checked file that its findings name, of one level or code or of all.

    BadRequest for an unknown form, level or code; FileNotReady while the file is being checked; TooManyDownloads.
    """
    _check_wanted(form, level, code)
    if file.status == File.Status.UPLOADED:
        raise FileNotReady(f"The file {file.public_id} is still being checked. Try again in a moment.")
    found = Finding.objects.filter(file=file).order_by("position")
    if level:
        found = found.filter(level=level)
    if code:
        found = found.filter(code=code)
    listed = [finding for finding in found if finding.rows]
    words = {(finding.code, finding.key): _message(finding) for finding in listed}
    slot = lease.taken(f"rows:{file.tenant_id}", AT_ONCE)
    if slot is None:
        raise TooManyDownloads(
            f"{AT_ONCE} downloads of rows are running for this organisation. Try again when one is done.",
            headers={"Retry-After": "10"},
        )
    rows = _rows(file.storage_key, _request(file, sorted({finding.code for finding in listed})), slot)
    name = f"{PurePath(file.filename).stem[:80] or 'file'}-{code or level or 'findings'}-rows.{form}"
    pieces = _as_csv(rows, words) if form == "csv" else _as_jsonl(rows, words)
    return RowsDownload(name, FORMATS[form], Held(gathered(pieces), partial(lease.give_back, slot)))


def _check_wanted(form: str, level: str | None, code: str | None) -> None:
    if form not in FORMATS:
        raise BadRequest(f"'format' must be {' or '.join(FORMATS)}.", param="format")
    if level is not None and level not in LEVELS:
        raise BadRequest("'level' must be blocking, warning or note.", param="level")
    if code is not None and code not in CODES:
        raise BadRequest(
            f"'{code[:40]}' is not a code of findings. GET /v1/files/{{id}}/findings lists those of a file.",
            param="code",
        )


def _request(file: File, codes: list[str]) -> dict[str, Any]:
    tokenizer = tokenizer_path()
    return {
        "codes": codes,
        "columns": file.roles,
        "options": {"has_header": (file.source or {}).get("has_header")},
        "rules": {"max_labels": MAX_LABELS, "max_length": MAX_LENGTH},
        "tokenizer": str(tokenizer) if tokenizer else None,
    }


def _message(finding: Finding) -> str:
    """What is wrong with a row under a finding, and what to do: the finding's count says nothing here."""
    return f"{gettext(CODES[finding.code].title)}. {fill(CODES[finding.code].hint, finding)}"


def _rows(key: str, request: dict[str, Any], slot: lease.Slot) -> Iterator[dict[str, Any]]:
    """The subprocess's lines; nothing is started for a file without such rows."""
    with lease.kept(slot):
        if not request["codes"]:
            return
        with storage.local_path(key) as path:
            for line in reader.lines("data.offenders", request | {"path": str(path)}):
                yield json.loads(line)


def _dressed(row: dict[str, Any], words: Words) -> dict[str, Any]:
    """A row with its level and message; keys are stored cut."""
    code, key = row["code"], row["key"][:300]
    known = CODES[code]
    message = words.get((code, key)) or words.get((code, "")) or gettext(known.title)
    return {
        "row": row["row"],
        "line": row["line"],
        "code": code,
        "level": known.level,
        "message": message,
        "content": row["content"],
    }


def _as_jsonl(rows: Iterator[dict[str, Any]], words: Words) -> Iterator[bytes]:
    for row in rows:
        yield json.dumps(_dressed(row, words), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _as_csv(rows: Iterator[dict[str, Any]], words: Words) -> Iterator[bytes]:
    yield (BOM + csv_line(HEAD)).encode()
    for row in rows:
        dressed = _dressed(row, words)
        cells = ["" if dressed[name] is None else dressed[name] for name in HEAD]
        yield csv_line(cells).encode("utf-8", "backslashreplace")
