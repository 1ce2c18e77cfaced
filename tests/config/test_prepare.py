"""A release on a database that is in use."""

import threading

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections

from config import embedded
from config.management.commands import prepare_database
from tests.training.background import until

pytestmark = pytest.mark.slow


def test_a_migration_lets_those_pass_who_hold_its_table_and_tries_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prepare_database, "PAUSE_SECONDS", 0.1)
    monkeypatch.setitem(settings.DATABASES["owner"]["OPTIONS"], "options", "-c lock_timeout=100ms")
    connections["owner"].close()
    said: list[str] = []

    def prepare() -> None:
        try:
            call_command("prepare_database")
            said.append("done")
        finally:
            connections.close_all()

    release = threading.Thread(target=prepare)
    with psycopg.connect(embedded.superuser_url(settings.HOME, embedded.DATABASE)) as busy:
        busy.execute("LOCK TABLE django_migrations IN ACCESS EXCLUSIVE MODE")
        release.start()
        until(lambda: "trying again" in capsys.readouterr().out)
        assert not said
    release.join(30)
    assert said == ["done"]


def test_sessions_do_not_wait_for_ever_for_what_somebody_keeps() -> None:
    for alias, seconds in (("default", "10s"), ("ops", "10s"), ("owner", "2s")):
        with connections[alias].cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            assert cursor.fetchone() == (seconds,), alias
