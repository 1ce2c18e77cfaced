"""What reads the room's tables and files, for pages, the API and other rooms. All inside the caller's scope."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID

from django.db.models import CharField, DateTimeField, F, OuterRef, Q, QuerySet, Subquery, Sum, Value

from data.checks.classification import Rules
from data.errors import VersionNotReady
from data.example import Reject
from data.findings import Collector
from data.fixes import NO_CHANGE
from data.formats import Options, open_source
from data.kept import restorable, restorable_files
from data.models import Dataset, DatasetVersion, File, Finding, Purpose, Upload, VersionSource
from data.roles import columns_of
from data.rows import EVERYTHING, RowFilter, VersionFile
from data.shapes import shape_of
from data.writer import Part, open_part
from kit import storage
from kit.errors import NotFound
from kit.ids import parse_id

MAX_ROWS = 200


def files(project_id: UUID, *, purpose: str | None = None) -> QuerySet[File]:
    """A project's files, deleted ones left out."""
    found = File.objects.filter(project_id=project_id, deleted_at=None)
    return found.filter(purpose=purpose) if purpose else found


def file_get(project_id: UUID, public_id: object, *, param: str | None = None) -> File:
    """One file by its public id; NotFound for unknown, foreign and deleted ones alike."""
    file = files(project_id).filter(pk=parse_id(File.prefix, public_id, param=param)).first()
    if file is None:
        raise NotFound.of(public_id, param=param)
    return file


def files_unused(project_id: UUID) -> QuerySet[File]:
    """Files for training that are in no version of a dataset that still is there, newest first."""
    used = DatasetVersion.objects.filter(project_id=project_id, dataset__deleted_at=None).values("sources__file")
    return files(project_id, purpose=Purpose.FINE_TUNE).exclude(pk__in=used).order_by("-pk")


def file_by_id(file_id: UUID | None) -> File | None:
    """A file that was not deleted, by its key."""
    found: File | None = File.objects.filter(pk=file_id, deleted_at=None).first()
    return found


def files_used(files: Iterable[File]) -> set[UUID]:
    """Which of the files a dataset version was made from, by their keys."""
    wanted = [file.pk for file in files]
    return set(VersionSource.objects.filter(file__in=wanted).values_list("file_id", flat=True)) if wanted else set()


def file_kept(project_id: UUID, public_id: object, *, deleted: bool = False) -> File:
    """One file that is there or can be brought back, or only the latter; NotFound for the others."""
    kept = restorable_files() if deleted else restorable_files() | Q(deleted_at=None)
    file = File.objects.filter(kept, project_id=project_id, pk=parse_id(File.prefix, public_id)).first()
    if file is None:
        raise NotFound.of(public_id)
    return file


def findings(file: File, *, level: str | None = None) -> QuerySet[Finding]:
    """A file's findings, the most important first."""
    found = Finding.objects.filter(file=file).order_by("position")
    return found.filter(level=level) if level else found


def stored_bytes() -> dict[UUID, int]:
    """Bytes each project of the scope's tenant keeps: files, and versions of datasets, deleted ones left out."""
    found: dict[UUID, int] = {}
    versions = DatasetVersion.objects.filter(state=DatasetVersion.State.READY, dataset__deleted_at=None)
    for rows in (File.objects.filter(deleted_at=None), versions):
        for project_id, size in rows.order_by().values_list("project_id").annotate(total=Sum("bytes")):
            found[project_id] = found.get(project_id, 0) + int(size)
    return found


def upload_get(project_id: UUID, public_id: object) -> Upload:
    """One upload by its public id."""
    upload = Upload.objects.filter(project_id=project_id, pk=parse_id(Upload.prefix, public_id)).first()
    if upload is None:
        raise NotFound.of(public_id)
    return upload


def datasets(project_id: UUID) -> QuerySet[Dataset]:
    """A project's datasets, deleted ones left out."""
    return Dataset.objects.filter(project_id=project_id, deleted_at=None)


def dataset_get(project_id: UUID, public_id: object, *, param: str | None = None) -> Dataset:
    """One dataset by its public id."""
    dataset = datasets(project_id).filter(pk=parse_id(Dataset.prefix, public_id, param=param)).first()
    if dataset is None:
        raise NotFound.of(public_id, param=param)
    return dataset


def dataset_kept(project_id: UUID, public_id: object, *, deleted: bool = False) -> Dataset:
    """One dataset that is there or can be brought back, or only the latter; NotFound for the others."""
    kept = restorable() if deleted else restorable() | Q(deleted_at=None)
    dataset = Dataset.objects.filter(kept, project_id=project_id, pk=parse_id(Dataset.prefix, public_id)).first()
    if dataset is None:
        raise NotFound.of(public_id)
    return dataset


def deleted(project_id: UUID) -> QuerySet[File, dict[str, Any]]:
    """What can be brought back, the last deleted first: {"pk", "kind" ("file", "dataset"), "name", "size",
    "deleted_at", "expires_at"}; size in bytes."""
    names = ("pk", "kind", "name", "size", "deleted_at", "expires_at")
    gone = File.objects.filter(restorable_files(), project_id=project_id)
    gone_files = gone.annotate(kind=Value("file", CharField()), name=F("filename"), size=F("bytes")).values(*names)
    sizes = DatasetVersion.objects.filter(dataset=OuterRef("pk")).order_by().values("dataset")
    total = Subquery(sizes.annotate(total=Sum("bytes")).values("total"))
    sets = Dataset.objects.filter(restorable(), project_id=project_id)
    never = Value(None, DateTimeField())
    gone_sets = sets.annotate(kind=Value("dataset", CharField()), size=total, expires_at=never).values(*names)
    return gone_files.union(gone_sets, all=True).order_by("-deleted_at")


