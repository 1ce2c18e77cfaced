"""Prices of one version, and rating: exact integers, the same answer for ever.

Every price is a whole number of nano per smallest unit, so sums of ratings equal the rating of sums, and nothing
is rounded before an invoice line. The one exception, storage per byte-hour, rounds down once per event. A price that
depends on a month's quantity is rated by its first unit; `adjustment` says what the month's end changes.
"""

from __future__ import annotations

import dataclasses

from billing.prices.scales import Scale
from kit.money import HOUSE

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
    """Nano per unit."""

    input_token: int = 0
    output_token: int = 0
    trained_token: int = 0
    request: int = 0
    machine_ms: int = 0
    gigabyte_hour: int = 0
    cached_token: int | None = None
    """Of an input token that the engine had computed before; None: as any other."""
    scales: tuple[tuple[str, Scale], ...] = ()
    """By the name of a unit above, which then is the price of the first one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """Quantities of one event, or of a month. For training `input_tokens` are the tokens trained on."""

    kind: str
    model: str
    input_tokens: int = 0
    output_tokens: int = 0
    requests: int = 1
    machine_ms: int = 0
    byte_hours: int = 0
    cached_tokens: int = 0
    """Of the input tokens."""
    machine: str = ""
    """The class of machine, where it was chosen."""


@dataclasses.dataclass(frozen=True)
class PriceVersion:
    """One immutable price book."""

    version: str
    effective_from_ms: int
    kinds: dict[str, dict[str, Price]]
    machines: dict[tuple[str, str], Price] = dataclasses.field(default_factory=dict)
    """By kind and class of machine, where a class has a price of its own."""
    currency: str = HOUSE
    """What its nano are of; three small letters."""

    def price(self, kind: str, model: str, machine: str = "") -> Price:
        """The price of `kind` on a class of machine, else for a model or its base; KeyError for a kind this book does
        not sell."""
        models = self.kinds[kind]
        return self.machines.get((kind, machine)) or models.get(base_of(model)) or models["default"]


def base_of(model: str) -> str:
    """Base of `ft:<base>:<org>:<suffix>:<id>`; any other name is its own base."""
    if model.startswith("ft:"):
        return model.split(":", 2)[1]
    return model


def rate(usage: Usage, version: PriceVersion) -> int:
    """Cost in nano of one usage under one price version."""
    price = version.price(usage.kind, usage.model, usage.machine)
    first = price.trained_token if usage.kind in TRAINING else price.input_token
    read = usage.input_tokens * first
    if price.cached_token is not None:
        read -= min(usage.cached_tokens, usage.input_tokens) * (first - price.cached_token)
    return (
        read
        + usage.output_tokens * price.output_token
        + usage.requests * price.request
        + usage.machine_ms * price.machine_ms
        + usage.byte_hours * price.gigabyte_hour // GIGABYTE
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Adjustment:
    """What the end of a month changes in what its events cost, in nano."""

    tiers: int = 0
    """Never above zero."""
    packages: int = 0
    """Never below zero, nor above what was held `ahead`."""


COUNTED = {
    "input_token": ("input_tokens", 1),
    "trained_token": ("input_tokens", 1),
    "output_token": ("output_tokens", 1),
    "request": ("requests", 1),
    "machine_ms": ("machine_ms", 1),
    "gigabyte_hour": ("byte_hours", GIGABYTE),
}
"""Which quantity a unit's price counts, and how many of it the price is for."""


def adjustment(month: Usage, version: PriceVersion) -> Adjustment:
    """From the sum of a month's events of one kind and base under one version. Each version counts for itself."""
    tiers = packages = 0
    for unit, scale in version.price(month.kind, month.model, month.machine).scales:
        name, per = COUNTED[unit]
        quantity = getattr(month, name)
        change = scale.cost(quantity, per) - quantity * scale.first // per
        tiers, packages = tiers + min(change, 0), packages + max(change, 0)
    return Adjustment(tiers, packages)


def month_cost(month: Usage, version: PriceVersion) -> int:
    """Nano of a whole month of one kind and base, by its tiers and packages."""
    change = adjustment(month, version)
    return rate(month, version) + change.tiers + change.packages


def ahead(price: Price) -> int:
    """The most that a month's end adds to what events of this price cost: it is held from the first one on."""
    return sum(scale.ahead for _, scale in price.scales)
