"""Texts of requests: nothing is kept unless a project's owners say so, for as long as they say, and then no more."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import pytest
from django.db import connection

from kit.clock import now
from kit.ids import parse_id
from serving import texts
from serving.models import RequestText, TextKeeping
from serving.texts import MOST_LETTERS, clean, texts_prune
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.gateway.test_request_log import record_of
from tests.gateway.writing_calls import streaming
from tests.gateway.writing_engine import CHAT, WRITER, Wired, on_plan, says, until
from tests.serving.logged import log_request

pytestmark = pytest.mark.slow  # starts real servers


@pytest.fixture
def ada() -> Person:
    return on_plan("ada")


def kept(person: Person) -> list[RequestText]:
    with tenant_scope(person.tenant.id):
        return list(RequestText.objects.order_by("at"))


def switch(person: Person, **form: str) -> Any:
    return person.browser.post(f"{person.workspace}/requests/texts", form)


def asked(writing: Wired, person: Person, word: str) -> str:
    writing.engine.plan(word, "the", " answer")
    raw = writing.post(CHAT, {"model": WRITER, "messages": says(word)}, person.key)
    assert raw.status_code == 200
    record_of(person, raw.headers["x-request-id"])
    return str(raw.headers["x-request-id"])


def test_by_default_no_table_holds_a_word_of_what_was_sent_or_answered(writing: Wired, ada: Person) -> None:
    word = writing.word()
    asked(writing, ada, word)
    writing.post(CHAT, {"model": "nobody", "messages": says(word)}, ada.key)
    time.sleep(1.2)  # two turns of the writers
    with tenant_scope(ada.tenant.id), connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name FROM information_schema.tables "
            "WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        )
        for (table,) in cursor.fetchall():
            cursor.execute("SELECT has_table_privilege(%s, 'SELECT')", [table])
            if cursor.fetchone() == (True,):
                cursor.execute(f'SELECT count(*) FROM "{table}" AS row WHERE row::text LIKE %s', [f"%{word}%"])
                assert cursor.fetchone() == (0,), table
    assert kept(ada) == []


def test_texts_are_kept_when_asked_for_whole_and_streamed_and_gone_when_switched_off(
    writing: Wired, ada: Person
) -> None:
    assert switch(ada, days="7").status_code == 302
    word = writing.word()

    def taken() -> bool:  # the gateway hears of it by the news of routes
        asked(writing, ada, word)
        return bool(kept(ada))

    until(taken)
    request_id = asked(writing, ada, word)
    pk = parse_id("req_", request_id)
    until(lambda: any(one.pk == pk for one in kept(ada)))
    whole = ada.api.get(f"/v1/requests/{request_id}").json()
    assert word in whole["input"] and "the answer" in whole["output"]
    page = ada.browser.get(f"{ada.workspace}/requests/{request_id}/").content.decode()
    assert "What was sent" in page and word in page
    with streaming(writing, ada, {"messages": says(word)}) as raw:
        raw.read()
    pk = parse_id("req_", raw.headers["x-request-id"])
    until(lambda: any(one.pk == pk and one.output == "the answer" for one in kept(ada)))
    writing.post(CHAT, {"model": WRITER, "messages": says("x" * 100_000)}, ada.key)
    until(lambda: any(len(one.input) == MOST_LETTERS for one in kept(ada)))
    assert switch(ada, action="stop").status_code == 302
    assert kept(ada) == []
    asked(writing, ada, word)
    time.sleep(1.2)
    assert kept(ada) == [], "what was on its way is not written either"
    with tenant_scope(ada.tenant.id):
        actions = list(AuditEvent.objects.order_by("at").values_list("action", flat=True))
    assert [one for one in actions if "texts" in one] == [
        "project.request_texts_kept", "project.request_texts_forgotten"
    ]  # fmt: skip


def test_texts_go_when_they_are_as_old_as_was_asked_for(ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "PARCEL", 1)
    switch(ada, days="3")
    bob, mistrusting = on_plan("bob"), on_plan("eve")
    switch(bob, days="5")
    for person in (bob, mistrusting):  # the second has asked for nothing: a text was on its way as it switched off
        with tenant_scope(person.tenant.id):
            for days in (4, 6, 7):
                row = log_request(person, at=now() - dt.timedelta(days=days))
                RequestText.objects.create(pk=row.pk, project_id=person.project.pk, at=row.at, input="a", output="b")
    with tenant_scope(ada.tenant.id):
        for days in (1, 4):
            row = log_request(ada, at=now() - dt.timedelta(days=days))
            RequestText.objects.create(pk=row.pk, project_id=ada.project.pk, at=row.at, input="a", output="b")
    assert texts_prune() >= 1 + 2 + 3  # what other tests left goes as well
    assert [(now() - one.at).days for one in kept(bob)] == [4] and kept(mistrusting) == []
    assert [(now() - one.at).days for one in kept(ada)] == [1]


def test_what_postgresql_does_not_take_is_replaced() -> None:
    assert clean(b"a\x00b\xff") == "a\ufffdb\ufffd" and clean("\ud800") == "?"


@pytest.mark.parametrize("days", ["0", "31", "", "many"])
def test_days_beyond_a_month_are_refused(ada: Person, days: str) -> None:
    assert switch(ada, days=days).status_code == 422
    with tenant_scope(ada.tenant.id):
        assert not TextKeeping.objects.exists()


def test_only_owners_and_admins_switch_it(cast: Cast) -> None:
    assert switch(cast.teammate, days="7").status_code == 403, "a developer"
    assert (
        "Owners and admins can change this."
        in cast.teammate.browser.get(f"{cast.owner.workspace}/requests/texts").content.decode()
    )
    assert switch(cast.owner, days="7").status_code == 302
