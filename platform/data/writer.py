"""Write a dataset version: one Parquet file in the shape of its task, and a hash of its content.

Two streaming passes: the first learns what to keep and which split each row takes (numbers and hashes only), the
second writes. The content hash covers the rows, not the Parquet bytes, so it is the same under every library version.

Runs as a subprocess too (`python -m data.writer REQUEST.json`); the answer is `{"written": …}` or `{"refused": …}`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from data.checks.classification import Rules
from data.checks.codes import CODES
from data.columns import CLASSIFICATION, NEEDED, MappingError, Roles, detect, resolve
from data.example import Example, Reject
from data.facts import SPLITS
from data.findings import Collector
from data.fixes import DROP_BAD, FIRST_ROW, NO_CHANGE, Plan, plan_of
from data.formats import Options, Source, open_source
from data.guard import cap_memory
from data.shapes import CannotWrite, Shape, schema_of, shape_of
from data.split import DEFAULT_SEED, EVEN_TENTHS, Fractions
from data.talk import Talk

GROUP_ROWS, GROUP_BYTES = 16_384, 8 << 20
"""A row group ends at whichever comes first: it is the unit that a reader of single pages unpacks."""
SAMPLE_ROWS = 500
ABSENT = b"\xff" * 8
"""Stands in the hash for a value that is not there; no text is that long."""


@dataclass(frozen=True, slots=True)
class Part:
    """One uploaded file. `split` puts all its rows on one side; `columns` overrules the guessed roles."""

    path: Path
    columns: dict[str, str] = field(default_factory=dict)
    split: str | None = None
    has_header: bool | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What a version holds. `dropped` counts the rows left out, by reason."""

    rows: int
    content_sha256: str
    labels: dict[str, int]
    splits: dict[str, int]
    dropped: dict[str, int]
    tokens: int | None
    profile: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def write_version(
    parts: Sequence[Part],
    target: Path,
    *,
    task: str = CLASSIFICATION,
    plan: Plan = NO_CHANGE,
    seed: int = DEFAULT_SEED,
    fractions: Fractions = EVEN_TENTHS,
    rules: Rules | None = None,
    tokenizer: Path | None = None,
) -> Written:
    """Write `target` from `parts`. Raises CannotWrite when nothing trainable is left, MappingError for bad columns.

    Row ids are row numbers as uploaded; those of a second part continue after the last of the first.
    """
    shape, rejected = shape_of(task, rules or Rules(), tokenizer), Counter[str]()
    for example in _examples(parts, plan, shape, rejected):
        shape.add(example)
    _check_rejected(rejected, plan)
    keep, dropped = shape.keep(plan)
    shape.check(keep)
    splits = shape.sides(keep, seed=seed, fractions=fractions)
    digest = _write(target, _examples(parts, plan, shape, Counter()), shape, splits)
    return Written(
        rows=int(keep.sum()),
        content_sha256=digest,
        splits={name: int((splits == index).sum()) for index, name in enumerate(SPLITS)},
        dropped={**{f"unusable:{code}": count for code, count in sorted(rejected.items())}, **dropped},
        **shape.summary(keep),
    )


def open_part(part: Part, plan: Plan, task: str, collector: Collector) -> tuple[Source, Roles]:
    """Open one file and settle its columns; what its rows report goes to `collector`."""
    has_header = False if plan.has(FIRST_ROW) else part.has_header
    options = Options(has_header=has_header)
    sniffed = open_source(part.path, Collector(), options=options)
    source = open_source(part.path, collector, options=options)
    if source is None or sniffed is None:
        raise _unreadable(collector)
    guesses = detect(source.columns, list(islice(sniffed.rows(), SAMPLE_ROWS)))
    roles = resolve(guesses, part.columns or None)
    if set(NEEDED[task]) <= set(part.columns):
        roles = Roles(part.columns)  # said in full: a guess adds nothing
    for role in NEEDED[task]:
        if roles.get(role) is None:
            names = ", ".join(source.columns[:20])
            raise CannotWrite(f"missing_{role}_column", f"Choose the {role} column. The file has: {names}.")
    return source, roles


