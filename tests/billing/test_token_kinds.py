"""Input and output tokens are counted apart and together; what headers and refusals say of them; records of before."""

from __future__ import annotations

import asyncio
import uuid

import msgspec
import pytest

from billing.prices import price_books
from billing.quotas import QuotaGate, limits_for
from billing.quotas.compile import LimitSet
from billing.quotas.decision import rate_headers
from billing.quotas.denial import denial
from billing.quotas.limits import CompiledLimits, Limit, Scope
from billing.quotas.local import LocalBuckets
from billing.quotas.store import QuotaStore
from tests.billing.quota_server import QuotaServer

HOUR_MS = 3_600_000
FAR_MS = 4_000_000_000_000


@pytest.fixture
def tenant() -> str:
    return uuid.uuid4().hex


def kinds(tenant: str, *, both: int = 1000, read: int = 800, written: int = 300) -> CompiledLimits:
    # An hour's window, so that a slow test run does not refill the bucket under the assertion.
    return CompiledLimits(
        tenant,
        [
            Limit("tenant", tenant, "tokens", both, HOUR_MS),
            Limit("tenant", tenant, "input_tokens", read, HOUR_MS),
            Limit("tenant", tenant, "output_tokens", written, HOUR_MS),
        ],
    )


@pytest.mark.parametrize(
    ("tokens", "output_tokens", "kind"), [(801, 0, "input_tokens"), (0, 301, "output_tokens"), (750, 270, "tokens")]
)
def test_each_kind_refuses_what_only_it_cannot_carry_and_burns_nothing(
    store: QuotaStore, tenant: str, tokens: int, output_tokens: int, kind: str
) -> None:
    denied = store.reserve(kinds(tenant), "r", tokens=tokens, output_tokens=output_tokens)
    assert denied.limit is not None and denied.limit.kind == kind
    assert store.peek(kinds(tenant)) == [1000, 800, 300]


def test_settle_and_release_give_each_kind_its_own_back(store: QuotaStore, tenant: str) -> None:
    limits = kinds(tenant)
    assert store.reserve(limits, "r1", tokens=400, output_tokens=200).remaining == [400, 400, 100]
    store.settle(tenant, "r1", tokens=390, output_tokens=20, nano=0)
    assert store.peek(limits) == [590, 410, 280]
    store.reserve(limits, "r2", tokens=100, output_tokens=100)
    store.release(tenant, "r2")
    assert store.peek(limits) == [590, 410, 280]


def test_a_long_answer_is_reserved_in_parts_and_ends_where_its_kind_ends(store: QuotaStore, tenant: str) -> None:
    limits = kinds(tenant)
    store.reserve(limits, "r", tokens=10, output_tokens=100)
    assert store.extend(tenant, "r", output_tokens=150).allowed
    denied = store.extend(tenant, "r", output_tokens=51)
    assert not denied.allowed and denied.known and denied.place is not None
    assert limits.limits[denied.place].kind == "output_tokens" and denied.wait_ms > 0
    assert store.extend(tenant, "r", tokens=700).allowed, "input has room of its own"
    store.settle(tenant, "r", tokens=710, output_tokens=250, nano=0)
    assert store.peek(limits) == [40, 90, 50]


def test_expiry_charges_each_kind_what_was_reserved(store: QuotaStore, tenant: str) -> None:
    limits = kinds(tenant)
    store.reserve(limits, "r", tokens=30, output_tokens=20, life_ms=0)
    assert store.due(tenant)[0].tokens == 50
    store.expire(tenant, "r")
    assert store.peek(limits) == [950, 770, 280] and store.due(tenant) == []


def test_a_record_written_before_the_kinds_were_told_apart_is_settled_extended_and_expired(
    server: QuotaServer, store: QuotaStore, tenant: str
) -> None:
    """A rolling upgrade: gateways of two versions share one quota server."""
    limits = CompiledLimits(tenant, [Limit("tenant", tenant, "tokens", 1000, HOUR_MS)])
    now_ms = store.reserve(limits, "now", tokens=0).now_ms
    for rid in ("old1", "old2"):
        store.reserve(limits, rid, tokens=300)
        old = msgspec.msgpack.encode([1, 300, 0, now_ms - 1, [], now_ms - 10])
        server.command("HSET", limits.keys.records, rid, old + limits.blob)
    assert store.extend(tenant, "old1", tokens=50, output_tokens=50, life_ms=1000).allowed
    store.settle(tenant, "old1", tokens=100, output_tokens=40, nano=0)
    assert store.peek(limits) == [560]
    assert store.expire(tenant, "old2").tokens == 300
    assert store.peek(limits) == [560]


def test_a_new_record_begins_as_the_old_ones_did(server: QuotaServer, store: QuotaStore, tenant: str) -> None:
    """So that a sweeper of the version before can end it: requests, all tokens, money, deadline, leases, when."""
    limits = kinds(tenant)
    now_ms = store.reserve(limits, "r", tokens=30, output_tokens=20, life_ms=1000).now_ms
    packed = server.command("HGET", limits.keys.records, "r")
    assert isinstance(packed, bytes) and packed.endswith(limits.blob)
    record = msgspec.msgpack.decode(packed[: -len(limits.blob)])
    assert record[:4] == [1, 50, 0, now_ms + 1000] and record[5:] == [now_ms, 30, 20]