def versions(dataset: Dataset) -> QuerySet[DatasetVersion]:
    """A dataset's versions."""
    return DatasetVersion.objects.filter(dataset=dataset).select_related("dataset", "parent")


def versions_newest(datasets: Iterable[Dataset]) -> dict[UUID, DatasetVersion]:
    """The newest version of each dataset, by the dataset's key."""
    wanted = DatasetVersion.objects.filter(dataset__in=[dataset.pk for dataset in datasets])
    newest = wanted.order_by("dataset", "-number").distinct("dataset")
    return {version.dataset_id: version for version in newest}


def versions_ready(project_id: UUID, *, task: str) -> QuerySet[DatasetVersion]:
    """Written versions for a task, of datasets that still are there, newest first."""
    rows = DatasetVersion.objects.select_related("dataset").filter(project_id=project_id, dataset__deleted_at=None)
    return rows.filter(state=DatasetVersion.State.READY, task=task).order_by("-pk")


def version_by_id(version_id: UUID | None) -> DatasetVersion | None:
    """A version by its key, its dataset beside it, deleted or not."""
    found: DatasetVersion | None = DatasetVersion.objects.select_related("dataset").filter(pk=version_id).first()
    return found


def version_get(project_id: UUID, public_id: object, *, param: str | None = None) -> DatasetVersion:
    """One version by its public id; those of deleted datasets are gone for the tenant."""
    found = DatasetVersion.objects.filter(
        project_id=project_id, pk=parse_id(DatasetVersion.prefix, public_id, param=param), dataset__deleted_at=None
    )
    version = found.select_related("dataset", "parent").first()
    if version is None:
        raise NotFound.of(public_id, param=param)
    return version


def version_ready(version: DatasetVersion) -> DatasetVersion:
    """The version if it can be read; VersionNotReady while it is written or after it failed."""
    if version.state == DatasetVersion.State.FAILED:
        reason = (version.error or {}).get("message", "")
        raise VersionNotReady(f"The dataset version {version.public_id} could not be written. {reason}")
    if version.state != DatasetVersion.State.READY:
        raise VersionNotReady(f"The dataset version {version.public_id} is still being written. Try again in a moment.")
    return version


@dataclass(frozen=True, slots=True)
class RowPage:
    """Some rows, in order; `next_after` goes on from there, None at the end."""

    rows: list[dict[str, Any]]
    next_after: int | None


@contextmanager
def version_file(version: DatasetVersion) -> Iterator[VersionFile]:
    """A ready version's rows, open for reading; VersionNotReady while there are none."""
    version_ready(version)
    with storage.seekable(version.storage_key) as source, VersionFile(source, version.task) as rows:
        yield rows


def version_rows(version: DatasetVersion, *, after: int = 0, limit: int = 50, where: RowFilter = EVERYTHING) -> RowPage:
    """A page of a ready version: row_id over `after`, the columns of its task, split. Reads what it shows."""
    limit = min(limit, MAX_ROWS)
    with version_file(version) as rows:
        found = rows.after(where, after=after, limit=limit + 1)
    return RowPage(found[:limit], found[limit - 1]["row_id"] if len(found) > limit else None)


def file_rows(file: File, *, after: int = 0, limit: int = 50, where: RowFilter = EVERYTHING) -> RowPage:
    """A page of a file as uploaded: {"row_id", "line", "text", "label", "values"}, by the roles in force.

    Rows that no reader can use (ragged, broken JSON) are not among them; their findings show snippets.
    """
    has_header = (file.source or {}).get("has_header")
    with storage.local_path(file.storage_key) as path:
        source = open_source(path, Collector(), options=Options(has_header=has_header))
        if source is None:
            return RowPage([], None)
        roles = file.roles
        shown = (
            {
                "row_id": row.number,
                "line": row.line,
                "text": row.values.get(roles.get("text", "")),
                "label": row.values.get(roles.get("label", "")),
                "values": row.values,
            }
            for row in source.rows()
            if row.number > after
        )
        return _page((row for row in shown if where.takes(row)), limit)


def file_values(
    file: File, kind: str, *, columns: Mapping[str, str] | None = None, step: int = 1, most: int = 1000
) -> list[tuple[tuple[str | None, ...], int]]:
    """Every `step`-th usable row of a file, `most` at most, as a version of this kind of rows would hold it, each with
    its number of words. Reads the file as far as it must."""
    shape, found = shape_of(kind, Rules(), None), list[tuple[tuple[str | None, ...], int]]()
    chosen, has_header = columns_of(file, columns, task=kind), (file.source or {}).get("has_header")
    with storage.local_path(file.storage_key) as path:
        source, roles = open_part(Part(path, chosen, None, has_header), NO_CHANGE, kind, Collector())
        usable = (one for row in source.rows() if not isinstance(one := shape.read(row, roles, NO_CHANGE), Reject))
        for one in islice(usable, 0, step * most, step):
            found.append((shape.values(one), len(one.text.split())))
    return found


def rows_of_finding(file: File, code: str) -> frozenset[int]:
    """The row numbers kept for a code, over all its groups: the first thousand of each."""
    found: set[int] = set()
    if "\x00" in code:  # no code holds one, and the database would refuse the question
        return frozenset()
    for rows in Finding.objects.filter(file=file, code=code).values_list("rows", flat=True):
        found.update(rows)
    return frozenset(found)


def _page(rows: Iterator[dict[str, Any]], limit: int) -> RowPage:
    found = list(islice(rows, min(limit, MAX_ROWS) + 1))
    shown = found[: min(limit, MAX_ROWS)]
    return RowPage(shown, shown[-1]["row_id"] if len(found) > len(shown) else None)
