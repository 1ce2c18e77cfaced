"""The shape of a dataset in numbers: labels, lengths, copies. Everything is exact, nothing is a sample."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from data.checks.classification import copy_masks
from data.checks.conversation import ConversationCheck
from data.facts import NEAR_ROWS, SPLITS, Facts, TalkFacts

PERCENTILES = (1, 5, 25, 50, 75, 90, 95, 99)
BINS = 12
MAX_LABELS = 1_000


def lengths(values: npt.NDArray[Any]) -> dict[str, Any]:
    """Return minimum, mean, maximum, total, percentiles and a histogram of integer lengths."""
    if not len(values):
        return {"n": 0}
    edges = np.unique(np.linspace(values.min(), values.max() + 1, BINS + 1).astype(int))
    counts, _ = np.histogram(values, bins=edges)
    points = np.percentile(values, PERCENTILES, method="inverted_cdf")
    return {
        "n": len(values),
        "min": int(values.min()),
        "mean": round(float(values.mean()), 1),
        "max": int(values.max()),
        "total": int(values.sum()),
        "percentiles": {f"p{name}": int(point) for name, point in zip(PERCENTILES, points, strict=True)},
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def classification_profile(facts: Facts, *, rows: int, max_length: int) -> dict[str, Any]:
    """Describe labelled text. `rows` is how many rows the file has, usable or not."""
    counts = facts.label_counts()
    described: dict[str, Any] = {
        "task": "text-classification",
        "rows": rows,
        "usable_rows": len(facts),
        "labels": [{"label": name, "count": count} for name, count in counts.most_common(MAX_LABELS)],
        "label_count": len(counts),
        "lengths": text_lengths(facts),
        "max_length": max_length,
        "duplicates": {"exact": 0, "near": 0, "conflicting": 0, "near_complete": len(facts) <= NEAR_ROWS},
    }
    if len(facts):
        copies, conflicts, near = copy_masks(facts)
        described["duplicates"].update(exact=int(copies.sum()), near=int(near.sum()), conflicting=int(conflicts.sum()))
        given = Counter(SPLITS[split] for split in facts.splits if split >= 0)
        if given:
            described["splits"] = dict(given)
    return described


def conversation_profile(check: ConversationCheck, *, task: str, rows: int) -> dict[str, Any]:
    """Describe conversations or prompt and completion pairs."""
    facts = check.facts
    described: dict[str, Any] = {
        "task": task,
        "rows": rows,
        "usable_rows": len(facts),
        "roles": dict(check.role_counts),
        "lengths": talk_lengths(facts),
        "duplicates": {"exact": 0, "near": 0, "near_complete": len(facts) <= NEAR_ROWS},
    }
    if len(facts):
        described["duplicates"].update(exact=int(facts.copies().sum()), near=int(facts.near().sum()))
        given = Counter(SPLITS[split] for split in facts.splits if split >= 0)
        if given:
            described["splits"] = dict(given)
    return described


Mask = npt.NDArray[np.bool_] | None


def text_lengths(facts: Facts, keep: Mask = None) -> dict[str, Any]:
    """Lengths of texts in characters, words and, where they were counted, tokens; of the rows in `keep`."""
    found = {"characters": np.array(facts.characters), "words": np.array(facts.words)}
    if facts.tokens is not None:
        found["tokens"] = facts.tokens
    return {unit: lengths(values if keep is None else values[keep]) for unit, values in found.items()}


def talk_lengths(facts: TalkFacts, keep: Mask = None) -> dict[str, Any]:
    """Lengths of conversations in messages, characters and words; of the rows in `keep`."""
    found = {
        "messages": np.array(facts.messages),
        "characters": np.array(facts.characters),
        "words": np.array(facts.words),
    }
    return {unit: lengths(values if keep is None else values[keep]) for unit, values in found.items()}
