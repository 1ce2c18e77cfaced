"""Prices that depend on how much of a unit a month has. Pure; exact integers, no float.

A call or job is rated the moment it happens, by the price of the first unit (`first`), so that a spend limit can stop
it. What the whole month costs (`cost`) is known at its end; the difference is a line of the bill. Tiers never rise, so
theirs takes off; a package is rounded up, so its adds, at most `ahead`, which is held from a month's first use on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True, slots=True)
class Tier:
    """`price` nano per unit up to and with the `up_to`th unit of a month; None: without end."""

    up_to: int | None
    price: int


@dataclasses.dataclass(frozen=True, slots=True)
class Graduated:
    """Each unit at the price of the tier it falls in."""

    tiers: tuple[Tier, ...]
    ahead = 0

    @property
    def first(self) -> int:
        """Nano per unit before a month's end."""
        return self.tiers[0].price

    def cost(self, quantity: int, per: int = 1) -> int:
        """Nano of a month's quantity; prices are for `per` units, and what is left of a nano is dropped."""
        return sum((upper - lower) * tier.price for tier, lower, upper in spans(self.tiers, quantity)) // per


@dataclasses.dataclass(frozen=True, slots=True)
class Volume:
    """All units at the price of the tier that the last one falls in."""

    tiers: tuple[Tier, ...]
    ahead = 0

    @property
    def first(self) -> int:
        """Nano per unit before a month's end."""
        return self.tiers[0].price

    def cost(self, quantity: int, per: int = 1) -> int:
        """Nano of a month's quantity; prices are for `per` units, and what is left of a nano is dropped."""
        reached = next(tier for tier in self.tiers if tier.up_to is None or quantity <= tier.up_to)
        return quantity * reached.price // per


@dataclasses.dataclass(frozen=True, slots=True)
class Package:
    """So many units for one price; one that is begun is paid."""

    units: int
    price: int
    """Nano of a package."""
    first: int
    """Nano per unit before a month's end."""

    @property
    def ahead(self) -> int:
        """The most that a month's end adds, in nano."""
        return self.price

    def cost(self, quantity: int, per: int = 1) -> int:
        """Nano of a month's quantity."""
        return -(-quantity // self.units) * self.price


@dataclasses.dataclass(frozen=True, slots=True)
class Flat:
    """One price for a month in which there is any of it."""

    price: int
    first = 0

    @property
    def ahead(self) -> int:
        """The most that a month's end adds, in nano."""
        return self.price

    def cost(self, quantity: int, per: int = 1) -> int:
        """Nano of a month's quantity."""
        return self.price if quantity else 0


Scale = Graduated | Volume | Package | Flat


def spans(tiers: tuple[Tier, ...], quantity: int) -> Iterator[tuple[Tier, int, int]]:
    """Which units of a quantity fall in which tier: (tier, units before, units with it)."""
    lower = 0
    for tier in tiers:
        if lower >= quantity:
            return
        upper = quantity if tier.up_to is None else min(quantity, tier.up_to)
        yield tier, lower, upper
        lower = upper
