"""Statements that are planned once for a connection."""

import pytest
from django.db import ProgrammingError, connection, transaction

from kit.statements import planned_once


@pytest.fixture(autouse=True)
def _fresh_connection() -> None:
    connection.close()


def test_a_statement_that_comes_often_is_planned_once_whatever_its_values(engines: object) -> None:
    with transaction.atomic(), planned_once("default") as cursor:
        found = [cursor.execute("SELECT 'kept', %s::int + 1", [number]).fetchone() for number in range(12)]
    assert found == [("kept", number + 1) for number in range(12)]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT generic_plans > 0 FROM pg_prepared_statements WHERE statement LIKE %s", ["SELECT 'kept'%"]
        )
        assert cursor.fetchall() == [(True,)]


def test_it_runs_in_the_transaction_of_django_and_its_errors_are_those_of_django(engines: object) -> None:
    with pytest.raises(ProgrammingError), transaction.atomic(), planned_once("default") as cursor:
        cursor.execute("SELECT set_config('application_name', 'changed', false)")
        cursor.execute("SELECT nothing_of_that_name()")
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('application_name')")
        assert cursor.fetchone() != ("changed",)
