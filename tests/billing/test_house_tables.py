"""What belongs to the installation and is for staff alone is beyond the role that serves tenants."""

import datetime as dt

import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.utils import ProgrammingError
from psycopg import sql

from billing.models import AcquisitionSpend, BillingFinding, MachineHour
from billing.services.findings import Seen, findings_note
from config import embedded
from config.engines import make_roles
from kit.clock import now
from tenants.models import HouseModel
from tenants.scope import OPS, tenant_scope
from tests.conftest import Cast

TABLES = [model._meta.db_table for model in apps.get_models() if issubclass(model, HouseModel)]
APP, STAFF = embedded.ROLES["default"], embedded.ROLES["ops"]
EVERY = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


def may(role: str, table: str, right: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT has_table_privilege(%s, %s, %s)", [role, table, right])
        return bool(cursor.fetchone()[0])


def test_the_serving_role_has_no_right_to_any_of_the_tables_and_the_staff_role_has() -> None:
    assert {"billing_billingfinding", "billing_acquisitionspend", "billing_machinehour"} <= set(TABLES)
    assert [(table, right) for table in TABLES for right in EVERY if may(APP, table, right)] == []
    assert all(may(STAFF, table, "SELECT") and may(STAFF, table, "INSERT") for table in TABLES)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("statement", ["SELECT count(*) FROM {}", "DELETE FROM {}", "TABLE {}"])
def test_no_statement_of_a_tenants_page_reads_or_changes_them(cast: Cast, table: str, statement: str) -> None:
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        tenant_scope(cast.owner.tenant.pk),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement.format(table))


def test_a_right_that_comes_back_still_shows_no_row_and_goes_with_the_next_start() -> None:
    findings_note("command", [Seen("command.doubt", "cmd_house", "carried out", "plan_change doubt")])
    admin = embedded.superuser_url(settings.HOME)
    with psycopg.connect(embedded.superuser_url(settings.HOME, embedded.DATABASE), autocommit=True) as connected:
        connected.execute(sql.SQL("GRANT SELECT ON billing_billingfinding TO {}").format(sql.Identifier(APP)))
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM billing_billingfinding")
            assert cursor.fetchone() == (0,)
    finally:
        make_roles(admin, embedded.DATABASE)
    assert not may(APP, "billing_billingfinding", "SELECT")
    assert BillingFinding.objects.filter(object="cmd_house").exists()


def test_their_managers_and_new_rows_go_through_the_staff_role() -> None:
    assert {model.objects.all().db for model in (AcquisitionSpend, BillingFinding, MachineHour)} == {OPS}
    row = MachineHour(
        machine="house/0", machine_class="engine", hour=dt.datetime(2001, 1, 1, tzinfo=dt.UTC), looked_at=now()
    )
    row.save()
    assert MachineHour.objects.get(machine="house/0").pk == row.pk
    row.delete()
