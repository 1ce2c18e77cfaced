"""The size of a base, from its config.json. No torch: the estimate reads it too.

`own` says which encoder trains it: `model.py` (BERT) or `hub_encoder.py` (every other architecture of transformers).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from inference.architecture import read_architecture, read_config
from inference.errors import BadArtefact
from training.lab.errors import BadData


@dataclass(frozen=True, slots=True)
class Shape:
    """What the base's config.json says about its size. The last three matter to our own encoder only."""

    architecture: str
    own: bool
    causal: bool
    vocabulary: int
    hidden: int
    layers: int
    heads: int
    intermediate: int
    positions: int
    token_types: int = 0
    epsilon: float = 0.0
    dropout: float = 0.0

    @property
    def matrix_parameters(self) -> int:
        """Weights that every token is multiplied with (no tables): the N of 6 N per token."""
        if self.causal:  # gates beside the two wide matrices, and the product with the vocabulary
            return self.layers * (4 * self.hidden**2 + 3 * self.hidden * self.intermediate) + (
                self.vocabulary * self.hidden
            )
        return self.layers * (4 * self.hidden**2 + 2 * self.hidden * self.intermediate)


def read_shape(base: str | Path) -> Shape:
    """The shape of a base folder. Raises BadData for a base that cannot be used, with the reason."""
    folder = Path(base)
    with as_bad_data():
        found, raw = read_architecture(folder), read_config(folder)
    shape = Shape(
        architecture=found.name,
        own=found.own,
        causal=found.causal,
        vocabulary=found.vocabulary,
        hidden=found.hidden,
        layers=found.layers,
        heads=found.heads,
        intermediate=found.intermediate,
        positions=found.positions,
    )
    if not found.own:
        return shape
    try:
        return replace(
            shape,
            token_types=raw["type_vocab_size"],
            epsilon=raw["layer_norm_eps"],
            dropout=raw.get("hidden_dropout_prob", 0.1),
        )
    except KeyError as error:
        raise BadData(f"The base's config.json lacks {error}.") from error


@contextmanager
def as_bad_data() -> Iterator[None]:
    """What the engine calls a bad base is bad input here: the same words, exit status 2."""
    try:
        yield
    except BadArtefact as error:
        raise BadData(error.message) from error
