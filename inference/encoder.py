"""The one small interface behind which a backend computes.

An encoder turns token ids into one vector per row: a weighted mean of the last layer's, over all the row's tokens or
its first alone. For models that read pairs or judge each token it gives all vectors of the last layer instead.
Everything after it (heads, unit length) is the runner's; everything before it (text to ids) is the tokenizer's.
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

    def states(self, ids: Ids, mask: Array, plan: Plan | None, types: Ids | None = None) -> Array:
        """Every token's vector, float32 [rows, T, hidden]. `types` int32 [rows, T] says which text of a pair a token
        belongs to; None where there are no pairs. Costs more than `encode`, so it is asked for only where it is needed.
        """
        ...


class Backend(Protocol):
    """Makes encoders. `name` and `precision` are for people. `lanes`: how many threads may compute at once."""

    name: str
    precision: str
    lanes: int

    def encoder(
        self, weights: Mapping[str, Array], geometry: Geometry, *, adapters: bool, tokens: bool = False
    ) -> Encoder:
        """Take the weights of a BERT state dict into memory; `adapters` says whether plans will be passed, `tokens`
        that it is mostly `states` that is asked for. Without `adapters`, only the one is ready: `encode`, or `states`
        and `encode` by way of it."""
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


def mean(states: Array, weight: Array) -> Array:
    """[rows, T, hidden] and what each token counts for [rows, T] -> [rows, hidden]."""
    result: Array = np.matmul(weight[:, None, :], states)[:, 0, :] / weight.sum(1, keepdims=True)
    return result
