"""What may wait: requests of weight 0, which are computed only while nothing else can be.

They stand in a line of their own beside their tenant's other requests, so that a tenant's batch neither uses up its
share nor fills its queue for the calls that somebody is waiting for.
"""

from __future__ import annotations

from typing import NamedTuple

BACKGROUND = 0
"""The weight on the wire that says so."""


class Standing(NamedTuple):
    """How a request stands in a queue: under which name, with what share, and whether it may wait."""

    line: str
    weight: int
    background: bool


def standing(tenant: str, weight: int) -> Standing:
    """Of a tenant's request with the weight that came on the wire."""
    if weight == BACKGROUND:
        return Standing(f"{tenant}/background", 1, True)
    return Standing(tenant, max(weight, 1), False)
