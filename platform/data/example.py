"""One labelled text out of one row, or the reason why there is none."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from data.columns import LABEL, SPLIT, SPLIT_VALUES, TEXT, Roles
from data.formats.base import Row

LABEL_CHARS = 128
_NOISE = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Example:
    """A usable row of a classification set. `text` and `label` are as uploaded, not trimmed."""

    number: int
    text: str
    label: str
    split: str | None = None

    def at(self, number: int, split: str | None) -> Example:
        """The same row under another number and side."""
        return Example(number, self.text, self.label, split)


@dataclass(frozen=True, slots=True)
class Reject:
    """Why a row is unusable: a finding code, the role at fault, a snippet, and what fills the code's words."""

    code: str
    role: str
    snippet: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)


def scalar(value: Any) -> str | None:
    """Return a value as text: strings as they are, numbers and booleans in JSON's words, nothing for nested values."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list | dict | bytes):
        return None
    return str(value)


def example_of(row: Row, roles: Roles) -> Example | Reject:
    """Read one row by the chosen roles (text and label must be among them)."""
    text = scalar(row.values.get(roles.columns[TEXT]))
    label = scalar(row.values.get(roles.columns[LABEL]))
    if text is None:
        return Reject("wrong_type", TEXT)
    if label is None:
        return Reject("wrong_type", LABEL, text)
    if not text.strip():
        return Reject("empty_text", TEXT, f"label: {label}")
    if not label.strip():
        return Reject("empty_label", LABEL, text)
    if len(label.strip()) > LABEL_CHARS:
        return Reject("label_too_long", LABEL, label)
    split_column = roles.get(SPLIT)
    if split_column is None:
        return Example(row.number, text, label)
    split = SPLIT_VALUES.get((scalar(row.values.get(split_column)) or "").strip().casefold())
    if split is None:
        return Reject("unknown_split", SPLIT, str(row.values.get(split_column)))
    return Example(row.number, text, label, split)


def fold(text: str) -> str:
    """Return text without case, punctuation and runs of blanks: equal folds mean the same words."""
    folded = _NOISE.sub(" ", text.casefold()).strip()
    return folded or text.strip()


def key(text: str) -> int:
    """Return a 63-bit hash of a text, the same on every machine and in every run."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "big") >> 1
