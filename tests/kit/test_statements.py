"""Statements that are prepared once for a connection."""

import psycopg
import pytest
from django.db import ProgrammingError, connection, transaction

from config import embedded
from config.engines import Postgres
from kit.statements import prepared


@pytest.fixture(autouse=True)
def _fresh_connection() -> None:
    connection.close()


def test_a_statement_that_comes_often_is_prepared_whatever_its_values(engines: object) -> None:
    with transaction.atomic(), prepared("default") as cursor:
        found = [cursor.execute("SELECT 'kept', %s::int + 1", [number]).fetchone() for number in range(12)]
    assert found == [("kept", number + 1) for number in range(12)]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT generic_plans > 0 FROM pg_prepared_statements WHERE statement LIKE %s", ["SELECT 'kept'%"]
        )
        assert cursor.fetchall() == [(True,)]


def test_a_session_that_was_cut_while_it_was_idle_is_replaced(engines: Postgres) -> None:
    connection.ensure_connection()
    connection.close_if_unusable_or_obsolete()  # as between two requests: the next look asks whether it lives
    with psycopg.connect(embedded.superuser_url(engines.home), autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])
    with prepared("default") as cursor:
        assert cursor.execute("SELECT 1").fetchone() == (1,)


def test_djangos_own_statements_are_not_prepared(engines: Postgres) -> None:
    with prepared("default") as cursor:
        cursor.execute("SELECT 'ours'")
    with connection.cursor() as cursor:
        for _ in range(12):
            cursor.execute("SELECT 'theirs'")
        cursor.execute("SELECT statement FROM pg_prepared_statements WHERE statement ~ 'ours|theirs'")
        assert cursor.fetchall() == [("SELECT 'ours'",)]


def test_it_runs_in_the_transaction_of_django_and_its_errors_are_those_of_django(engines: object) -> None:
    with pytest.raises(ProgrammingError), transaction.atomic(), prepared("default") as cursor:
        cursor.execute("SELECT set_config('application_name', 'changed', false)")
        cursor.execute("SELECT nothing_of_that_name()")
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('application_name')")
        assert cursor.fetchone() != ("changed",)
