"""Any architecture of transformers on torch, on the CPU or a CUDA device.

One model in memory per base. A full tune brings its weights and borrows the base's modules for the forward
(`functional_call`); adapters are added by hooks on the linear layers, each row through its own ranks, as in the other
backends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from inference import hub
from inference.adapters import Plan, Stack
from inference.architecture import read_architecture
from inference.encoder import Encoder, HubBackend, HubEncoder, Ids
from inference.geometry import HubGeometry
from inference.tensors import Array


def create(*, device: str, precision: str, threads: int) -> HubBackend:
    """The backend for a device; "auto" takes CUDA where there is one, bf16 on it, and fp32 on a CPU.

    One thread on a CPU unless more are asked for, as in `torch_backend`.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(threads or 1)
    if precision == "auto":
        precision = "bf16" if device.startswith("cuda") else "fp32"
    return TransformersBackend(torch.device(device), precision)


class TransformersBackend:
    """Makes encoders on one device."""

    def __init__(self, device: torch.device, precision: str) -> None:
        self.device, self.precision = device, precision
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    def encoder(self, folder: Path) -> HubEncoder:
        """See `inference.encoder.HubBackend`."""
        return BaseEncoder(self, hub.load(folder), read_architecture(folder).positions)

    def place(self, array: Array) -> Tensor:
        """An array on the device, in the precision of this backend."""
        return torch.from_numpy(np.array(array)).to(self.device, self.dtype)


class BaseEncoder:
    """A base in memory, for rows with and without adapters."""

    def __init__(self, backend: TransformersBackend, model: nn.Module, positions: int) -> None:
        self.precision = backend.precision
        self._backend = backend
        config: Any = model.config
        linears = hub.linears(model)
        self.geometry = HubGeometry(
            hidden=int(config.hidden_size),
            positions=positions,
            weights={name: tuple(value.shape) for name, value in hub.weights_of(model).items()},
            linears={name: (linear.in_features, linear.out_features) for name, linear in linears.items()},
        )
        self._model = model.to(backend.device, backend.dtype).requires_grad_(False)
        self.bytes = sum(value.numel() * value.element_size() for value in hub.weights_of(model).values())
        self.computing = threading.Lock()
        self._ranks: Tensor | None = None  # [rows, R] while a batch with adapters is computed
        self._bound: Stack | None = None
        self._down: dict[str, Tensor] = {}
        self._up: dict[str, Tensor] = {}
        for name, linear in linears.items():
            linear.register_forward_hook(self._hook(name))

    @torch.inference_mode()
    def encode(self, ids: Ids, mask: Array, plan: Plan | None, weight: Array | None = None) -> Array:
        """See `inference.encoder.Encoder`. One batch at a time: the ranks of its rows lie in this object."""
        with self.computing:
            return self._adapted(plan, lambda: self.forward(ids, mask, weight))

    @torch.inference_mode()
    def states(self, ids: Ids, mask: Array, plan: Plan | None, types: Ids | None = None) -> Array:
        """See `inference.encoder.Encoder`."""
        with self.computing:
            return self._adapted(plan, lambda: self.forward_all(ids, mask, types))

    def _adapted(self, plan: Plan | None, forward: Callable[[], Array]) -> Array:
        if plan is None:
            return forward()
        if self._bound is not plan.stack:
            self._down = {path: self._backend.place(array) for (_, path), array in plan.stack.down.items()}
            self._up = {path: self._backend.place(array) for (_, path), array in plan.stack.up.items()}
            self._bound = plan.stack
        self._ranks = self._backend.place(plan.mask)
        try:
            return forward()
        finally:
            self._ranks = None

    def tuned(self, weights: Mapping[str, Array]) -> Encoder:
        """See `inference.encoder.HubEncoder`."""
        return TunedEncoder(self, {name: self._backend.place(array) for name, array in weights.items()})

    def forward(self, ids: Ids, mask: Array, weight: Array | None, weights: dict[str, Tensor] | None = None) -> Array:
        """[rows, T] -> [rows, hidden], with these weights instead of the base's."""
        counts = None if weight is None else torch.from_numpy(weight).to(self._backend.device)
        tokens, seen = self._numbers(ids), torch.from_numpy(mask).to(self._backend.device)
        pooled: Array = hub.pooled(self._model, tokens, seen, self._call(weights), counts).cpu().numpy()
        return pooled

    def forward_all(
        self, ids: Ids, mask: Array, types: Ids | None, weights: dict[str, Tensor] | None = None
    ) -> Array:  # fmt: skip
        """As `forward`, every token's vector, [rows, T, hidden]."""
        told = None if types is None else self._numbers(types)
        seen = torch.from_numpy(mask).to(self._backend.device)
        found: Array = hub.states(self._model, self._numbers(ids), seen, self._call(weights), told).cpu().numpy()
        return found

    def _numbers(self, ids: Ids) -> Tensor:
        return torch.from_numpy(ids.astype(np.int64)).to(self._backend.device)

    def _call(self, weights: dict[str, Tensor] | None) -> Callable[..., Any] | None:
        if weights is None:
            return None
        return lambda **inputs: functional_call(self._model, weights, kwargs=inputs, tie_weights=False)

    def _hook(self, path: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]:
        """Adds the low-rank terms of the batch's adapters to a linear layer's output."""

        def add(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
            if self._ranks is None:
                return None
            x: Tensor = inputs[0]
            ranks = self._ranks
            if x.ndim == 2:  # tokens of all rows one after another
                ranks = ranks.repeat_interleave(x.shape[0] // ranks.shape[0], dim=0)
            else:
                ranks = ranks.view(ranks.shape[0], *[1] * (x.ndim - 2), ranks.shape[1])
            return output + F.linear(F.linear(x, self._down[path]) * ranks, self._up[path])

        return add


class TunedEncoder:
    """A full tune's own weights, computed by the modules of its base."""

    def __init__(self, base: BaseEncoder, weights: dict[str, Tensor]) -> None:
        self.geometry, self.precision = base.geometry, base.precision
        self.bytes = sum(value.numel() * value.element_size() for value in weights.values())
        self._base, self._weights = base, weights

    @torch.inference_mode()
    def encode(self, ids: Ids, mask: Array, plan: Plan | None, weight: Array | None = None) -> Array:
        """See `inference.encoder.Encoder`; a full tune takes no adapters."""
        with self._base.computing:  # the base's hooks would add another batch's adapters
            return self._base.forward(ids, mask, weight, self._weights)

    @torch.inference_mode()
    def states(self, ids: Ids, mask: Array, plan: Plan | None, types: Ids | None = None) -> Array:
        """See `inference.encoder.Encoder`."""
        with self._base.computing:
            return self._base.forward_all(ids, mask, types, self._weights)
