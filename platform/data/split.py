"""Train, validation and test: stratified by label, seeded, and with all copies of a text on one side.

Rows that say (almost) the same form one group and move together, so a test row never has its twin in training.
Within a label, groups are ordered by a hash of seed and text rather than by position: the same rows get the same
split whatever their order, and adding rows moves few others.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TRAIN, VALIDATION, TEST = 0, 1, 2
DEFAULT_SEED = 20_260


@dataclass(frozen=True, slots=True)
class Fractions:
    """Shares of validation and test; training gets the rest."""

    validation: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        """Refuse shares that leave nothing to train on."""
        if min(self.validation, self.test) < 0 or self.validation + self.test > 0.9:
            raise ValueError("Validation and test take shares from 0 to 0.9 together.")


EVEN_TENTHS = Fractions()


def assign(
    labels: Sequence[int] | npt.NDArray[np.integer],
    groups: Sequence[int] | npt.NDArray[np.integer],
    keys: Sequence[int] | npt.NDArray[np.integer],
    *,
    seed: int = DEFAULT_SEED,
    fractions: Fractions = EVEN_TENTHS,
    given: Sequence[int] | npt.NDArray[np.integer] | None = None,
) -> npt.NDArray[np.int8]:
    """Return 0, 1 or 2 (train, validation, test) per row.

    `labels`, `groups` and `keys` have one entry per row; `keys` are hashes of the texts. A label with two groups gets
    training and test, with three or more all three, with one only training.

    `given` holds a split the data came with (-1 where none). Validation and test rows stay where they are, and rows
    without a split follow their copies; only what is missing is cut, from training.
    """
    label_list, key_list = np.asarray(labels).tolist(), np.asarray(keys).tolist()
    given_list = [-1] * len(label_list) if given is None else np.asarray(given).tolist()
    present = set(given_list)
    fractions = Fractions(
        validation=0.0 if VALIDATION in present else fractions.validation,
        test=0.0 if TEST in present else fractions.test,
    )
    members: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(np.asarray(groups).tolist()):
        members[group].append(row)
    result, by_label = np.zeros(len(label_list), np.int8), defaultdict[int, list[int]](list)
    for group, rows in members.items():
        fixed = max(given_list[row] for row in rows)
        if fixed <= TRAIN:
            by_label[_majority([label_list[row] for row in rows])].append(group)
            continue
        for row in rows:
            result[row] = fixed if given_list[row] < 0 else given_list[row]
    for of_label in by_label.values():
        order = sorted(of_label, key=lambda group: _rank(seed, min(key_list[row] for row in members[group])))
        for group, split in zip(order, _shares(len(order), fractions), strict=True):
            result[members[group]] = split
    return result


def _majority(labels: list[int]) -> int:
    return max(sorted(set(labels)), key=labels.count)


def _rank(seed: int, key: int) -> bytes:
    return hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()


def _shares(groups: int, fractions: Fractions) -> list[int]:
    """Return the split of each of `groups` groups in rank order."""
    test = _part(groups, fractions.test, needed=2)
    validation = _part(groups, fractions.validation, needed=3)
    return [TEST] * test + [VALIDATION] * validation + [TRAIN] * (groups - test - validation)


def _part(groups: int, share: float, *, needed: int) -> int:
    if share <= 0 or groups < needed:
        return 0
    return max(1, round(groups * share))
