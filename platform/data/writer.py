"""Write a dataset version: one Parquet file with row_id, text, label and split, and a hash of its content.

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
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from data.checks.classification import Rules
from data.checks.codes import CODES
from data.columns import LABEL, TEXT, MappingError, Roles, detect, resolve
from data.example import Example, Reject, example_of
from data.facts import SPLITS, Facts
from data.findings import Collector
from data.fixes import DROP_BAD, FIRST_ROW, NO_CHANGE, Plan, keep_mask, plan_of
from data.formats import Options, Source, open_source
from data.guard import cap_memory
from data.split import DEFAULT_SEED, EVEN_TENTHS, Fractions, assign

SCHEMA = pa.schema([("row_id", pa.int64()), ("text", pa.string()), ("label", pa.string()), ("split", pa.string())])
BATCH_ROWS = 4_096
SAMPLE_ROWS = 500


class CannotWrite(ValueError):
    """The parts cannot become a version; the code is a finding code and the message is for a person."""

    def __init__(self, code: str, message: str) -> None:
        """Keep the finding code."""
        super().__init__(message)
        self.code = code


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

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "rows": self.rows,
            "content_sha256": self.content_sha256,
            "labels": self.labels,
            "splits": self.splits,
            "dropped": self.dropped,
            "tokens": self.tokens,
        }


def write_version(
    parts: Sequence[Part],
    target: Path,
    *,
    plan: Plan = NO_CHANGE,
    seed: int = DEFAULT_SEED,
    fractions: Fractions = EVEN_TENTHS,
    rules: Rules | None = None,
    tokenizer: Path | None = None,
) -> Written:
    """Write `target` from `parts`. Raises CannotWrite when nothing trainable is left, MappingError for bad columns.

    Row ids are row numbers as uploaded; those of a second part continue after the last of the first.
    """
    rules = rules or Rules()
    facts, rejected = Facts(tokenizer), Counter[str]()
    for example in _examples(parts, plan, rejected):
        facts.add(example)
    _check_rejected(rejected, plan)
    keep, dropped = keep_mask(facts, plan, rules.max_length)
    _check(facts, keep, rules)
    splits = _splits(facts, keep, seed, fractions)
    examples = _examples(parts, plan, Counter())
    digest = _write(target, examples, keep, splits)
    kept_labels = np.array(facts.labels, np.int64)[keep]
    tally = np.bincount(kept_labels, minlength=len(facts.label_names)).tolist()
    tokens = facts.tokens
    return Written(
        rows=int(keep.sum()),
        content_sha256=digest,
        labels={name: count for name, count in zip(facts.label_names, tally, strict=True) if count},
        splits={name: int((splits == index).sum()) for index, name in enumerate(SPLITS)},
        dropped={**{f"unusable:{code}": count for code, count in sorted(rejected.items())}, **dropped},
        tokens=None if tokens is None else int(tokens[keep].sum()),
    )


def open_part(part: Part, plan: Plan, collector: Collector) -> tuple[Source, Roles]:
    """Open one file and settle its columns; what its rows report goes to `collector`."""
    has_header = False if plan.has(FIRST_ROW) else part.has_header
    options = Options(has_header=has_header)
    sniffed = open_source(part.path, Collector(), options=options)
    source = open_source(part.path, collector, options=options)
    if source is None or sniffed is None:
        raise _unreadable(collector)
    guesses = detect(source.columns, list(islice(sniffed.rows(), SAMPLE_ROWS)))
    roles = resolve(guesses, part.columns or None)
    for role in (TEXT, LABEL):
        if roles.get(role) is None:
            names = ", ".join(source.columns[:20])
            raise CannotWrite(f"missing_{role}_column", f"Choose the {role} column. The file has: {names}.")
    return source, roles


def _unreadable(collector: Collector) -> CannotWrite:
    fatal = collector.fatal
    message = fatal.message if fatal else "The file cannot be read."
    return CannotWrite(fatal.code if fatal else "unreadable", message)


def _examples(parts: Sequence[Part], plan: Plan, rejected: Counter[str]) -> Iterator[Example]:
    """Stream all parts as rewritten by the plan; count what is unusable."""
    offset = 0
    for part in parts:
        collector = Collector()
        source, roles = open_part(part, plan, collector)
        number = 0
        for row in source.rows():
            number = row.number
            example = example_of(row, roles)
            if isinstance(example, Reject):
                rejected[example.code] += 1
                continue
            example = plan.apply(example)
            yield Example(offset + number, example.text, example.label, part.split or example.split)
        if collector.fatal:
            raise _unreadable(collector)
        for finding in collector:
            if finding.definition.fix == DROP_BAD:
                rejected[finding.code] += finding.count
                number = max(number, finding.rows[-1])
        offset += number


def _check_rejected(rejected: Counter[str], plan: Plan) -> None:
    """Unusable rows go only when the plan says so."""
    if rejected and not plan.has(DROP_BAD):
        words = ", ".join(f"{CODES[code].title.lower()}: {count:,}" for code, count in rejected.most_common())
        message = f"{rejected.total():,} rows cannot be used ({words}). Mend them, or drop them with {DROP_BAD}."
        raise CannotWrite(rejected.most_common(1)[0][0], message)


def _check(facts: Facts, keep: npt.NDArray[np.bool_], rules: Rules) -> None:
    labels = np.unique(np.array(facts.labels, np.int64)[keep])
    if keep.sum() < rules.min_rows:
        message = f"{int(keep.sum()):,} usable rows are left; at least {rules.min_rows} are needed."
        raise CannotWrite("too_few_rows", message)
    if len(labels) < 2:
        raise CannotWrite("single_class", "Only one label is left; a classifier needs at least two.")
    if len(labels) > rules.max_labels:
        raise CannotWrite("too_many_labels", f"{len(labels):,} labels are left; the limit is {rules.max_labels:,}.")


def _splits(facts: Facts, keep: npt.NDArray[np.bool_], seed: int, fractions: Fractions) -> npt.NDArray[np.int8]:
    """Return the split of every usable row, -1 for dropped ones. Splits the data came with are kept."""
    result = np.full(len(facts), -1, np.int8)
    labels, folded, given = (np.array(column, np.int64)[keep] for column in (facts.labels, facts.folded, facts.splits))
    groups = facts.groups()[keep]
    result[keep] = assign(labels, groups, folded, seed=seed, fractions=fractions, given=given)
    return result


def _write(target: Path, examples: Iterator[Example], keep: npt.NDArray[np.bool_], splits: npt.NDArray[np.int8]) -> str:
    """Write kept rows in batches; return the SHA-256 over their canonical form."""
    digest = hashlib.sha256(b"tunesmith dataset version 1\n")
    with pq.ParquetWriter(target, SCHEMA, compression="zstd", version="2.6") as writer:
        batch: list[tuple[int, str, str, str]] = []
        for index, example in enumerate(examples):
            if not keep[index]:
                continue
            row = (example.number, example.text, example.label, SPLITS[splits[index]])
            for value in row:
                encoded = str(value).encode("utf-8")
                digest.update(len(encoded).to_bytes(8, "little") + encoded)
            batch.append(row)
            if len(batch) >= BATCH_ROWS:
                writer.write_table(_table(batch))
                batch = []
        if batch:
            writer.write_table(_table(batch))
    return digest.hexdigest()


def _table(rows: list[tuple[int, str, str, str]]) -> pa.Table:
    columns = list(zip(*rows, strict=True))
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def main(argv: list[str]) -> int:
    """Write what the request file asks for and print the JSON answer to stdout."""
    request = json.loads(Path(argv[1]).read_text(encoding="utf-8"))
    cap_memory(request.get("memory_bytes"))
    parts = [Part(Path(part["path"]), part["columns"], part["split"] or None) for part in request["parts"]]
    try:
        written = write_version(
            parts,
            Path(request["target"]),
            plan=plan_of(request["fixes"]),
            seed=request["seed"],
            fractions=Fractions(**request["fractions"]),
            rules=Rules(**request["rules"]),
            tokenizer=Path(request["tokenizer"]) if request.get("tokenizer") else None,
        )
    except CannotWrite as refused:
        answer: dict[str, Any] = {"refused": {"code": refused.code, "message": str(refused)}}
    except MappingError as refused:
        answer = {"refused": {"code": "invalid_columns", "message": str(refused)}}
    else:
        answer = {"written": written.as_dict()}
    json.dump(answer, sys.stdout)
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
