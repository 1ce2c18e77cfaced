"""What is deleted can be brought back for thirty days, costs nothing meanwhile, and is erased after."""

import datetime as dt
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from billing.services.entitlements import override_set
from data import kept, selectors
from data.errors import DatasetInUse, FileInUse, NotDeleted, StorageFull
from data.limits import room_for
from data.models import Dataset, DatasetVersion, File, Finding
from data.selectors import stored_bytes
from data.services import (
    dataset_create,
    dataset_delete,
    dataset_erase,
    dataset_restore,
    file_delete,
    file_erase,
    file_restore,
)
from data.services.datasets import Source
from data.services.deletion import deleted_purge
from data.tasks import erase, sweep
from kit import storage
from kit.clock import now
from kit.errors import ApiError, BadRequest, NotFound
from tenants.models import AuditEvent
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Cast, Person, make_person
from tests.console.things import made_job, made_version
from tests.data.making import checked_file
from tests.data.test_datasets import DIRTY


def erased(person: Person, *keys: str) -> bool:
    """Whether the task that erases bytes takes these away: it leaves what something still points at."""
    for key in keys:
        erase.run(str(person.tenant.id), key)
    return not any(storage.exists(key) for key in keys)


def aged(row: Any, days: float) -> None:
    """Make a row's deletion some days older."""
    with ops_scope("a test turns the clock"):
        type(row).ops.filter(pk=row.pk).update(deleted_at=now() - dt.timedelta(days=days))


class Aside:
    """Work in the person's scope on another thread, which has to wait for this one's transaction."""

    def __init__(self, work: Callable[[], object], person: Person) -> None:
        self.work, self.person = work, person
        self.ended: object = None
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        try:
            with tenant_scope(self.person.tenant.id):
                self.ended = self.work()
        except ApiError as error:
            self.ended = error
        finally:
            connections.close_all()

    def start_and_wait_for_the_lock(self) -> None:
        self.thread.start()
        deadline = time.monotonic() + 20
        with connections["ops"].cursor() as cursor:
            while True:
                cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
                if cursor.fetchone()[0]:
                    return
                assert self.thread.is_alive() and time.monotonic() < deadline, "it waited for nothing"
                time.sleep(0.02)

    def outcome(self) -> object:
        self.thread.join(20)
        return self.ended


def actions(person: Person) -> list[str]:
    return list(AuditEvent.objects.order_by("id").values_list("action", flat=True))


def test_a_deleted_file_is_gone_from_the_lists_and_comes_back_as_it_was(cast: Cast) -> None:
    ada = cast.owner
    file = checked_file(ada, DIRTY)
    with tenant_scope(ada.tenant.id):
        found = Finding.objects.filter(file=file).count()
        file_delete(file=file)
        with pytest.raises(NotFound):
            selectors.file_get(ada.project.id, file.public_id)
        assert [one["name"] for one in selectors.deleted(ada.project.id)] == [file.filename]
        file_restore(file=file)
        assert selectors.file_get(ada.project.id, file.public_id).bytes == file.bytes
        assert Finding.objects.filter(file=file).count() == found > 0
        assert not selectors.deleted(ada.project.id)
        assert actions(ada)[-2:] == ["file.deleted", "file.restored"]
        with pytest.raises(NotDeleted):
            file_restore(file=file)


def test_a_deleted_dataset_comes_back_with_its_rows(cast: Cast) -> None:
    ada = cast.owner
    version = made_version(ada)
    with tenant_scope(ada.tenant.id):
        dataset_delete(dataset=version.dataset)
        with pytest.raises(NotFound):
            selectors.version_get(ada.project.id, version.public_id)
        (listed,) = selectors.deleted(ada.project.id)
        assert (listed["kind"], listed["size"]) == ("dataset", version.bytes)
        dataset_restore(dataset=version.dataset)
        assert selectors.version_rows(selectors.version_get(ada.project.id, version.public_id)).rows
        assert actions(ada)[-2:] == ["dataset.deleted", "dataset.restored"]


def storage_limit(size: int) -> None:
    """Give the scope's tenant a storage of so many bytes."""
    override_set(reason="a test", created_by="Grace", limits={"storage_bytes": size})


def test_what_is_deleted_counts_against_nothing_and_must_fit_to_come_back(cast: Cast) -> None:
    ada = cast.owner
    file, version = checked_file(ada), made_version(ada)
    with tenant_scope(ada.tenant.id):
        source = File.objects.exclude(pk=file.pk).get()
        file_delete(file=file)
        dataset_delete(dataset=version.dataset)
        assert room_for(ada.tenant.id).used_bytes == source.bytes == stored_bytes()[ada.project.id]
        storage_limit(source.bytes + version.bytes + file.bytes - 1)
        file_restore(file=file)
        with pytest.raises(StorageFull):
            dataset_restore(dataset=version.dataset)
        assert Dataset.objects.get(pk=version.dataset_id).deleted_at is not None


def test_more_than_the_plans_storage_is_not_kept_the_longest_deleted_goes_first(cast: Cast) -> None:
    ada = cast.owner
    old, new = checked_file(ada, name="old.csv"), checked_file(ada, name="new.csv")
    with tenant_scope(ada.tenant.id):
        file_delete(file=old)
        storage_limit(new.bytes)
        file_delete(file=new)
        assert [one["name"] for one in selectors.deleted(ada.project.id)] == ["new.csv"]
        assert actions(ada)[-1] == "file.erased"
    assert erased(ada, old.storage_key) and not erased(ada, new.storage_key)


