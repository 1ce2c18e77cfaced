"""Adding up what gateways compared: shadow calls of every process come together in one row for each rollout."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from django.db.models import F

from serving.models import ShadowCount
from tenants.scope import tenant_scope


@dataclass(slots=True)
class ShadowTally:
    """What a gateway saw since it last told. `ShadowCount` says what the numbers mean."""

    compared: int = 0
    agreed: int = 0
    dropped: int = 0


def shadows_count(tallies: Mapping[tuple[UUID, UUID], ShadowTally]) -> None:
    """Add tallies by tenant and rollout. Those of a rollout that has ended meanwhile count as well."""
    for (tenant_id, rollout_id), tally in tallies.items():
        with tenant_scope(tenant_id):
            ShadowCount.objects.filter(rollout_id=rollout_id).update(
                compared=F("compared") + tally.compared,
                agreed=F("agreed") + tally.agreed,
                dropped=F("dropped") + tally.dropped,
            )
