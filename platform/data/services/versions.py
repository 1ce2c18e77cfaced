"""Writing a dataset version: the slow part, in a process of its own, published by one conditional update."""

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import transaction

from data import lease, reader
from data.columns import CLASSIFICATION
from data.errors import InvalidFile
from data.limits import MAX_LABELS, MAX_LENGTH, tokenizer_path
from data.models import DatasetVersion, File
from data.services.datasets import job_spec
from kit import storage
from kit.clock import now
from kit.ids import new_id
from tenants.scope import tenant_scope

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3


def version_write(*, tenant_id: UUID, version_id: UUID) -> None:
    """Write a version's Parquet file. Safe to run twice, at once or again: only a building version is changed."""
    with lease.held(f"version:{version_id}") as free:
        if free:
            _build(tenant_id, version_id)


def _build(tenant_id: UUID, version_id: UUID) -> None:
    with tenant_scope(tenant_id):
        rows = DatasetVersion.objects.filter(pk=version_id, state=DatasetVersion.State.BUILDING)
        version = rows.select_related("dataset").first()
        if version is None:
            return
        version.attempts += 1
        version.save(update_fields=["attempts"])
        sources = list(version.sources.select_related("file").order_by("position"))
    try:
        with tempfile.TemporaryDirectory(prefix="version-") as folder:
            target = Path(folder) / "version.parquet"
            answer = _write(version.spec, [(source.file, source.split) for source in sources], target)
            if "refused" in answer:
                _fail(version, **answer["refused"])
            else:
                _publish(version, answer["written"], target)
    except FileNotFoundError:
        _fail(version, code="file_gone", message="The bytes of a file of this version are gone from storage.")
    except reader.ReaderDied as died:
        logger.warning("writer of %s died: %s", version.public_id, died)
        if died.file_fault or version.attempts >= MAX_ATTEMPTS:
            _fail(version, code="internal", message="The version could not be written. Try again or write to support.")


@contextlib.contextmanager
def version_draft(
    *, training_file: File, validation_file: File | None, columns: Mapping[str, str] | None, task: str
) -> Iterator[Path]:
    """The Parquet file that a job on these files would train on, for the time being: no row says that it was there.

    Takes as long as writing the version. InvalidFile where there is nothing sound to write.
    """
    sources, _, spec = job_spec(training_file, validation_file, columns, task)
    with tempfile.TemporaryDirectory(prefix="draft-") as folder:
        target = Path(folder) / "draft.parquet"
        try:
            answer = _write(spec, [(source.file, source.split) for source in sources], target)
        except reader.ReaderDied as died:
            raise InvalidFile(f"The file could not be read: {died}.", param="training_file") from died
        if "refused" in answer:
            raise InvalidFile(answer["refused"]["message"], param="training_file")
        yield target


def _write(spec: dict[str, Any], sources: Sequence[tuple[File, str]], target: Path) -> dict[str, Any]:
    tokenizer = tokenizer_path()
    with contextlib.ExitStack() as stack:
        parts = [
            {
                "path": str(stack.enter_context(storage.local_path(file.storage_key))),
                "columns": described["columns"],
                "split": split,
            }
            for (file, split), described in zip(sources, spec["files"], strict=True)
        ]
        request = {
            "parts": parts,
            "target": str(target),
            "task": spec.get("task", CLASSIFICATION),
            "fixes": spec["fixes"],
            "seed": spec["seed"],
            "fractions": spec["split"],
            "rules": {"max_labels": MAX_LABELS, "max_length": MAX_LENGTH},
            "tokenizer": str(tokenizer) if tokenizer else None,
        }
        return reader.run("data.writer", request)


def _fail(version: DatasetVersion, *, code: str, message: str) -> None:
    with tenant_scope(version.tenant_id):
        DatasetVersion.objects.filter(pk=version.pk, state=DatasetVersion.State.BUILDING).update(
            state=DatasetVersion.State.FAILED, error={"code": code, "message": message}
        )


def _publish(version: DatasetVersion, written: dict[str, Any], target: Path) -> None:
    """Store the file under a key of its own, then let the row point at it; the loser of a race cleans up."""
    key = storage.tenant_key(version.tenant_id, "datasets", new_id())
    size, _ = storage.write_path(key, target)
    published = 0
    try:
        with tenant_scope(version.tenant_id), transaction.atomic():
            building = DatasetVersion.objects.filter(pk=version.pk, state=DatasetVersion.State.BUILDING)
            published = building.update(
                state=DatasetVersion.State.READY,
                rows=written["rows"],
                bytes=size,
                content_sha256=written["content_sha256"],
                storage_key=key,
                labels=written["labels"],
                splits=written["splits"],
                dropped=written["dropped"],
                tokens=written["tokens"],
                profile=written["profile"],
                ready_at=now(),
            )
    finally:
        if not published:
            storage.delete(key)
