"""Prices of one version, and rating: exact integers, the same answer for ever.

Every price is a whole number of nano-USD per smallest unit, so sums of ratings equal the rating of sums, and nothing
is rounded before an invoice line. The one exception, storage per byte-hour, rounds down once per event.
"""

from __future__ import annotations

import dataclasses

GIGABYTE = 10**9
TRAINING = ("training", "training_preemptible", "training_priority")
"""Kinds that are priced by the tokens trained on: one for each lane of the queue."""
STORAGE = "storage"
"""Kind that is priced by the gigabyte and hour."""
ENGINES = "dedicated"
"""Kind of the time of a deployment's own engines, priced by the second of each."""
NOT_CALLS = (*TRAINING, STORAGE, ENGINES)
"""Kinds that no call makes."""
BATCH = "batch_"
"""What the kind of a call begins with when it was a line of a batch."""


def batch_kind(kind: str) -> str:
    """The kind of a call of `kind` in a batch."""
    return BATCH + kind


def is_batch(kind: str) -> bool:
    """Whether usage of a kind came from a batch."""
    return kind.startswith(BATCH)


@dataclasses.dataclass(frozen=True, slots=True)
class Price:
    """Nano-USD per unit."""

    input_token: int = 0
    output_token: int = 0
    trained_token: int = 0
    request: int = 0
    machine_ms: int = 0
    gigabyte_hour: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """Quantities of one event. For training `input_tokens` are the tokens trained on."""

    kind: str
    model: str
    input_tokens: int = 0
    output_tokens: int = 0
    requests: int = 1
    machine_ms: int = 0
    byte_hours: int = 0


@dataclasses.dataclass(frozen=True)
class PriceVersion:
    """One immutable price book."""

    version: str
    effective_from_ms: int
    kinds: dict[str, dict[str, Price]]

    def price(self, kind: str, model: str) -> Price:
        """The price of `kind` for a model or its base; KeyError for a kind this book does not sell."""
        models = self.kinds[kind]
        return models.get(base_of(model)) or models["default"]


def base_of(model: str) -> str:
    """Base of `ft:<base>:<org>:<suffix>:<id>`; any other name is its own base."""
    if model.startswith("ft:"):
        return model.split(":", 2)[1]
    return model


def rate(usage: Usage, version: PriceVersion) -> int:
    """Cost in nano-USD of one usage under one price version."""
    price = version.price(usage.kind, usage.model)
    first = price.trained_token if usage.kind in TRAINING else price.input_token
    return (
        usage.input_tokens * first
        + usage.output_tokens * price.output_token
        + usage.requests * price.request
        + usage.machine_ms * price.machine_ms
        + usage.byte_hours * price.gigabyte_hour // GIGABYTE
    )
