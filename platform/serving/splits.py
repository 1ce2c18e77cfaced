"""Which callers of an alias get the candidate while a rollout runs. Pure, and one hash a call.

A caller's place is drawn once from 0 to 9,999, by the rollout and the caller's key; those below the share, in basis
points, get the candidate. So a caller stays where it is, raising the share moves callers to the candidate and none
back, and the next rollout draws others.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from serving.routes import Route

WHOLE = 10_000
"""All callers, in basis points."""
STABLE, CANDIDATE, SHADOW = "stable", "candidate", "shadow"
"""Arms, as the request log and `x-rollout-arm` name them."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """A rollout as the gateway needs it, beside the stable version's route."""

    rollout: UUID
    alias: str
    share: int
    shadow: bool
    """Whether the candidate is asked as well, instead of the stable version."""
    candidate: Route

    def takes(self, key: str) -> bool:
        """Whether a caller is among the candidate's."""
        return place(self.rollout, key) < self.share


def place(rollout: UUID, key: str) -> int:
    """A caller's place, 0 to 9,999."""
    drawn = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, key=rollout.bytes).digest()
    return int.from_bytes(drawn) % WHOLE
