"""The rows a model was trained on, as vectors, and which of them are nearest to another vector.

`neighbours.safetensors` of an artefact: vectors F16 [N, H] of length one, rows I64 [N] (numbers in the dataset
version), labels I32 [N] (places in the artefact's labels). It is read when somebody asks, not with the model, and kept
under a budget of bytes of its own; the least recently used goes first. Every row is compared: at the 20,000 that an
artefact holds at most, an index would save less than it costs to be approximate.

Used by the searching thread alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.artefact import NEIGHBOURS, Manifest, listed, read_manifest
from inference.errors import BadArtefact, BadRequest
from inference.tensors import Array, read_arrays

MAX_ROWS = 20_000
BLOCK = 4096  # rows brought to float32 at a time


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """Shapes: N rows, H numbers of a vector."""

    vectors: NDArray[np.float16]  # [N, H]
    rows: NDArray[np.int64]
    labels: NDArray[np.int32]

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return self.vectors.nbytes + self.rows.nbytes + self.labels.nbytes

    def nearest(self, vector: Array, k: int) -> tuple[list[int], list[int], list[float]]:
        """Rows, labels and cosines of the k nearest to a unit vector [H], the nearest first."""
        if vector.shape != self.vectors.shape[1:]:
            raise BadRequest(f"A vector of this model has {self.vectors.shape[1]} numbers, not {vector.size}.")
        cosines = np.concatenate(
            [self.vectors[i : i + BLOCK].astype(np.float32) @ vector for i in range(0, len(self.rows), BLOCK)]
        )
        order = np.lexsort((self.rows, -cosines))[:k]
        return self.rows[order].tolist(), self.labels[order].tolist(), np.clip(cosines[order], -1, 1).tolist()


def read(folder: Path, manifest: Manifest) -> Neighbours:
    """The file of an artefact. Raises `BadArtefact` where it is not there or not as it should be."""
    found: dict[str, NDArray[Any]] = read_arrays(listed(folder, manifest, NEIGHBOURS), NEIGHBOURS)
    if found.keys() != {"vectors", "rows", "labels"}:
        raise BadArtefact(f"{NEIGHBOURS} must hold vectors, rows and labels.")
    vectors, rows, labels = found["vectors"], found["rows"], found["labels"]
    kinds = [str(part.dtype) for part in (vectors, rows, labels)] == ["float16", "int64", "int32"]
    if not kinds or vectors.ndim != 2 or rows.shape != labels.shape or rows.shape != vectors.shape[:1]:
        raise BadArtefact(f"{NEIGHBOURS} must hold F16 vectors [N, H], I64 rows [N] and I32 labels [N].")
    if not 1 <= len(rows) <= MAX_ROWS or not np.isfinite(vectors).all():
        raise BadArtefact(f"{NEIGHBOURS} must hold 1 to {MAX_ROWS} rows of finite numbers.")
    if labels.min() < 0 or labels.max() >= len(manifest.labels):
        raise BadArtefact(f"{NEIGHBOURS} holds a label that the model does not have.")
    return Neighbours(vectors, rows, labels)


class Shelf:
    """What was read lately, by the artefact's hash."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.used = 0
        self._held: OrderedDict[tuple[str, str], Neighbours] = OrderedDict()

    def take(self, tenant: str, sha256: str, folder: Callable[[], Path]) -> Neighbours:
        """A tenant's own, read from its artefact's folder where it is not here. Raises `BadArtefact`."""
        found = self._held.get((tenant, sha256))
        if found is None:
            place = folder()
            found = read(place, read_manifest(place, sha256))
            self._keep(tenant, sha256, found)
        else:
            self._held.move_to_end((tenant, sha256))
        return found

    def _keep(self, tenant: str, sha256: str, found: Neighbours) -> None:
        """Keep it, if it fits at all, and forget what was used longest ago until it does."""
        if found.bytes > self.budget:
            return
        while self.used + found.bytes > self.budget:
            _, gone = self._held.popitem(last=False)
            self.used -= gone.bytes
        self._held[tenant, sha256] = found
        self.used += found.bytes
