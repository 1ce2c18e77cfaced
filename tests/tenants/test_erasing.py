"""What a closed organisation leaves behind after thirty days: its name, its log and the books, and none of its data."""

import datetime as dt
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.core.files.storage import default_storage
from django.db import connection

from billing.services.limits import project_limits_set
from kit.clock import now
from kit.errors import Conflict
from tenants.models import AuditEvent, LastingModel, StaffModel, Tenant, TenantModel
from tenants.scope import tenant_scope
from tenants.services import erasing
from tenants.services.organisations import tenant_set_status
from tenants.tasks import erase_bytes, erase_closed
from tests.billing.money import call, store_events
from tests.conftest import Person, make_person
from tests.console.things import made_deployment, made_job, made_version
from tests.training import searching

pytestmark = pytest.mark.slow  # fills whole organisations


def rows_of(tenant_id: UUID, *, lasting: bool) -> dict[str, int]:
    """How many rows each table has of a tenant, without those that have none."""
    models = [
        model for model in apps.get_models() if issubclass(model, TenantModel) and not issubclass(model, StaffModel)
    ]
    with tenant_scope(tenant_id):
        counts = {
            model.__name__: model.objects.count() for model in models if issubclass(model, LastingModel) is lasting
        }
    return {name: count for name, count in counts.items() if count}


def objects_of(tenant_id: UUID) -> int:
    """How many objects lie under a tenant's prefix."""

    def count(prefix: str) -> int:
        folders, names = default_storage.listdir(prefix)
        return len(names) + sum(count(f"{prefix}/{folder}") for folder in folders)

    try:
        return count(f"t/{tenant_id}")
    except FileNotFoundError:
        return 0


def full_person(name: str) -> Person:
    """Somebody with something in nearly every table."""
    person = make_person(name)
    made_version(person)
    made_job(person, state="queued", events=2)
    made_deployment(person)
    searching.running(person)
    store_events([call(person.tenant.id, 1, cost=1_000, at=now())])
    with tenant_scope(person.tenant.id):
        project_limits_set(project=person.project, limits={"requests_per_minute": 5})
    return person


def later(monkeypatch: pytest.MonkeyPatch, **passed: float) -> None:
    monkeypatch.setattr(erasing, "now", lambda: now() + dt.timedelta(**passed))


def close(person: Person) -> None:
    answer = person.browser.post(f"{person.home}/settings/close", {"confirm_name": person.tenant.name})
    assert answer.status_code == 302


def test_thirty_days_after_closing_rows_and_bytes_are_gone_and_the_books_and_the_log_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ada, eve = full_person("ada"), full_person("eve")
    close(ada)
    others = rows_of(eve.tenant.id, lasting=False), objects_of(eve.tenant.id)
    books = rows_of(ada.tenant.id, lasting=True)
    assert {"File", "Finding", "Job", "Deployment", "ApiKey", "Member"} <= set(rows_of(ada.tenant.id, lasting=False))
    later(monkeypatch, days=29, hours=23)
    erase_closed()
    assert objects_of(ada.tenant.id) and rows_of(ada.tenant.id, lasting=False), "support can still reopen it"
    later(monkeypatch, days=30)
    assert erase_closed() >= 1
    erase_bytes(str(ada.tenant.id))
    assert (rows_of(ada.tenant.id, lasting=False), objects_of(ada.tenant.id)) == ({}, 0)
    assert rows_of(ada.tenant.id, lasting=True) == books | {"AuditEvent": books["AuditEvent"] + 1}
    assert (rows_of(eve.tenant.id, lasting=False), objects_of(eve.tenant.id)) == others
    with tenant_scope(ada.tenant.id):
        assert AuditEvent.objects.latest("at").action == "tenant.erased"
    assert ada.browser.get(f"{ada.home}/", follow=True).status_code == 404
    assert ada.api.get("/v1/models").status_code == 401


def test_one_that_was_reopened_keeps_everything_and_an_erased_one_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    bob, kim = full_person("bob"), full_person("kim")
    for person in (bob, kim):
        close(person)
    with tenant_scope(bob.tenant.id):
        tenant_set_status(tenant=Tenant.objects.get(), status="active", reason="asked for")
    later(monkeypatch, days=31)
    erase_closed()
    erase_bytes(str(bob.tenant.id))
    assert objects_of(bob.tenant.id) and rows_of(bob.tenant.id, lasting=False)["File"]
    with tenant_scope(kim.tenant.id), pytest.raises(Conflict, match="nothing left to open"):
        tenant_set_status(tenant=Tenant.objects.get(), status="active", reason="asked for")


def test_no_table_that_lasts_refers_to_one_that_does_not() -> None:
    lasting: list[Any] = [model for model in apps.get_models() if issubclass(model, LastingModel)]
    targets = {field.related_model for model in lasting for field in model._meta.fields if field.is_relation}
    assert all(issubclass(target, LastingModel | Tenant) for target in targets if target is not None), targets
    public = "connamespace = 'public'::regnamespace"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT 1 FROM pg_constraint WHERE contype = 'f' AND NOT condeferred AND {public}")
        assert cursor.fetchone() is None, "rows go in any order: every reference is checked at the commit"
