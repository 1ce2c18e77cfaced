"""The encoder of a run together with what the artefact keeps of it: our own BERT, or any other through transformers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from training.lab.config import Config
from training.lab.data import Encoded, Rows
from training.lab.device import Place
from training.lab.hub_encoder import HubEncoder, hub_lora_state, hub_state
from training.lab.model import LORA_TARGETS, Encoder, bert_state, load_base, lora_state, read_base
from training.lab.shape import read_shape

ADAPTER, ENCODER = "adapter.safetensors", "encoder.safetensors"


class Body(Protocol):
    """An encoder that is being tuned. `vocabulary` maps token ids to rows of a trimmed word table, or is None."""

    vocabulary: Rows | None

    @property
    def encoder(self) -> Encoder | HubEncoder: ...

    def to_exact(self) -> None:
        """Bring the frozen weights back to the base's own fp32, which is what will be served."""
        ...

    def files(self) -> dict[str, dict[str, Tensor]]:
        """{file name: tensors} of what was trained."""
        ...

    def lora_targets(self) -> list[str]:
        """The names of the adapted layers, as the artefact wants them."""
        ...


def body_for(config: Config, place: Place, encoded: dict[str, Encoded]) -> Body:
    """The base of a run, ready to be tuned by its method. Raises BadData."""
    if read_shape(config.base).own:
        return BertBody(config, place, encoded)
    return HubBody(config, place)


def plain_encoder(base: str) -> Encoder | HubEncoder:
    """The untouched base."""
    shape = read_shape(base)
    if not shape.own:
        return HubEncoder(base)
    encoder = Encoder(shape)
    load_base(encoder, read_base(base))
    return encoder


class BertBody:
    """Our own encoder. Full tuning keeps only the word rows that occur in the data (and row 0, the padding)."""

    def __init__(self, config: Config, place: Place, encoded: dict[str, Encoded]) -> None:
        base = read_base(config.base)
        self.vocabulary: Rows | None = None
        self._rows_kept: Tensor | None = None
        if config.method == "full":
            self._trim_vocabulary(encoded)
        words = None if self._rows_kept is None else len(self._rows_kept)
        self.encoder = Encoder(read_shape(config.base), words=words)
        load_base(self.encoder, base, self._rows_kept)
        self._lora = config.method == "lora"
        self._source = config.base
        self._base = {} if self._lora else base
        self._narrow = self._lora and place.bf16
        if self._lora:
            self.encoder.add_lora(rank=config.lora_rank, alpha=config.lora_alpha)
        if self._narrow:
            self.encoder.frozen_to(torch.bfloat16)

    def to_exact(self) -> None:
        if self._narrow:
            self.encoder.frozen_to(torch.float32)
            load_base(self.encoder, read_base(self._source))

    def files(self) -> dict[str, dict[str, Tensor]]:
        if self._lora:
            return {ADAPTER: lora_state(self.encoder)}
        return {ENCODER: bert_state(self.encoder, self._base, self._rows_kept)}

    def lora_targets(self) -> list[str]:
        return list(LORA_TARGETS) if self._lora else []

    def _trim_vocabulary(self, encoded: dict[str, Encoded]) -> None:
        used = np.unique(np.concatenate([np.zeros(1, dtype=np.int32), *(part.flat for part in encoded.values())]))
        self.vocabulary = np.zeros(int(used[-1]) + 1, dtype=np.int64)
        self.vocabulary[used] = np.arange(len(used))
        self._rows_kept = torch.from_numpy(used.astype(np.int64))


class HubBody:
    """transformers' encoder, with its whole word table."""

    def __init__(self, config: Config, place: Place) -> None:
        self.encoder = HubEncoder(config.base)
        self.vocabulary: Rows | None = None
        self._lora = config.method == "lora"
        self._exact: dict[str, Tensor] = {}
        if self._lora:
            self.encoder.add_lora(rank=config.lora_rank, alpha=config.lora_alpha)
        if self._lora and place.bf16:
            self._exact = {name: p.detach().clone() for name, p in self._frozen().items()}
            self.encoder.frozen_to(torch.bfloat16)

    def to_exact(self) -> None:
        if not self._exact:
            return
        self.encoder.frozen_to(torch.float32)
        with torch.no_grad():
            for name, parameter in self._frozen().items():
                parameter.copy_(self._exact[name])

    def files(self) -> dict[str, dict[str, Tensor]]:
        if self._lora:
            return {ADAPTER: hub_lora_state(self.encoder)}
        return {ENCODER: hub_state(self.encoder)}

    def lora_targets(self) -> list[str]:
        return sorted(self.encoder.adapters())

    def _frozen(self) -> dict[str, nn.Parameter]:
        """Weights and biases of the adapted layers by name."""
        return {
            f"{path}.{name}": parameter
            for path, adapter in self.encoder.adapters().items()
            for name, parameter in adapter.base.named_parameters()
        }
