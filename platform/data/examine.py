"""Examine an upload: one streaming pass that yields every finding, the guessed columns and the profile.

Runs as a subprocess too (`python -m data.examine REQUEST.json`), so that a hostile file can take down nothing else.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from data import columns as roles_module
from data.checks.classification import ClassificationCheck, Rules
from data.checks.conversation import ConversationCheck
from data.columns import CLASSIFICATION, LABEL, NEEDED, TEXT, Guess, Roles, resolve
from data.example import Reject, scalar
from data.findings import Collector, Sample, shorten
from data.formats import Limits, Options, Row, Source, open_source
from data.guard import cap_memory
from data.profile import classification_profile, conversation_profile
from data.talk import talk_of

SAMPLE_ROWS = 500


@dataclass(slots=True)
class Examination:
    """What was found. `profile` is empty when nothing could be read."""

    collector: Collector
    source: Source | None = None
    guesses: list[Guess] = field(default_factory=list)
    roles: Roles | None = None
    profile: dict[str, Any] = field(default_factory=dict)
    rows: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        fatal = self.collector.fatal
        return {
            "source": self.source.as_dict() if self.source else None,
            "columns": [guess.as_dict() for guess in self.guesses],
            "roles": dict(self.roles.columns) if self.roles else {},
            "task": self.roles.task if self.roles else None,
            "rows": self.rows,
            "profile": self.profile,
            "levels": self.collector.levels(),
            "fatal": fatal.as_dict() if fatal else None,
            "findings": [finding.as_dict() for finding in self.collector],
        }


def examine(
    path: Path,
    *,
    mapping: Mapping[str, str] | None = None,
    options: Options | None = None,
    limits: Limits | None = None,
    rules: Rules | None = None,
    tokenizer: Path | None = None,
) -> Examination:
    """Read `path` once and report everything. Raises `columns.MappingError` if `mapping` does not fit the file."""
    collector, rules = Collector(), rules or Rules()
    source = open_source(path, collector, options=options, limits=limits or Limits())
    result = Examination(collector, source)
    if source is None:
        return result
    rows = source.rows()
    sample = list(islice(rows, SAMPLE_ROWS))
    result.guesses = roles_module.detect(source.columns, sample)
    result.roles = resolve(result.guesses, mapping)
    _run(result, chain(sample, rows), rules, tokenizer)
    if not collector.fatal:
        _fill_snippets(path, result, options, limits)
    return result


def _run(result: Examination, rows: Iterator[Row], rules: Rules, tokenizer: Path | None) -> None:
    """Stream all rows through the check that fits the roles."""
    roles, collector = result.roles, result.collector
    if roles is None:
        return
    if not _has_needed(result, roles):
        for row in rows:
            result.rows = row.number
        _has_rows(result)
        return
    check: ConversationCheck | ClassificationCheck
    if roles.task == CLASSIFICATION:
        check = ClassificationCheck(roles, collector, rules, tokenizer)
    else:
        check = ConversationCheck(roles, collector, rules.min_rows)
    for row in rows:
        check.take(row)
        result.rows = row.number
    if _has_rows(result):
        check.finish()
        result.rows = max(result.rows, _last_reported(collector))
        if isinstance(check, ClassificationCheck):
            result.profile = classification_profile(check.facts, rows=result.rows, max_length=rules.max_length)
        else:
            result.profile = conversation_profile(check, task=roles.task, rows=result.rows)


def _last_reported(collector: Collector) -> int:
    """The highest row number among rows that the reader left out."""
    return max((finding.last for finding in collector), default=0)


def _has_rows(result: Examination) -> bool:
    if result.rows or result.collector.fatal:
        return not result.collector.fatal
    if not any(finding.level == "blocking" for finding in result.collector):
        result.collector.add("no_rows")
    return False


def _has_needed(result: Examination, roles: Roles) -> bool:
    """Whether every role of the task has its column; those that lack one are reported."""
    source = result.source
    names = ", ".join(source.columns[:20]) if source else ""
    missing = [role for role in NEEDED[roles.task] if roles.get(role) is None]
    if not names and any(finding.level == "blocking" for finding in result.collector):
        return False  # No line could be read: to ask for columns as well would only hide the cause.
    for role in missing:
        result.collector.add(f"missing_{role}_column", line=1, params={"columns": names})
    return not missing


def _fill_snippets(path: Path, result: Examination, options: Options | None, limits: Limits | None) -> None:
    """Findings made from hashes know only row numbers: read the file once more, as far as needed, for their texts."""
    roles = result.roles
    if roles is None or any(roles.get(role) is None for role in NEEDED[roles.task]):
        return
    wanted: dict[int, list[Sample]] = {}
    for finding in result.collector:
        for sample in finding.samples:
            if sample.row is not None and not sample.snippet:
                wanted.setdefault(sample.row, []).append(sample)
    if not wanted:
        return
    again = open_source(path, Collector(), options=options, limits=limits or Limits())
    if again is None:
        return
    last = max(wanted)
    for row in again.rows():
        if row.number > last:
            break
        for sample in wanted.get(row.number, ()):
            sample.line, sample.snippet = row.line, _snippet(row, roles)


def _snippet(row: Row, roles: Roles) -> str:
    """A row's own words: text and label, or all that is said."""
    if roles.task == CLASSIFICATION:
        text, label = (scalar(row.values.get(roles.columns[role])) or "" for role in (TEXT, LABEL))
        return f"{shorten(text)} · {label}"
    talk = talk_of(row, roles)
    return "" if isinstance(talk, Reject) else talk.own


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What a request's file holds, in the JSON form of `Examination`."""
    return examine(
        Path(request["path"]),
        mapping=request.get("mapping"),
        options=Options(**request.get("options", {})),
        rules=Rules(**request.get("rules", {})),
        tokenizer=Path(request["tokenizer"]) if request.get("tokenizer") else None,
    ).as_dict()


def main(argv: list[str]) -> int:
    """Examine what the request file asks for and print the JSON result to stdout."""
    request = json.loads(Path(argv[1]).read_text(encoding="utf-8"))
    cap_memory(request.get("memory_bytes"))
    json.dump(answer(request), sys.stdout, ensure_ascii=False)
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
