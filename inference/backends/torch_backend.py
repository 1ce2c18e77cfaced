"""BERT on torch, for CUDA devices, and on a CPU where it is the fastest."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F

from inference import backends
from inference.adapters import Plan, Stack
from inference.encoder import Backend, Encoder, Ids
from inference.geometry import TARGETS, Geometry
from inference.tensors import Array


def create(*, device: str, precision: str, threads: int) -> Backend:
    """The backend for a device; "auto" takes CUDA where there is one, and bf16 on it.

    On a CPU one thread in each lane unless more are asked for: several meet at OpenMP's spinning barriers after every
    operation, and when another process takes one of their cores all wait there (`benchmarks/encoder.py` measures it).
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    lanes = 1
    if device == "cpu":
        lanes = backends.lanes(threads or backends.cores())
        torch.set_num_threads(max(threads // lanes, 1))
    if precision == "auto":
        precision = "bf16" if device.startswith("cuda") else "fp32"
    if precision not in ("bf16", "fp32"):
        raise ValueError(f"Unknown precision {precision!r}: write auto, bf16 or fp32.")
    return TorchBackend(device, precision, lanes)


class TorchBackend:
    """Makes encoders on one device."""

    name = "torch"

    def __init__(self, device: str, precision: str, lanes: int) -> None:
        self.precision, self.lanes = precision, lanes
        self.device = torch.device(device)
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    def encoder(
        self, weights: Mapping[str, Array], geometry: Geometry, *, adapters: bool, tokens: bool = False
    ) -> Encoder:
        """See `inference.encoder.Backend`; neither adapters nor tokens need any preparation here."""
        return TorchEncoder(self, weights, geometry)


class _Bound(threading.local):
    """The stack whose tensors one thread has on the device."""

    def __init__(self) -> None:
        self.stack: Stack | None = None
        self.down: dict[tuple[int, str], torch.Tensor] = {}
        self.up: dict[tuple[int, str], torch.Tensor] = {}


class TorchEncoder:
    """One set of weights on the device."""

    def __init__(self, backend: TorchBackend, weights: Mapping[str, Array], geometry: Geometry) -> None:
        self.geometry, self.precision = geometry, backend.precision
        self._backend = backend
        self._weights = {name: self._place(array) for name, array in weights.items()}
        self.bytes = sum(t.numel() * t.element_size() for t in self._weights.values())
        self._bound = _Bound()

    @torch.inference_mode()
    def encode(self, ids: Ids, mask: Array, plan: Plan | None, weight: Array | None = None) -> Array:
        """See `inference.encoder.Encoder`."""
        hidden = self._forward(ids, mask, plan, None)
        counts = torch.from_numpy(mask if weight is None else weight).to(self._backend.device)
        total = (hidden.float() * counts[:, :, None]).sum(1)
        pooled: Array = (total / counts.sum(1, keepdim=True)).cpu().numpy()
        return pooled

    @torch.inference_mode()
    def states(self, ids: Ids, mask: Array, plan: Plan | None, types: Ids | None = None) -> Array:
        """See `inference.encoder.Encoder`."""
        found: Array = self._forward(ids, mask, plan, types).float().cpu().numpy()
        return found

    def _forward(self, ids: Ids, mask: Array, plan: Plan | None, types: Ids | None) -> torch.Tensor:
        """[rows, T] -> the last layer, [rows, T, H]."""
        ranks = None
        if plan is not None:
            self._bind(plan.stack)
            ranks = self._place(plan.mask)[:, None, :]
        keep = torch.from_numpy(mask).to(self._backend.device).bool()[:, None, None, :]
        hidden = self._embed(self._numbers(ids), None if types is None else self._numbers(types))
        for layer in range(self.geometry.layers):
            hidden = self._layer(hidden, keep, layer, ranks)
        return hidden

    def _numbers(self, ids: Ids) -> torch.Tensor:
        return torch.from_numpy(ids.astype(np.int64)).to(self._backend.device)

    def _place(self, array: Array) -> torch.Tensor:
        return torch.from_numpy(np.array(array)).to(self._backend.device, self._backend.dtype)

    def _bind(self, stack: Stack) -> None:
        mine = self._bound
        if mine.stack is not stack:
            mine.down = {key: self._place(array) for key, array in stack.down.items()}
            mine.up = {key: self._place(array) for key, array in stack.up.items()}
            mine.stack = stack

    def _embed(self, ids: torch.Tensor, types: torch.Tensor | None) -> torch.Tensor:
        weights = self._weights
        kinds = weights["embeddings.token_type_embeddings.weight"]
        x = F.embedding(ids, weights["embeddings.word_embeddings.weight"])
        x = x + weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        return self._norm(x + (kinds[0] if types is None else F.embedding(types, kinds)), "embeddings.LayerNorm")

    def _layer(self, x: torch.Tensor, keep: torch.Tensor, i: int, ranks: torch.Tensor | None) -> torch.Tensor:
        geometry, prefix = self.geometry, f"encoder.layer.{i}"
        rows, length, hidden = x.shape
        split = (rows, length, geometry.heads, hidden // geometry.heads)
        query, key, value = (self._linear(x, i, t, ranks).view(split).transpose(1, 2) for t in TARGETS[:3])
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=keep)
        context = context.transpose(1, 2).reshape(rows, length, hidden)
        x = self._norm(x + self._linear(context, i, "attention_output", ranks), f"{prefix}.attention.output.LayerNorm")
        inner = F.gelu(self._linear(x, i, "intermediate", ranks))
        return self._norm(x + self._linear(inner, i, "output", ranks), f"{prefix}.output.LayerNorm")

    def _linear(self, x: torch.Tensor, layer: int, target: str, ranks: torch.Tensor | None) -> torch.Tensor:
        name = self.geometry.linear(layer, target)
        y = F.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])
        if ranks is None:
            return y
        mine = self._bound
        return y + F.linear(F.linear(x, mine.down[layer, target]) * ranks, mine.up[layer, target])

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        shape = (self.geometry.hidden,)
        weights = self._weights
        return F.layer_norm(x, shape, weights[f"{name}.weight"], weights[f"{name}.bias"], self.geometry.epsilon)
