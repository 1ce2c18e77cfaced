"""Every tenant-owned table has all its walls, read from the database's own catalogue."""

from django.apps import apps
from django.db import connection

from tenants.models import Tenant, TenantModel

TABLES = {model._meta.db_table: model for model in apps.get_models() if issubclass(model, TenantModel)}


def _rows(query: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def test_row_level_security_is_enabled_and_forced_on_every_table_with_a_tenant() -> None:
    walled = dict(_rows("SELECT relname, relrowsecurity AND relforcerowsecurity FROM pg_class WHERE relkind = 'r'"))
    assert [table for table in [*TABLES, Tenant._meta.db_table] if not walled[table]] == []


def test_every_policy_checks_reads_and_writes() -> None:
    policies = {
        str(table)
        for table, using, check in _rows("SELECT tablename, qual, with_check FROM pg_policies")
        if "app.tenant_id" in str(using) and "app.tenant_id" in str(check)
    }
    assert set(TABLES) - policies == set()


def test_every_table_with_a_tenant_column_belongs_to_a_tenant_model() -> None:
    columns = {
        str(table)
        for (table,) in _rows(
            "SELECT table_name FROM information_schema.columns "
            "WHERE table_schema = 'public' AND column_name = 'tenant_id'"
        )
    }
    assert columns - set(TABLES) == set()


def test_references_between_tenant_tables_are_composite() -> None:
    composite = {
        (str(table), str(column))
        for table, column in _rows(
            "SELECT c.conrelid::regclass::text, a.attname FROM pg_constraint c "
            "JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey) "
            "WHERE c.contype = 'f' AND cardinality(c.conkey) = 2 AND a.attname <> 'tenant_id'"
        )
    }
    missing = [
        f"{table}.{field.column}"
        for table, model in TABLES.items()
        for field in model._meta.concrete_fields
        if field.is_relation and issubclass(field.related_model, TenantModel) and (table, field.column) not in composite
    ]
    assert missing == []
