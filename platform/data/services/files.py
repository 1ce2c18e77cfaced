"""Files: take the bytes in, check them in the background."""

import builtins
import logging
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from data import lease, reader
from data.columns import ROLES
from data.errors import FileNotReady, InvalidColumns
from data.findings import MAX_SAMPLES
from data.limits import MAX_LABELS, MAX_LENGTH, check_purpose, room_for, tokenizer_path
from data.models import RESULTS, WRITTEN, File, Finding, Purpose
from data.roles import check_once, task_wanted
from kit import outbox, storage
from kit.clock import now
from kit.errors import BadRequest, PayloadTooLarge
from kit.ids import new_id
from tenants import audit
from tenants.scope import current_tenant_id, tenant_scope
from tenants.services.organisations import tenant_turn

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
NAME_CHARS = 255
HEAD = 8
"""First bytes that tell a document's kind."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes in storage that no row points at yet."""

    key: str
    bytes: int
    sha256: str
    head: builtins.bytes = b""
    """The first HEAD of them."""

    def discard(self) -> None:
        """Remove them again."""
        storage.delete(self.key)


def file_receive(*, tenant_id: UUID, limit: int) -> storage.Incoming:
    """An object to write a file's bytes into as they arrive; its owner keeps or drops it."""
    return storage.Incoming(storage.tenant_key(tenant_id, "files", new_id()), limit=limit)


def file_store(*, tenant_id: UUID, chunks: Iterable[bytes], limit: int) -> Stored:
    """Stream bytes to storage, outside any transaction. PayloadTooLarge past `limit`, with nothing left behind."""
    key, head = storage.tenant_key(tenant_id, "files", new_id()), bytearray()

    def seen() -> Iterator[bytes]:
        for chunk in chunks:
            head.extend(chunk[: HEAD - len(head)])
            yield chunk

    try:
        size, sha256 = storage.write_stream(key, seen(), limit=limit)
    except storage.TooLarge as error:
        raise PayloadTooLarge(f"More than {limit:,} bytes arrived.", code="file_too_large") from error
    return Stored(key, size, sha256, bytes(head))


