"""Deleting files and datasets so that it can be undone for thirty days, and erasing them for good after.

What is deleted is out of every list at once, counts against no limit and costs nothing. Its bytes and findings are kept
until it is erased: after thirty days, when somebody asks for it, or earlier when what an organisation has deleted
exceeds the storage of its plan; then the longest deleted goes first. A file with an expiry of its own is erased then.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar
from uuid import UUID

from django.db.models import Q, QuerySet, Sum

from data.errors import DatasetInUse, FileInUse, NotDeleted
from data.kept import restorable, restorable_files, restorable_since
from data.limits import room_for
from data.models import ERASABLE, Dataset, DatasetVersion, File, Finding
from kit import outbox
from kit.clock import now
from tenants import audit
from tenants.scope import current_tenant_id, ops_scope, tenant_scope
from tenants.services.organisations import tenant_turn

BATCH = 200
Row = TypeVar("Row", File, Dataset)

_holders: list[Callable[[Sequence[UUID]], bool]] = []
_readers: list[Callable[[Sequence[UUID]], bool]] = []


def hold_versions(check: Callable[[Sequence[UUID]], bool]) -> None:
    """Let a room above say whether it still needs the bytes of any of these dataset versions."""
    _holders.append(check)


def hold_files(check: Callable[[Sequence[UUID]], bool]) -> None:
    """Let a room above say whether it still reads the bytes of any of these files: they can be deleted meanwhile, but
    not erased."""
    _readers.append(check)


def file_delete(*, file: File) -> None:
    """Take a file out of the lists; `file_restore` brings it back. Versions made from it stay.

    FileInUse while a version is being written from it.
    """
    _check_unread(file)
    File.objects.filter(pk=file.pk).update(deleted_at=now())
    audit.record(action="file.deleted", target=file)
    _make_room()


def file_restore(*, file: File) -> File:
    """Bring a deleted file back. NotDeleted if it is not there to be brought back; StorageFull past the plan."""
    tenant_turn()
    found: File | None = File.objects.select_for_update().filter(restorable_files(), pk=file.pk).first()
    if found is None:
        raise NotDeleted("This file is not deleted, or its bytes were erased already.")
    room_for(found.tenant_id).check_left(found.bytes)
    File.objects.filter(pk=found.pk).update(deleted_at=None)
    audit.record(action="file.restored", target=found)
    return found


def file_erase(*, file: File) -> None:
    """Remove a file's findings now and its bytes after commit, whether it was deleted before or not. FileInUse."""
    _check_unread(file)
    if any(reads([file.pk]) for reads in _readers):
        raise FileInUse("A batch still reads this file. Cancel it, or try again when it has ended.")
    moment = now()
    File.objects.filter(pk=file.pk, deleted_at=None).update(deleted_at=moment)
    if not File.objects.filter(pk=file.pk, erased_at=None).update(erased_at=moment):
        return
    Finding.objects.filter(file=file).delete()
    audit.record(action="file.erased", target=file)
    _erase_bytes([file.storage_key])


def dataset_delete(*, dataset: Dataset) -> None:
    """Take a dataset out of the lists; `dataset_restore` brings it back. Models made from it keep their lineage."""
    Dataset.objects.filter(pk=dataset.pk).update(deleted_at=now())
    audit.record(action="dataset.deleted", target=dataset)
    _make_room()


def dataset_restore(*, dataset: Dataset) -> Dataset:
    """Bring a deleted dataset back with its versions. NotDeleted; StorageFull past the plan."""
    tenant_turn()
    found: Dataset | None = Dataset.objects.select_for_update().filter(restorable(), pk=dataset.pk).first()
    if found is None:
        raise NotDeleted("This dataset is not deleted, or its rows were erased already.")
    room_for(found.tenant_id).check_left(_bytes_of(DatasetVersion.objects.filter(dataset=found)))
    Dataset.objects.filter(pk=found.pk).update(deleted_at=None)
    audit.record(action="dataset.restored", target=found)
    return found


