"""What a base folder is, by its `config.json` alone: the architecture, its sizes, and whether it may be used at all.

BERT with exact GELU has an implementation of our own, in the lab and in the engine (`own`). Every other architecture
goes through `inference.hub`, which is `transformers`. This module decides between the two, for the lab, the engine and
the catalogue alike, and imports neither torch nor transformers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.errors import BadArtefact

_NAMES = {
    "vocabulary": ("vocab_size",),
    "hidden": ("hidden_size", "dim", "d_model", "n_embd"),
    "layers": ("num_hidden_layers", "n_layers", "n_layer", "num_layers"),
    "heads": ("num_attention_heads", "n_heads", "n_head", "num_heads"),
    "intermediate": ("intermediate_size", "hidden_dim", "d_inner", "n_inner", "d_ff"),
    "positions": ("max_position_embeddings", "n_positions"),
}
# Architectures that number their positions from the padding token's id onwards, so that the first rows are never read.
_OFFSET = {"roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "mpnet", "data2vec-text",
           "ibert", "longformer", "luke", "xmod", "esm"}  # fmt: skip
_UNBOUNDED = 512  # tokens, where the architecture itself sets no limit
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes in elements; `positions` is the longest text in tokens. `own`: the fast BERT implementations take it.
    `causal`: it writes text, one token after the other."""

    name: str
    own: bool
    causal: bool
    vocabulary: int
    hidden: int
    layers: int
    heads: int
    intermediate: int
    positions: int


def read_config(folder: Path) -> dict[str, Any]:
    """A base's config.json, refused (`BadArtefact`) if the base could bring code along."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadArtefact("The base has no readable config.json.") from error
    if not isinstance(config, dict):
        raise BadArtefact("The base's config.json is not a JSON object.")
    if "auto_map" in config:
        raise BadArtefact("The base brings code of its own ('auto_map' in config.json), which is never run here.")
    if "transformers_weights" in config:
        raise BadArtefact("The base's config.json names another file of weights ('transformers_weights'); remove it.")
    if not (folder / "model.safetensors").exists():
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
        if pickles:
            raise BadArtefact(
                f"The base has no model.safetensors, only {', '.join(pickles[:3])}: a pickle can run code when it is "
                "read. Save the model as safetensors."
            )
    return config


def read_architecture(folder: Path) -> Architecture:
    """The architecture of a base folder. Raises `BadArtefact` saying why a base cannot be used."""
    config = read_config(folder)
    name = config.get("model_type")
    if not isinstance(name, str) or not name:
        raise BadArtefact("The base's config.json names no 'model_type'.")
    for key, what in (("is_encoder_decoder", "an encoder with a decoder"), ("quantization_config", "quantised")):
        if config.get(key):
            raise BadArtefact(f"The base ({name}) is {what}; plain encoders in floating point are used here.")
    sizes = {field: _size(config, field, keys) for field, keys in _NAMES.items()}
    missing = [_NAMES[field][0] for field in ("vocabulary", "hidden", "layers", "heads") if sizes[field] is None]
    if missing:
        raise BadArtefact(f"The base's config.json lacks {', '.join(missing)}.")
    positions = sizes["positions"] or _UNBOUNDED
    if name in _OFFSET:
        pad = config.get("pad_token_id")
        positions -= (pad if isinstance(pad, int) else 1) + 1
    hidden = sizes["hidden"] or 0
    return Architecture(
        name=name,
        own=is_own(config),
        causal=is_causal(config),
        vocabulary=sizes["vocabulary"] or 0,
        hidden=hidden,
        layers=sizes["layers"] or 0,
        heads=sizes["heads"] or 0,
        intermediate=sizes["intermediate"] or 4 * hidden,
        positions=positions,
    )


def is_own(config: dict[str, Any]) -> bool:
    """Whether the lab's and the engine's own BERT compute this configuration."""
    plain = config.get("position_embedding_type", "absolute") == "absolute"
    return config.get("model_type") == "bert" and plain and config.get("hidden_act") == "gelu"


def is_causal(config: dict[str, Any]) -> bool:
    """Whether the weights are those of a causal language model."""
    names = config.get("architectures")
    return isinstance(names, list) and any(str(name).endswith("ForCausalLM") for name in names)


def _size(config: dict[str, Any], field: str, keys: tuple[str, ...]) -> int | None:
    for key in keys:
        value = config.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None
