"""The one small interface behind which a backend computes.

An encoder turns token ids into one vector per row: a weighted mean of the last layer's, over all the row's tokens or
its first alone. Everything after it (heads, unit length) is the runner's; everything before it (text to ids) is the
tokenizer's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inference.adapters import Plan
from inference.geometry import Geometry, Sizes
from inference.tensors import Array

Ids = NDArray[np.int32]


class Encoder(Protocol):
    """Weights in memory, ready to compute. Used by as many threads at once as its backend has lanes."""

    @property
    def geometry(self) -> Sizes: ...

    precision: str
    bytes: int

    def encode(self, ids: Ids, mask: Array, plan: Plan | None, weight: Array | None = None) -> Array:
        """ids int32 [rows, T], mask float32 [rows, T] of ones and zeros; returns float32 [rows, hidden].

        `weight` float32 [rows, T] is what each token counts for in its row's vector; None takes the mask, all alike.
        """
        ...


class Backend(Protocol):
    """Makes encoders. `name` and `precision` are for people. `lanes`: how many threads may compute at once."""

    name: str
    precision: str
    lanes: int

    def encoder(self, weights: Mapping[str, Array], geometry: Geometry, *, adapters: bool) -> Encoder:
        """Take the weights of a BERT state dict into memory; `adapters` says whether plans will be passed."""
        ...


class HubEncoder(Encoder, Protocol):
    """The encoder of a base that goes through transformers."""

    def tuned(self, weights: Mapping[str, Array]) -> Encoder:
        """The same architecture with other weights, by the names and shapes of `geometry.shapes()`."""
        ...


class HubBackend(Protocol):
    """Makes encoders of any architecture from base folders."""

    precision: str

    def encoder(self, folder: Path) -> HubEncoder:
        """Load a base. Raises `BadArtefact`."""
        ...
