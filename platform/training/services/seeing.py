"""What places to train there are, minute by minute, as what machines cost us."""

from billing.services.machines import Look, machines_seen
from kit.clock import now
from training.models import Slot
from training.selectors.picture import STALE


def places_seen() -> int:
    """Count the time of every place whose worker was heard of lately; how many there are."""
    moment = now()
    slots = Slot.objects.filter(heartbeat_at__gt=moment - STALE)
    looks = [
        Look(str(slot), "trainer_gpu" if slot.kind.startswith("cuda") else "trainer_cpu", slot.job_id is not None)
        for slot in slots
    ]
    return machines_seen(looks, at=moment)
