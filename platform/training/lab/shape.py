"""The size of a base, from its config.json. No torch: the estimate reads it too."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from training.lab.errors import BadData

_ACTIVATIONS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """What the base's config.json says about its size."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    intermediate: int
    positions: int
    token_types: int
    epsilon: float
    dropout: float
    gelu: str

    @property
    def matrix_parameters(self) -> int:
        """Weights that every token is multiplied with (no tables): the N of 6 N per token."""
        return self.layers * (4 * self.hidden**2 + 2 * self.hidden * self.intermediate)


def read_shape(base: str | Path) -> EncoderShape:
    """The shape of a base folder. Raises BadData for an architecture the recipe does not know."""
    path = Path(base) / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadData("The base has no readable config.json.") from error
    if raw.get("model_type") != "bert" or raw.get("position_embedding_type", "absolute") != "absolute":
        raise BadData(f"The base is of type {raw.get('model_type')!r}; this recipe trains BERT encoders.")
    if raw.get("hidden_act") not in _ACTIVATIONS:
        raise BadData(f"The base uses the activation {raw.get('hidden_act')!r}; known are {sorted(_ACTIVATIONS)}.")
    try:
        return EncoderShape(
            vocabulary=raw["vocab_size"],
            hidden=raw["hidden_size"],
            layers=raw["num_hidden_layers"],
            heads=raw["num_attention_heads"],
            intermediate=raw["intermediate_size"],
            positions=raw["max_position_embeddings"],
            token_types=raw["type_vocab_size"],
            epsilon=raw["layer_norm_eps"],
            dropout=raw.get("hidden_dropout_prob", 0.1),
            gelu=_ACTIVATIONS[raw["hidden_act"]],
        )
    except KeyError as error:
        raise BadData(f"The base's config.json lacks {error}.") from error
