"""Who may call: keys, scopes, limits, and what is written down of every call."""

from __future__ import annotations

import json
import time

import openai
import pytest
from django.db import connection

from billing.models import UsageEvent
from billing.services.entitlements import override_set
from kit.clock import now
from serving.services import deployment_stop
from tenants import keys as key_format
from tenants.models import ApiKey, Tenant
from tenants.scope import tenant_scope
from tenants.services.keys import key_create, key_revoke, key_scopes_set
from tests.billing.test_ladder import owe, pay
from tests.conftest import Cast
from tests.gateway.conftest import GatewayProcess
from tests.inference.artefacts import BASE
from tests.serving.made import deployed, trained

pytestmark = pytest.mark.slow  # starts real processes

BODY = json.dumps({"model": BASE.name, "input": "hello"}).encode()


def call(gateway: GatewayProcess, key: str | None) -> int:
    return gateway.post("/v1/embeddings", BODY, key)[0]


def test_keys_that_are_missing_malformed_or_unknown_are_refused(gateway: GatewayProcess, cast: Cast) -> None:
    unknown, _ = key_format.generate()
    for key in (None, "", "nonsense", cast.owner.key[:-1] + ("a" if cast.owner.key[-1] != "a" else "b"), unknown):
        status, headers, body = gateway.post("/v1/embeddings", BODY, key)
        assert status == 401, key
        assert headers["www-authenticate"] == "Bearer"
        assert json.loads(body)["error"]["code"] == "invalid_api_key"
    assert call(gateway, cast.owner.key) == 200


@pytest.mark.parametrize("name", ["", "k" * 256, "a\tb"])
def test_an_idempotency_key_in_a_wrong_form_is_refused(gateway: GatewayProcess, cast: Cast, name: str) -> None:
    for path in ("/v1/embeddings", "/v1/chat/completions"):
        status, _, body = gateway.post(path, BODY, cast.owner.key, **{"Idempotency-Key": name})
        error = json.loads(body)["error"]
        assert (status, error["param"]) == (400, "Idempotency-Key"), body
        assert "1 to 255 printable" in error["message"]


def test_a_call_that_is_sent_again_is_computed_and_charged_again_as_the_docs_say(
    gateway: GatewayProcess, cast: Cast
) -> None:
    tries = [gateway.post("/v1/embeddings", BODY, cast.owner.key, **{"Idempotency-Key": "k" * 255}) for _ in range(2)]
    assert [status for status, _, _ in tries] == [200, 200]
    assert tries[0][1]["x-request-id"] != tries[1][1]["x-request-id"]
    assert all(float(headers["x-cost-usd"]) > 0 for _, headers, _ in tries)


def test_the_use_of_a_key_is_noted(gateway: GatewayProcess, cast: Cast) -> None:
    assert call(gateway, cast.owner.key) == 200
    deadline = time.monotonic() + 15
    while True:
        with tenant_scope(cast.owner.tenant.id):
            if ApiKey.objects.get(pk=cast.owner.key_row.pk).last_used_at is not None:
                break
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_the_right_id_with_a_wrong_secret_is_refused(gateway: GatewayProcess, cast: Cast) -> None:
    assert call(gateway, cast.owner.key) == 200
    parts = key_format.parse(cast.owner.key)
    assert parts is not None
    body = f"{key_format.PREFIX}_{parts.lookup}_{'A' * 32}"
    assert call(gateway, f"{body}_{key_format.checksum(body)}") == 401


def test_a_revoked_key_is_refused_within_seconds(gateway: GatewayProcess, cast: Cast) -> None:
    assert call(gateway, cast.owner.key) == 200
    with tenant_scope(cast.owner.tenant.id):
        key_revoke(key=ApiKey.objects.get(pk=cast.owner.key_row.pk))
    deadline = time.monotonic() + 2
    while call(gateway, cast.owner.key) != 401:
        assert time.monotonic() < deadline


