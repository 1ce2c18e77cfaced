"""What plan, project and key allow reaches the gateway: the limits it checks, the weight it hands to the engine."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection

from billing.services.credits import credit_grant
from billing.services.entitlements import plan_grant
from billing.services.wallet import postpaid_set
from gateway.calls import Call
from gateway.limits import limits_of
from inference.scheduler import Limits, Request, Scheduler
from kit.clock import now
from serving.routes import Route
from tenants.access import KEY_QUERY, KeyRecord, bearer, key_record
from tenants.models import Member
from tenants.scope import tenant_scope
from tenants.services.keys import key_create
from tests.billing.money import entitle
from tests.conftest import Person, make_person
from tests.gateway.conftest import GatewayProcess
from tests.inference.artefacts import BASE

BODY = json.dumps({"model": BASE.name, "input": "hello"}).encode()


def record_of(person: Person) -> KeyRecord:
    """The key as the gateway reads it."""
    with connection.cursor() as cursor:
        cursor.execute(KEY_QUERY, [bearer(f"Bearer {person.key}").lookup])
        return key_record(cursor.fetchone())


def on_plan(plan: str) -> Person:
    person = make_person("ada")
    with tenant_scope(person.tenant.id):
        plan_grant(plan=plan, reason="tests", created_by="tests")
    return person


def test_a_heavier_plan_gets_its_share_of_a_busy_engine() -> None:
    weights = {plan: limits_of(record_of(on_plan(plan))).weight for plan in ("free", "developer", "team", "enterprise")}
    assert list(weights.values()) == sorted(set(weights.values())), "each plan weighs more than the one below"
    scheduler = Scheduler(Limits(batch_rows=8))
    for plan, weight in weights.items():
        scheduler.submit(Request(tenant=plan, group="base", costs=[10] * 2000, weight=weight))
    served = dict.fromkeys(weights, 0)
    for _ in range(150):
        for row in scheduler.next_batch():
            served[row.request.tenant] += 1
    for plan, weight in weights.items():
        assert served[plan] / served["free"] == pytest.approx(weight / weights["free"], rel=0.05)


def test_the_weight_of_a_key_travels_with_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []

    class Engine:
        async def classify(self, **message: Any) -> None:
            sent.append(message)

        embed = classify

    class Fleet:
        async def ask(self, want: Any, one: Any) -> Any:
            return await one(Engine())

    async def metered(self: Call, kind: str, model: str, tokens: int, work: Any) -> Any:
        return await work

    monkeypatch.setattr(Call, "metered", metered)
    key: Any = SimpleNamespace(tenant="t", weight=7)
    call = Call(SimpleNamespace(fleet=Fleet()), key, "req_1", None, b"", [], None, 0.0, SimpleNamespace())  # type: ignore[arg-type]

    async def calls() -> None:
        for version in ("v", ""):
            route = Route("m", version, BASE.name, "", "", ("a",), 64)
            await call.embed(route, ["hello"])
        await call.classify(route, ["hello"], "classify")

    asyncio.run(calls())
    assert [message["weight"] for message in sent] == [7, 7, 7]


PATIENCE = 30.0
"""Seconds; it takes two on an idle machine."""


@pytest.mark.slow
def test_a_projects_limit_set_on_its_page_holds_within_seconds(gateway: GatewayProcess) -> None:
    ada = on_plan("team")  # that looking whether it holds does not use up
    _, headers, _ = gateway.post("/v1/embeddings", BODY, ada.key)
    assert headers["x-ratelimit-limit-requests"] == "6000"
    page = f"{ada.home}/settings/projects/{ada.project.public_id}/limits"
    assert ada.browser.post(page, {"requests_per_minute": "2"}).status_code == 302
    began = time.monotonic()
    while gateway.post("/v1/embeddings", BODY, ada.key)[1].get("x-ratelimit-limit-requests") != "2":
        assert time.monotonic() - began < PATIENCE, "the gateway did not hear of it"
        time.sleep(0.1)
    for _ in range(3):
        status, headers, body = gateway.post("/v1/embeddings", BODY, ada.key)
    assert status == 429 and "your project" in json.loads(body)["error"]["message"], body
    assert ada.browser.post(page, {"monthly_spend_nano": "0"}).status_code == 302
    while True:
        status, _, body = gateway.post("/v1/embeddings", BODY, ada.key)
        if status == 402:
            break
        assert time.monotonic() - began < PATIENCE, body
        time.sleep(0.2)
    assert "spend limit of your project ($0.00). Raise the limit under Settings" in json.loads(body)["error"]["message"]


@pytest.mark.slow
def test_limits_of_a_member_and_of_a_model_hold_on_their_pages_word_and_are_explained(
    gateway: GatewayProcess,
) -> None:
    ada = on_plan("team")
    with tenant_scope(ada.tenant.id):
        seat = Member.objects.get(user=ada.user)
    one, other = key_of_member(ada), ada.key

    def status(key: str) -> tuple[int, dict[str, str], str]:
        answered, headers, body = gateway.post("/v1/embeddings", BODY, key)
        return answered, headers, body.decode()

    def until(wanted: str) -> None:
        began = time.monotonic()
        while status(one)[1].get("x-ratelimit-limit-requests") != wanted:
            assert time.monotonic() - began < PATIENCE, "the gateway did not hear of it"
            time.sleep(0.1)

    assert 0 < float(status(one)[1]["x-budget-remaining-usd"]) <= 5000, "what the plan allows in a month"
    member_page = f"{ada.home}/members/{seat.public_id}/limits"
    assert ada.browser.post(member_page, {"requests_per_minute": "3"}).status_code == 302
    until("3")
    for _ in range(3):
        answered, headers, body = status(other)
    assert answered == 429 and "the member who made this API key" in body, body
    assert status(one)[0] == 429, "both keys are the member's"
    blocked = headers["x-request-id"]
    began = time.monotonic()
    while not (found := ada.api.get(f"/v1/limits/decisions?request_id={blocked}").json()["data"]):
        assert time.monotonic() - began < PATIENCE, "the refusal is not to be seen"
        time.sleep(0.1)
    assert (found[0]["scope"], found[0]["limit"]["value"], found[0]["model"]) == ("member", 3, BASE.name)
    assert ada.browser.post(member_page, {}).status_code == 302
    until("6000")
    model_page = f"{ada.workspace}/limits/{BASE.name}"
    assert ada.browser.post(model_page, {"requests_per_minute": "2"}).status_code == 302
    until("2")
    for _ in range(3):
        answered, _, body = status(other)
    assert answered == 429 and f"the model '{BASE.name}' in your project" in body, body


def key_of_member(person: Person) -> str:
    """Another key that this member made."""
    with tenant_scope(person.tenant.id):
        return key_create(project=person.project, name="another", created_by=person.user)[1]


@pytest.mark.slow
def test_calls_stop_without_credit_and_go_on_when_it_comes(gateway: GatewayProcess) -> None:
    ada = make_person("ada")
    entitle(ada.tenant.id, spend_nano=10**12)
    with tenant_scope(ada.tenant.id):
        postpaid_set(nano=0)
    status, headers, body = gateway.post("/v1/embeddings", BODY, ada.key)
    error = json.loads(body)["error"]
    assert (status, error["type"], error["code"]) == (402, "insufficient_quota", "budget_exceeded")
    assert "Buy credit" in error["message"] and headers["x-should-retry"] == "false"
    with tenant_scope(ada.tenant.id):
        credit_grant(kind="promo", amount_nano=10**9, source="t", expires_at=now() + dt.timedelta(hours=1))
    began = time.monotonic()
    while (answer := gateway.post("/v1/embeddings", BODY, ada.key))[0] != 200:
        assert answer[0] == 402 and time.monotonic() - began < PATIENCE, answer
        time.sleep(0.1)
    assert 0.99 < float(answer[1]["x-budget-remaining-usd"]) < 1
