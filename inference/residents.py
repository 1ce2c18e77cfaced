"""What is in memory: heads, adapters and full encoders, under one budget of bytes.

The least recently used goes first, but nobody can push a tenant below its floor: what a tenant holds within the floor
is evicted only for that tenant's own sake. Copies that only serve speed go before all models. A pinned model is never
evicted; pins together take at most half of the budget. Eviction only forgets: a request already queued keeps its model
alive.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from inference.adapters import Adapter
from inference.encoder import Encoder
from inference.errors import NoRoom
from inference.recorded import AnyRecorded
from inference.tasks import BY_TOKEN, CLASSIFICATION, PAIRED
from inference.tensors import Array

COPY = "merged"
"""The method of a copy that only serves speed (`inference.hot`)."""
PINNED_SHARE = 2  # pins take at most one part in so many of the budget


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """The linear layer on the pooled vector, or on each token's. `weight` [hidden, labels] is transposed and both parts
    are divided by the temperature beforehand, so that what `task` asks for (softmax, sigmoid, nothing) is all that is
    left to do. `dense`, where there is one, is a layer with tanh before it: weight [hidden, hidden], transposed, and
    bias."""

    weight: Array
    bias: Array
    task: str = CLASSIFICATION
    dense: tuple[Array, Array] | None = None

    def logits(self, vectors: Array) -> Array:
        """[n, hidden] -> [n, labels]."""
        if self.dense is not None:
            weight, bias = self.dense
            vectors = np.tanh(vectors @ weight + bias)
        found: Array = vectors @ self.weight + self.bias
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Resident:
    """A model ready to serve. `encoder` is the shared base or, for a full fine-tune, its own."""

    tenant: str
    model: str
    sha256: str
    base: str
    method: str
    labels: list[str]
    max_length: int
    encoder: Encoder
    adapter: Adapter | None
    head: Head | None
    recorded: AnyRecorded | None
    bytes: int
    task: str = CLASSIFICATION
    pooling: str = "mean"
    dimensions: tuple[int, ...] = ()
    """The only sizes to which its vectors may be cut; any where there are none."""

    @property
    def tokens(self) -> bool:
        """Whether its calls need every token's vector (`Encoder.states`)."""
        return self.task in BY_TOKEN or self.task in PAIRED


class Held(Protocol):
    """What the book must know of a model, whatever it does."""

    @property
    def tenant(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def base(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def labels(self) -> list[str]: ...
    @property
    def max_length(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def task(self) -> str: ...


class Residents:
    """Least-recently-used book of residents. Thread-safe."""

    def __init__(self, budget: int, floor: int) -> None:
        self.budget = budget
        self.floor = floor
        self.used = 0
        self.evictions = 0
        self._held: dict[str, int] = {}
        self._models: OrderedDict[tuple[str, str], Held] = OrderedDict()
        self._pinned: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def get(self, tenant: str, model: str) -> Held | None:
        """The tenant's own model, marked as just used; None if it is not here."""
        with self._lock:
            resident = self._models.get((tenant, model))
            if resident is not None:
                self._models.move_to_end((tenant, model))
            return resident

    def add(self, resident: Held) -> list[Held]:
        """Keep a model, and return what had to go for it. Raises `NoRoom`, changing nothing."""
        with self._lock:
            key = (resident.tenant, resident.model)
            victims = self._victims(resident)
            if key in self._models:
                self._drop(key)
            for victim in victims:
                self._drop((victim.tenant, victim.model))
            self.evictions += len(victims)
            self._models[key] = resident
            self.used += resident.bytes
            self._held[resident.tenant] = self._held.get(resident.tenant, 0) + resident.bytes
            return victims

    def pin(self, tenant: str, model: str, wanted: bool = True) -> None:
        """Keep a model that is here whatever happens, or no longer. Raises `NoRoom`, changing nothing."""
        with self._lock:
            key = (tenant, model)
            if not wanted:
                self._pinned.discard(key)
            elif key in self._models and key not in self._pinned:
                pinned = sum(self._models[one].bytes for one in self._pinned) + self._models[key].bytes
                most = self.budget // PINNED_SHARE
                if pinned > most:
                    raise NoRoom(f"Pinned models would take {pinned} bytes; they may take {most} together.")
                self._pinned.add(key)

    def pinned(self, tenant: str, model: str) -> bool:
        """Whether a model is kept whatever happens."""
        return (tenant, model) in self._pinned

    def remove(self, tenant: str, model: str) -> bool:
        """Forget a model, pinned or not; false if it was not here."""
        with self._lock:
            if (tenant, model) not in self._models:
                return False
            self._drop((tenant, model))
            self._pinned.discard((tenant, model))
            return True

    def all(self) -> list[Held]:
        """Least recently used first."""
        with self._lock:
            return list(self._models.values())

    def _victims(self, new: Held) -> list[Held]:
        replaced = self._models.get((new.tenant, new.model))
        excess = self.used - (replaced.bytes if replaced else 0) + new.bytes - self.budget
        held = dict(self._held)
        victims: list[Held] = []
        for candidate in sorted(self._models.values(), key=lambda one: one.method != COPY):
            if excess <= 0:
                break
            within = candidate.tenant != new.tenant and held[candidate.tenant] - candidate.bytes < self.floor
            kept = (within and candidate.method != COPY) or (candidate.tenant, candidate.model) in self._pinned
            if candidate is replaced or kept:
                continue
            victims.append(candidate)
            held[candidate.tenant] -= candidate.bytes
            excess -= candidate.bytes
        if excess > 0:
            raise NoRoom(
                f"The model needs {new.bytes} bytes; the memory for models ({self.budget} bytes) is taken by models "
                "that may not be evicted for it.",
                retry_after=30.0,
            )
        return victims

    def _drop(self, key: tuple[str, str]) -> None:
        resident = self._models.pop(key)
        self.used -= resident.bytes
        self._held[resident.tenant] -= resident.bytes
        if not self._held[resident.tenant]:
            del self._held[resident.tenant]
