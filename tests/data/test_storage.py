"""What is measured: files and ready versions that were not deleted, of organisations that are not closed."""

from __future__ import annotations

import datetime as dt

from billing.models import UsageEvent
from data.limits import room_for
from data.selectors import stored_bytes
from data.services import file_delete
from data.services.storage import storage_measure
from kit.clock import now
from tenants.access import PERMISSIONS, AuthContext
from tenants.models import Role
from tenants.scope import tenant_scope
from tenants.services.organisations import tenant_close
from tests.conftest import Cast, Person
from tests.console.things import made_file, made_version


def measured(person: Person) -> list[int]:
    with tenant_scope(person.tenant.id):
        return list(UsageEvent.objects.filter(kind="storage").values_list("byte_hours", flat=True))


def test_files_and_versions_count_until_they_are_deleted(cast: Cast) -> None:
    ada = cast.owner
    file, version = made_file(ada), made_version(ada)
    with tenant_scope(ada.tenant.id):
        both = stored_bytes()
    assert both == {ada.project.id: room_for(ada.tenant.id).used_bytes}
    assert storage_measure() > 0
    assert measured(ada) == [both[ada.project.id]]
    with tenant_scope(ada.tenant.id):
        file_delete(file=file)
        assert stored_bytes() == {ada.project.id: both[ada.project.id] - file.bytes}
        type(version.dataset).objects.filter(pk=version.dataset_id).update(deleted_at=now())
        assert sum(stored_bytes().values()) < both[ada.project.id] - file.bytes


def test_a_second_look_in_an_hour_changes_nothing_and_the_next_hour_counts_anew(cast: Cast) -> None:
    made_file(cast.owner)
    storage_measure()
    storage_measure()
    assert len(measured(cast.owner)) == 1
    storage_measure(at=now() + dt.timedelta(hours=1))
    assert len(measured(cast.owner)) == 2
    assert measured(cast.stranger) == []


def test_a_closed_organisation_is_measured_no_more(cast: Cast) -> None:
    ada = cast.owner
    made_file(ada)
    context = AuthContext(
        tenant_id=ada.tenant.id,
        tenant_slug=ada.tenant.slug,
        project_id=ada.project.id,
        actor_kind="user",
        actor_id=str(ada.user.pk),
        actor_label=ada.user.email,
        scopes=PERMISSIONS[Role.OWNER],
        role=Role.OWNER,
    )
    with tenant_scope(ada.tenant.id):
        tenant_close(tenant=ada.tenant, confirm_name=ada.tenant.name, by=context)
    storage_measure()
    assert measured(ada) == []
