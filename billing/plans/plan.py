"""A plan version: price, allowance, limits, features."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

GPU_CLASSES = ("cpu", "shared", "dedicated")
"""What a training job may run on, each including the ones before it."""


def classes_within(gpu_class: str) -> tuple[str, ...]:
    """A class and those it includes."""
    return GPU_CLASSES[: GPU_CLASSES.index(gpu_class) + 1]


MOST_WEIGHT = 64
"""No tenant outweighs another by more."""


@dataclasses.dataclass(frozen=True, slots=True)
class PlanLimits:
    """What one tenant may do. Rates are per minute, money nano-USD per calendar month (UTC), sizes bytes."""

    requests_per_minute: int
    tokens_per_minute: int
    concurrency: int
    monthly_spend_nano: int
    """Usage beyond which calls and jobs are refused; a hard ceiling."""
    storage_bytes: int
    file_bytes: int
    """The largest single file."""
    train_rows: int
    """The most rows one job may train on."""
    parallel_jobs: int
    queued_jobs: int
    gpu_class: str
    projects: int
    members: int
    deployments: int
    engine_weight: int = 1
    """Share of a busy engine beside other tenants'; plans published before it have 1."""
    guaranteed_jobs: int = 0
    """Jobs that start whenever a machine of the plan's class exists, if need be in the place of somebody's borrowed
    one; plans published before it have none."""
    own_engines: int = 0
    """Engines that serve one deployment alone, of all its deployments together; plans published before it have none."""

    def changed(self, changes: Mapping[str, Any]) -> PlanLimits:
        """These limits with some put in place of others. ValueError for a name or value that cannot be."""
        limits = dataclasses.replace(self, **{name: changes[name] for name in _known(changes)})
        limits.check()
        return limits

    def check(self) -> None:
        """ValueError unless every limit has a value that can be meant."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "gpu_class":
                if value not in GPU_CLASSES:
                    raise ValueError(f"gpu_class must be one of {', '.join(GPU_CLASSES)}, not {value!r}")
            elif not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
                raise ValueError(f"{field.name} must be a whole number, 0 or more, not {value!r}")
        if not 1 <= self.engine_weight <= MOST_WEIGHT:
            raise ValueError(f"engine_weight must be from 1 to {MOST_WEIGHT}, not {self.engine_weight!r}")


def _known(changes: Mapping[str, Any]) -> list[str]:
    names = {field.name for field in dataclasses.fields(PlanLimits)}
    unknown = sorted(set(changes) - names)
    if unknown:
        raise ValueError(f"unknown limit {unknown[0]!r}; limits: {', '.join(sorted(names))}")
    return list(changes)


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """One published version of a plan."""

    code: str
    version: int
    name: str
    rank: int
    """Order from the smallest plan up."""
    summary: str
    price_cents: int | None
    """Per interval; None when it is agreed by contract."""
    currency: str
    interval: str
    allowance_nano: int
    """Usage included in each month."""
    limits: PlanLimits
    features: frozenset[str]

    @property
    def key(self) -> tuple[str, int]:
        """What a subscription pins."""
        return self.code, self.version

    @property
    def lookup_key(self) -> str:
        """The name of its price at Stripe."""
        return f"tunesmith_{self.code}_{self.version}"

    @property
    def sold_online(self) -> bool:
        """Whether Checkout sells it: it has a price, and the price is not nothing."""
        return bool(self.price_cents)