def test_a_revocation_whose_news_was_lost_holds_within_five_seconds(gateway: GatewayProcess, cast: Cast) -> None:
    assert call(gateway, cast.owner.key) == 200
    with tenant_scope(cast.owner.tenant.id):
        ApiKey.objects.filter(pk=cast.owner.key_row.pk).update(revoked_at=now())
    deadline = time.monotonic() + 5
    while call(gateway, cast.owner.key) != 401:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_key_stops_working_at_its_expiry(gateway: GatewayProcess, cast: Cast) -> None:
    import datetime as dt

    with tenant_scope(cast.owner.tenant.id):
        ends = now() + dt.timedelta(seconds=3)
        _, plaintext = key_create(project=cast.owner.project, name="short", expires_at=ends)
    assert call(gateway, plaintext) == 200
    while now() < ends:
        time.sleep(0.05)
    assert call(gateway, plaintext) == 401


def test_a_key_without_the_scope_is_told_which(gateway: GatewayProcess, cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        _, plaintext = key_create(project=cast.owner.project, name="reader", scopes=["models.read"])
    with pytest.raises(openai.PermissionDeniedError, match="'inference'"):
        gateway.client(plaintext, max_retries=0).embeddings.create(model=BASE.name, input="x")


def test_what_a_key_may_do_follows_a_change_within_seconds(gateway: GatewayProcess, cast: Cast) -> None:
    assert call(gateway, cast.owner.key) == 200
    for scopes, status in ((["models.read"], 403), (["inference"], 200)):
        with tenant_scope(cast.owner.tenant.id):
            key_scopes_set(key=ApiKey.objects.get(pk=cast.owner.key_row.pk), scopes=scopes)
        deadline = time.monotonic() + 2
        while call(gateway, cast.owner.key) != status:
            assert time.monotonic() < deadline


def test_a_suspended_organisation_cannot_call(gateway: GatewayProcess, cast: Cast) -> None:
    assert call(gateway, cast.owner.key) == 200
    with tenant_scope(cast.owner.tenant.id):
        Tenant.objects.filter(pk=cast.owner.tenant.id).update(status="suspended")
    deadline = time.monotonic() + 5
    while call(gateway, cast.owner.key) != 403:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_models_do_not_answer_while_an_invoice_is_long_overdue_and_do_once_it_is_paid(
    gateway: GatewayProcess, cast: Cast
) -> None:
    assert call(gateway, cast.owner.key) == 200
    owe(cast.owner, 15)
    for settle, status in ((lambda: None, 402), (lambda: pay(cast.owner), 200)):
        settle()
        deadline = time.monotonic() + 5
        while call(gateway, cast.owner.key) != status:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        if status == 402:
            assert (
                json.loads(gateway.post("/v1/embeddings", BODY, cast.owner.key)[2])["error"]["code"]
                == "payment_overdue"
            )


def test_a_keys_own_rate_limit_answers_429_with_a_time_to_wait(gateway: GatewayProcess, cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        _, plaintext = key_create(project=cast.owner.project, name="slow", limits={"requests_per_minute": 2})
    assert [call(gateway, plaintext) for _ in range(2)] == [200, 200]
    status, headers, body = gateway.post("/v1/embeddings", BODY, plaintext)
    assert status == 429
    assert int(headers["retry-after"]) >= 1
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert json.loads(body)["error"]["code"] == "rate_limit_exceeded"
    assert call(gateway, cast.owner.key) == 200


def test_an_empty_budget_answers_402_and_asks_not_to_retry(gateway: GatewayProcess, cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        _, plaintext = key_create(project=cast.owner.project, name="broke", limits={"monthly_spend_nano": 0})
    status, headers, body = gateway.post("/v1/embeddings", BODY, plaintext)
    assert status == 402, body
    assert headers["x-should-retry"] == "false"
    assert "retry-after" not in headers
    assert json.loads(body)["error"]["type"] == "insufficient_quota"


def test_every_call_leaves_one_usage_event(gateway: GatewayProcess, cast: Cast, tmp_path) -> None:
    version, _ = trained(cast.owner, tmp_path / "a")
    assert deployed(cast.owner, version, alias="a@b").state == "live"
    question = {"type": "choice", "instructions": ""}
    for path, body in (
        ("/v1/classify", {"model": "a@b", "input": ["one text", "two texts"]}),
        ("/v1/decisions", {"model": version.model.name, "input": "x", "questions": [question]}),
        ("/v1/embeddings", {"model": BASE.name, "input": "hello"}),
        ("/v1/classify", {"model": "nobody", "input": "x"}),
    ):  # fmt: skip
        gateway.post(path, json.dumps(body).encode(), cast.owner.key)
    deadline = time.monotonic() + 10
    while True:
        with tenant_scope(cast.owner.tenant.id):
            events = list(UsageEvent.objects.order_by("kind"))
        if len(events) == 3 or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert [(event.kind, event.model) for event in events] == [
        ("classify", version.model.name), ("decisions", version.model.name), ("embeddings", BASE.name),
    ]  # fmt: skip
    for event in events:
        assert event.input_tokens >= 3
        assert event.cost_nano > 0
        assert event.key_id == cast.owner.key_row.pk


def test_a_stopped_deployment_answers_404_within_seconds(gateway: GatewayProcess, cast: Cast, tmp_path) -> None:
    version, _ = trained(cast.owner, tmp_path / "a")
    row = deployed(cast.owner, version)
    body = json.dumps({"model": version.model.name, "input": "x"}).encode()
    assert gateway.post("/v1/classify", body, cast.owner.key)[0] == 200
    with tenant_scope(cast.owner.tenant.id):
        deployment_stop(deployment=row)
    deadline = time.monotonic() + 3
    while gateway.post("/v1/classify", body, cast.owner.key)[0] != 404:
        assert time.monotonic() < deadline


def test_a_model_that_the_engine_forgot_is_brought_back_by_the_call(
    gateway: GatewayProcess, cast: Cast, tmp_path, settings
) -> None:
    from inference.client import BlockingClient

    version, _ = trained(cast.owner, tmp_path / "a")
    deployed(cast.owner, version)
    with BlockingClient(settings.ENGINE_ADDRESS, settings.ENGINE_TOKEN) as engine:
        assert engine.unload(tenant=cast.owner.tenant.id.hex, model=version.id.hex).found
    body = json.dumps({"model": version.model.name, "input": "x"}).encode()
    status, headers, _ = gateway.post("/v1/classify", body, cast.owner.key)
    assert status == 200
    state, _, milliseconds = headers["x-model-state"].partition("; ms=")
    assert state == "loaded"
    assert int(milliseconds) >= 1
    assert gateway.post("/v1/classify", body, cast.owner.key)[1]["x-model-state"] == "hot"


def test_a_warm_call_asks_the_database_nothing(gateway: GatewayProcess, cast: Cast) -> None:
    """Counted by the database itself: what the gateway's connections ran while warm is only the regular re-reading."""
    call(gateway, cast.owner.key)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
        before = cursor.fetchone()[0]
    for _ in range(50):
        assert call(gateway, cast.owner.key) in (200, 429)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
        after = cursor.fetchone()[0]
    assert after - before < 50


def test_larger_limits_hold_from_the_next_reading_on(gateway: GatewayProcess, cast: Cast) -> None:
    _, before, _ = gateway.post("/v1/embeddings", BODY, cast.owner.key)
    with tenant_scope(cast.owner.tenant.id):
        override_set(limits={"requests_per_minute": 7777}, reason="a test", created_by="test")
    deadline = time.monotonic() + 10
    while True:
        _, headers, _ = gateway.post("/v1/embeddings", BODY, cast.owner.key)
        if headers["x-ratelimit-limit-requests"] == "7777":
            break
        assert time.monotonic() < deadline, (before, headers)
        time.sleep(0.3)