def dataset_erase(*, dataset: Dataset) -> None:
    """Remove the rows of all versions of a deleted dataset after commit; hashes and lineage stay.

    DatasetInUse while a version is being written or something above needs one; NotDeleted if it is not deleted.
    """
    if not Dataset.objects.filter(ERASABLE, pk=dataset.pk).exists():
        raise NotDeleted("This dataset is not deleted, or its rows were erased already.")
    versions = list(DatasetVersion.objects.filter(dataset=dataset))
    building = any(version.state == DatasetVersion.State.BUILDING for version in versions)
    if building or any(needs([version.pk for version in versions]) for needs in _holders):
        raise DatasetInUse("A version is being written, or a job trains on it. Try again when it has ended.")
    Dataset.objects.filter(ERASABLE, pk=dataset.pk).update(erased_at=now())
    audit.record(action="dataset.erased", target=dataset)
    _erase_bytes(version.storage_key for version in versions if version.storage_key)


def deleted_purge() -> int:
    """Erase what was deleted thirty days ago, and what was deleted and has reached its own expiry; how many."""
    long_ago = Q(deleted_at__lte=restorable_since())
    expired = Q(deleted_at__isnull=False, expires_at__lt=now())
    return _erase_all(File, long_ago | expired, _try_file) + _erase_all(Dataset, long_ago, _try_dataset)


def expired_erase() -> int:
    """Erase files that nobody deleted and that have reached their own expiry; how many."""
    return _erase_all(File, Q(deleted_at=None, expires_at__lt=now()), _try_file)


def _erase_all(model: type[Row], wanted: Q, try_one: Callable[[Row], bool]) -> int:
    """A batch of every tenant's; each is looked at again in its own scope, since it may have been brought back."""
    wanted &= Q(erased_at=None)
    with ops_scope("find what is to be erased"):
        found = list(model.ops.filter(wanted).values_list("tenant_id", "pk")[:BATCH])
    done = 0
    for tenant_id, pk in found:
        with tenant_scope(tenant_id):
            row = model.objects.filter(wanted, pk=pk).first()
            done += row is not None and try_one(row)
    return done


def _check_unread(file: File) -> None:
    """FileInUse while a version is made from it. The lock lets deleting and making take turns: a version that is not
    committed yet is waited for, and one that comes later finds the file gone."""
    File.objects.select_for_update(no_key=True).get(pk=file.pk)
    if DatasetVersion.objects.filter(sources__file=file, state=DatasetVersion.State.BUILDING).exists():
        raise FileInUse("A dataset version is being written from this file. Try again in a minute.")


def _erase_bytes(keys: Iterable[str]) -> None:
    for key in keys:
        outbox.ring("data.bytes_erase", str(current_tenant_id()), key)


def _bytes_of(rows: QuerySet[File] | QuerySet[DatasetVersion]) -> int:
    return int(rows.aggregate(total=Sum("bytes"))["total"] or 0)


def _make_room() -> None:
    """Erase the longest deleted while what is kept for undoing exceeds the plan's storage, a batch at most."""
    files, datasets = File.objects.filter(restorable()), Dataset.objects.filter(restorable())
    versions = DatasetVersion.objects.filter(dataset__in=datasets)
    over = _bytes_of(files) + _bytes_of(versions) - room_for(current_tenant_id()).storage_bytes
    if over <= 0:
        return
    sizes = dict(versions.order_by().values_list("dataset").annotate(total=Sum("bytes")))
    order = ("deleted_at", "pk")
    oldest: list[File | Dataset] = [*files.order_by(*order)[:BATCH], *datasets.order_by(*order)[:BATCH]]
    for one in sorted(oldest, key=lambda one: (one.deleted_at or now(), one.pk))[:BATCH]:
        if over <= 0:
            return
        size = one.bytes if isinstance(one, File) else int(sizes.get(one.pk) or 0)
        if _try_file(one) if isinstance(one, File) else _try_dataset(one):
            over -= size


def _try_file(file: File) -> bool:
    """Erase it unless it is being read; the next sweep tries again."""
    try:
        file_erase(file=file)
    except FileInUse:
        return False
    return True


def _try_dataset(dataset: Dataset) -> bool:
    try:
        dataset_erase(dataset=dataset)
    except (DatasetInUse, NotDeleted):
        return False
    return True