def test_headers_tell_the_tightest_of_each_kind_the_projects_and_the_money(store: QuotaStore, tenant: str) -> None:
    wide, tight = LimitSet(requests_per_minute=100, tokens_per_minute=10_000), LimitSet(requests_per_minute=7)
    limits = limits_for(
        tenant_id=uuid.UUID(hex=tenant),
        plan=LimitSet(requests_per_minute=100, tokens_per_minute=10_000, spend_nano=10**9),
        project_id=uuid.uuid4(),
        project=LimitSet(tokens_per_minute=5_000),
        member_id=uuid.uuid4(),
        member=LimitSet(tokens_per_minute=900, output_tokens_per_minute=50, spend_nano=10**8),
        key_id=uuid.uuid4(),
        key=wide,
        model_id=uuid.uuid4(),
        model=tight,
    )
    for index in limits.indices("spend"):
        one = limits.limits[index]
        rest = {"tenant": 7 * 10**8, "member": 1_500_000}[one.scope]
        store.grant(tenant, one.name, epoch=1, block=1, nano=10_000, ends_ms=FAR_MS, low_nano=0, rest_nano=rest)
    headers = dict(rate_headers(store.reserve(limits, "r", tokens=100, output_tokens=20, nano=2_345)))
    assert headers[b"x-ratelimit-limit-requests"] == b"7" and headers[b"x-ratelimit-remaining-requests"] == b"6"
    assert headers[b"x-ratelimit-limit-tokens"] == b"900" and headers[b"x-ratelimit-remaining-tokens"] == b"780"
    assert headers[b"x-ratelimit-limit-project-tokens"] == b"5000"
    assert headers[b"x-ratelimit-limit-output-tokens"] == b"50"
    assert headers[b"x-ratelimit-reset-output-tokens"].endswith(b"s")
    assert b"x-ratelimit-limit-input-tokens" not in headers
    assert headers[b"x-budget-remaining-usd"] == b"0.001507655"
    store.tell_rest(tenant, limits.limits[limits.indices("spend")[1]].name, 0)
    again = dict(rate_headers(store.reserve(limits, "r2", nano=0)))
    assert again[b"x-budget-remaining-usd"] == b"0.000007655"


def test_money_that_nobody_knows_the_rest_of_has_no_header(store: QuotaStore, tenant: str) -> None:
    limits = CompiledLimits(tenant, [Limit("tenant", tenant, "spend", 1000)])
    assert rate_headers(store.reserve(limits, "r", nano=0)) == []


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ("tenant", ("your organization", "Take a larger plan under Billing")),
        ("project", ("your project", "under Settings, Projects")),
        ("member", ("the member who made this API key", "under Members")),
        ("key", ("your API key", "under API keys")),
        ("model", ("the model 'ft:x' in your project", "under Models, Limits of models")),
    ],
)
def test_a_refusal_names_the_limit_its_scope_and_what_to_do(
    store: QuotaStore, tenant: str, scope: Scope, words: tuple[str, str]
) -> None:
    limits = CompiledLimits(tenant, [Limit(scope, uuid.uuid4().hex, "output_tokens", 10, HOUR_MS)])
    store.reserve(limits, "r1", output_tokens=8)
    said = denial(store.reserve(limits, "r2", output_tokens=8), "ft:x")
    assert (said.status, said.type, said.code) == (429, "tokens", "rate_limit_exceeded")
    assert "10 output tokens per 1h0m0s" in said.message and "Retry in" in said.message
    assert words[0] in said.message and words[1] in said.message


def test_the_gate_reserves_extends_and_settles_both_kinds(server: QuotaServer, store: QuotaStore, tenant: str) -> None:
    limits = kinds(tenant)

    async def main() -> None:
        gate = QuotaGate(server.url, prices=price_books())
        ticket = await gate.admit(
            limits, "r", kind="classify", model="m", project_id=uuid.uuid4(), key_id=None, tokens=100, output_tokens=50
        )
        assert store.peek(limits) == [850, 700, 250]
        assert await gate.extend(ticket, output_tokens=100, life_ms=1000)
        assert not await gate.extend(ticket, output_tokens=200, life_ms=1000)
        gate.settle(ticket, input_tokens=90, output_tokens=120)
        await gate.admit(limits, "r2", kind="classify", model="m", project_id=uuid.uuid4(), key_id=None, tokens=0)
        gate.close()

    asyncio.run(main())
    assert store.peek(limits) == [790, 710, 180]


def test_without_the_server_both_kinds_are_bounded_in_process(tenant: str) -> None:
    local, limits = LocalBuckets(), kinds(tenant)
    assert local.take(limits, requests=1, tokens=100, output_tokens=300)[0] is None
    blocked, wait_ms, remaining = local.take(limits, requests=1, tokens=1, output_tokens=10)
    assert blocked is not None and blocked.kind == "output_tokens" and wait_ms > 0
    assert remaining[:2] == [600, 700]
