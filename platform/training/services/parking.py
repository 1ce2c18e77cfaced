"""Taking a place to train out of service, by hand or by what its worker found, and giving it back. What runs there
runs to its end."""

import contextlib
import datetime as dt
import logging
from collections.abc import Iterator, Sequence
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
FAILURES = 3
"""Attempts within FORGOTTEN that a place could not make ready, that make it the suspect."""
FORGOTTEN = dt.timedelta(days=1)
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
    with _locked(slot_ids) as slots:
        for slot in slots:
            slot.crashed_jobs = [*(one for one in slot.crashed_jobs if one != str(job_id)), str(job_id)][-CRASHES:]
            slot.save(update_fields=["crashed_jobs"])
        suspects = [slot.pk for slot in slots if len(slot.crashed_jobs) >= CRASHES]
        slots_quarantine(slot_ids=suspects, reason=f"{CRASHES} jobs in a row crashed here. The last: {reason}")


def slots_failed(*, slot_ids: Sequence[int], job_id: UUID, attempt: int, reason: str) -> None:
    """These places could not make this attempt ready, and nothing says that its job is to blame. Every attempt counts
    for a day, of one job as well, and a run that ends well takes none of them back: it needed something else."""
    moment = now()
    with _locked(slot_ids) as slots:
        for slot in slots:
            known = slot.failed_attempts.items()
            lately = {one: when for one, when in known if dt.datetime.fromisoformat(when) > moment - FORGOTTEN}
            slot.failed_attempts = lately | {f"{job_id}/a{attempt}": moment.isoformat()}
            slot.save(update_fields=["failed_attempts"])
        suspects = [slot.pk for slot in slots if len(slot.failed_attempts) >= FAILURES]
        words = f"{FAILURES} runs could not be made ready here within a day. The last: {reason}"
        slots_quarantine(slot_ids=suspects, reason=words)


def slots_worked(*, slot_ids: Sequence[int]) -> None:
    """A run ended on these places as runs end: earlier crashes are no longer in a row."""
    Slot.objects.filter(pk__in=slot_ids).exclude(crashed_jobs=[]).update(crashed_jobs=[])


@contextlib.contextmanager
def _locked(slot_ids: Sequence[int]) -> Iterator[list[Slot]]:
    with transaction.atomic():
        yield list(Slot.objects.select_for_update().filter(pk__in=slot_ids).order_by("pk"))


def _set(slot_id: int, *, parked: bool) -> Slot:
    slot = Slot.objects.select_for_update().filter(pk=slot_id).first()
    if slot is None:
        raise NotFound.of(slot_id)
    if (slot.parked_at is not None) == parked:
        raise Conflict("The place is drained already." if parked else "The place takes jobs already.")
    slot.parked_at = now() if parked else None
    slot.parked_because, slot.crashed_jobs, slot.failed_attempts = "", [], {}
    slot.save(update_fields=["parked_at", "parked_because", "crashed_jobs", "failed_attempts"])
    return slot
