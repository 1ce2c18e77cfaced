"""What a month of usage costs on each plan, and from where on one is cheaper than another. Pure; exact nano.

A plan costs its price and the usage beyond what it includes; above its spend limit it carries no more. So a plan's
cost is flat, then rises with usage, and any two meet at one point at most.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """A way to pay. `limit_nano` is the most usage it carries in a month; None for as much as there is."""

    code: str
    name: str
    price_nano: int
    included_nano: int
    limit_nano: int | None = None
    engines: int = 0
    """Engines of its deployments' own that it allows."""

    def carries(self, usage_nano: int) -> bool:
        """Whether so much usage is below its spend limit."""
        return self.limit_nano is None or usage_nano <= self.limit_nano

    def cost(self, usage_nano: int) -> int:
        """The month's price and the usage beyond what is included, whether or not it carries it."""
        return self.price_nano + max(0, usage_nano - self.included_nano)


def break_even(smaller: Offer, larger: Offer) -> int | None:
    """The least usage from which on the larger offer never costs more than the smaller one; None if there is none."""
    dearer = larger.price_nano - smaller.price_nano
    if dearer > larger.included_nano - smaller.included_nano:
        return None  # with all that is included used up it still costs more, and both rise alike from there
    return smaller.included_nano + dearer if dearer > 0 else 0


def cheapest(offers: Iterable[Offer], usage_nano: int) -> Offer | None:
    """The offer that carries so much usage for least; of two that cost the same the one with the lower price."""
    fit = [offer for offer in offers if offer.carries(usage_nano)]
    return min(fit, key=lambda offer: (offer.cost(usage_nano), offer.price_nano), default=None)


def corners(offers: Sequence[Offer], until_nano: int) -> list[int]:
    """Amounts of usage at which some offer's line bends, ends, or meets another's, from 0 to `until_nano`."""
    found = {0, until_nano}
    for offer in offers:
        found |= {offer.included_nano, *([offer.limit_nano] if offer.limit_nano is not None else [])}
        found |= {meet for other in offers if (meet := break_even(other, offer)) is not None}
    return sorted(one for one in found if 0 <= one <= until_nano)
