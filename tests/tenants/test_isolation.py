"""The database's own walls, tried with raw SQL as the role that serves."""

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.db.utils import DatabaseError, ProgrammingError

from kit.ids import new_id
from tenants.scope import tenant_scope
from tests.conftest import Cast


def test_without_a_scope_the_database_shows_nothing(cast: Cast) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM tenants_project")
        assert cursor.fetchone() == (0,)


def test_raw_sql_inside_a_scope_sees_one_tenant(cast: Cast) -> None:
    theirs = cast.stranger.project.id
    with tenant_scope(cast.owner.tenant.id), connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT tenant_id FROM tenants_project")
        assert cursor.fetchall() == [(cast.owner.tenant.id,)]
        cursor.execute("UPDATE tenants_project SET name = 'stolen' WHERE id = %s", [theirs])
        assert cursor.rowcount == 0


def test_the_scope_ends_with_its_block(cast: Cast) -> None:
    with transaction.atomic():
        with tenant_scope(cast.owner.tenant.id):
            pass
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM tenants_project")
            assert cursor.fetchone() == (0,)


def test_a_row_of_another_tenant_cannot_be_inserted(cast: Cast) -> None:
    theirs = cast.stranger.tenant.id
    with pytest.raises(ProgrammingError, match="row-level security"), tenant_scope(cast.owner.tenant.id):
        _insert_project(theirs)


def test_a_reference_across_tenants_is_refused(cast: Cast) -> None:
    theirs = cast.stranger.project.id
    with pytest.raises(IntegrityError, match="same_tenant"), tenant_scope(cast.owner.tenant.id):
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE tenants_apikey SET project_id = %s WHERE id = %s",
                [theirs, cast.owner.key_row.id],
            )


def test_the_audit_log_cannot_be_changed_by_any_role(cast: Cast) -> None:
    with pytest.raises(DatabaseError, match="permission denied"), tenant_scope(cast.owner.tenant.id):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE tenants_auditevent SET actor_label = 'nobody'")
    with pytest.raises(DatabaseError, match="permission denied"), connections["ops"].cursor() as cursor:
        cursor.execute("DELETE FROM tenants_auditevent")


def test_the_serving_role_is_bound_by_the_policies() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == (False, False)


def _insert_project(tenant_id: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO tenants_project (id, tenant_id, name, slug, created_at) VALUES (%s, %s, 'x', 'x', now())",
            [new_id(), tenant_id],
        )