def visible(text: str) -> str:
    """A name in composed form, without control and invisible characters and the space around it."""
    text = unicodedata.normalize("NFC", text)
    return "".join(char for char in text if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn")).strip()


def clean_filename(name: object) -> str:
    """The last part of a path without control and invisible characters; BadRequest if nothing is left."""
    text = visible(str(name or "").replace("\\", "/").rsplit("/", 1)[-1])
    if not text or text in (".", ".."):
        raise BadRequest("The file needs a name.", param="filename")
    return text[:NAME_CHARS]


def file_create(
    *, project_id: UUID, filename: str, purpose: str, stored: Stored, keep_seconds: int | None = None
) -> File:
    """A file of stored bytes; its check is rung after commit. FileTooLarge or StorageFull past the plan's limits.

    One for a batch is ready at once: the batch checks its lines.
    """
    check_purpose(purpose, stored.bytes)
    file = File(
        project_id=project_id,
        filename=clean_filename(filename),
        purpose=purpose,
        bytes=stored.bytes,
        sha256=stored.sha256,
        storage_key=stored.key,
        expires_at=now() + timedelta(seconds=keep_seconds) if keep_seconds else None,
    )
    file.tenant_id = current_tenant_id()
    if stored.bytes == 0:
        raise BadRequest("The file is empty. Upload a file with at least one row.", param="file", code="empty_file")
    tenant_turn()
    room_for(file.tenant_id).check(stored.bytes)
    if purpose == Purpose.BATCH:
        file.status, file.processed_at = File.Status.PROCESSED, now()
    file.save(force_insert=True)
    audit.record(action="file.created", target=file, after={"bytes": file.bytes, "sha256": file.sha256})
    if file.status == File.Status.UPLOADED:
        _ring(file)
    return file


def file_keep_result(
    *, project_id: UUID, filename: str, stored: Stored, purpose: str = RESULTS, keep_seconds: int | None = None
) -> File:
    """A file that a job or a batch wrote for the tenant: there to be downloaded, not to be checked, and taken in
    whatever the plan has room for."""
    file: File = File.objects.create(
        project_id=project_id,
        filename=clean_filename(filename),
        purpose=purpose,
        expires_at=now() + timedelta(seconds=keep_seconds) if keep_seconds else None,
        bytes=stored.bytes,
        sha256=stored.sha256,
        storage_key=stored.key,
        status=File.Status.PROCESSED,
        processed_at=now(),
    )
    return file


def _ring(file: File) -> None:
    outbox.ring("data.file_process", str(file.tenant_id), str(file.id), queue="ingest")


def file_map_columns(*, file: File, mapping: dict[str, str]) -> File:
    """Choose columns by hand ({} returns to the guesses) and check the file again under them."""
    if file.purpose == Purpose.BATCH or file.purpose in WRITTEN:
        raise InvalidColumns("The file is not for training: it has no columns to choose.", param="columns")
    if file.status == File.Status.UPLOADED:
        raise FileNotReady("The file is still being checked. Try again when its status is processed.")
    _check_mapping(file, mapping)
    before = file.mapping
    file.mapping, file.status, file.attempts = mapping, File.Status.UPLOADED, 0
    file.save(update_fields=["mapping", "status", "attempts"])
    audit.record(action="file.columns_changed", target=file, before={"columns": before}, after={"columns": mapping})
    _ring(file)
    return file


def _check_mapping(file: File, mapping: dict[str, str]) -> None:
    known = [guess["column"] for guess in file.columns]
    for role, column in mapping.items():
        if role not in ROLES:
            raise InvalidColumns(f"“{role[:40]}” is not a column role.", param="columns")
        if column not in known:
            raise InvalidColumns(
                f"There is no column “{column[:80]}”. The file has: {', '.join(known[:20])}.", param=f"columns.{role}"
            )
    check_once(mapping)
    task_wanted(file, mapping)


def file_preview(*, file: File, mapping: dict[str, str]) -> dict[str, Any]:
    """What a check under other columns would say (findings, levels, profile); changes nothing. InvalidColumns."""
    _check_mapping(file, mapping)
    request = _request("", file) | {"mapping": mapping}
    try:
        with storage.local_path(file.storage_key) as path:
            return reader.run("data.examine", request | {"path": str(path)})
    except reader.ReaderDied as died:
        raise InvalidColumns(f"The file could not be read under these columns: {died}.", param="columns") from died


def file_process(*, tenant_id: UUID, file_id: UUID) -> None:
    """Check a file and keep what was found. Safe to run twice, at once or again: only a waiting file is changed."""
    with lease.held(f"file:{file_id}") as free:
        if free:
            _process(tenant_id, file_id)


def _process(tenant_id: UUID, file_id: UUID) -> None:
    with tenant_scope(tenant_id):
        file = File.objects.filter(pk=file_id, deleted_at=None, status=File.Status.UPLOADED).first()
        if file is None:
            return
        file.attempts += 1
        file.save(update_fields=["attempts"])
    try:
        with storage.local_path(file.storage_key) as path:
            answer = reader.run("data.examine", _request(str(path), file))
    except FileNotFoundError:
        _give_up(file, "Its bytes are gone from storage.")
    except reader.ReaderDied as died:
        logger.warning("reader of %s died: %s", file.public_id, died)
        if died.file_fault or file.attempts >= MAX_ATTEMPTS:
            _give_up(file, f"The file could not be read: {died if died.file_fault else 'its reader failed'}.")
    else:
        _keep(file, answer)


def _request(path: str, file: File) -> dict[str, Any]:
    tokenizer = tokenizer_path()
    return {
        "path": path,
        "mapping": file.mapping or None,
        "rules": {"max_labels": MAX_LABELS, "max_length": MAX_LENGTH},
        "tokenizer": str(tokenizer) if tokenizer else None,
    }


def _give_up(file: File, message: str) -> None:
    with tenant_scope(file.tenant_id):
        File.objects.filter(pk=file.pk, status=File.Status.UPLOADED).update(
            status=File.Status.ERROR, status_details=message, processed_at=now()
        )


def _keep(file: File, answer: dict[str, Any]) -> None:
    """Write the examination in one transaction, if the file still waits for it."""
    fatal = answer["fatal"]
    with tenant_scope(file.tenant_id), transaction.atomic():
        waiting = File.objects.select_for_update().filter(pk=file.pk, status=File.Status.UPLOADED, deleted_at=None)
        locked = waiting.first()
        if locked is None or locked.mapping != file.mapping:
            return
        locked.status = File.Status.ERROR if fatal else File.Status.PROCESSED
        locked.status_details = _details(answer)
        locked.task = answer["task"] or ""
        locked.rows = answer["rows"]
        locked.levels, locked.source = answer["levels"], answer["source"]
        locked.columns, locked.profile = answer["columns"], answer["profile"]
        locked.processed_at = now()
        locked.save()
        Finding.objects.filter(file=file).delete()
        Finding.objects.bulk_create(
            Finding(
                tenant_id=file.tenant_id,
                file_id=file.pk,
                position=position,
                code=found["code"],
                key=found["key"][:300],
                level=found["level"],
                count=found["count"],
                rows=found["rows"],
                samples=found["samples"][:MAX_SAMPLES],
                params=found["params"],
            )
            for position, found in enumerate(answer["findings"])
        )


def _details(answer: dict[str, Any]) -> str:
    """One sentence for `status_details`: why it failed, or how many problems block training."""
    if answer["fatal"]:
        return f"{answer['fatal']['message']} {answer['fatal']['hint']}"
    blocking = [found for found in answer["findings"] if found["level"] == "blocking"]
    if not blocking:
        return ""
    more = f" (and {len(blocking) - 1} more)" if len(blocking) > 1 else ""
    return f"{blocking[0]['message']} {blocking[0]['hint']}{more}"
