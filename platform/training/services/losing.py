"""What a sweep leaves behind: the models of trials that have not won, deleted together and brought back together."""

from dataclasses import dataclass

from kit.clock import now
from registry import selectors as registry
from registry.models import Model
from registry.services import model_delete, model_restore
from tenants import audit
from training.errors import SweepOpen
from training.models import Sweep
from training.selectors.sweeps import losers, losers_deleted


@dataclass(frozen=True, slots=True)
class Losers:
    """Models, by name, and the bytes of their weights."""

    names: list[str]
    size: int


def losers_seen(*, sweep: Sweep) -> Losers:
    """What `losers_delete` would delete now; nothing while the sweep is open."""
    found = losers(sweep)
    return Losers([model.name for model in found], registry.bytes_of(found))


def losers_delete(*, sweep: Sweep) -> Losers:
    """Delete the models of trials that have not won; one that somebody has named or ever put live stays. SweepOpen
    until the winner is known. Safe to repeat."""
    row = Sweep.objects.select_for_update(no_key=True).get(pk=sweep.pk)
    if not row.is_final:
        raise SweepOpen(f"The sweep {row.public_id} is {row.state}. Its losers are known once it has ended.")
    # Locked first, then looked at: what is named or deployed at this moment is waited for, and stays.
    locked = list(Model.objects.select_for_update().filter(pk__in=losers(row).values("pk")).order_by("pk"))
    chosen = losers(row).filter(pk__in=[model.pk for model in locked])
    found, moment = list(chosen), now()
    gone = Losers([model.name for model in found], registry.bytes_of(chosen))
    for model in found:
        model_delete(model=model, at=moment)
    if found:
        after = {"models": len(found), "bytes": gone.size}
        audit.record(action="sweep.losers_deleted", target=row, after=after)
    return gone


def losers_restore(*, sweep: Sweep) -> Losers:
    """Bring back what was deleted together last, as far as it is there; nothing is an answer as well."""
    row = Sweep.objects.select_for_update(no_key=True).get(pk=sweep.pk)
    rows = losers_deleted(row)
    found, size = list(rows), registry.bytes_of(rows)
    for model in found:
        model_restore(model=model)
    return Losers([model.name for model in found], size)
