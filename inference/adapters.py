"""Low-rank adapters, and how a batch with rows of several of them is described as data.

The adapters of a batch are laid side by side along the rank: A is [R, in], B is [out, R], with R the sum of their
ranks. A mask [rows, R] lets each row see only the ranks of its own adapter; a row without one sees none. So a batch
with any mix of tenants is two dense products per layer, whatever the number of adapters.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference.artefact import LoraSpec
from inference.geometry import Key, Sizes
from inference.tensors import Array

LANES = 32  # ranks that lie together in `inference.generation.lanes`; a power of two
RANK_STEP = 16  # R is rounded up to a multiple, so that few different shapes reach the backend
KEPT_STACKS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """One tenant's adapter. Compared by identity: a version's weights never change.

    `down` and `up` are keyed by (layer, target): [rank, in] and [out, rank], the latter already scaled.
    """

    rank: int
    down: dict[Key, Array]
    up: dict[Key, Array]

    @classmethod
    def build(cls, spec: LoraSpec, tensors: dict[str, Array], geometry: Sizes) -> Adapter:
        """From the tensors of `adapter.safetensors`, already checked."""
        scale = np.float32(spec.alpha / spec.rank)
        names = {key: geometry.adapter_name(key) for key in geometry.keys(spec.targets)}
        down = {key: tensors[f"{name}.A"] for key, name in names.items()}
        up = {key: tensors[f"{name}.B"] * scale for key, name in names.items()}
        return cls(spec.rank, down, up)

    @property
    def bytes(self) -> int:
        """Size of the weights."""
        return sum(array.nbytes for part in (self.down, self.up) for array in part.values())


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Several adapters side by side. Keys as in `Adapter`, every layer and target present."""

    down: dict[Key, Array]  # [R, in]
    up: dict[Key, Array]  # [out, R]
    columns: dict[Adapter, slice]
    width: int  # R


@dataclass(frozen=True, slots=True)
class Plan:
    """Which adapter each row of a batch uses."""

    stack: Stack
    mask: Array  # [rows, R], ones in the columns of the row's adapter


class Stacker:
    """Builds plans, and keeps the stacks of the last few combinations."""

    def __init__(self, geometry: Sizes) -> None:
        self._geometry = geometry
        self._stacks: OrderedDict[frozenset[Adapter], Stack] = OrderedDict()

    def plan(self, rows: Sequence[Adapter | None]) -> Plan | None:
        """The plan of a batch; None if no row uses an adapter."""
        wanted = frozenset(adapter for adapter in rows if adapter is not None)
        if not wanted:
            return None
        stack = self._stack(wanted)
        mask = np.zeros((len(rows), stack.width), np.float32)
        for index, adapter in enumerate(rows):
            if adapter is not None:
                mask[index, stack.columns[adapter]] = 1.0
        return Plan(stack, mask)

    def _stack(self, wanted: frozenset[Adapter]) -> Stack:
        stack = self._stacks.get(wanted)
        if stack is None:
            # A stack of more adapters serves a batch of fewer as well, at little cost if they are nearly as many.
            for known, candidate in self._stacks.items():
                if wanted < known and candidate.width <= 2 * sum(a.rank for a in wanted):
                    self._stacks.move_to_end(known)
                    return candidate
            stack = self._stacks[wanted] = _lay_side_by_side(list(wanted), self._geometry)
            while len(self._stacks) > KEPT_STACKS:
                self._stacks.popitem(last=False)
        self._stacks.move_to_end(wanted)
        return stack


def _lay_side_by_side(adapters: list[Adapter], geometry: Sizes) -> Stack:
    columns, width = {}, 0
    for adapter in adapters:
        columns[adapter] = slice(width, width + adapter.rank)
        width += adapter.rank
    width = -(-width // RANK_STEP) * RANK_STEP
    down, up = {}, {}
    for key in geometry.keys(geometry.targets):
        inside, outside = geometry.width(key[1])
        a, b = np.zeros((width, inside), np.float32), np.zeros((outside, width), np.float32)
        for adapter, where in columns.items():
            if key in adapter.down:
                a[where], b[:, where] = adapter.down[key], adapter.up[key]
        down[key], up[key] = a, b
    return Stack(down, up, columns, width)


def lanes_of(rank: int) -> int:
    """Lanes that an adapter takes where text is written: a power of two up to LANES, else whole groups of them, so that
    adapters can lie next to each other."""
    return 1 << (rank - 1).bit_length() if rank <= LANES else -(-rank // LANES) * LANES
