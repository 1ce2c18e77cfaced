"""Low-rank adapters of a base side by side in memory, so that a step with any mix of them is two products a layer.

Every adapter has a lane: `rank` rows of A [lanes, in] and of B transposed [lanes, out]. One that comes takes the first
gap; nobody else moves. Lanes stay until space is wanted, least recently used first.

How a step multiplies depends on who is in it:

- one adapter alone: its own lanes, nothing else;
- several: lanes in groups of `GROUP`, each group with the tokens of its own adapters (a batched product), and a mask
  inside the group. Products of single adapters are too small to be fast, and one product over all lanes does the work
  of everybody for everybody: for 32 tokens of 32 adapters of rank 8 on a CPU in bf16 groups of four adapters took 0.45
  of the time of one product over all lanes, and 0.56 of that of 32 small ones.

One adapter with a few tokens is multiplied with in fp32 on a CPU: products this small are a matter of what it takes to
begin one. Both of an adapter of rank 8 took 38 microseconds in bf16 and 7 in fp32 for one token, 40 and 17 for eight,
and the same for 32.

Unmerged adapters in one batch are the idea of Punica (Chen et al. 2024) and S-LoRA (Sheng et al. 2024).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.adapters import LANES as GROUP
from inference.adapters import Adapter, lanes_of
from inference.generation.packing import Packed, pays

FIRST_LANES = 2 * GROUP
FEW = 16
"""Tokens of one adapter that are quicker in fp32."""


@dataclass(frozen=True, slots=True, eq=False)
class Active:
    """The lanes of one step: a range of them, and who sees which.

    In groups, `mask` is [groups, tokens of a group, GROUP]; `rows` names the token at each of their places and `places`
    the place of each token, both None where tokens already lie so. Else `mask` is [T, lanes] or None.
    """

    begin: int
    end: int
    mask: Tensor | None = None
    grouped: bool = False
    rows: Tensor | None = None
    places: Tensor | None = None


class Lanes:
    """The lanes of one base. `limit`, a multiple of `GROUP`, bounds their number; the lanes of all adapters of one step
    together must not be more."""

    def __init__(self, dtype: torch.dtype, device: torch.device, *, limit: int) -> None:
        self.limit = limit
        self.active: Active | None = None
        self._dtype, self._device = dtype, device
        self.few = FEW if device.type == "cpu" and dtype == torch.bfloat16 else 0
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

    def lay_out(self, *others: nn.Linear) -> list[Packed]:
        """Lay out the weights of all layers, where that makes their products faster; those of `others` as well, whose
        layers come back. Nothing comes back where it does not."""
        plain = [linear.base for linear in self._linears.values() if isinstance(linear.base, nn.Linear)]
        if not pays([module.weight for module in (*plain, *others)]):
            return []
        for linear in self._linears.values():
            if isinstance(linear.base, nn.Linear):
                linear.base = Packed(linear.base)  # one after the other: two copies of one layer, not of all
        return [Packed(module) for module in others]

    def place(self, adapter: Adapter | None) -> int:
        """Where an adapter's lane begins; -1 for none, and for one that has not joined. Sort tokens by it."""
        where = self._where.get(adapter) if adapter is not None else None
        return where.start if where is not None else -1

    def join(self, adapters: Sequence[Adapter | None]) -> None:
        """Give every one of these a lane."""
        wanted = dict.fromkeys(adapter for adapter in adapters if adapter is not None)
        for known in wanted:
            if known in self._where:
                self._where.move_to_end(known)
        for known in wanted:
            if known not in self._where:
                self._join(known, keep=wanted)

    def use(self, adapters: Sequence[Adapter | None], counts: Sequence[int]) -> None:
        """Prepare for a step whose parts have these adapters and numbers of tokens."""
        self.join(adapters)
        found = [self._where[adapter] if adapter is not None else None for adapter in adapters]
        wheres = [where for where in found if where is not None]
        if not wheres:
            self.active = None
        elif len(wheres) == len(found) and len(set(adapters)) == 1:
            self.active = Active(wheres[0].start, wheres[0].stop)
        else:
            spread = [where for where, count in zip(found, counts, strict=True) for _ in range(count)]
            self.active = self._in_groups(spread) or self._all_together(spread)

    def _all_together(self, wheres: list[slice | None]) -> Active:
        """One product over all lanes from the first to the last; `wheres` has the lane of each token."""
        begin = min(where.start for where in wheres if where is not None)
        end = max(where.stop for where in wheres if where is not None)
        mask = np.zeros((len(wheres), end - begin), np.float32)
        for row, where in enumerate(wheres):
            if where is not None:
                mask[row, where.start - begin : where.stop - begin] = 1.0
        return Active(begin, end, self._tensor(mask))

    def _in_groups(self, wheres: list[slice | None]) -> Active | None:
        """A product for each group of lanes; None where that would be more work than all together."""
        if any(where is not None and where.stop - where.start > GROUP for where in wheres):
            return None
        starts = [where.start // GROUP for where in wheres if where is not None]
        first, count = min(starts), max(starts) - min(starts) + 1
        members: list[list[int]] = [[] for _ in range(count)]
        for row, where in enumerate(wheres):
            if where is not None:
                members[where.start // GROUP - first].append(row)
        most = max(map(len, members))
        if 2 * most > len(wheres):
            return None
        rows = np.zeros((count, most), np.int64)
        mask = np.zeros((count, most, GROUP), np.float32)
        places = np.zeros(len(wheres), np.int64)
        for group, found in enumerate(members):
            for place, row in enumerate(found):
                where = wheres[row]
                assert where is not None, "only tokens with a lane are members"
                begin = where.start - (first + group) * GROUP
                rows[group, place], places[row] = row, group * most + place
                mask[group, place, begin : begin + where.stop - where.start] = 1.0
        bare = [row for row, where in enumerate(wheres) if where is None]
        if bare:  # a place whose mask is empty, for tokens without an adapter
            gap = next((at for at in range(count * most) if not mask.reshape(-1, GROUP)[at].any()), None)
            if gap is None:
                return None
            places[bare] = gap
        begin, end = first * GROUP, (first + count) * GROUP
        lies_so = rows.size == len(wheres) and not bare and bool((rows.ravel() == np.arange(rows.size)).all())
        if lies_so:
            return Active(begin, end, self._tensor(mask), grouped=True)
        return Active(
            begin, end, self._tensor(mask), True,
            torch.from_numpy(rows.ravel()).to(self._device), torch.from_numpy(places).to(self._device),
        )  # fmt: skip

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device, self._dtype)

    def _join(self, adapter: Adapter, *, keep: dict[Adapter, None]) -> None:
        """Give an adapter the first gap that is wide enough, making one where there is none."""
        width = lanes_of(adapter.rank)
        while (start := self._gap(width)) is None:
            idle = next((known for known in self._where if known not in keep), None)
            if self._size < self.limit:
                self._grow(min(self.limit, 2 * self._size))
            elif idle is not None:
                del self._where[idle]
            else:
                self._compact(width)
        where = self._where[adapter] = slice(start, start + width)
        for name, linear in self._linears.items():
            down, up = adapter.down.get((0, name)), adapter.up.get((0, name))
            linear.down[where].zero_()
            linear.up[where].zero_()
            if down is not None and up is not None:
                linear.down[start : start + adapter.rank] = self._tensor(down)
                linear.up[start : start + adapter.rank] = self._tensor(np.ascontiguousarray(up.T))

    def _gap(self, width: int) -> int | None:
        """The first place where `width` lanes are free, such that no lane crosses a group it could lie within."""
        step = min(width, GROUP)
        at = 0
        for where in sorted(self._where.values(), key=lambda where: where.start):
            if where.start - at >= width:
                return at
            at = -(-where.stop // step) * step
        return at if self._size - at >= width else None

    def _compact(self, width: int) -> None:
        """Move all lanes together, the wide ones first so that none crosses a group; then `width` fits."""
        kept = sorted(self._where.items(), key=lambda entry: (entry[1].start - entry[1].stop, entry[1].start))
        copies = {name: (linear.down.clone(), linear.up.clone()) for name, linear in self._linears.items()}
        at = 0
        for adapter, where in kept:
            rank = where.stop - where.start
            for name, linear in self._linears.items():
                linear.down[at : at + rank], linear.up[at : at + rank] = copies[name][0][where], copies[name][1][where]
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
    """A linear layer and the low-rank terms of the step's adapters. x [1, T, in] -> [1, T, out]."""

    down: Tensor
    up: Tensor

    def __init__(self, lanes: Lanes, module: nn.Linear) -> None:
        super().__init__()
        self.base: nn.Linear | Packed = module
        self.in_features, self.out_features = module.in_features, module.out_features
        self._lanes = lanes

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = self.base(x)
        active = self._lanes.active
        if active is None:
            return y
        down, up = self.down[active.begin : active.end], self.up[active.begin : active.end]
        rows, sums = x.view(-1, self.in_features), y.view(-1, self.out_features)
        if active.mask is None and len(rows) <= self._lanes.few:
            sums += F.linear(rows.float(), down.float()) @ up.float()
            return y
        if not active.grouped:
            low = F.linear(rows, down)
            if active.mask is not None:
                low *= active.mask
            return torch.addmm(sums, low, up).view_as(y)
        assert active.mask is not None, "groups have a mask"
        groups, count, _ = active.mask.shape
        if active.rows is not None:
            rows = rows.index_select(0, active.rows)
        low = rows.view(groups, count, -1) @ down.view(groups, GROUP, -1).transpose(1, 2)
        low *= active.mask
        if active.places is None:
            return torch.baddbmm(sums.view(groups, count, -1), low, up.view(groups, GROUP, -1)).view_as(y)
        added = (low @ up.view(groups, GROUP, -1)).view(groups * count, -1)
        return (sums + added.index_select(0, active.places)).view_as(y)
