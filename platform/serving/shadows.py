"""Adding up what gateways compared: shadow calls of every process come together in one row for each rollout."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from django.db.models import F

from serving.models.counts import ShadowCount
from tenants.scope import tenant_scope


@dataclass(slots=True)
class ShadowTally:
    """What a gateway saw since it last told. `ShadowCount` says what the numbers mean."""

    compared: int = 0
    agreed: int = 0
    parts: int = 0
    parts_agreed: int = 0
    measured: float = 0.0
    endings_agreed: int = 0
    stable_tokens: int = 0
    candidate_tokens: int = 0
    dropped: int = 0

    def join(self, other: ShadowTally) -> None:
        """Another's numbers as well."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)

    def add(self, same: bool) -> None:
        """One more pair of answers that are the same, or not."""
        self.compared += 1
        self.agreed += same

    def share(self, mine: Set[Any], theirs: Set[Any]) -> None:
        """One more pair of answers that are sets."""
        self.add(mine == theirs)
        self.parts += len(mine) + len(theirs)
        self.parts_agreed += 2 * len(mine & theirs)

    def measure(self, value: float) -> None:
        """One more pair of answers that are more or less alike."""
        self.compared += 1
        self.measured += value


def shadows_count(tallies: Mapping[tuple[UUID, UUID], ShadowTally]) -> None:
    """Add tallies by tenant and rollout. Those of a rollout that has ended meanwhile count as well."""
    for (tenant_id, rollout_id), tally in tallies.items():
        with tenant_scope(tenant_id):
            ShadowCount.objects.filter(rollout_id=rollout_id).update(
                **{name: F(name) + value for name, value in asdict(tally).items()}
            )
