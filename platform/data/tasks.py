"""Doorbells: check a file, write a version, erase bytes, sweep. Ids only; every one is safe to ring twice."""

from datetime import timedelta
from uuid import UUID

from celery import shared_task

from data.models import DatasetVersion, File, Upload, UploadPart, VersionSource
from data.services.deletion import deleted_purge, expired_erase
from data.services.files import file_process
from data.services.storage import storage_measure
from data.services.uploads import upload_close
from data.services.versions import version_write
from kit import outbox, storage
from kit.clock import now
from tenants.scope import current_tenant_id, ops_scope, tenant_scope
from tenants.tasks import tenant_task

LOST = timedelta(minutes=2)
BATCH = 200

SCHEDULE = {"data.sweep": 60, "data.purge": 600, "data.storage_measure": 300}


@shared_task(name="data.file_process")
def process(tenant_id: str, file_id: str) -> None:
    """Check a file; long, so it opens its own scopes."""
    file_process(tenant_id=UUID(tenant_id), file_id=UUID(file_id))


@shared_task(name="data.version_write")
def write(tenant_id: str, version_id: str) -> None:
    """Write a dataset version; long, so it opens its own scopes."""
    version_write(tenant_id=UUID(tenant_id), version_id=UUID(version_id))


@tenant_task("data.bytes_erase")
def erase(key: str) -> None:
    """Erase an object of this tenant that nothing alive points at. A forged key of somebody else's is left alone."""
    if not key.startswith(f"t/{current_tenant_id()}/"):
        return
    used = (
        File.objects.filter(storage_key=key, erased_at=None).exists()
        or DatasetVersion.objects.filter(storage_key=key, dataset__erased_at=None).exists()
        or UploadPart.objects.filter(storage_key=key, upload__status=Upload.Status.PENDING).exists()
        or VersionSource.objects.filter(file__storage_key=key, version__state=DatasetVersion.State.BUILDING).exists()
    )
    if not used:
        storage.delete(key)


@shared_task(name="data.sweep")
def sweep() -> int:
    """Ring again what was lost, close uploads past their hour, erase files past their life; returns how many."""
    with ops_scope("sweep files and uploads"):
        lost = now() - LOST
        files = File.ops.filter(status=File.Status.UPLOADED, deleted_at=None, created_at__lt=lost)
        versions = DatasetVersion.ops.filter(state=DatasetVersion.State.BUILDING, created_at__lt=lost)
        uploads = Upload.ops.filter(status=Upload.Status.PENDING, expires_at__lt=now())
        waiting = [("data.file_process", row.tenant_id, row.id) for row in files[:BATCH]]
        waiting += [("data.version_write", row.tenant_id, row.id) for row in versions[:BATCH]]
        over = [(row.tenant_id, row.id) for row in uploads[:BATCH]]
    for task, tenant_id, row_id in waiting:
        with tenant_scope(tenant_id):
            outbox.ring(task, str(tenant_id), str(row_id), queue="ingest")
    for tenant_id, row_id in over:
        with tenant_scope(tenant_id):
            upload = Upload.objects.select_for_update().filter(pk=row_id, status=Upload.Status.PENDING).first()
            if upload is not None:
                upload_close(upload=upload, status=Upload.Status.EXPIRED)
    return len(waiting) + len(over) + expired_erase() + storage.incoming_sweep()


@shared_task(name="data.purge")
def purge() -> int:
    """Erase what was deleted long ago; returns how many."""
    return deleted_purge()


@shared_task(name="data.storage_measure")
def measure() -> int:
    """Measure what is stored, for the bill: the first look in an hour counts."""
    return storage_measure()