def _unreadable(collector: Collector) -> CannotWrite:
    fatal = collector.fatal
    message = fatal.message if fatal else "The file cannot be read."
    return CannotWrite(fatal.code if fatal else "unreadable", message)


def _examples(parts: Sequence[Part], plan: Plan, shape: Shape, rejected: Counter[str]) -> Iterator[Example | Talk]:
    """Stream all parts as rewritten by the plan; count what is unusable."""
    offset = 0
    for part in parts:
        collector = Collector()
        source, roles = open_part(part, plan, shape.task, collector)
        number = 0
        for row in source.rows():
            number = row.number
            found = shape.read(row, roles, plan)
            if isinstance(found, Reject):
                rejected[found.code] += 1
                continue
            yield found.at(offset + number, part.split or found.split)
        if collector.fatal:
            raise _unreadable(collector)
        for finding in collector:
            if finding.definition.fix == DROP_BAD:
                rejected[finding.code] += finding.count
                number = max(number, finding.last)
        offset += number


def _check_rejected(rejected: Counter[str], plan: Plan) -> None:
    """Unusable rows go only when the plan says so."""
    if rejected and not plan.has(DROP_BAD):
        words = ", ".join(f"{CODES[code].title.lower()}: {count:,}" for code, count in rejected.most_common())
        message = f"{rejected.total():,} rows cannot be used ({words}). Mend them, or drop them with {DROP_BAD}."
        raise CannotWrite(rejected.most_common(1)[0][0], message)


def _write(target: Path, examples: Iterator[Example | Talk], shape: Shape, splits: npt.NDArray[np.int8]) -> str:
    """Write kept rows in batches; return the SHA-256 over their canonical form."""
    # The first shape's hash knew no task; its versions keep theirs.
    named = "" if shape.task == CLASSIFICATION else f" {shape.task}"
    digest = hashlib.sha256(f"tunesmith dataset version 1{named}\n".encode())
    schema = schema_of(shape.task)
    with pq.ParquetWriter(target, schema, compression="zstd", version="2.6") as writer:
        batch: list[tuple[int | str | None, ...]] = []
        size = 0
        for index, example in enumerate(examples):
            if splits[index] < 0:
                continue
            row = (example.number, *shape.values(example), SPLITS[splits[index]])
            for value in row:
                encoded = b"" if value is None else str(value).encode("utf-8")
                digest.update(ABSENT if value is None else len(encoded).to_bytes(8, "little") + encoded)
                size += len(encoded)
            batch.append(row)
            if len(batch) >= GROUP_ROWS or size >= GROUP_BYTES:
                writer.write_table(_table(batch, schema))
                batch, size = [], 0
        if batch:
            writer.write_table(_table(batch, schema))
    return digest.hexdigest()


def _table(rows: list[tuple[int | str | None, ...]], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True))
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Write what a request asks for: `{"written": …}`, or `{"refused": …}` when there is nothing sound to write."""
    parts = [Part(Path(part["path"]), part["columns"], part["split"] or None) for part in request["parts"]]
    try:
        written = write_version(
            parts,
            Path(request["target"]),
            task=request["task"],
            plan=plan_of(request["fixes"]),
            seed=request["seed"],
            fractions=Fractions(**request["fractions"]),
            rules=Rules(**request["rules"]),
            tokenizer=Path(request["tokenizer"]) if request.get("tokenizer") else None,
        )
    except CannotWrite as refused:
        return {"refused": {"code": refused.code, "message": str(refused)}}
    except MappingError as refused:
        return {"refused": {"code": "invalid_columns", "message": str(refused)}}
    return {"written": written.as_dict()}


def main(argv: list[str]) -> int:
    """Write what the request file asks for and print the JSON answer to stdout."""
    request = json.loads(Path(argv[1]).read_text(encoding="utf-8"))
    cap_memory(request.get("memory_bytes"))
    json.dump(answer(request), sys.stdout)
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
