"""What is append-only is so by right and by trigger, read from the database's own catalogue."""

import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection
from psycopg import sql

from config import embedded
from config.engines import make_roles
from tenants.models import HouseModel, StaffModel

KEPT = {
    "billing_acquisitionspend",
    "billing_subscriptionchange",
    "billing_subscriptionmonth",
    "billing_usageevent",
    "billing_ledgertransaction",
    "billing_ledgerentry",
    "billing_periodclose",
    "billing_creditgrant",
    "billing_creditdraw",
    "billing_rerating",
    "billing_ratedchange",
    "billing_billlineshare",
    "ops_staffaction",
    "orders_acceptance",
    "orders_approval",
    "orders_orderevent",
    "orders_quoteline",
    "orders_quoterevision",
    "tenants_auditevent",
}
"""What must never change, whoever asks."""
ROLES = [embedded.ROLES[alias] for alias in ("default", "ops")]


def triggers() -> dict[str, set[str]]:
    """Of each append-only table, what its enabled triggers refuse."""
    bits = {8: "DELETE", 16: "UPDATE", 32: "TRUNCATE"}
    found: dict[str, set[str]] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgrelid::regclass::text, tgtype FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid "
            "WHERE proname = 'refuse_change' AND tgenabled = 'O'"
        )
        for table, kind in cursor.fetchall():
            found.setdefault(table, set()).update(name for bit, name in bits.items() if kind & bit)
    return found


def rights(role: str, table: str) -> set[str]:
    """What a role may do to a table."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) p "
            "WHERE has_table_privilege(%s, %s, p)",
            [role, table],
        )
        return {str(name) for (name,) in cursor.fetchall()}


def columns(role: str, table: str) -> bool:
    """Whether a role may change any column of a table, which is a right of its own."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT has_any_column_privilege(%s, %s, 'UPDATE')", [role, table])
        return bool(cursor.fetchone()[0])


def test_triggers_refuse_every_change() -> None:
    assert triggers().keys() >= KEPT
    assert {table: refused for table, refused in triggers().items() if len(refused) != 3} == {}


@pytest.mark.parametrize("role", ROLES)
def test_the_serving_roles_may_read_and_add_and_nothing_else(role: str) -> None:
    staffs = {model._meta.db_table for model in apps.get_models() if issubclass(model, HouseModel | StaffModel)}
    wrong = {}
    for table in triggers():
        may = set() if table in staffs and role == embedded.ROLES["default"] else {"SELECT", "INSERT"}
        if rights(role, table) != may:
            wrong[table] = rights(role, table)
    assert wrong == {}
    assert [table for table in triggers() if columns(role, table)] == []


@pytest.mark.parametrize("role", ROLES)
def test_a_start_that_gives_rights_to_all_tables_again_spares_them(role: str) -> None:
    admin = embedded.superuser_url(settings.HOME)
    with psycopg.connect(embedded.superuser_url(settings.HOME, embedded.DATABASE), autocommit=True) as connected:
        grant = sql.SQL("GRANT UPDATE, DELETE ON billing_ledgerentry TO {}")
        connected.execute(grant.format(sql.Identifier(role)))  # as an installation had it before
    assert "UPDATE" in rights(role, "billing_ledgerentry")
    make_roles(admin, embedded.DATABASE)
    assert rights(role, "billing_ledgerentry") == {"SELECT", "INSERT"}
    assert rights(role, "billing_invoice") == {"SELECT", "INSERT", "UPDATE", "DELETE"}
