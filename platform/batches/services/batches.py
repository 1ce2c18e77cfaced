"""Making and cancelling batches."""

import datetime as dt
from uuid import UUID

from django.db.models.functions import Now

from batches.endpoints import endpoints
from batches.errors import BatchEnded, EndpointUnknown, FileNotForBatch, TooManyOpen
from batches.limits import OPEN_BATCHES, WINDOW, WINDOW_SECONDS
from batches.models import Batch
from batches.selectors import open_count
from billing.selectors.dunning import work_check
from data.models import File, Purpose
from data.selectors import file_get
from kit import outbox
from kit.clock import now
from tenants import audit
from tenants.models import Project
from tenants.services.organisations import project_open, tenant_turn

WORK = "batches.work"
QUEUE = "batch"


def batch_create(
    *,
    project: Project,
    input_file_id: str,
    endpoint: str,
    metadata: dict[str, str] | None = None,
    output_seconds: int | None = None,
    key_id: UUID | None = None,
    user_id: UUID | None = None,
    by: str = "",
) -> Batch:
    """A batch of a file's lines; a worker is rung after commit and checks them first.

    EndpointUnknown, FileNotForBatch, TooManyOpen; NotFound for a file that is not the project's.
    """
    work_check()
    if endpoint not in endpoints():
        raise EndpointUnknown(
            f"A batch cannot call '{endpoint[:100]}'. It can call {', '.join(endpoints())}.", param="endpoint"
        )
    file = file_get(project.pk, input_file_id, param="input_file_id")
    if file.purpose != Purpose.BATCH:
        raise FileNotForBatch(
            f"The file {file.public_id} was uploaded for '{file.purpose}'. Upload it with purpose 'batch'.",
            param="input_file_id",
        )
    tenant_turn()
    project_open(project.pk)
    if open_count() >= OPEN_BATCHES:
        raise TooManyOpen(f"{OPEN_BATCHES} batches are open, the most at a time. Wait for one to end, or cancel one.")
    File.objects.select_for_update(no_key=True).get(pk=file.pk)  # nobody erases it before this one is seen to read it
    batch: Batch = Batch.objects.create(
        project_id=project.pk,
        key_id=key_id,
        user_id=user_id,
        created_by=by[:200],
        input_file=file,
        endpoint=endpoint,
        completion_window=WINDOW,
        metadata=metadata,
        output_seconds=output_seconds,
        expires_at=now() + dt.timedelta(seconds=WINDOW_SECONDS),
    )
    audit.record(action="batch.created", target=batch, after={"endpoint": endpoint, "file": file.public_id})
    outbox.ring(WORK, queue=QUEUE)
    return batch


def batch_cancel(*, batch: Batch) -> Batch:
    """Ask for the end: lines that are being answered stop within seconds, finished ones stay. Twice is the same;
    BatchEnded for one that ended in another way."""
    locked: Batch = Batch.objects.select_for_update().get(pk=batch.pk)
    if locked.state in (Batch.State.CANCELLING, Batch.State.CANCELLED):
        return locked
    if locked.is_final or locked.state == Batch.State.FINALIZING:
        raise BatchEnded(f"The batch is {locked.get_state_display().lower()}: there is nothing left to cancel.")
    Batch.objects.filter(pk=locked.pk).update(
        state=Batch.State.CANCELLING, cancelling_at=Now(), not_before=None, waits_for=""
    )
    audit.record(action="batch.cancel_requested", target=locked)
    outbox.ring(WORK, queue=QUEUE)
    locked.refresh_from_db()
    return locked
