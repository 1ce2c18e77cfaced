"""Reading batches of the scope's tenant."""

import json
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet, Sum

from batches.endpoints import endpoints
from batches.models import CALLING, OPEN, Batch, Segment
from data.models import File
from kit import storage
from kit.errors import ApiError, NotFound
from kit.ids import parse_id

FIRST_LINE = 64 * 1024
"""Bytes of a file in which its first line is looked for, to say what it calls."""


def batches(project_id: UUID) -> "QuerySet[Batch]":
    """A project's batches."""
    found: QuerySet[Batch] = Batch.objects.filter(project_id=project_id).select_related(
        "input_file", "output_file", "error_file"
    )
    return found


def batch_get(project_id: UUID, public_id: object) -> Batch:
    """One batch by its public id; NotFound for anybody else's."""
    found = batches(project_id).filter(pk=parse_id(Batch.prefix, public_id)).first()
    if found is None:
        raise NotFound.of(public_id)
    return found


def endpoint_in(file: File) -> str:
    """The path that a file's first line calls; empty where that cannot be read or no batch may call it."""
    try:
        start = next(storage.read_chunks(file.storage_key, FIRST_LINE), b"")
        line = json.loads(start.partition(b"\n")[0])
    except (OSError, ValueError, RecursionError, ApiError):
        return ""
    url = line.get("url") if isinstance(line, dict) else None
    return url if isinstance(url, str) and url in endpoints() else ""


def any_reads(file_ids: Sequence[UUID]) -> bool:
    """Whether an open batch still reads one of these files."""
    return bool(Batch.objects.filter(input_file__in=list(file_ids), state__in=OPEN).exists())


def any_calls(project_id: UUID, names: Collection[str]) -> bool:
    """Whether an open batch of the project has lines for one of these names; of one that is still being checked nobody
    knows yet, so it may."""
    named = Q(model__in=list(names)) | Q(model="")
    return bool(Batch.objects.filter(named, project_id=project_id, state__in=CALLING).exists())


def open_count() -> int:
    """Open batches of the organisation."""
    return int(Batch.objects.filter(state__in=OPEN).count())


def waiting_tokens(model: str) -> int:
    """About how many tokens wait for a model in all open batches of the organisation."""
    waiting = Batch.objects.filter(model=model, state__in=OPEN)
    return int(waiting.aggregate(total=Sum("waiting_tokens"))["total"] or 0)


def lines_done(batch_id: UUID) -> set[int]:
    """The lines that have a result."""
    done: set[int] = set()
    for ranges in Segment.objects.filter(batch_id=batch_id).values_list("lines", flat=True):
        for first, last in ranges:
            done.update(range(first, last + 1))
    return done


def segments(batch_id: UUID, kind: str) -> list[Segment]:
    """The pieces of one of its files, in the order they were written."""
    return list(Segment.objects.filter(batch_id=batch_id, kind=kind).order_by("created_at", "pk"))


def file_names(batch: Batch) -> dict[str, Any]:
    """Which files it reads and wrote, by their public ids."""
    files = {"input_file_id": batch.input_file, "output_file_id": batch.output_file, "error_file_id": batch.error_file}
    return {name: file.public_id if file is not None else None for name, file in files.items()}
