"""Fixes: safe one-click steps that turn a dataset with findings into a new version without them.

A plan is a set of steps; nothing is changed in the upload. What a plan drops is counted by reason, so that the lineage
of a version says exactly how it differs from its parent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from data.checks.classification import MIN_CLASS_ROWS, copy_masks
from data.example import LABEL_CHARS, Example
from data.facts import Facts, TalkFacts

TRIM, MERGE_LABELS, FIRST_ROW = "trim", "merge_labels", "first_row_is_data"
DROP_BAD, DROP_DUPLICATES, DROP_NEAR = "drop_bad_rows", "drop_duplicates", "drop_near_duplicates"
DROP_CONFLICTS, DROP_SMALL, DROP_LONG = "drop_conflicts", "drop_small_classes", "drop_long"
STEPS = (
    FIRST_ROW, DROP_BAD, TRIM, MERGE_LABELS, DROP_DUPLICATES, DROP_NEAR, DROP_CONFLICTS, DROP_SMALL, DROP_LONG,
)  # fmt: skip
TALK_STEPS = (DROP_BAD, DROP_DUPLICATES, DROP_NEAR)
"""The steps that mean something for conversations and for prompts with completions."""
MAX_MERGES = 1_000


class FixError(ValueError):
    """A step is unknown or its parameters are wrong; `param` is its place in the list."""

    def __init__(self, message: str, param: str) -> None:
        """Keep where the fault is."""
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps to apply, and for merges which label becomes which."""

    steps: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)

    def has(self, step: str) -> bool:
        """Tell whether `step` is part of the plan."""
        return step in self.steps

    def apply(self, example: Example) -> Example:
        """Return the example as the plan rewrites it (trim, merge)."""
        text, label = example.text, example.label
        if TRIM in self.steps:
            text, label = text.strip(), label.strip()
        label = self.labels.get(label, label)
        return Example(example.number, text, label, example.split)

    def as_list(self) -> list[dict[str, Any]]:
        """Return the JSON form, in a fixed order."""
        made: list[dict[str, Any]] = [{"fix": step} for step in STEPS if step in self.steps]
        for step in made:
            if step["fix"] == MERGE_LABELS:
                step["labels"] = dict(sorted(self.labels.items()))
        return made


NO_CHANGE = Plan()


def plan_of(steps: Iterable[Mapping[str, Any]]) -> Plan:
    """Parse `[{"fix": "trim"}, {"fix": "merge_labels", "labels": {"Refund": "refund"}}]`; raises FixError."""
    chosen: set[str] = set()
    labels: dict[str, str] = {}
    for index, step in enumerate(steps):
        where = f"fixes[{index}]"
        name = step.get("fix") if isinstance(step, Mapping) else None
        if name not in STEPS:
            raise FixError(f"“{name}” is not a fix. Use one of {', '.join(STEPS)}.", f"{where}.fix")
        if set(step) - {"fix", "labels"} or ("labels" in step and name != MERGE_LABELS):
            raise FixError("A fix takes no other keys, except labels for merge_labels.", where)
        if name == MERGE_LABELS:
            labels.update(_merges(step.get("labels"), where))
        chosen.add(name)
    return Plan(frozenset(chosen), _settled(labels))


def _merges(given: Any, where: str) -> dict[str, str]:
    if not isinstance(given, Mapping) or not given or len(given) > MAX_MERGES:
        raise FixError(
            f"merge_labels needs labels: an object of 1 to {MAX_MERGES} old and new names.", f"{where}.labels"
        )
    for old, new in given.items():
        if not isinstance(old, str) or not isinstance(new, str) or not 0 < len(new.strip()) <= LABEL_CHARS:
            message = f"Label names are texts of 1 to {LABEL_CHARS} characters."
            raise FixError(message, f"{where}.labels")
    return dict(given)


def _settled(labels: Mapping[str, str]) -> dict[str, str]:
    """Follow chains (a→b, b→c gives a→c); a circle is an error."""
    settled: dict[str, str] = {}
    for old in labels:
        new, seen = labels[old], {old}
        while new in labels and labels[new] != new:
            if new in seen:
                raise FixError(f"The merges go round in a circle at “{new}”.", "fixes")
            seen.add(new)
            new = labels[new]
        settled[old] = new
    return settled


def keep_mask(facts: Facts, plan: Plan, max_length: int) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """Return which usable rows stay, and how many go for each reason. A row counts for the first reason it meets."""
    keep = np.ones(len(facts), np.bool_)
    dropped: dict[str, int] = {}
    if not len(facts):
        return keep, dropped
    copies, conflicts, near = copy_masks(facts)
    tokens = facts.tokens
    lengths = tokens if tokens is not None else np.array(facts.words)
    masks = (
        (DROP_CONFLICTS, conflicts),
        (DROP_DUPLICATES, copies),
        (DROP_NEAR, near),
        (DROP_LONG, lengths > max_length),
    )
    for step, mask in masks:
        if plan.has(step):
            _drop(keep, mask, step, dropped)
    if plan.has(DROP_SMALL):
        labels = np.array(facts.labels, np.int64)
        counts = np.bincount(labels[keep], minlength=len(facts.label_names))
        _drop(keep, counts[labels] < MIN_CLASS_ROWS, DROP_SMALL, dropped)
    return keep, dropped


def keep_talks(facts: TalkFacts, plan: Plan) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """The same for conversations and pairs."""
    keep = np.ones(len(facts), np.bool_)
    dropped: dict[str, int] = {}
    if len(facts):
        for step, mask in ((DROP_DUPLICATES, facts.copies()), (DROP_NEAR, facts.near())):
            if plan.has(step):
                _drop(keep, mask, step, dropped)
    return keep, dropped


def _drop(keep: npt.NDArray[np.bool_], mask: npt.NDArray[np.bool_], step: str, dropped: dict[str, int]) -> None:
    gone = keep & mask
    dropped[step] = int(gone.sum())
    keep &= ~mask
