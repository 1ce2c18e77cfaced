"""Every encoder that is not BERT: `transformers.AutoModel`, with the face of our own encoder.

The general path. It is slower than `model.py` (no stacked query-key-value product, no trimmed word table, and seconds
to import the library), and takes DistilBERT, RoBERTa, ModernBERT, MPNet, ELECTRA and whatever else turns token ids into
vectors. The engine loads the same folder with the same function (`inference.hub`), so both mean the same model.

LoRA wraps every linear layer inside the encoder's layers; an adapter carries the layer's module path as its name.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from inference import hub
from training.lab.errors import BadData
from training.lab.lora import LoraLinear
from training.lab.shape import as_bad_data, read_shape


class HubEncoder(nn.Module):
    """Token ids to pooled vectors, by transformers."""

    def __init__(self, base: str | Path) -> None:
        super().__init__()
        self.shape = read_shape(base)
        with as_bad_data():
            self.inner = hub.load(Path(base))

    def pooled(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """ids [B, L], mask of real tokens [B, L] or None when all are -> mean of their vectors in fp32, [B, H]."""
        return hub.pooled(self.inner, ids, mask)

    def add_lora(self, *, rank: int, alpha: float) -> None:
        """Freeze everything and put an adapter on every linear layer of the encoder's layers."""
        self.requires_grad_(False)
        found = hub.linears(self.inner)
        if not found:
            raise BadData(
                f"The base ({self.shape.architecture}) has no linear layers that LoRA could adapt. "
                "Choose the method 'full' or 'head'."
            )
        for path, linear in found.items():
            self.inner.set_submodule(path, LoraLinear(linear, parts=1, rank=rank, alpha=alpha))

    def adapters(self) -> dict[str, LoraLinear]:
        """The adapters by module path."""
        return {name: module for name, module in self.inner.named_modules() if isinstance(module, LoraLinear)}

    def frozen_to(self, dtype: torch.dtype) -> None:
        """Keep the frozen matrices in this type, which saves casting them at every step."""
        for adapter in self.adapters().values():
            adapter.base.to(dtype)


def hub_state(encoder: HubEncoder) -> dict[str, Tensor]:
    """The encoder's state dict by its Hugging Face names, in fp32."""
    return {name: value.detach().float().cpu().clone() for name, value in hub.weights_of(encoder.inner).items()}


def hub_lora_state(encoder: HubEncoder) -> dict[str, Tensor]:
    """The adapters by the artefact's names: {module path}.A [rank, in] and {module path}.B [out, rank]."""
    state: dict[str, Tensor] = {}
    for path, adapter in encoder.adapters().items():
        state[f"{path}.A"] = adapter.A.detach().float().cpu().clone()
        state[f"{path}.B"] = adapter.B[0].detach().float().cpu().clone()
    return state