def test_after_thirty_days_it_is_erased_and_cannot_come_back(cast: Cast) -> None:
    ada = cast.owner
    file, version = checked_file(ada), made_version(ada)
    with tenant_scope(ada.tenant.id):
        file_delete(file=file)
        dataset_delete(dataset=version.dataset)
    aged(file, kept.DAYS - 1)
    aged(version.dataset, kept.DAYS - 1)
    assert deleted_purge() == 0
    aged(file, kept.DAYS + 1)
    aged(version.dataset, kept.DAYS + 1)
    assert not erased(ada, file.storage_key) and not erased(ada, version.storage_key)
    assert deleted_purge() == 2
    assert erased(ada, file.storage_key, version.storage_key)
    assert deleted_purge() == 0
    with tenant_scope(ada.tenant.id):
        assert not Finding.objects.filter(file=file).exists()
        assert DatasetVersion.objects.get(pk=version.pk).content_sha256 == version.content_sha256
        with pytest.raises(NotDeleted):
            file_restore(file=file)
        with pytest.raises(NotDeleted):
            dataset_restore(dataset=version.dataset)


def test_erasing_takes_the_bytes_at_once_but_not_from_under_a_job(cast: Cast) -> None:
    ada = cast.owner
    version = made_version(ada)
    job = made_job(ada, state="queued", dataset_version_id=version.pk)
    with tenant_scope(ada.tenant.id):
        with pytest.raises(NotDeleted):
            dataset_erase(dataset=version.dataset)
        dataset_delete(dataset=version.dataset)
        with pytest.raises(DatasetInUse):
            dataset_erase(dataset=version.dataset)
        type(job).objects.filter(pk=job.pk).update(state="cancelled", finished_at=now())
        dataset_erase(dataset=version.dataset)
    assert erased(ada, version.storage_key)


def test_a_file_being_read_for_a_version_is_neither_deleted_nor_erased(cast: Cast) -> None:
    ada = cast.owner
    version = made_version(ada, ready=False)
    with tenant_scope(ada.tenant.id):
        file = version.sources.get().file
        for take in (file_delete, file_erase):
            with pytest.raises(FileInUse):
                take(file=file)


def test_erasing_a_file_and_making_a_version_of_it_take_turns_whoever_comes_first(cast: Cast) -> None:
    ada = cast.owner
    first, second = checked_file(ada), checked_file(ada)

    def make(file: File) -> object:
        return dataset_create(project_id=ada.project.id, name="made", sources=[Source(file)])

    erasing = Aside(lambda: file_erase(file=first), ada)
    with tenant_scope(ada.tenant.id):
        make(first)
        erasing.start_and_wait_for_the_lock()
    assert isinstance(erasing.outcome(), FileInUse)
    making = Aside(lambda: make(second), ada)
    with tenant_scope(ada.tenant.id):
        file_erase(file=second)
        making.start_and_wait_for_the_lock()
    refused = making.outcome()
    assert isinstance(refused, BadRequest) and "was deleted meanwhile" in refused.message
    assert erased(ada, second.storage_key), "nothing holds its bytes"
    assert not erased(ada, first.storage_key)


def test_a_file_past_its_own_expiry_is_erased_without_a_way_back(cast: Cast) -> None:
    ada = cast.owner
    files = [checked_file(ada, name="a.csv"), checked_file(ada, name="b.csv")]
    with tenant_scope(ada.tenant.id):
        file_delete(file=files[0])
        File.objects.update(expires_at=now() - dt.timedelta(minutes=1))
        assert not selectors.deleted(ada.project.id)
    sweep.run()
    assert deleted_purge() == 1
    assert erased(ada, *(file.storage_key for file in files))


def test_the_message_offers_undo_and_the_list_brings_back_or_erases(cast: Cast) -> None:
    ada = cast.owner
    file = checked_file(ada, name="tickets.csv")
    home = f"{ada.workspace}/files/{file.public_id}"
    page = ada.browser.post(f"{home}/delete", follow=True).content.decode()
    assert "tickets.csv was deleted." in page and f'action="{home}/restore"' in page
    assert "1 deleted file or dataset can be brought back" in page
    assert "tickets.csv is back." in ada.browser.post(f"{home}/restore", follow=True).content.decode()
    assert ada.browser.post(f"{home}/restore").status_code == 302
    assert ada.browser.post(f"{home}/erase").status_code == 404
    ada.browser.post(f"{home}/delete")
    listed = ada.browser.get(f"{ada.workspace}/datasets/deleted").content.decode()
    assert "Erase tickets.csv?" in listed and "Restore" in listed
    with tenant_scope(ada.tenant.id):
        expires = now() + dt.timedelta(days=2)
        File.objects.filter(pk=file.pk).update(expires_at=expires)
    listed = ada.browser.get(f"{ada.workspace}/datasets/deleted").content.decode()
    assert expires.isoformat(timespec="seconds")[:16] in listed, "a file's own expiry comes before the thirty days"
    ada.browser.post(f"{home}/erase")
    assert "Nothing was deleted." in ada.browser.get(f"{ada.workspace}/datasets/deleted").content.decode()
    assert erased(ada, file.storage_key)


def test_a_viewer_sees_what_was_deleted_and_cannot_bring_it_back(cast: Cast) -> None:
    file = checked_file(cast.owner, name="tickets.csv")
    with tenant_scope(cast.owner.tenant.id):
        file_delete(file=file)
    viewer = make_person("vera", beside=cast.owner, role="viewer")
    listed = viewer.browser.get(f"{cast.owner.workspace}/datasets/deleted").content.decode()
    assert "tickets.csv" in listed and "Restore" not in listed
    assert viewer.browser.post(f"{cast.owner.workspace}/files/{file.public_id}/restore").status_code == 403
