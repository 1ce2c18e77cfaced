"""What a dataset version holds for each task: its Parquet columns, how a row becomes one, what is judged and counted.

The contract with those who train (see docs/decisions/0017): `row_id` int64 (1-based, as uploaded) first, `split` last,
and between them text and label, or messages and tools (JSON text), or prompt and completion.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.checks.classification import Rules, copy_masks
from data.columns import CHAT, CLASSIFICATION, PAIRS, Roles
from data.example import Example, Reject, example_of
from data.facts import Facts, TalkFacts
from data.fixes import Plan, keep_mask, keep_talks
from data.formats.base import Row
from data.profile import talk_lengths, text_lengths
from data.split import Fractions, assign
from data.talk import Talk, talk_of

Mask = npt.NDArray[np.bool_]
KEPT: dict[str, tuple[str, ...]] = {
    CLASSIFICATION: ("text", "label"),
    CHAT: ("messages", "tools"),
    PAIRS: ("prompt", "completion"),
}
"""The columns of a version between row_id and split, by task."""


class CannotWrite(ValueError):
    """The parts cannot become a version; the code is a finding code and the message is for a person."""

    def __init__(self, code: str, message: str) -> None:
        """Keep the finding code."""
        super().__init__(message)
        self.code = code


class Shape(Protocol):
    """One task's way from rows to a version. Masks have one entry per usable row, in the order of `add`."""

    task: str

    def read(self, row: Row, roles: Roles, plan: Plan) -> Example | Talk | Reject:
        """One row as the plan rewrites it, or why it cannot be used."""

    def add(self, found: Any) -> None:
        """Remember a usable row."""

    def values(self, found: Any) -> tuple[str | None, ...]:
        """What is written of a row between its number and its split."""

    def keep(self, plan: Plan) -> tuple[Mask, dict[str, int]]:
        """Which rows stay, and how many go for each reason."""

    def check(self, keep: Mask) -> None:
        """CannotWrite when what is left cannot be trained on."""

    def sides(self, keep: Mask, *, seed: int, fractions: Fractions) -> npt.NDArray[np.int8]:
        """The split of every row, -1 for those left out."""

    def summary(self, keep: Mask) -> dict[str, Any]:
        """What a version says of itself: labels, tokens, profile."""


def schema_of(task: str) -> pa.Schema:
    """The columns of a version's Parquet file."""
    kept = [(name, pa.string()) for name in KEPT[task]]
    return pa.schema([("row_id", pa.int64()), *kept, ("split", pa.string())])


def shape_of(task: str, rules: Rules, tokenizer: Path | None) -> Shape:
    """The shape of a task, empty."""
    return Labelled(rules, tokenizer) if task == CLASSIFICATION else Spoken(task, rules)


def _check_size(rows: int, rules: Rules) -> None:
    if rows < rules.min_rows:
        message = f"{rows:,} usable rows are left; at least {rules.min_rows} are needed."
        raise CannotWrite("too_few_rows", message)


class Labelled:
    """Texts with labels, for text-classification."""

    task = CLASSIFICATION

    def __init__(self, rules: Rules, tokenizer: Path | None) -> None:
        """Start empty; tokens are counted where there is a tokenizer."""
        self.rules, self.facts = rules, Facts(tokenizer)

    def read(self, row: Row, roles: Roles, plan: Plan) -> Example | Talk | Reject:
        """Text and label by their columns."""
        found = example_of(row, roles)
        return found if isinstance(found, Reject) else plan.apply(found)

    def add(self, found: Example) -> None:
        """Remember a usable row."""
        self.facts.add(found)

    def values(self, found: Example) -> tuple[str | None, ...]:
        """Text and label."""
        return (found.text, found.label)

    def keep(self, plan: Plan) -> tuple[Mask, dict[str, int]]:
        """Duplicates, conflicts, small classes and long texts go where the plan says so."""
        return keep_mask(self.facts, plan, self.rules.max_length)

    def check(self, keep: Mask) -> None:
        """Enough rows, and two labels at least."""
        _check_size(int(keep.sum()), self.rules)
        labels = len(np.unique(np.array(self.facts.labels, np.int64)[keep]))
        if labels < 2:
            raise CannotWrite("single_class", "Only one label is left; a classifier needs at least two.")
        if labels > self.rules.max_labels:
            raise CannotWrite("too_many_labels", f"{labels:,} labels are left; the limit is {self.rules.max_labels:,}.")

    def sides(self, keep: Mask, *, seed: int, fractions: Fractions) -> npt.NDArray[np.int8]:
        """Stratified by label; splits the data came with are kept."""
        facts, result = self.facts, np.full(len(self.facts), -1, np.int8)
        labels, folded, given = (
            np.array(column, np.int64)[keep] for column in (facts.labels, facts.folded, facts.splits)
        )
        groups = facts.groups()[keep]
        result[keep] = assign(labels, groups, folded, seed=seed, fractions=fractions, given=given)
        return result

    def summary(self, keep: Mask) -> dict[str, Any]:
        """Rows per label, tokens, lengths, copies that are still there."""
        facts, tokens = self.facts, self.facts.tokens
        tally = np.bincount(np.array(facts.labels, np.int64)[keep], minlength=len(facts.label_names)).tolist()
        copies, conflicts, near = (int((mask & keep).sum()) for mask in copy_masks(facts))
        return {
            "labels": {name: count for name, count in zip(facts.label_names, tally, strict=True) if count},
            "tokens": None if tokens is None else int(tokens[keep].sum()),
            "profile": {
                "lengths": text_lengths(facts, keep),
                "duplicates": {"exact": copies, "near": near, "conflicting": conflicts},
                "max_length": self.rules.max_length,
            },
        }


class Spoken:
    """Conversations, or prompts with completions."""

    def __init__(self, task: str, rules: Rules) -> None:
        """Start empty."""
        self.task, self.rules, self.facts = task, rules, TalkFacts()

    def read(self, row: Row, roles: Roles, plan: Plan) -> Example | Talk | Reject:
        """What a row says; no fix rewrites it."""
        return talk_of(row, roles)

    def add(self, found: Talk) -> None:
        """Remember a usable row."""
        self.facts.add(found)

    def values(self, found: Talk) -> tuple[str | None, ...]:
        """Messages and tools as JSON, or prompt and completion."""
        return found.values

    def keep(self, plan: Plan) -> tuple[Mask, dict[str, int]]:
        """Duplicates go where the plan says so."""
        return keep_talks(self.facts, plan)

    def check(self, keep: Mask) -> None:
        """Enough rows."""
        _check_size(int(keep.sum()), self.rules)

    def sides(self, keep: Mask, *, seed: int, fractions: Fractions) -> npt.NDArray[np.int8]:
        """Rows that ask the same stay on one side; splits the data came with are kept."""
        facts, result = self.facts, np.full(len(self.facts), -1, np.int8)
        asked, given = (np.array(column, np.int64)[keep] for column in (facts.asked, facts.splits))
        stratum = np.zeros(len(asked), np.int64)
        result[keep] = assign(stratum, facts.groups()[keep], asked, seed=seed, fractions=fractions, given=given)
        return result

    def summary(self, keep: Mask) -> dict[str, Any]:
        """Lengths and copies that are still there; no labels, and no base yet whose tokens would count."""
        facts = self.facts
        copies, near = int((facts.copies() & keep).sum()), int((facts.near() & keep).sum())
        return {
            "labels": {},
            "tokens": None,
            "profile": {"lengths": talk_lengths(facts, keep), "duplicates": {"exact": copies, "near": near}},
        }
