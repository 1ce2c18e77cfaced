"""The sizes of an encoder, and the names and shapes of its weights and of the linear layers an adapter may change.

`Geometry` is that of our own BERT, read from its `config.json`; `HubGeometry` is that of a model in memory.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from inference.errors import BadArtefact

Key = tuple[int, str]  # (layer, target): one linear layer

TARGETS = ("query", "key", "value", "attention_output", "intermediate", "output")
"""The linear layers of one encoder layer that an adapter may change."""

_MODULE = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
}


class Sizes(Protocol):
    """What artefacts, adapters and batches must know of an encoder. Sizes in elements."""

    @property
    def hidden(self) -> int: ...

    @property
    def positions(self) -> int: ...

    @property
    def targets(self) -> tuple[str, ...]:
        """The names that an adapter may list."""
        ...

    def keys(self, targets: Collection[str]) -> list[Key]:
        """The linear layers that these targets stand for."""
        ...

    def width(self, target: str) -> tuple[int, int]:
        """(in, out) of a linear layer."""
        ...

    def adapter_name(self, key: Key) -> str:
        """The name in `adapter.safetensors`, without `.A` or `.B`."""
        ...

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every weight that serving needs, by its name in the state dict."""
        ...


@dataclass(frozen=True, slots=True)
class Geometry:
    """Our own BERT."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    intermediate: int
    positions: int
    token_types: int
    epsilon: float

    @classmethod
    def read(cls, path: Path) -> Geometry:
        """Read a Hugging Face `config.json`. Raises `BadArtefact` for anything that is not a plain BERT encoder."""
        try:
            config = json.loads(path.read_text())
            if config["model_type"] != "bert" or config.get("hidden_act") != "gelu":
                raise BadArtefact(f"{path} describes a {config['model_type']!r} model; only BERT encoders are served.")
            if config.get("position_embedding_type", "absolute") != "absolute":
                raise BadArtefact(f"{path} asks for relative positions, which are not served.")
            return cls(
                vocabulary=config["vocab_size"],
                hidden=config["hidden_size"],
                layers=config["num_hidden_layers"],
                heads=config["num_attention_heads"],
                intermediate=config["intermediate_size"],
                positions=config["max_position_embeddings"],
                token_types=config["type_vocab_size"],
                epsilon=float(config["layer_norm_eps"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadArtefact(f"{path} is not a readable model configuration: {error}") from error

    @property
    def targets(self) -> tuple[str, ...]:
        """See `Sizes`."""
        return TARGETS

    def keys(self, targets: Collection[str]) -> list[Key]:
        """See `Sizes`."""
        return [(layer, target) for layer in range(self.layers) for target in targets]

    def adapter_name(self, key: Key) -> str:
        """See `Sizes`."""
        return f"layers.{key[0]}.{key[1]}"

    def linear(self, layer: int, target: str) -> str:
        """The name of a linear layer in a BERT state dict, without `.weight`."""
        return f"encoder.layer.{layer}.{_MODULE[target]}"

    def width(self, target: str) -> tuple[int, int]:
        """(in, out) of a linear layer."""
        if target == "intermediate":
            return self.hidden, self.intermediate
        return (self.intermediate if target == "output" else self.hidden), self.hidden

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every weight that serving needs, by its name in a BERT state dict."""
        hidden = (self.hidden,)
        shapes: dict[str, tuple[int, ...]] = {
            "embeddings.word_embeddings.weight": (self.vocabulary, self.hidden),
            "embeddings.position_embeddings.weight": (self.positions, self.hidden),
            "embeddings.token_type_embeddings.weight": (self.token_types, self.hidden),
        }
        norms = ["embeddings.LayerNorm"]
        for layer in range(self.layers):
            norms += [f"encoder.layer.{layer}.attention.output.LayerNorm", f"encoder.layer.{layer}.output.LayerNorm"]
            for target in TARGETS:
                inside, outside = self.width(target)
                shapes[f"{self.linear(layer, target)}.weight"] = (outside, inside)
                shapes[f"{self.linear(layer, target)}.bias"] = (outside,)
        for norm in norms:
            shapes[f"{norm}.weight"] = shapes[f"{norm}.bias"] = hidden
        return shapes


@dataclass(frozen=True, slots=True, eq=False)
class HubGeometry:
    """Any other architecture. Adapters name linear layers by their module paths; the layer is always 0."""

    hidden: int
    positions: int
    weights: dict[str, tuple[int, ...]]
    linears: dict[str, tuple[int, int]]

    @property
    def targets(self) -> tuple[str, ...]:
        """See `Sizes`."""
        return tuple(self.linears)

    def keys(self, targets: Collection[str]) -> list[Key]:
        """See `Sizes`."""
        return [(0, target) for target in targets]

    def width(self, target: str) -> tuple[int, int]:
        """See `Sizes`."""
        return self.linears[target]

    def adapter_name(self, key: Key) -> str:
        """See `Sizes`."""
        return key[1]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """See `Sizes`."""
        return self.weights


def adapter_shapes(sizes: Sizes, targets: Collection[str], rank: int) -> dict[str, tuple[int, ...]]:
    """The tensors of `adapter.safetensors`: A is [rank, in], B is [out, rank]."""
    shapes: dict[str, tuple[int, ...]] = {}
    for key in sizes.keys(targets):
        (inside, outside), name = sizes.width(key[1]), sizes.adapter_name(key)
        shapes[f"{name}.A"] = (rank, inside)
        shapes[f"{name}.B"] = (outside, rank)
    return shapes
