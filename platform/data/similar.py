"""Near duplicates: MinHash signatures of character shingles, compared inside bands, in plain NumPy.

64 permutations in 16 bands of 4; two texts are near duplicates when at least 80 % of their permutations agree, which
estimates a Jaccard similarity of 0.8 over 5-byte shingles with a standard error of 0.05. Texts under 20 bytes say too
little and are left to the exact checks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

PERMUTATIONS, BANDS = 64, 16
SHINGLE = 5
MIN_BYTES = 20
MAX_BYTES = 4_000
AGREEMENT = 0.8
BATCH = 256
FEW, MOST_SHARE = 50, 0.2

_random = np.random.default_rng(20_260_101)
_FACTORS = _random.integers(1, 2**63, PERMUTATIONS, dtype=np.uint64) | np.uint64(1)
_OFFSETS = _random.integers(0, 2**63, PERMUTATIONS, dtype=np.uint64)
_POWERS = np.array([0x100000001B3**power % 2**64 for power in range(1, SHINGLE + 1)], dtype=np.uint64)

Signatures = npt.NDArray[np.uint32]
Groups = npt.NDArray[np.int64]


class Signer:
    """Collects texts and signs them in batches; `signatures()` is [n, PERMUTATIONS], zero rows for texts too short."""

    def __init__(self) -> None:
        """Start empty."""
        self._waiting: list[bytes] = []
        self._done: list[Signatures] = []

    def add(self, folded: str) -> None:
        """Take one folded text."""
        self._waiting.append(folded.encode("utf-8")[:MAX_BYTES])
        if len(self._waiting) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._done.append(sign(self._waiting))
            self._waiting = []

    def signatures(self) -> Signatures:
        """Return all signatures in the order of `add`."""
        self._flush()
        return np.concatenate(self._done) if self._done else np.zeros((0, PERMUTATIONS), np.uint32)


def sign(texts: Sequence[bytes]) -> Signatures:
    """Return the signatures [n, PERMUTATIONS] of `texts`."""
    made = np.zeros((len(texts), PERMUTATIONS), np.uint32)
    long = [index for index, text in enumerate(texts) if len(text) >= MIN_BYTES]
    if not long:
        return made
    hashes, starts = _shingles([texts[index] for index in long])
    for permutation in range(PERMUTATIONS):
        mixed = (hashes * _FACTORS[permutation] + _OFFSETS[permutation]) >> np.uint64(32)
        made[long, permutation] = np.minimum.reduceat(mixed, starts).astype(np.uint32)
    return made


def _shingles(texts: Sequence[bytes]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Return the hashes of all shingles of all texts in one array, and where each text's begin."""
    joined = np.frombuffer(b"".join(texts), np.uint8).astype(np.uint64)
    count = len(joined) - SHINGLE + 1
    hashes = np.zeros(count, np.uint64)
    for place, power in enumerate(_POWERS):
        hashes += joined[place : place + count] * power
    lengths = np.array([len(text) for text in texts])
    inside = np.ones(count, np.bool_)
    for back in range(1, SHINGLE):  # windows that reach from one text into the next
        inside[np.cumsum(lengths)[:-1] - back] = False
    return hashes[inside], np.concatenate([[0], np.cumsum(lengths - SHINGLE + 1)[:-1]])


def group(exact: npt.NDArray[np.int64], signatures: Signatures) -> Groups:
    """Return for each text the index of the first text of its group: equal keys, or near-equal signatures.

    `signatures` may cover fewer texts than `exact` (the first n); the others are grouped by key alone.
    """
    parents = np.arange(len(exact))
    _, first, inverse = np.unique(exact, return_index=True, return_inverse=True)
    parents[:] = first[inverse]
    for left, right in _near_pairs(signatures):
        _union(parents, left, right)
    return _roots(parents)


def group_own_words(exact: npt.NDArray[np.int64], signatures: Signatures) -> Groups:
    """`group`, but rows whose likeness comes from a template are grouped by equal keys alone.

    Prompts often open with the same long instruction. Where likeness would tie more than a fifth of all rows (and more
    than `FEW`) into one group, it is the template that is alike, and a split by group would leave nothing to test on.
    """
    groups = group(exact, signatures)
    sizes = np.bincount(groups, minlength=len(groups))
    template = (sizes[groups] > max(FEW, len(groups) * MOST_SHARE)) if len(groups) else np.zeros(0, np.bool_)
    if template.any():
        groups[template] = group(exact, signatures[:0])[template]
    return groups


def _near_pairs(signatures: Signatures) -> list[tuple[int, int]]:
    """Pairs that share a band with its first member and agree in enough permutations."""
    signed = np.flatnonzero(signatures.any(axis=1))
    pairs: list[tuple[int, int]] = []
    width = PERMUTATIONS // BANDS
    for band in range(BANDS):
        part = np.ascontiguousarray(signatures[signed, band * width : (band + 1) * width])
        keys = part.view([("", part.dtype)] * width).ravel()
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        leaders = signed[first[inverse]]
        others = np.flatnonzero(leaders != signed)
        if not len(others):
            continue
        agree = (signatures[signed[others]] == signatures[leaders[others]]).mean(axis=1)
        close = others[agree >= AGREEMENT]
        pairs.extend(zip(leaders[close].tolist(), signed[close].tolist(), strict=True))
    return pairs


def _find(parents: Groups, index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = int(parents[index])
    return index


def _union(parents: Groups, left: int, right: int) -> None:
    a, b = _find(parents, left), _find(parents, right)
    if a != b:
        parents[max(a, b)] = min(a, b)


def _roots(parents: Groups) -> Groups:
    while True:
        further = parents[parents]
        if np.array_equal(further, parents):
            return parents
        parents = further
