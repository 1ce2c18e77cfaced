"""Taking a place to train out of service, by hand or by what its worker found, and giving it back. What runs there
runs to its end."""

import logging
from collections.abc import Sequence
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from kit.clock import now
from kit.errors import Conflict, NotFound
from kit.metrics import Counter
from training.models import Slot

logger = logging.getLogger(__name__)

CRASHES = 3
"""Different jobs whose trainers crash on a place, one after the other, that make the place the suspect."""
ATTEMPT = "/a"
"""Between a job's id and an attempt's number, where a place could not make that attempt ready."""
PARKED = Counter("training_places_parked", "Places that a worker took out of service.")


def slot_park(*, slot_id: int) -> Slot:
    """The place takes no new job until somebody gives it back, however often its host says that it is there."""
    return _set(slot_id, parked=True)


def slot_unpark(*, slot_id: int) -> Slot:
    """The place takes jobs again; what was held against it is forgotten."""
    return _set(slot_id, parked=False)


def slots_quarantine(*, slot_ids: Sequence[int], reason: str) -> int:
    """A worker found these places unfit: parked until staff give them back. How many were not parked already."""
    fresh = Slot.objects.filter(pk__in=slot_ids, parked_at=None)
    names = [str(slot) for slot in fresh]
    parked = fresh.update(parked_at=Now(), parked_because=reason[:300])
    if parked:
        PARKED.inc(parked)
        logger.error("parked %s: %s", ", ".join(names), reason)
    return parked


def slots_crashed(*, slot_ids: Sequence[int], job_id: UUID, reason: str) -> None:
    """A trainer of this job crashed on these places, through no fault of the job's as far as anybody knows."""
    _suspect(slot_ids, str(job_id), f"{CRASHES} jobs in a row crashed here. The last: {reason}")


def slots_failed(*, slot_ids: Sequence[int], job_id: UUID, attempt: int, reason: str) -> None:
    """These places could not make this attempt ready, and nothing says that its job is to blame. Every attempt counts,
    of one job as well, and a run that ends well takes none of them back: it needed something else."""
    words = f"{CRASHES} runs could not be made ready here. The last: {reason}"
    _suspect(slot_ids, f"{job_id}{ATTEMPT}{attempt}", words)


def slots_worked(*, slot_ids: Sequence[int]) -> None:
    """A run ended on these places as runs end: earlier crashes are no longer in a row."""
    with transaction.atomic():
        for slot in Slot.objects.select_for_update().filter(pk__in=slot_ids).exclude(crashed_jobs=[]).order_by("pk"):
            slot.crashed_jobs = [one for one in slot.crashed_jobs if ATTEMPT in one]
            slot.save(update_fields=["crashed_jobs"])


def _suspect(slot_ids: Sequence[int], what: str, reason: str) -> None:
    with transaction.atomic():
        slots = list(Slot.objects.select_for_update().filter(pk__in=slot_ids).order_by("pk"))
        for slot in slots:
            slot.crashed_jobs = [*(one for one in slot.crashed_jobs if one != what), what][-CRASHES:]
            slot.save(update_fields=["crashed_jobs"])
        suspects = [slot.pk for slot in slots if len(slot.crashed_jobs) >= CRASHES]
        slots_quarantine(slot_ids=suspects, reason=reason)


def _set(slot_id: int, *, parked: bool) -> Slot:
    slot = Slot.objects.select_for_update().filter(pk=slot_id).first()
    if slot is None:
        raise NotFound.of(slot_id)
    if (slot.parked_at is not None) == parked:
        raise Conflict("The place is drained already." if parked else "The place takes jobs already.")
    slot.parked_at = now() if parked else None
    slot.parked_because, slot.crashed_jobs = "", []
    slot.save(update_fields=["parked_at", "parked_because", "crashed_jobs"])
    return slot
