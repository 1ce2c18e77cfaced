"""The gateway's door: admission, settlement, metering, and the quota server's absence."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest

from billing.metering.spool import SpoolError, SpoolWriter, read_events
from billing.prices import price_books
from billing.quotas import CompiledLimits, Limit, LimitSet, QuotaGate, QuotaStore, Ticket, limits_for
from billing.quotas.scripts import HOLD_MS
from tests.billing.quota_server import QuotaServer, quota_server

FAR_MS = 4_000_000_000_000
TENANT, PROJECT, KEY = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
PATIENCE = 0.3
"""Seconds that a gate waits for a stuck server; one that is not stuck answers in them on a busy machine as well."""


@pytest.fixture
def tenant_id() -> uuid.UUID:
    return uuid.uuid4()


def grant(server: QuotaServer, limits: CompiledLimits, nano: int, *, epoch: int = 1, block: int = 1) -> None:
    store = QuotaStore(server.url)
    name = limits.limits[limits.indices("spend")[0]].name
    store.grant(limits.tenant, name, epoch=epoch, block=block, nano=nano, ends_ms=FAR_MS, low_nano=0)
    store.close()


def used(server: QuotaServer, limits: CompiledLimits) -> tuple[int, int]:
    store = QuotaStore(server.url)
    state, _ = store.lease_state(limits.tenant, limits.limits[limits.indices("spend")[0]].name)
    store.close()
    assert state is not None
    return state.used, state.held


def plan_limits(tenant_id: uuid.UUID) -> CompiledLimits:
    return limits_for(
        tenant_id=tenant_id,
        plan=LimitSet(requests_per_minute=100, tokens_per_minute=10_000, concurrency=10, spend_nano=10**9),
        project_id=PROJECT,
        project=LimitSet(tokens_per_minute=5_000),
        key_id=KEY,
        key=LimitSet(requests_per_minute=50),
    )


async def admit(gate: QuotaGate, limits: CompiledLimits, rid: str, tokens: int = 10) -> Ticket:
    return await gate.admit(
        limits, rid, kind="classify", model="ft:base:org:s:1", project_id=PROJECT, key_id=KEY, tokens=tokens
    )


def test_what_a_prompt_found_in_the_cache_costs_less_than_was_held_for_it(
    server: QuotaServer, tenant_id: uuid.UUID, tmp_path: Path
) -> None:
    limits = plan_limits(tenant_id)
    grant(server, limits, 100_000)
    spool = SpoolWriter(tmp_path)

    async def main() -> None:
        gate = QuotaGate(server.url, spool=spool, prices=price_books())
        ticket = await gate.admit(
            limits, "req_1", kind="chat", model="base", project_id=PROJECT, key_id=KEY, tokens=100
        )
        event = gate.settle(ticket, input_tokens=100, cached_tokens=64)
        assert event is not None
        assert (event.price_version, event.cached_tokens) == ("2026-11-30.5", 64)
        assert event.cost_nano == 36 * 100 + 64 * 50
        gate.close()

    asyncio.run(main())


def test_a_call_is_admitted_metered_and_settled(server: QuotaServer, tenant_id: uuid.UUID, tmp_path: Path) -> None:
    limits = plan_limits(tenant_id)
    grant(server, limits, 10_000)
    spool = SpoolWriter(tmp_path)

    async def main() -> None:
        gate = QuotaGate(server.url, spool=spool, prices=price_books())
        ticket = await admit(gate, limits, "req_1", tokens=100)
        assert ticket.denial is None
        headers = dict(ticket.headers)
        assert headers[b"x-ratelimit-remaining-requests"] == b"49"
        assert headers[b"x-ratelimit-remaining-tokens"] == b"4900"
        assert headers[b"x-ratelimit-limit-project-tokens"] == b"5000"
        event = gate.settle(ticket, input_tokens=40, gpu_ms=3)
        assert event is not None and event.cost_nano == 40 * 20
        assert gate.settle(ticket, input_tokens=40) is None
        await admit(gate, limits, "req_2")  # answers come in order: the settle is done when this one is
        gate.close()

    asyncio.run(main())
    events = [event for event, _ in read_events(spool.path)]
    assert [(e.request_id, e.input_tokens, e.cost_nano, e.tenant_id) for e in events] == [("req_1", 40, 800, tenant_id)]
    assert used(server, limits) == (800, 10 * 20)
    spool.close()


def test_money_beyond_the_reservation_is_never_charged(
    server: QuotaServer, tenant_id: uuid.UUID, tmp_path: Path
) -> None:
    limits = plan_limits(tenant_id)
    grant(server, limits, 10_000)

    async def main() -> None:
        gate = QuotaGate(server.url, spool=None, prices=price_books())
        event = gate.settle(await admit(gate, limits, "req_1", tokens=10), input_tokens=99)
        assert event is not None and event.cost_nano == 10 * 20
        await admit(gate, limits, "req_2", tokens=0)
        gate.close()

    asyncio.run(main())
    assert used(server, limits) == (200, 0)


def test_a_released_call_costs_nothing_and_leaves_no_event(
    server: QuotaServer, tenant_id: uuid.UUID, tmp_path: Path
) -> None:
    limits = plan_limits(tenant_id)
    grant(server, limits, 10_000)
    spool = SpoolWriter(tmp_path)

    async def main() -> None:
        gate = QuotaGate(server.url, spool=spool, prices=price_books())
        ticket = await admit(gate, limits, "req_1")
        gate.release(ticket)
        gate.release(ticket)
        after = await admit(gate, limits, "req_2", tokens=0)
        assert dict(after.headers)[b"x-ratelimit-remaining-requests"] == b"49"
        gate.close()

    asyncio.run(main())
    assert used(server, limits) == (0, 0)
    assert list(read_events(spool.path)) == []
    spool.close()


def test_a_full_disk_refuses_the_call_and_gives_the_hold_back(
    server: QuotaServer, tenant_id: uuid.UUID, tmp_path: Path
) -> None:
    limits = plan_limits(tenant_id)
    grant(server, limits, 10_000)
    spool = SpoolWriter(tmp_path)
    spool.close()

    async def main() -> None:
        gate = QuotaGate(server.url, spool=spool, prices=price_books())
        ticket = await admit(gate, limits, "req_1")
        with pytest.raises(SpoolError):
            gate.settle(ticket, input_tokens=10)
        await admit(gate, limits, "req_2", tokens=0)
        gate.close()

    asyncio.run(main())
    assert used(server, limits) == (0, 0)


def test_a_missing_lease_is_asked_for_and_the_call_waits_for_it(server: QuotaServer, tenant_id: uuid.UUID) -> None:
    limits = plan_limits(tenant_id)
    asked: list[tuple[str, str]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def want(tenant: str, limit: Limit, nano: int) -> asyncio.Future[bool]:
            asked.append((tenant, limit.name))
            return asyncio.ensure_future(refill(loop))

        async def refill(loop: asyncio.AbstractEventLoop) -> bool:
            await loop.run_in_executor(None, grant, server, limits, 1000)
            return True

        gate = QuotaGate(server.url, prices=price_books(), on_lease_wanted=want)
        assert (await admit(gate, limits, "req_1")).denial is None
        refused = await admit(gate, limits, "req_2", tokens=100)
        assert refused.denial is not None and refused.denial.status == 402
        gate.close()

    asyncio.run(main())
    assert asked[0] == (tenant_id.hex, "t:s")


def test_without_the_server_money_is_closed_and_free_calls_are_bounded(tenant_id: uuid.UUID) -> None:
    paid = plan_limits(tenant_id)
    free = CompiledLimits(tenant_id, [Limit("tenant", tenant_id.hex, "requests", 2)])

    async def main() -> None:
        gate = QuotaGate("unix:///nonexistent/redis.sock", prices=price_books())
        refused = await admit(gate, paid, "req_1")
        assert refused.denial is not None and refused.denial.status == 503
        assert gate.settle(refused, input_tokens=1) is None
        statuses = []
        for n in range(3):
            ticket = await admit(gate, free, f"req_f{n}")
            statuses.append(ticket.denial.status if ticket.denial else 200)
        assert statuses == [200, 200, 429]
        gate.close()

    asyncio.run(main())


def test_the_line_comes_back_after_a_restart_and_what_was_in_doubt_is_released(tenant_id: uuid.UUID) -> None:
    limits = plan_limits(tenant_id)
    with quota_server() as own:
        grant(own, limits, 10_000)

        async def main() -> None:
            gate = QuotaGate(own.url, prices=price_books())
            assert (await admit(gate, limits, "req_1")).denial is None
            own.stop()
            refused = await admit(gate, limits, "req_2")
            assert refused.denial is not None and refused.denial.status == 503
            own.start()
            grant(own, limits, 10_000)
            await asyncio.sleep(0.25)
            again = await admit(gate, limits, "req_3")
            assert again.denial is not None and again.denial.status == 429, "nobody knows what was admitted before"
            await asyncio.sleep(HOLD_MS / 1000 + 0.2)
            assert (await admit(gate, limits, "req_4")).denial is None
            gate.close()

        asyncio.run(main())


def test_what_ended_while_the_line_was_broken_is_settled_when_it_is_back(tenant_id: uuid.UUID) -> None:
    limits = plan_limits(tenant_id)
    with quota_server() as own:
        grant(own, limits, 10_000)

        async def main() -> None:
            gate = QuotaGate(own.url, prices=price_books(), timeout=PATIENCE)
            running = [await admit(gate, limits, f"req_{number}") for number in range(3)]
            await asyncio.to_thread(own.pause)
            gate.settle(running[0], input_tokens=5)  # sent, and never answered
            await asyncio.sleep(PATIENCE + 0.1)
            gate.settle(running[1], input_tokens=5)  # the line is known to be broken
            gate.release(running[2])
            await asyncio.to_thread(own.resume)
            await asyncio.sleep(0.3)
            assert (await admit(gate, limits, "req_3", tokens=0)).denial is None
            gate.settle(await admit(gate, limits, "req_4", tokens=0), input_tokens=0)
            await asyncio.sleep(0.05)
            own.command("SCRIPT", "FLUSH")
            gate.settle(await admit(gate, limits, "req_5"), input_tokens=5)
            own.command("SCRIPT", "FLUSH")
            await asyncio.sleep(0.05)
            await admit(gate, limits, "req_6", tokens=0)
            await asyncio.sleep(0.05)
            gate.close()

        asyncio.run(main())
        assert used(own, limits) == (3 * 100, 0), "none waits for the end of its life to be settled"


def test_a_stuck_server_is_given_up_after_the_timeout(tenant_id: uuid.UUID) -> None:
    limits = plan_limits(tenant_id)
    with quota_server() as own:
        grant(own, limits, 10_000)

        async def main() -> None:
            gate = QuotaGate(own.url, prices=price_books(), timeout=PATIENCE)
            assert (await admit(gate, limits, "req_1")).denial is None
            await asyncio.to_thread(own.pause)
            before = asyncio.get_running_loop().time()
            refused = await admit(gate, limits, "req_2")
            assert refused.denial is not None and refused.denial.code == "quota_unavailable"
            assert asyncio.get_running_loop().time() - before < 3, "while the server would be stuck for a minute"
            await asyncio.to_thread(own.resume)
            await asyncio.sleep(0.3)
            assert (await admit(gate, limits, "req_3")).denial is None
            await admit(gate, limits, "req_4", tokens=0)
            gate.close()

        asyncio.run(main())
        assert used(own, limits)[1] == 2 * 200, "req_2, whose fate was unknown, was released"


def test_many_calls_at_once_share_one_line(server: QuotaServer, tenant_id: uuid.UUID) -> None:
    limits = limits_for(tenant_id=tenant_id, plan=LimitSet(requests_per_minute=30, spend_nano=10**9))
    grant(server, limits, 10**6)

    async def main() -> None:
        gate = QuotaGate(server.url, prices=price_books())
        tickets = await asyncio.gather(*(admit(gate, limits, f"req_{n}") for n in range(100)))
        admitted = [ticket for ticket in tickets if ticket.denial is None]
        assert len(admitted) == 30
        for ticket in admitted:
            gate.settle(ticket, input_tokens=1)
        await admit(gate, limits, "last")
        gate.close()

    asyncio.run(main())
    assert used(server, limits) == (30 * 20, 0)


def test_a_key_narrows_and_never_widens_its_tenant() -> None:
    limits = limits_for(
        tenant_id=TENANT,
        plan=LimitSet(requests_per_minute=10, spend_nano=5),
        overrides=LimitSet(requests_per_minute=20),
        key_id=KEY,
        key=LimitSet(requests_per_minute=1000),
    )
    assert [(limit.scope, limit.kind, limit.cap) for limit in limits.limits] == [
        ("tenant", "requests", 20),
        ("key", "requests", 1000),
        ("tenant", "spend", 5),
    ]
