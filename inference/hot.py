"""A copy of the base with one adapter merged into its weights, while that adapter has most of the base's traffic.

Rows of several tenants share a batch at the price of the adapters' own products in every layer. Where one adapter has
most of the rows there is little left to share (dLoRA, OSDI 2024): a copy of the base with `B @ A` added to its weights
answers the same at the speed of the bare base. The copy counts in the budget for models, never pushes a model out, is
the first to go when room is needed, and goes when its adapter has cooled.

`take` is called on the event loop; the copy is made on the loader's thread.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from inference.adapters import Adapter
from inference.encoder import Encoder
from inference.geometry import Geometry
from inference.residents import COPY, Resident, Residents
from inference.tensors import Array
from inference.wire import MERGED

log = logging.getLogger(__name__)

WINDOW = 1024  # rows on one base, after which shares are looked at
HOT, COOL = 0.6, 0.4  # of a window's rows
WINDOWS = 3  # hot in so many, one after the other, before a copy is made

Key = tuple[str, str]  # tenant, model


@dataclass(slots=True)
class _Window:
    """The rows of one base since the last look."""

    total: int = 0
    rows: Counter[Key] = field(default_factory=Counter)
    leader: Key | None = None
    streak: int = 0


class Merging:
    """Decides which adapters are merged, and hands out the copies.

    `build` makes the encoder of a resident's copy; `spend` runs something on the loader's thread.
    """

    def __init__(
        self, residents: Residents, build: Callable[[Resident], Encoder], spend: Callable[[Callable[[], None]], object]
    ) -> None:
        self._residents, self._build, self._spend = residents, build, spend
        self._windows: dict[str, _Window] = {}
        self._copied: dict[Key, str] = {}  # base by model, of copies made or in the making

    def take(self, resident: Resident, rows: int) -> Resident:
        """The resident to compute these rows with: this one, or its copy."""
        if resident.method == "full":
            return resident  # shares no batch with anybody
        key, base = (resident.tenant, resident.model), resident.base
        window = self._windows.setdefault(base, _Window())
        window.total += rows
        if resident.adapter is not None:
            window.rows[key] += rows
            window.leader = window.leader or key
        if window.total >= WINDOW:
            self._look(base, window, resident if resident.adapter is not None else None)
        if key not in self._copied:
            return resident
        copy = self._residents.get(resident.tenant, resident.model + MERGED)
        return copy if isinstance(copy, Resident) and copy.sha256 == resident.sha256 else resident

    def forget(self, tenant: str, model: str) -> None:
        """Drop a model's copy, if it has one."""
        if self._copied.pop((tenant, model), None) is not None:
            self._residents.remove(tenant, model + MERGED)

    def _look(self, base: str, window: _Window, resident: Resident | None) -> None:
        shares = {key: rows / window.total for key, rows in window.rows.items()}
        for key, its_base in list(self._copied.items()):
            if its_base == base and shares.get(key, 0.0) < COOL:
                log.info("dropped the merged copy of model %s: its traffic has cooled", key[1])
                self.forget(*key)
        leader = max(shares, key=shares.__getitem__, default=None)
        if leader is None or shares[leader] < HOT:
            self._windows[base] = _Window()
            return
        streak = window.streak + 1 if window.leader == leader else 1
        self._windows[base] = _Window(leader=leader, streak=streak)
        if streak >= WINDOWS and leader not in self._copied:
            held = resident if resident is not None and (resident.tenant, resident.model) == leader else None
            held = held or self._residents.get(*leader)  # type: ignore[assignment]
            if isinstance(held, Resident):
                self._copied[leader] = base
                self._spend(lambda: self._copy(held))

    def _copy(self, resident: Resident) -> None:
        """On the loader's thread: make the copy, if there is room for it beside everything that is here."""
        if self._residents.used + resident.encoder.bytes > self._residents.budget:
            log.info("model %s is hot, but a merged copy of its base has no room", resident.model)
            return
        encoder = self._build(resident)
        copy = dataclasses.replace(
            resident, model=resident.model + MERGED, method=COPY, encoder=encoder, adapter=None, bytes=encoder.bytes
        )
        self._residents.add(copy)
        log.info("model %s has most of the traffic: merged into a copy of its base, %d bytes", copy.model, copy.bytes)


def merged(weights: dict[str, Array], adapter: Adapter, geometry: Geometry) -> dict[str, Array]:
    """The weights of a BERT with an adapter added: W + B @ A in each linear layer that it changes."""
    added = dict(weights)
    for (layer, target), down in adapter.down.items():
        name = f"{geometry.linear(layer, target)}.weight"
        added[name] = weights[name] + adapter.up[layer, target] @ down
    return added
