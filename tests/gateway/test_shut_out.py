"""Whoever loses the right to call while a text is written gets no more of it within seconds, and pays once for what
was written until then."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from kit.clock import now
from tenants.models import ApiKey, Member, Tenant
from tenants.passes import pass_make
from tenants.scope import tenant_scope
from tenants.services.keys import key_change, key_create, key_revoke, key_scopes_set
from tenants.services.organisations import tenant_set_status
from tests.conftest import Person, make_person
from tests.gateway.writing_calls import event_of, lines_of, only, streaming
from tests.gateway.writing_engine import CHAT, WRITER, Wired, alive, on_plan, says
from tests.gateway.writing_engine import until as wait_until

pytestmark = pytest.mark.slow  # starts a server
PROMISED = 5.0
"""Seconds, as the documentation has it; a little for the machine comes on top."""


def until_cut(writing: Wired, person: Person, shut_out: Callable[[], None], key: str | None = None) -> dict[str, Any]:
    """The error that a stream without end closes with after somebody was shut out."""
    word = writing.word()
    writing.engine.plan(word, each_s=0.01)
    with streaming(writing, person, {"messages": says(word)}, key) as raw:
        lines = lines_of(raw)
        assert "error" not in json.loads(next(lines)[6:])
        shut_out()
        begun = time.monotonic()
        *_, last = lines
        assert time.monotonic() - begun < PROMISED + 1
        request_id = raw.headers["x-request-id"]
    error: dict[str, Any] = json.loads(last[6:])["error"]
    asked = only(writing, word)
    wait_until(lambda: asked.cancelled)
    charged = event_of(writing, person, request_id).output_tokens
    assert 0 < charged <= asked.made <= asked.allowed, "what was written is charged, once"
    wait_until(lambda: alive(person) == 0)
    return error


def key_of(person: Person) -> tuple[ApiKey, str]:
    with tenant_scope(person.tenant.id):
        return key_create(project=person.project, name="short-lived", created_by=person.user)


@pytest.mark.parametrize("told", [True, False], ids=["told", "news lost"])
def test_a_key_that_is_revoked_ends_its_stream(writing: Wired, told: bool) -> None:
    ada = on_plan("ada")
    row, key = key_of(ada)

    def revoke() -> None:
        if told:
            answer = ada.browser.post(f"{ada.workspace}/keys/{row.public_id}/revoke", {"confirm": row.name})
            assert answer.status_code == 302
        with tenant_scope(ada.tenant.id):
            ApiKey.objects.filter(pk=row.pk, revoked_at=None).update(revoked_at=now())

    error = until_cut(writing, ada, revoke, key)
    assert (error["code"], "revoked" in error["message"]) == ("invalid_api_key", True)
    assert writing.post(CHAT, {"model": WRITER, "messages": says("again")}, key).status_code == 401
    with streaming(writing, ada, {"messages": says("others go on"), "max_tokens": 3}) as raw:
        assert list(lines_of(raw))[-1] == "data: [DONE]"


def test_an_organisation_that_is_suspended_ends_its_streams(writing: Wired) -> None:
    ada = on_plan("ada")

    def suspend() -> None:
        with tenant_scope(ada.tenant.id):
            tenant_set_status(tenant=Tenant.objects.get(), status="suspended", reason="tests")

    error = until_cut(writing, ada, suspend)
    assert error["code"] == "organization_suspended"
    assert writing.post(CHAT, {"model": WRITER, "messages": says("again")}, ada.key).status_code == 403


def test_a_member_who_may_call_no_more_ends_what_a_page_of_his_has_written(writing: Wired) -> None:
    ada = on_plan("ada")
    bob = make_person("bob", beside=ada, role="developer")
    with tenant_scope(ada.tenant.id):
        seat = Member.objects.get(user=bob.user)

    def lower() -> None:
        answer = ada.browser.post(f"{ada.home}/members/{seat.public_id}/role", {"role": "viewer"})
        assert answer.status_code == 302

    error = until_cut(writing, ada, lower, pass_make(ada.project, bob.user.pk))
    assert error["code"] == "invalid_api_key"


def test_a_key_that_may_call_no_more_ends_its_stream(writing: Wired) -> None:
    ada = on_plan("ada")
    row, key = key_of(ada)

    def narrow() -> None:
        with tenant_scope(ada.tenant.id):
            key_scopes_set(key=row, scopes=["models.read"])

    assert until_cut(writing, ada, narrow, key)["code"] == "insufficient_permissions"


def test_an_answer_in_one_is_refused_and_costs_nothing(writing: Wired) -> None:
    ada = on_plan("ada")
    row, key = key_of(ada)
    word = writing.word()
    writing.engine.plan(word, each_s=0.01)
    before = len(writing.events(ada))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(writing.post, CHAT, {"model": WRITER, "messages": says(word)}, key)
        wait_until(lambda: writing.engine.of(word))
        with tenant_scope(ada.tenant.id):
            key_revoke(key=row)
        answer = asked.result(PROMISED + 1)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    wait_until(lambda: alive(ada) == 0 and only(writing, word).cancelled)
    assert len(writing.events(ada)) == before


def test_a_key_that_only_changes_goes_on(writing: Wired) -> None:
    ada = on_plan("ada")
    row, key = key_of(ada)
    word = writing.word()
    writing.engine.plan(word, each_s=0.02)
    with streaming(writing, ada, {"messages": says(word), "max_tokens": 300}, key) as raw:
        lines = lines_of(raw)
        next(lines)
        with tenant_scope(ada.tenant.id):
            key_change(key=row, name="renamed", limits={"requests_per_minute": 50})
        assert list(lines)[-1] == "data: [DONE]"
    assert only(writing, word).made == 300
