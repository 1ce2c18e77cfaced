"""Which training rows an artefact keeps as vectors, so that an answer can name the rows nearest to a text.

All of them, or a seeded sample where they would take more than `MAX_BYTES`: an artefact is stored, paid for, fetched.
Half precision moves a cosine by less than a thousandth.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.neighbours import MAX_ROWS
from training.lab.data import Rows, Split

MAX_BYTES = 16 << 20


def chosen(rows: int, hidden: int, *, seed: int) -> Rows:
    """Places of the rows to keep, in order."""
    most = max(1, min(MAX_ROWS, MAX_BYTES // (2 * hidden)))
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng([seed, rows]).choice(rows, most, replace=False))


def tensors(train: Split, kept: Rows, vectors: NDArray[np.float32]) -> dict[str, Tensor]:
    """The file's tensors; `vectors` are those of the kept rows."""
    row_ids = np.array(train.row_ids, dtype=np.int64)[kept]
    return {
        "vectors": torch.from_numpy(vectors).half(),
        "rows": torch.from_numpy(row_ids),
        "labels": torch.from_numpy(train.targets[kept].astype(np.int32)),
    }
