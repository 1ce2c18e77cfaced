"""Low-rank adapters of a base side by side in memory, so that a step with any mix of them is two products a layer.

Every adapter has a lane: `rank` rows of A [lanes, in] and of B transposed [lanes, out]. One that comes takes the first
gap; nobody else moves. A step computes the range of lanes that its adapters lie in, and a mask lets each token see only
its own; with a single adapter there is no mask and no waste.

Lanes stay until space is wanted, least recently used first. (S-LoRA's and Punica's idea of unmerged adapters in one
batch, as dense products: on the processors at hand gathering per row was slower.)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.adapters import Adapter

FIRST_LANES = 64


@dataclass(frozen=True, slots=True, eq=False)
class Active:
    """The lanes of one step: a range, and who sees which of it (None: everybody sees all)."""

    begin: int
    end: int
    mask: Tensor | None  # [T, end - begin]


class Lanes:
    """The lanes of one base. `limit` bounds their number; adapters of one step must fit it together."""

    def __init__(self, dtype: torch.dtype, device: torch.device, *, limit: int) -> None:
        self.limit = limit
        self.active: Active | None = None
        self._dtype, self._device = dtype, device
        self._linears: dict[str, Linear] = {}
        self._where: OrderedDict[Adapter, slice] = OrderedDict()
        self._size = min(FIRST_LANES, limit)

    def adopt(self, name: str, module: nn.Linear) -> Linear:
        """A layer in the place of `module`, which adds what the step's adapters say."""
        inside, outside = module.in_features, module.out_features
        linear = Linear(self, module)
        # Plain attributes, not parameters: they are no part of the base.
        linear.down = torch.zeros(self._size, inside, dtype=self._dtype, device=self._device)
        linear.up = torch.zeros(self._size, outside, dtype=self._dtype, device=self._device)
        self._linears[name] = linear
        return linear

    @property
    def linears(self) -> list[Linear]:
        """The layers that were adopted."""
        return list(self._linears.values())

    def use(self, adapters: Sequence[Adapter | None], counts: Sequence[int]) -> None:
        """Prepare for a step whose parts have these adapters and numbers of tokens."""
        wanted = dict.fromkeys(adapter for adapter in adapters if adapter is not None)
        if not wanted:
            self.active = None
            return
        for known in wanted:
            if known in self._where:
                self._where.move_to_end(known)
        for known in wanted:
            if known not in self._where:
                self._join(known, keep=wanted)
        begin = min(self._where[known].start for known in wanted)
        end = max(self._where[known].stop for known in wanted)
        mask = None
        if len(wanted) > 1 or any(adapter is None for adapter in adapters):
            seen = np.zeros((sum(counts), end - begin), np.float32)
            at = 0
            for adapter, count in zip(adapters, counts, strict=True):
                if adapter is not None:
                    where = self._where[adapter]
                    seen[at : at + count, where.start - begin : where.stop - begin] = 1.0
                at += count
            mask = torch.from_numpy(seen).to(self._device, self._dtype)
        self.active = Active(begin, end, mask)

    def _join(self, adapter: Adapter, *, keep: dict[Adapter, None]) -> None:
        """Give an adapter the first gap that is wide enough, making one where there is none."""
        while (start := self._gap(adapter.rank)) is None:
            idle = next((known for known in self._where if known not in keep), None)
            if self._size < self.limit:
                self._grow(min(self.limit, 2 * self._size))
            elif idle is not None:
                del self._where[idle]
            else:
                self._compact(adapter.rank)
        where = self._where[adapter] = slice(start, start + adapter.rank)
        for name, linear in self._linears.items():
            down, up = adapter.down.get((0, name)), adapter.up.get((0, name))
            if down is None or up is None:
                linear.down[where].zero_()
                continue
            linear.down[where] = torch.from_numpy(down).to(self._device, self._dtype)
            linear.up[where] = torch.from_numpy(np.ascontiguousarray(up.T)).to(self._device, self._dtype)

    def _gap(self, width: int) -> int | None:
        """The first place where `width` lanes are free."""
        at = 0
        for where in sorted(self._where.values(), key=lambda where: where.start):
            if where.start - at >= width:
                return at
            at = where.stop
        return at if self._size - at >= width else None

    def _compact(self, width: int) -> None:
        """Move all lanes together, so that the gaps between them are one of `width` at least."""
        moved = sorted(self._where.items(), key=lambda entry: entry[1].start)
        at = 0
        for adapter, where in moved:
            rank = where.stop - where.start
            if where.start != at:
                for linear in self._linears.values():
                    linear.down[at : at + rank] = linear.down[where].clone()
                    linear.up[at : at + rank] = linear.up[where].clone()
                self._where[adapter] = slice(at, at + rank)
            at += rank
        assert self._size - at >= width, "adapters of one step are wider than all lanes"

    def _grow(self, size: int) -> None:
        for linear in self._linears.values():
            for name in ("down", "up"):
                old: Tensor = getattr(linear, name)
                new = torch.zeros(size, old.shape[1], dtype=self._dtype, device=self._device)
                new[: self._size] = old
                setattr(linear, name, new)
        self._size = size


class Linear(nn.Module):
    """A linear layer and the low-rank terms of the step's adapters. x [..., in] -> [..., out]."""

    down: Tensor
    up: Tensor

    def __init__(self, lanes: Lanes, module: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = module.weight, module.bias
        self.in_features, self.out_features = module.in_features, module.out_features
        self._lanes = lanes

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y = F.linear(x, self.weight, self.bias)
        active = self._lanes.active
        if active is None:
            return y
        low = F.linear(x, self.down[active.begin : active.end])
        if active.mask is not None:
            low *= active.mask
        return y + low @ self.up[active.begin : active.end]
