"""A call of an organisation in euros: its price, its headers and what a refusal says are in euros."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from billing.models import UsageEvent
from billing.services.entitlements import plan_grant
from billing.services.limits import spend_limit_set
from tenants.scope import tenant_scope
from tests.conftest import Person, make_person
from tests.gateway.conftest import GatewayProcess
from tests.gateway.writing_calls import event_of, lines_of, streaming
from tests.gateway.writing_engine import CHAT, WRITER, Wired, prompt_of, says, until
from tests.serving.made import TEXTS, deployed, trained

pytestmark = pytest.mark.slow  # starts a server

BOOK = "2026-12-01.eur"
READ, WRITTEN = 90, 360
"""Nano-EUR for a token."""


@pytest.fixture(scope="module")
def eve(writing: Wired) -> Person:
    person = make_person("eve", currency="eur")
    with tenant_scope(person.tenant.id):
        plan_grant(plan="enterprise", reason="tests", created_by="tests")
    return person


def test_a_chat_is_priced_and_answered_in_euros(writing: Wired, eve: Person) -> None:
    word = writing.word()
    writing.engine.plan(word, *"abc")
    answer = writing.post(CHAT, {"model": WRITER, "messages": says(word)}, eve.key)
    cost = prompt_of(word) * READ + 3 * WRITTEN
    assert answer.headers["x-cost-eur"] == f"0.{cost:09d}"
    assert float(answer.headers["x-budget-remaining-eur"]) > 0
    assert not [name for name in answer.headers if name.endswith("-usd")]
    event = event_of(writing, eve, answer.headers["x-request-id"])
    assert (event.price_version, event.cost_nano) == (BOOK, cost)


def test_a_stream_says_its_cost_under_the_name_of_the_currency(writing: Wired, eve: Person) -> None:
    word = writing.word()
    writing.engine.plan(word, *"ab")
    body = {"messages": says(word), "stream_options": {"include_usage": True}}
    with streaming(writing, eve, body) as raw:
        last = json.loads(list(lines_of(raw))[-2].removeprefix("data: "))
    assert last["usage"]["x_cost_eur"] == (prompt_of(word) * READ + 2 * WRITTEN) / 1e9
    assert "x_cost_usd" not in last["usage"]


def test_a_refusal_names_the_spend_limit_in_euros(writing: Wired) -> None:
    eve = make_person("eve", currency="eur")
    with tenant_scope(eve.tenant.id):
        plan_grant(plan="enterprise", reason="tests", created_by="tests")
        spend_limit_set(monthly_nano=500)
    answer = writing.post(CHAT, {"model": WRITER, "messages": says(writing.word())}, eve.key)
    assert answer.status_code == 402
    assert "(<€0.000001)" in answer.json()["error"]["message"]
    assert not [name for name in answer.headers if name.endswith("-usd")]
    until(lambda: eve.api.get("/v1/limits/decisions").json()["data"])
    (told,) = eve.api.get("/v1/limits/decisions").json()["data"]
    assert (told["limit"]["unit"], told["x_limit_eur"], told["x_asked_eur"] > 0) == ("nano_eur", 5e-7, True)


def test_classifying_is_priced_in_euros(gateway: GatewayProcess, eve: Person, tmp_path: Path) -> None:
    version, _made = trained(eve, tmp_path, "head")
    deployed(eve, version)
    body = json.dumps({"model": version.model.name, "input": TEXTS[0]}).encode()
    status, headers, raw = gateway.post("/v1/classify", body, eve.key)
    assert status == 200, raw
    cost = json.loads(raw)["usage"]["total_tokens"] * 18
    assert headers["x-cost-eur"] == f"0.{cost:09d}" and "x-cost-usd" not in headers

    def shipped() -> list[UsageEvent]:
        with tenant_scope(eve.tenant.id):
            return list(UsageEvent.objects.filter(kind="classify"))

    until(shipped, 20)
    (event,) = shipped()
    assert (event.price_version, event.cost_nano) == (BOOK, cost)
