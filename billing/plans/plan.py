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
    """What one tenant may do. Rates are per minute, money nano per calendar month (UTC), sizes bytes."""

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


INTERVALS = ("month", "year")
"""How often a plan may be paid."""
Prices = Mapping[tuple[str, str], int]
"""Cents by interval and currency."""


@dataclasses.dataclass(frozen=True, slots=True)
class Seats:
    """Members beyond those that a plan includes."""

    included: int
    prices: Prices = dataclasses.field(default_factory=dict)
    """Of one more; empty where no more can be had."""


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """The first days of an organisation's first subscription, free of the plan's price."""

    days: int
    card: bool
    """Whether a card is asked for at its start."""
    usage_nano: int | None = None
    """Usage included in each month of it; None for the plan's."""
    at_end: str = "cancel"
    """What becomes of the plan where no card is known when it ends: `cancel`, or `pause` until one is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rollover:
    """What of a month's included usage that was not used is there in the next month."""

    percent: int
    most_nano: int

    def carried(self, allowance_nano: int, used_nano: int) -> int:
        """Nano to carry into the next month; parts of a nano are dropped."""
        return min(max(allowance_nano - used_nano, 0) * self.percent // 100, self.most_nano)


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
    """Per `interval`, in `currency`, which are what is shown first; None when it is agreed by contract."""
    currency: str
    interval: str
    allowance_nano: int
    """Usage included in each month."""
    limits: PlanLimits
    features: frozenset[str]
    prices: Prices = dataclasses.field(default_factory=dict)
    """Every way to pay it; empty where nothing is to be paid, or by contract."""
    seats: Seats | None = None
    """None where its limit of members says all there is to say."""
    trial: Trial | None = None
    rollover: Rollover | None = None
    overage: bool = True
    """Whether usage may go on beyond what is included, up to the spend limit."""
    schema: int = 1

    @property
    def key(self) -> tuple[str, int]:
        """What a subscription pins."""
        return self.code, self.version

    @property
    def sold_online(self) -> bool:
        """Whether Checkout sells it: it has a price, and the price is not nothing."""
        return bool(self.price_cents)

    def price(self, interval: str, currency: str = "") -> int | None:
        """Cents for an interval in a currency (its first, unless told); None where it is not sold so."""
        return self.prices.get((interval, currency or self.currency))

    def seat_price(self, interval: str, currency: str = "") -> int | None:
        """Cents of one member more, for an interval in a currency; None where no more can be had."""
        return self.seats.prices.get((interval, currency or self.currency)) if self.seats is not None else None

    @property
    def yearly_cents(self) -> int | None:
        """A year in its first currency; None where it is not sold so."""
        return self.price("year")

    @property
    def currencies(self) -> list[str]:
        """What it can be paid in, its first one first."""
        return list(dict.fromkeys([self.currency, *(currency for _, currency in self.prices)]))

    @property
    def parts(self) -> list[tuple[str, str, str, int]]:
        """What it has prices for at Stripe: (part, interval, currency, cents), a part being `plan` or `seat`."""
        own = [("plan", *way, cents) for way, cents in self.prices.items() if cents]
        more = [("seat", *way, cents) for way, cents in (self.seats.prices if self.seats else {}).items()]
        return own + more

    def lookup_key(self, part: str, interval: str, currency: str) -> str:
        """The name of one of its prices at Stripe."""
        name = f"tunesmith_{self.code}_{self.version}"
        if self.schema == 1:
            return name
        return f"{name}_{interval}_{currency}" + ("" if part == "plan" else f"_{part}")
