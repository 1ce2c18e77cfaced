"""Label names: spelling variants, found without comparing every pair."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MIN_CHARS = 5
RARE_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Variant:
    """`variant` looks like another spelling of `label`, which has more rows."""

    variant: str
    label: str
    variant_rows: int
    label_rows: int


def shape(label: str) -> str:
    """Return a label without case, blanks, dashes and underscores."""
    return re.sub(r"[\s_\-./]+", "", label.casefold())


def variants(counts: Mapping[str, int]) -> list[Variant]:
    """Return labels that look like another label: same shape, or one edit apart and much rarer."""
    found: dict[str, Variant] = {}
    for rare, common in _same_shape(counts):
        found[rare] = Variant(rare, common, counts[rare], counts[common])
    for rare, common in _one_edit(counts):
        if rare not in found and counts[rare] <= max(1, counts[common] * RARE_SHARE):
            target = found[common].label if common in found else common
            found[rare] = Variant(rare, target, counts[rare], counts[target])
    return sorted(found.values(), key=lambda variant: (-variant.variant_rows, variant.variant))


def _same_shape(counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    shapes: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        shapes[shape(label)].append(label)
    for same in shapes.values():
        common = max(same, key=lambda label: (counts[label], label))
        yield from ((label, common) for label in same if label != common)


def _one_edit(counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Labels that become equal when one character is left out on either side meet in the same bucket."""
    buckets: dict[str, set[str]] = defaultdict(set)
    for label in counts:
        form = shape(label)
        if MIN_CHARS <= len(form) <= 64:
            for left_out in {form, *(form[:i] + form[i + 1 :] for i in range(len(form)))}:
                buckets[left_out].add(label)
    seen: set[tuple[str, str]] = set()
    for labels in buckets.values():
        for left in labels:
            for right in labels:
                if (counts[left], left) < (counts[right], right) and (left, right) not in seen:
                    seen.add((left, right))
                    if one_edit(shape(left), shape(right)):
                        yield left, right


def one_edit(left: str, right: str) -> bool:
    """Tell whether one insertion, deletion, replacement or swap of neighbours separates two words.

    A changed digit is a different name (level1, level2), not a typing error.
    """
    if left == right or abs(len(left) - len(right)) > 1:
        return False
    if len(left) > len(right):
        left, right = right, left
    start = next((i for i, char in enumerate(left) if char != right[i]), len(left))
    if len(left) < len(right):
        return left[start:] == right[start + 1 :] and not right[start].isdigit()
    if left[start].isdigit() or right[start].isdigit():
        return False
    if left[start + 1 :] == right[start + 1 :]:
        return True
    return left[start : start + 2] == right[start : start + 2][::-1] and left[start + 2 :] == right[start + 2 :]
