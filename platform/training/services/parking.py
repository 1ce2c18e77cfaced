"""Taking a place to train out of service by hand, and giving it back. What runs there runs to its end."""

from kit.clock import now
from kit.errors import Conflict, NotFound
from training.models import Slot


def slot_park(*, slot_id: int) -> Slot:
    """The place takes no new job until somebody gives it back, however often its host says that it is there."""
    return _set(slot_id, parked=True)


def slot_unpark(*, slot_id: int) -> Slot:
    """The place takes jobs again."""
    return _set(slot_id, parked=False)


def _set(slot_id: int, *, parked: bool) -> Slot:
    slot = Slot.objects.select_for_update().filter(pk=slot_id).first()
    if slot is None:
        raise NotFound.of(slot_id)
    if (slot.parked_at is not None) == parked:
        raise Conflict("The place is drained already." if parked else "The place takes jobs already.")
    slot.parked_at = now() if parked else None
    slot.save(update_fields=["parked_at"])
    return slot
