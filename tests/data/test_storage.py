"""What is measured: files and ready versions that were not deleted, of organisations that are not closed."""

from __future__ import annotations

import datetime as dt

from billing.models import UsageEvent
from data.limits import room_for
from data.selectors import stored_bytes
from data.services import file_delete
from data.services.storage import PARTS, storage_measure
from kit.clock import now
from tenants.access import PERMISSIONS, AuthContext
from tenants.models import Role
from tenants.scope import tenant_scope
from tenants.services.organisations import tenant_close
from tests.conftest import Cast, Person
from tests.console.things import made_file, made_version


def measure(hours: int = 0) -> int:
    """As the last tick of an hour does, by when everybody's part of it has come."""
    return storage_measure(at=now().replace(minute=55) + dt.timedelta(hours=hours))


def measured(person: Person) -> list[int]:
    with tenant_scope(person.tenant.id):
        return list(UsageEvent.objects.filter(kind="storage").values_list("byte_hours", flat=True))


def test_files_and_versions_count_until_they_are_deleted(cast: Cast) -> None:
    ada = cast.owner
    file, version = made_file(ada), made_version(ada)
    with tenant_scope(ada.tenant.id):
        both = stored_bytes()
    assert both == {ada.project.id: room_for(ada.tenant.id).used_bytes}
    assert measure() > 0
    assert measured(ada) == [both[ada.project.id]]
    with tenant_scope(ada.tenant.id):
        file_delete(file=file)
        assert stored_bytes() == {ada.project.id: both[ada.project.id] - file.bytes}
        type(version.dataset).objects.filter(pk=version.dataset_id).update(deleted_at=now())
        assert sum(stored_bytes().values()) < both[ada.project.id] - file.bytes


def test_a_second_look_in_an_hour_changes_nothing_and_the_next_hour_counts_anew(cast: Cast) -> None:
    made_file(cast.owner)
    measure()
    measure()
    assert len(measured(cast.owner)) == 1
    measure(hours=1)
    assert len(measured(cast.owner)) == 2
    assert measured(cast.stranger) == []


def test_an_hours_measuring_is_spread_over_it_and_whom_a_tick_missed_the_next_one_takes(cast: Cast) -> None:
    ada, hour = cast.owner, now().replace(minute=0)
    part = ada.tenant.id.int % PARTS
    made_file(ada)
    if part:
        storage_measure(at=hour.replace(minute=5 * part - 1))
    assert measured(ada) == []
    storage_measure(at=hour.replace(minute=5 * part))
    assert len(measured(ada)) == 1
    storage_measure(at=hour.replace(minute=59) + dt.timedelta(hours=1))
    assert len(measured(ada)) == 2


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
    measure()
    assert measured(ada) == []
