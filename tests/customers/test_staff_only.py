"""What staff note is beyond a tenant's reach: no right, no row, no page, no log."""

import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection, connections, transaction
from django.db.utils import ProgrammingError
from psycopg import sql

from config import embedded
from config.engines import make_roles
from customers.models import HealthScore, Note, Tag
from customers.services.fares import health_compute
from customers.services.notes import note_add, tag_add
from kit.errors import BadRequest
from ops.models import StaffAction
from tenants.models import AuditEvent, StaffModel, Tenant
from tenants.scope import ScopeError, ops_scope, tenant_scope
from tenants.services.erasing import tenant_erase
from tests.conftest import Person, make_person
from tests.isolation.policies import POLICIES
from tests.isolation.routes import parameters
from tests.isolation.test_matrix import body_of, browse
from tests.ops.conftest import inside, make_staff

TABLES = [model._meta.db_table for model in apps.get_models() if issubclass(model, StaffModel)]
WORDS = "Grumpy on Mondays; renews in May"
APP = embedded.ROLES["default"]
EVERY = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


def _noted(person: Person) -> None:
    with ops_scope("test"):
        note_add(tenant_id=person.tenant.pk, text=WORDS, by="ada@example.com")
        tag_add(tenant_id=person.tenant.pk, name="Churn Risk", by="ada@example.com")


def test_the_serving_role_has_no_right_to_any_of_the_tables_and_the_staff_role_has() -> None:
    assert {"customers_note", "customers_tag", "customers_healthscore"} <= set(TABLES)
    with connection.cursor() as cursor:
        for table in TABLES:
            for right in EVERY:
                cursor.execute("SELECT has_table_privilege(%s, %s, %s)", [APP, table, right])
                assert cursor.fetchone() == (False,), (table, right)
            cursor.execute("SELECT has_any_column_privilege(%s, %s, 'SELECT')", [APP, table])
            assert cursor.fetchone() == (False,), table
            cursor.execute("SELECT has_table_privilege(%s, %s, 'SELECT')", [embedded.ROLES["ops"], table])
            assert cursor.fetchone() == (True,), table


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM {}",
        "SELECT count(*) FROM {}",
        "DELETE FROM {}",
        "UPDATE {} SET tenant_id = tenant_id",
        "TABLE {}",
    ],
)
def test_no_statement_of_a_tenants_page_reads_or_changes_them(table: str, statement: str) -> None:
    person = make_person("ada")
    _noted(person)
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        tenant_scope(person.tenant.pk),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement.format(table))


def test_a_right_that_comes_back_still_shows_no_row_and_goes_with_the_next_start() -> None:
    person = make_person("ada")
    _noted(person)
    admin = embedded.superuser_url(settings.HOME)
    with psycopg.connect(embedded.superuser_url(settings.HOME, embedded.DATABASE), autocommit=True) as connected:
        grant = "GRANT SELECT, INSERT ON customers_note TO {}"
        connected.execute(sql.SQL(grant).format(sql.Identifier(APP)))
    try:
        with tenant_scope(person.tenant.pk), connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM customers_note")
            assert cursor.fetchone() == (0,)
            with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
                cursor.execute(
                    "INSERT INTO customers_note (id, tenant_id, text, created_by, created_at, removed_by) "
                    "VALUES (gen_random_uuid(), %s, '', '', now(), '')",
                    [person.tenant.pk],
                )
    finally:
        make_roles(admin, embedded.DATABASE)
    with connection.cursor() as cursor:
        cursor.execute("SELECT has_table_privilege(%s, 'customers_note', 'SELECT')", [APP])
        assert cursor.fetchone() == (False,)


def test_the_managers_ask_for_the_ops_scope_and_a_tenants_scope_is_none() -> None:
    person = make_person("ada")
    for model in (Note, Tag, HealthScore):
        with tenant_scope(person.tenant.pk), pytest.raises(ScopeError):
            model.objects.count()
        with ops_scope("test"):
            assert model.objects.all().db == "ops"


def test_neither_log_repeats_the_words_and_the_tenants_has_no_line_at_all() -> None:
    person, staff = make_person("ada"), inside(make_staff("carer"))
    place = f"/staff/customers/{person.tenant.pk}/"
    assert staff.browser.post(place, {"do": "note", "text": WORDS}).status_code == 302
    assert staff.browser.post(place, {"do": "tag", "tag": "Churn Risk"}).status_code == 302
    with tenant_scope(person.tenant.pk):
        before = AuditEvent.objects.exclude(action__in=("tenant.created", "key.created")).count()
    assert before == 0
    lines = StaffAction.objects.filter(organisation=person.tenant.pk)
    assert sorted(lines.values_list("action", flat=True)) == ["customer.note_add", "customer.tag_add"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(t::text, ' ') FROM ops_staffaction t")
        said = str(cursor.fetchone())
    assert "Grumpy" not in said and "churn-risk" not in said
    page = staff.browser.get(place).content.decode()
    assert WORDS in page and "churn-risk" in page


@pytest.mark.slow
def test_no_page_of_the_tenant_or_of_a_visitor_shows_a_word_of_it() -> None:
    person = make_person("ada")
    _noted(person)
    shown = 0
    for route, policy in POLICIES.items():
        if policy.door != "page" or "GET" not in policy.success or set(parameters(route)) - {"org", "project"}:
            continue
        ids = {"org": person.tenant.slug, "project": person.project.slug, **policy.make(person)}
        text = body_of(browse(policy, person, "GET", route, ids))
        assert "Grumpy" not in text and "churn-risk" not in text, route
        shown += 1
    assert shown > 25


def test_an_erased_customer_leaves_no_note_and_its_neighbour_keeps_theirs() -> None:
    gone, stays = make_person("gone"), make_person("stays")
    for person in (gone, stays):
        _noted(person)
    health_compute()
    with ops_scope("test"):
        Tenant.ops.filter(pk=gone.tenant.pk).update(status=Tenant.Status.CLOSED)
        assert tenant_erase(tenant_id=gone.tenant.pk)
        for model in (Note, Tag, HealthScore):
            assert not model.ops.filter(tenant=gone.tenant.pk).exists()
            assert model.ops.filter(tenant=stays.tenant.pk).count() == 1


@pytest.mark.parametrize("name", ["", " ", "!", "-x", "ümlaut", "a" * 41, "a\x00b", "🙂"])
def test_a_tag_that_is_none_is_refused_with_an_example(name: str) -> None:
    person = make_person("ada")
    with ops_scope("test"), pytest.raises(BadRequest, match="early-adopter"):
        tag_add(tenant_id=person.tenant.pk, name=name, by="ada@example.com")
    assert connections["ops"].in_atomic_block is False
