"""A release on a database that is in use."""

import threading

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections, models
from django.db.migrations.loader import MigrationLoader

from config import embedded
from config.management.commands import prepare_database
from kit.indexes import IndexConcurrently
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


def test_an_index_waits_for_those_who_write_and_is_made_anew_where_a_try_was_broken_off() -> None:
    index = models.Index(fields=["queue"], name="kit_outbox_tried")
    adding = IndexConcurrently("outboxentry", index)
    before = MigrationLoader(connections["owner"]).project_state()
    after = before.clone()
    adding.state_forwards("kit", after)
    done: list[bool] = []

    def add() -> None:
        try:
            with connections["owner"].schema_editor(atomic=False) as editor:
                adding.database_forwards("kit", editor, before, after)
            done.append(True)
        finally:
            connections.close_all()

    url = embedded.superuser_url(settings.HOME, embedded.DATABASE)
    with psycopg.connect(url, autocommit=True) as admin:
        with psycopg.connect(url) as busy:
            busy.execute("LOCK TABLE kit_outboxentry IN ROW EXCLUSIVE MODE")
            admin.execute("SET lock_timeout = '100ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                admin.execute("CREATE INDEX CONCURRENTLY kit_outbox_tried ON kit_outboxentry (queue)")
            admin.execute("ALTER INDEX kit_outbox_tried OWNER TO " + embedded.ROLES["owner"])
            adder = threading.Thread(target=add)
            adder.start()
            adder.join(2.5)  # longer than a migration waits for anything else
            assert adder.is_alive() and not done
        adder.join(30)
        assert done == [True]
        valid = admin.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'kit_outbox_tried'::regclass")
        assert valid.fetchone() == (True,)
        add()
        assert done == [True, True], "it is there"
        admin.execute("DROP INDEX kit_outbox_tried")


def test_sessions_do_not_wait_for_ever_for_what_somebody_keeps() -> None:
    for alias, seconds in (("default", "10s"), ("ops", "10s"), ("owner", "2s")):
        with connections[alias].cursor() as cursor:
            cursor.execute("SHOW lock_timeout")
            assert cursor.fetchone() == (seconds,), alias
