"""Uploads in parts: announce, send parts in any order, complete with the order that counts."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db.models import Sum

from data.errors import FileTooLarge, UploadClosed, UploadMismatch
from data.limits import PART_BYTES, UPLOAD_BYTES, UPLOAD_SECONDS, check_purpose, room_for
from data.models import File, Upload, UploadPart
from data.services.files import Stored, clean_filename, file_create, file_store
from kit import outbox, storage
from kit.clock import now
from kit.errors import NotFound
from tenants import audit
from tenants.scope import current_tenant_id
from tenants.services.organisations import tenant_turn


@dataclass(frozen=True, slots=True)
class Assembly:
    """What `upload_complete` is going to join."""

    tenant_id: UUID
    keys: tuple[str, ...]
    bytes: int


def upload_create(
    *, project_id: UUID, filename: str, purpose: str, size: int, mime_type: str, keep_seconds: int | None = None
) -> Upload:
    """Announce a file of `size` bytes. FileTooLarge or StorageFull if the plan has no room for it."""
    if size > UPLOAD_BYTES:
        raise FileTooLarge(f"An upload may have {UPLOAD_BYTES:,} bytes; {size:,} were announced.", param="bytes")
    check_purpose(purpose, size)
    tenant_turn()
    room_for(current_tenant_id()).check(size)
    upload = Upload.objects.create(
        project_id=project_id,
        filename=clean_filename(filename),
        purpose=purpose,
        bytes=size,
        mime_type=mime_type,
        keep_seconds=keep_seconds,
        expires_at=now() + timedelta(seconds=UPLOAD_SECONDS),
    )
    audit.record(action="upload.created", target=upload, after={"bytes": size})
    return upload


def part_check(size: int) -> None:
    """FileTooLarge for a size in bytes that no part may have."""
    if not 1 <= size <= PART_BYTES:
        raise FileTooLarge(f"A part has 1 to {PART_BYTES:,} bytes; this one has {size:,}.", param="data")


def upload_part_create(*, upload: Upload, stored: Stored) -> UploadPart:
    """Keep one part. The sum of all parts may not pass what was announced."""
    locked = _open(upload)
    have = UploadPart.objects.filter(upload=locked).aggregate(total=Sum("bytes"))["total"] or 0
    part_check(stored.bytes)
    if have + stored.bytes > 2 * locked.bytes:
        raise UploadMismatch(
            f"The parts already hold more than twice the {locked.bytes:,} bytes announced. Cancel and start again.",
            param="data",
        )
    return UploadPart.objects.create(upload=locked, bytes=stored.bytes, sha256=stored.sha256, storage_key=stored.key)


def upload_assemble(*, upload: Upload, part_ids: Sequence[UUID]) -> Assembly:
    """Check that the parts, in the order given, make up the upload; nothing is changed."""
    locked = _open(upload)
    if len(set(part_ids)) != len(part_ids):
        raise UploadMismatch("A part is named twice in part_ids.", param="part_ids")
    parts = {part.pk: part for part in UploadPart.objects.filter(upload=locked, pk__in=part_ids)}
    missing = [index for index, part_id in enumerate(part_ids) if part_id not in parts]
    if missing:
        raise NotFound(f"part_ids[{missing[0]}] is not a part of this upload.", param=f"part_ids[{missing[0]}]")
    total = sum(parts[part_id].bytes for part_id in part_ids)
    if total != locked.bytes:
        raise UploadMismatch(
            f"The parts hold {total:,} bytes; {locked.bytes:,} were announced. Send what is missing or cancel.",
            param="part_ids",
        )
    return Assembly(upload.tenant_id, tuple(parts[part_id].storage_key for part_id in part_ids), total)


def upload_join(*, assembly: Assembly, md5: str | None) -> Stored:
    """Join the parts into one object, outside any transaction. UploadMismatch if the MD5 differs."""
    digest = hashlib.md5(usedforsecurity=False)

    def chunks() -> Iterator[bytes]:
        for key in assembly.keys:
            for chunk in storage.read_chunks(key):
                digest.update(chunk)
                yield chunk

    stored = file_store(tenant_id=assembly.tenant_id, chunks=chunks(), limit=assembly.bytes)
    if md5 and md5.strip().lower() != digest.hexdigest():
        stored.discard()
        raise UploadMismatch(
            f"The MD5 of the joined parts is {digest.hexdigest()}, not {md5[:64]}. Send the parts again.", param="md5"
        )
    return stored


def upload_complete(*, upload: Upload, stored: Stored) -> tuple[Upload, File]:
    """Turn joined bytes into a file. Only a pending upload; the second of two calls gets UploadClosed."""
    locked = _open(upload)
    Upload.objects.filter(pk=locked.pk).update(status=Upload.Status.COMPLETED)
    file = file_create(
        project_id=locked.project_id,
        filename=locked.filename,
        purpose=locked.purpose,
        stored=stored,
        keep_seconds=locked.keep_seconds,
    )
    Upload.objects.filter(pk=locked.pk).update(file=file)
    locked.status, locked.file = Upload.Status.COMPLETED, file
    _erase_parts(locked)
    return locked, file


def upload_cancel(*, upload: Upload) -> Upload:
    """Give an upload up; its parts are erased after commit."""
    locked = _open(upload)
    return upload_close(upload=locked, status=Upload.Status.CANCELLED)


def upload_close(*, upload: Upload, status: str) -> Upload:
    """Close a pending upload as cancelled or expired and erase its parts."""
    Upload.objects.filter(pk=upload.pk, status=Upload.Status.PENDING).update(status=status)
    upload.status = status
    audit.record(action=f"upload.{status}", target=upload)
    _erase_parts(upload)
    return upload


def _erase_parts(upload: Upload) -> None:
    for key in UploadPart.objects.filter(upload=upload).values_list("storage_key", flat=True):
        outbox.ring("data.bytes_erase", str(upload.tenant_id), key)


def _open(upload: Upload) -> Upload:
    """The row, locked; UploadClosed unless it is pending and within its hour."""
    locked: Upload = Upload.objects.select_for_update().get(pk=upload.pk)
    if locked.status == Upload.Status.PENDING and locked.expires_at <= now():
        raise UploadClosed(f"The upload {locked.public_id} expired after an hour. Start a new one.")
    if locked.status != Upload.Status.PENDING:
        raise UploadClosed(f"The upload {locked.public_id} is {locked.status}; it takes no further changes.")
    return locked
