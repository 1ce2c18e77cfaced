"""What a sweep leaves behind: the models of trials that have not won, deleted together and brought back together."""

import contextlib

from kit.clock import now
from registry import selectors as registry
from registry.errors import ModelNotDeleted
from registry.models import Model
from registry.services import model_delete, model_restore
from tenants import audit
from training.errors import SweepOpen
from training.models import Sweep
from training.selectors.sweeps import Losers, losers, losers_deleted


def losers_delete(*, sweep: Sweep) -> Losers:
    """Delete the models of trials that have not won; one that somebody has named or ever put live stays. SweepOpen
    until the winner is known. Safe to repeat."""
    row = _locked(sweep)
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
        row.losers_deleted_at = moment
        row.save(update_fields=["losers_deleted_at"])
        after = {"models": len(found), "bytes": gone.size}
        audit.record(action="sweep.losers_deleted", target=row, after=after)
    return gone


def losers_restore(*, sweep: Sweep) -> Losers:
    """Bring back what was deleted together last, as far as it is there; nothing is an answer as well."""
    row = _locked(sweep)
    back = []
    for model in losers_deleted(row):
        with contextlib.suppress(ModelNotDeleted):  # somebody else was faster: it is back, or erased
            back.append(model_restore(model=model))
    size = registry.bytes_of(Model.objects.filter(pk__in=[model.pk for model in back]))
    if back:
        audit.record(action="sweep.losers_restored", target=row, after={"models": len(back), "bytes": size})
    return Losers([model.name for model in back], size)


def _locked(sweep: Sweep) -> Sweep:
    found: Sweep = Sweep.objects.select_for_update(no_key=True).get(pk=sweep.pk)
    return found
