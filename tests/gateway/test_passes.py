"""A page of a signed-in member calls the gateway with a pass: a call like any other, for a minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
import uvicorn
from django.core import signing
from django.test import override_settings

from billing.models import QuotaDecision
from billing.services.limits import member_limits_set, spend_limit_set
from config.edge import Edge
from config.handler import Handler
from gateway.app import in_front_of
from serving.models import RequestRecord
from tenants.models import Member, Tenant
from tenants.passes import LIFE, PREFIX, pass_make
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Api, Person, make_person
from tests.console.pages import signed_in
from tests.gateway.test_request_log import record_of
from tests.gateway.writing_calls import event_of, only
from tests.gateway.writing_engine import CHAT, WRITER, Wired, on_plan, says, until

pytestmark = pytest.mark.slow  # starts real servers


@pytest.fixture
def ada() -> Person:
    return on_plan("ada")


@pytest.fixture
def pages(writing: Wired, tmp_path: Any) -> Iterator[str]:
    """Console and gateway in one server, before the engine that writes what a test plans."""
    with override_settings(ENGINE_ADDRESS=writing.address, USAGE_WAL_DIR=tmp_path / "usage"):
        config = uvicorn.Config(in_front_of(Edge(Handler())), port=0, log_level="error")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        until(lambda: server.started)
        yield f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}"
        server.should_exit = True
        thread.join(20)


def test_a_pass_opens_the_gateway_and_the_call_is_metered_without_a_key(writing: Wired, ada: Person) -> None:
    word = writing.word()
    writing.engine.plan(word, "one", " two")
    raw = writing.post(CHAT, {"model": WRITER, "messages": says(word)}, pass_make(ada.project, ada.user.pk))
    assert raw.status_code == 200, raw.content
    event = event_of(writing, ada, raw.headers["x-request-id"])
    assert (event.key_id, event.project_id, event.output_tokens) == (None, ada.project.id, 2)
    row = record_of(ada, raw.headers["x-request-id"])
    assert (row.key_id, row.status, row.output_tokens) == (None, 200, 2)


def test_the_limits_of_the_organisation_hold_for_passes(writing: Wired, ada: Person) -> None:
    with tenant_scope(ada.tenant.id):
        spend_limit_set(monthly_nano=0)
    word = writing.word()
    raw = writing.post(CHAT, {"model": WRITER, "messages": says(word)}, pass_make(ada.project, ada.user.pk))
    assert raw.status_code == 402 and not writing.engine.of(word)


def test_the_limits_of_the_member_hold_for_his_passes_and_the_trace_names_him(writing: Wired, ada: Person) -> None:
    with tenant_scope(ada.tenant.id):
        seat = Member.objects.get(user=ada.user)
        member_limits_set(member=seat, limits={"requests_per_minute": 1})
    body = {"model": WRITER, "messages": says(writing.word())}
    assert writing.post(CHAT, body, pass_make(ada.project, ada.user.pk)).status_code == 200
    raw = writing.post(CHAT, body, pass_make(ada.project, ada.user.pk))
    assert (raw.status_code, raw.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert "Rate limit of your membership reached: 1 requests per 1m0s." in raw.json()["error"]["message"]
    row = record_of(ada, raw.headers["x-request-id"])
    assert (row.status, row.code, row.key_id) == (429, "rate_limit_exceeded", None)

    def why() -> QuotaDecision | None:
        with tenant_scope(ada.tenant.id):
            return QuotaDecision.objects.filter(request_ids__contains=[raw.headers["x-request-id"]]).first()

    until(lambda: why() is not None)
    found = why()
    assert found is not None and (found.layer, found.scope_id, found.key_id) == ("member", ada.user.pk.hex, None)


def test_a_pass_ends_with_its_members_seat_and_what_it_is_refused_is_logged(writing: Wired, ada: Person) -> None:
    held = pass_make(ada.project, ada.user.pk)
    body = {"model": WRITER, "messages": says(writing.word())}

    def status(role: str) -> int:
        with tenant_scope(ada.tenant.id):
            Member.objects.filter(user=ada.user).update(role=role)
        return int(writing.post(CHAT, body, held).status_code)

    assert [status(role) for role in ("viewer", "developer")] == [401, 200]
    wrong = writing.post(CHAT, {"model": WRITER, "messages": []}, held)
    assert wrong.status_code == 400 and record_of(ada, wrong.headers["x-request-id"]).status == 400
    with ops_scope("suspend"):
        Tenant.ops.filter(pk=ada.tenant.id).update(status="suspended")
    raw = writing.post(CHAT, body, held)
    assert (raw.status_code, raw.json()["error"]["code"]) == (403, "organization_suspended")
    row = record_of(ada, raw.headers["x-request-id"])
    assert (row.status, row.code, row.kind) == (403, "organization_suspended", "chat")


def test_forged_old_and_homeless_passes_are_refused_alike_and_none_opens_another_door(
    writing: Wired, ada: Person
) -> None:
    body = {"model": WRITER, "messages": says(writing.word())}
    good = pass_make(ada.project, ada.user.pk)
    with mock.patch("django.core.signing.time.time", return_value=time.time() - LIFE.total_seconds() - 1):
        old = pass_make(ada.project, ada.user.pk)
    ghost = PREFIX + signing.dumps(["0" * 32, ada.project.pk.hex, ada.user.pk.hex], salt="tenants.passes")
    before = PREFIX + signing.dumps([ada.tenant.id.hex, ada.project.pk.hex], salt="tenants.passes")
    stranger = pass_make(ada.project, make_person("eve").user.pk)
    odd = PREFIX + signing.dumps({"tenant": 1}, salt="tenants.passes")
    for bad in (
        good[:-1] + ("A" if good[-1] != "A" else "B"),
        old,
        ghost,
        before,
        stranger,
        odd,
        PREFIX,
        PREFIX + "x:y:z",
    ):
        raw = writing.post(CHAT, body, bad)
        assert (raw.status_code, raw.json()["error"]["code"]) == (401, "invalid_api_key"), bad
    assert writing.post(CHAT, body, good).status_code == 200
    with mock.patch("gateway.keys.MAX_COLD", 0):  # no place is free: only a pass that was really signed waits for one
        assert writing.post(CHAT, body, good[:-1] + ("A" if good[-1] != "A" else "B")).status_code == 401
        assert writing.post(CHAT, body, good).status_code == 503
    assert Api(good).get("/v1/models").status_code == 401, "it is no key of the API"


@pytest.mark.browser
def test_a_page_shows_a_text_as_it_is_written_goes_on_and_can_stop_it(
    pages: str, chromium: Any, writing: Wired, ada: Person
) -> None:
    word, again = writing.word(), writing.word()
    writing.engine.plan(again, each_s=0.02)  # without an end; looked for first, as both words are in the second prompt
    writing.engine.plan(word, "Once", " upon", " a", " time")
    context = chromium.new_context()
    signed_in(context, pages, ada)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type in {"error", "warning"} else None)
    page.goto(f"{pages}{ada.workspace}/playground/?model={WRITER}")
    page.fill("[name=text]", word)
    page.fill("[name=system]", "Be brief.")
    page.click("text=Run")
    answer = page.locator("ts-writing")
    answer.get_by_text("Once upon a time").wait_for()
    told = answer.locator("[data-told]")
    told.get_by_text("4 written").wait_for()
    assert "first token after" in told.inner_text() and "$" in told.inner_text()
    assert "Be brief." in page.locator("#same-call").inner_text()
    (first,) = writing.engine.of(word)
    assert first.message.sampling.temperature == 0.7 and first.message.sampling.max_tokens == 256
    page.fill("[name=text]", again)
    page.click("text=Run")
    page.locator("ts-writing .turn-assistant").first.get_by_text("Once upon a time").wait_for()
    asked = only(writing, again)
    assert "Once upon a time" in asked.prompt and word in asked.prompt, "the conversation goes on"
    page.locator("ts-writing [data-text]").get_by_text("w3").wait_for()
    page.click("text=Stop")
    until(lambda: asked.cancelled)
    told.get_by_text("Stopped.").wait_for()
    assert not complaints, complaints
    with tenant_scope(ada.tenant.id):
        until(lambda: RequestRecord.objects.filter(project_id=ada.project.id).count() == 2)
    context.close()


@pytest.mark.browser
def test_a_refusal_is_said_in_the_words_of_the_api(pages: str, chromium: Any, writing: Wired, ada: Person) -> None:
    with tenant_scope(ada.tenant.id):
        spend_limit_set(monthly_nano=0)
    context = chromium.new_context()
    signed_in(context, pages, ada)
    page = context.new_page()
    page.goto(f"{pages}{ada.workspace}/playground/?model={WRITER}")
    page.fill("[name=text]", "a story")
    page.click("text=Run")
    page.get_by_role("alert").get_by_text("beyond the monthly spend limit of your organization").wait_for()
    context.close()
