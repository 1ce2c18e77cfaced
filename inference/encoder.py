"""The one small interface behind which a backend computes.

An encoder turns token ids into one vector per row: the mean of the last layer over the row's own tokens. Everything
after it (heads, unit length) is the runner's; everything before it (text to ids) is the tokenizer's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inference.adapters import Plan
from inference.geometry import Geometry
from inference.tensors import Array

Ids = NDArray[np.int32]


class Encoder(Protocol):
    """Weights in memory, ready to compute. Used by one thread at a time."""

    geometry: Geometry
    bytes: int

    def encode(self, ids: Ids, mask: Array, plan: Plan | None) -> Array:
        """ids int32 [rows, T], mask float32 [rows, T] of ones and zeros; returns float32 [rows, hidden]."""
        ...


class Backend(Protocol):
    """Makes encoders. `name` and `precision` are for people."""

    name: str
    precision: str

    def encoder(self, weights: Mapping[str, Array], geometry: Geometry, *, adapters: bool) -> Encoder:
        """Take the weights of a BERT state dict into memory; `adapters` says whether plans will be passed."""
        ...
