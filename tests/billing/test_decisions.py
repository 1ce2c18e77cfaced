"""Why calls were refused is kept, beside the answer and bounded, and shown to whoever was refused and nobody else."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
import uuid
from pathlib import Path

import pytest
from django.test import override_settings

from billing.errors import CallRefused
from billing.models import QuotaDecision
from billing.periods import from_ms
from billing.prices import price_books
from billing.quotas import LimitSet, QuotaGate, QuotaStore, limits_for, trace
from billing.quotas.trace import Refusal, TraceBuffer
from billing.selectors.decisions import DecisionFilter, decisions
from billing.services.calls import call_metered
from billing.services.decisions import KEPT, decisions_flush, decisions_prune, decisions_record
from billing.services.gate import open_gate
from billing.services.limits import member_limits_set, project_limits_set
from kit.clock import now
from kit.ids import new_id, public_id
from tenants.models import Member
from tenants.scope import tenant_scope
from tests.billing.money import entitle
from tests.billing.quota_server import QuotaServer
from tests.conftest import Cast, Person

MODEL = "ft:all-MiniLM-L6-v2:o:s:1"


def refusal(person: Person, **changes: object) -> Refusal:
    values: dict[str, object] = {
        "at_ms": time.time_ns() // 1_000_000,
        "tenant_id": person.tenant.id,
        "project_id": person.project.id,
        "key_id": person.key_row.id,
        "request_ids": [public_id("req_", new_id())],
        "kind": "classify",
        "model": MODEL,
        "layer": "key",
        "scope_id": person.key_row.id.hex,
        "limit_kind": "tokens",
        "cap": 1000,
        "window_ms": 60_000,
        "asked": 700,
        "remaining": 12,
        "wait_ms": 41_280,
        "reason": "rate",
        "status": 429,
    }
    return Refusal(**(values | changes))  # type: ignore[arg-type]


def test_a_refused_call_is_kept_with_everything_that_decided_it(
    server: QuotaServer, cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "WINDOW_SECONDS", 60.0)  # alike in a second are one row; here a second may be long
    ada = cast.owner
    limits = limits_for(
        tenant_id=ada.tenant.id,
        plan=LimitSet(requests_per_minute=10_000),
        member_id=ada.user.pk,
        member=LimitSet(output_tokens_per_minute=100),
    )

    async def main() -> list[int]:
        opened = open_gate()
        statuses = []
        for number in range(4):
            ticket = await opened.gate.admit(
                limits, ids[number], kind="embeddings", model=MODEL, project_id=ada.project.id,
                key_id=ada.key_row.id, tokens=5, output_tokens=60,
            )  # fmt: skip
            statuses.append(ticket.denial.status if ticket.denial else 200)
        await opened.close()
        return statuses

    ids = [public_id("req_", new_id()) for _ in range(4)]
    with override_settings(REDIS_URL=server.url, USAGE_WAL_DIR=tmp_path / "usage"):
        assert asyncio.run(main()) == [200, 429, 429, 429]
    with tenant_scope(ada.tenant.id):
        row = QuotaDecision.objects.get()
    assert (row.layer, row.scope_id, row.limit_kind, row.cap) == ("member", ada.user.pk.hex, "output_tokens", 100)
    assert (row.asked, row.remaining, row.reason, row.status) == (60, 40, "rate", 429)
    assert 0 < row.wait_ms <= 12_000 and row.window_ms == 60_000
    assert (row.refused, row.request_ids) == (3, ids[1:]), "three alike of one window are one row"
    assert (row.project_id, row.key_id, row.model, row.kind) == (
        ada.project.id, ada.key_row.id, MODEL, "embeddings",
    )  # fmt: skip
    assert abs(row.at - now()) < dt.timedelta(minutes=1)


def test_a_denied_extension_and_an_absent_quota_server_are_kept_too(server: QuotaServer, cast: Cast) -> None:
    ada = cast.owner
    noted: list[Refusal] = []
    spend = limits_for(tenant_id=ada.tenant.id, plan=LimitSet(output_tokens_per_minute=100, spend_nano=1000))
    where = {"kind": "classify", "model": MODEL, "project_id": ada.project.id, "key_id": None}

    async def main() -> None:
        gate = QuotaGate(server.url, prices=price_books(), on_refused=noted.append)
        free = limits_for(tenant_id=ada.tenant.id, plan=LimitSet(output_tokens_per_minute=100))
        ticket = await gate.admit(free, "r1", tokens=0, output_tokens=80, **where)
        assert not await gate.extend(ticket, output_tokens=30, life_ms=1000)
        gate.close()
        away = QuotaGate("unix:///nonexistent/redis.sock", prices=price_books(), on_refused=noted.append)
        assert (await away.admit(spend, "r2", tokens=10, **where)).denial is not None
        away.close()

    asyncio.run(main())
    extension, away = noted
    assert (extension.layer, extension.limit_kind, extension.asked) == ("tenant", "output_tokens", 30)
    assert extension.status == 200, "it was answered, and ended early"
    assert (away.layer, away.reason, away.status, away.asked) == ("platform", "away", 503, 200)


def test_the_playgrounds_refusals_are_kept(server: QuotaServer, store: QuotaStore, cast: Cast) -> None:
    ada = cast.owner
    entitle(ada.tenant.id, spend_nano=10**6)
    with tenant_scope(ada.tenant.id):
        project_limits_set(project=ada.project, limits={"requests_per_minute": 0})
    with (
        pytest.raises(CallRefused),
        call_metered(
            tenant_id=ada.tenant.id, project_id=ada.project.id, kind="classify", model=MODEL, tokens=5, store=store
        ),
    ):
        raise AssertionError("it ran")
    with tenant_scope(ada.tenant.id):
        row = QuotaDecision.objects.get()
    assert (row.layer, row.limit_kind, row.key_id, row.cap) == ("project", "requests", None, 0)


def test_what_waits_is_bounded_in_entries_ids_and_time(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = cast.owner
    monkeypatch.setattr(trace, "MOST", 3)
    monkeypatch.setattr(trace, "WINDOW_SECONDS", 3600.0)
    buffer = TraceBuffer()
    for _ in range(50):
        buffer.note(refusal(ada))
    assert buffer.take() == []
    for number in range(9):
        buffer.note(refusal(ada, model=f"m{number}"))
    taken = buffer.take(everything=True)
    assert [(one.model, one.refused) for one in taken] == [(MODEL, 50), ("m0", 1), ("m1", 1)]
    assert len(taken[0].request_ids) == trace.IDS
    buffer.back([*taken, *taken])
    assert len(buffer.take()) == 3, "what could not be written waits as far as there is room"


def test_who_is_refused_all_the_time_gets_an_entry_a_minute(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "BUSY_ROWS", 2)
    monkeypatch.setattr(trace, "WINDOW_SECONDS", 0.0)
    buffer = TraceBuffer()
    for _ in range(100):
        buffer.note(refusal(cast.owner))
    buffer.note(refusal(cast.stranger))
    taken = buffer.take(everything=True)
    assert [one.refused for one in taken if one.tenant_id == cast.owner.tenant.id] == [1, 1, 98]
    assert [one.refused for one in taken if one.tenant_id == cast.stranger.tenant.id] == [1]


def test_rows_that_can_never_be_written_keep_nobody_elses_out(cast: Cast) -> None:
    assert decisions_record([refusal(cast.owner, model="x" * 300), refusal(cast.stranger)]) == 1
    buffer = TraceBuffer()
    buffer.note(refusal(cast.stranger))
    assert decisions_flush(buffer, everything=True) == 1
    assert decisions_flush(buffer, everything=True) == 0
    with tenant_scope(cast.stranger.tenant.id):
        assert QuotaDecision.objects.count() == 2


def test_they_are_forgotten_after_a_month(cast: Cast) -> None:
    old = (now() - KEPT - dt.timedelta(minutes=1)).timestamp()
    decisions_record([refusal(cast.owner, at_ms=int(old * 1000)), refusal(cast.owner, at_ms=int(old * 1000) + 120_000)])
    assert decisions_prune() == 1
    with tenant_scope(cast.owner.tenant.id):
        assert QuotaDecision.objects.get().at > now() - KEPT


def test_a_request_id_leads_to_its_refusal(cast: Cast) -> None:
    ada = cast.owner
    decisions_record([one := refusal(ada), refusal(ada, layer="tenant", model="other")])
    with tenant_scope(ada.tenant.id):

        def found(**wanted: object) -> list[str]:
            return [row.model for row in decisions(DecisionFilter(**wanted))]  # type: ignore[arg-type]

        assert found(request_id=one.request_ids[0]) == [MODEL]
        for nonsense in (public_id("req_", new_id()), "req_", "x", public_id("req_", uuid.UUID(int=2**128 - 1))):
            assert found(request_id=nonsense) == []
        assert found(layer="tenant") == ["other"] and found(model=MODEL) == [MODEL]
        assert len(found(key_id=ada.key_row.id, project_id=ada.project.id)) == 2
        assert found(until=from_ms(one.at_ms) - dt.timedelta(days=1)) == []


def get(person: Person, path: str) -> dict[str, object]:
    response = person.api.get(f"/v1/{path}")
    assert response.status_code == 200, response.content
    found: dict[str, object] = json.loads(response.content)
    return found


def test_the_api_lists_them_in_pages_with_filters_and_no_strangers_see_them(cast: Cast) -> None:
    ada = cast.owner
    decisions_record([refusal(ada, model=f"m{number}") for number in range(5)])
    money = refusal(ada, limit_kind="spend", layer="tenant", cap=10**9, asked=2 * 10**7, wait_ms=None, reason="spend")
    decisions_record([money])
    first = get(ada, "limits/decisions?limit=4")
    assert len(first["data"]) == 4 and first["has_more"] is True  # type: ignore[arg-type]
    rest = get(ada, f"limits/decisions?limit=4&after={first['last_id']}")
    assert len(rest["data"]) == 2 and rest["has_more"] is False  # type: ignore[arg-type]
    (one,) = get(ada, "limits/decisions?model=m3")["data"]  # type: ignore[misc]
    assert one["limit"] == {"kind": "tokens_per_minute", "value": 1000, "unit": "tokens"}
    assert (one["scope"], one["asked"], one["remaining"], one["wait_ms"]) == ("api_key", 700, 12, 41_280)
    assert one["api_key_id"] == ada.key_row.public_id and one["project_id"] == ada.project.public_id
    (spent,) = get(ada, "limits/decisions?scope=organization")["data"]  # type: ignore[misc]
    assert (spent["x_limit_usd"], spent["x_asked_usd"], spent["limit"]["unit"]) == (1.0, 0.02, "nano_usd")
    (same,) = get(ada, f"limits/decisions?request_id={money.request_ids[0]}")["data"]  # type: ignore[misc]
    assert same["id"] == spent["id"]
    assert get(cast.stranger, "limits/decisions")["data"] == []
    assert get(cast.stranger, f"limits/decisions?request_id={money.request_ids[0]}")["data"] == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("scope=key", "scope"),
        ("start_time=soon", "start_time"),
        ("limit=0", "limit"),
        ("after=qdec_x", "after"),
        ("model=%00", "model"),
        ("request_id=%00", "request_id"),
        ("colour=red", "colour"),
    ],
)
def test_a_question_that_cannot_be_is_refused_by_name(cast: Cast, query: str, param: str) -> None:
    response = cast.owner.api.get(f"/v1/limits/decisions?{query}")
    assert response.status_code == 400 and json.loads(response.content)["error"]["param"] == param


def test_the_limits_route_shows_all_scopes_and_what_is_used(cast: Cast) -> None:
    ada = cast.owner
    with tenant_scope(ada.tenant.id):
        member = Member.objects.get(user=ada.user)
        member_limits_set(member=member, limits={"input_tokens_per_minute": 500, "monthly_spend_nano": 10**9})
    page = get(ada, "limits")
    found = {(one["scope"], one["kind"]): one for one in page["data"]}  # type: ignore[attr-defined]
    assert found["member", "input_tokens_per_minute"] == {
        "object": "organization.limit",
        "scope": "member",
        "kind": "input_tokens_per_minute",
        "limit": 500,
        "used": 0,
    }
    assert found["member", "monthly_spend"]["x_used_nano"] == 0
    assert page == get(ada, "organization/limits")


def test_the_page_says_whose_limit_it_was_and_where_it_is_changed(cast: Cast) -> None:
    ada = cast.owner
    with tenant_scope(ada.tenant.id):
        member = Member.objects.get(user=ada.user)
    decisions_record(
        [
            one := refusal(ada, layer="member", scope_id=ada.user.pk.hex, refused=4),
            refusal(ada, layer="tenant", limit_kind="spend", cap=10**9, asked=10**7, remaining=None, wait_ms=None,
                    reason="spend", status=402, model="dear"),
        ]
    )  # fmt: skip
    page = " ".join(ada.browser.get(f"{ada.home}/usage/refused").content.decode().split())
    assert "1,000 tokens a minute" in page and "and 3 more alike" in page and "passes after 42 s" in page
    assert f"{ada.home}/members/{member.public_id}/limits" in page
    assert "$1.00 a month" in page and "a higher limit, or the next month" in page
    only = ada.browser.get(f"{ada.home}/usage/refused?request={one.request_ids[0]}").content.decode()
    assert one.request_ids[0] in only and "dear" not in only
    none = ada.browser.get(f"{ada.home}/usage/refused?request=nonsense").content.decode()
    assert "No refused call matches the filter." in none
    assert f"{ada.home}/usage/refused" in ada.browser.get(f"{ada.home}/usage/").content.decode()
    assert "No call was refused." in cast.stranger.browser.get(f"{cast.stranger.home}/usage/refused").content.decode()
