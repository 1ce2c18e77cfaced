"""Checks on labelled text: what each row shows while streaming, then what only the whole shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data.checks.labels import shape, variants
from data.checks.leaks import split_leaks
from data.columns import Roles
from data.example import LABEL_CHARS, Example, Reject, example_of
from data.facts import Facts
from data.findings import Collector
from data.formats.base import Row
from data.privacy import kinds

MIN_ROWS = 10
MIN_CLASS_ROWS = 8
IMBALANCE = 10
LEAK_SHARE = 0.6
KIND_WORDS = {"email": "e-mail addresses", "phone": "phone numbers", "card": "payment cards", "iban": "bank accounts"}


@dataclass(frozen=True, slots=True)
class Rules:
    """What a caller may set: length the model reads, most labels allowed, fewest rows."""

    max_length: int = 256
    max_labels: int = 1_000
    min_rows: int = MIN_ROWS


class ClassificationCheck:
    """Feed rows with `take`, then call `finish` once."""

    def __init__(self, roles: Roles, collector: Collector, rules: Rules, tokenizer: Path | None) -> None:
        """`roles` must hold text and label."""
        self.roles, self.collector, self.rules = roles, collector, rules
        self.facts = Facts(tokenizer)
        self._rejected: dict[str, int] = {}
        self._kinds: set[str] = set()
        self._label_in_text = 0
        self._shapes: dict[str, str] = {}

    def take(self, row: Row) -> Example | None:
        """Check one row and remember it; return the example if it is usable."""
        example = self.look(row)
        if example is not None:
            self.facts.add(example)
        return example

    def look(self, row: Row) -> Example | None:
        """Report what one row shows by itself; return the example if it is usable."""
        example = example_of(row, self.roles)
        if isinstance(example, Reject):
            params = {"role": example.role, "limit": LABEL_CHARS}
            self.collector.add(example.code, row=row.number, line=row.line, snippet=example.snippet, params=params)
            return None
        self._notes(example, row.line)
        return example

    def _notes(self, example: Example, line: int | None) -> None:
        if example.text != example.text.strip() or example.label != example.label.strip():
            self.collector.add("outer_space", row=example.number, line=line, snippet=f"“{example.text}”")
        found = kinds(example.text)
        if found:
            self._kinds |= found
            self.collector.add("personal_data", row=example.number, line=line, snippet=example.text)
        label = self._shapes.get(example.label)
        if label is None:
            label = self._shapes[example.label] = shape(example.label)
        if len(label) >= 4 and label in shape(example.text):
            self._label_in_text += 1

    def finish(self) -> None:
        """Report what only the whole set shows."""
        facts = self.facts
        if personal := self.collector.get("personal_data"):
            personal.params["kinds"] = ", ".join(KIND_WORDS[kind] for kind in sorted(self._kinds))
        if len(facts) < self.rules.min_rows:
            params = {"found": f"{len(facts):,}", "limit": self.rules.min_rows}
            self.collector.add("too_few_rows", params=params)
        if not len(facts):
            return
        self._check_classes()
        self._check_copies()
        self._check_lengths()
        if self._label_in_text > len(facts) * LEAK_SHARE:
            self.collector.add("label_in_text", params={"share": _percent(self._label_in_text, len(facts))})

    def _check_classes(self) -> None:
        counts = self.facts.label_counts()
        rows = len(self.facts)
        if len(counts) == 1:
            self.collector.add("single_class", params={"label": next(iter(counts))[:60]})
            return
        if rows > 1 and sum(count == 1 for count in counts.values()) > rows * 0.5:
            params: dict[str, Any] = {"labels": f"{len(counts):,}", "rows": f"{rows:,}"}
            self.collector.add("one_row_classes", params=params)
            return
        if len(counts) > self.rules.max_labels:
            params = {"found": f"{len(counts):,}", "limit": f"{self.rules.max_labels:,}"}
            self.collector.add("too_many_labels", params=params)
        self._check_spelling(counts)
        small = sorted(label for label, count in counts.items() if count < MIN_CLASS_ROWS)
        if small:
            params = {"labels": len(small), "limit": MIN_CLASS_ROWS, "names": _names(small), "label_names": small[:100]}
            self.collector.add("small_classes", params=params, count=sum(counts[label] for label in small))
        (largest, most), (smallest, fewest) = counts.most_common()[0], counts.most_common()[-1]
        if most > fewest * IMBALANCE:
            params = {"largest": largest[:60], "smallest": smallest[:60], "ratio": most // fewest}
            self.collector.add("imbalance", params=params)

    def _check_spelling(self, counts: dict[str, int]) -> None:
        facts = self.facts
        labels = np.array(facts.labels)
        for variant in variants(counts):
            index = facts.label_names.index(variant.variant)
            params = {"variant": variant.variant, "label": variant.label, "rows": f"{variant.label_rows:,}"}
            numbers = self._numbers(np.flatnonzero(labels == index))
            key = f"{variant.variant}→{variant.label}"
            self.collector.add_rows("label_spelling", ((n, "") for n in numbers), key=key, params=params)

    def _check_copies(self) -> None:
        facts = self.facts
        copies, conflicts, near = copy_masks(facts)
        self._report("exact_duplicates", copies)
        self._report("conflicting_labels", conflicts)
        self._report("near_duplicates", near)
        folded = np.array(facts.folded)
        distinct = len(np.unique(folded))
        if len(facts) >= 20 and distinct < len(facts) * 0.1:
            params = {"distinct": f"{distinct:,}", "rows": f"{len(facts):,}"}
            self.collector.add("few_distinct_texts", params=params)
        splits = np.array(facts.splits, np.int64)
        if (splits >= 0).any():
            self._report("split_leakage", split_leaks(splits, facts.groups()))

    def _check_lengths(self) -> None:
        facts, limit = self.facts, self.rules.max_length
        tokens = facts.tokens
        lengths = tokens if tokens is not None else np.array(facts.words)
        over = lengths > limit
        if over.any():
            params = {
                "limit": f"{limit:,}",
                "unit": "tokens" if tokens is not None else "words",
                "share": _percent(int(over.sum()), len(facts)),
                "longest": f"{int(lengths.max()):,}",
            }
            self._report("text_too_long", over, params)

    def _report(self, code: str, mask: npt.NDArray[np.bool_], params: dict[str, str] | None = None) -> None:
        rows = self._numbers(np.flatnonzero(mask))
        self.collector.add_rows(code, ((number, "") for number in rows), params=params)

    def _numbers(self, indices: npt.NDArray[np.int64]) -> Iterable[int]:
        numbers = self.facts.numbers
        return (numbers[index] for index in indices.tolist())


def copy_masks(facts: Facts) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return three row masks: later exact copies, members of conflicting groups, later near copies.

    Labels that differ only in case, blanks or dashes do not conflict.
    """
    shapes: dict[str, int] = {}
    canonical = np.array([shapes.setdefault(shape(name), len(shapes)) for name in facts.label_names], np.int64)
    labels = canonical[np.array(facts.labels, np.int64)]
    exact, folded = np.array(facts.exact, np.int64), np.array(facts.folded, np.int64)
    copies = ~_first_of(np.stack([exact, labels], axis=1))
    _, inverse = np.unique(folded, return_inverse=True)
    pairs = np.unique(np.stack([inverse.ravel(), labels], axis=1), axis=0)
    kinds_of_label = np.bincount(pairs[:, 0], minlength=inverse.max() + 1)
    conflicts = kinds_of_label[inverse.ravel()] > 1
    later = facts.groups() != np.arange(len(facts))
    near = later & ~copies & ~conflicts
    return copies, conflicts, near


def _first_of(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    _, first = np.unique(keys, axis=0, return_index=True)
    mask = np.zeros(len(keys), np.bool_)
    mask[first] = True
    return mask


def _percent(part: int, whole: int) -> str:
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 1 else "under 1 %"


def _names(labels: list[str]) -> str:
    shown = ", ".join(label[:40] for label in labels[:8])
    return shown if len(labels) <= 8 else f"{shown} and {len(labels) - 8} more"
