"""What went wrong in other gateways' quotas, each tried here: the docstring says what happened there."""

from __future__ import annotations

import ast
import asyncio
import threading
import uuid
from pathlib import Path

import pytest
from django.db import connections

from billing.metering.spool import SpoolError, SpoolWriter
from billing.models import BudgetLease
from billing.prices import price_books
from billing.quotas import LimitSet, QuotaGate, QuotaStore, Ticket, limits_for
from billing.quotas.limits import CompiledLimits, Limit
from billing.quotas.store import Fewer
from billing.services.leases import lease_refill, lease_refill_all
from billing.services.reservations import reservations_sweep
from inference.wire.base import Message
from tenants.scope import tenant_scope
from tests.billing.money import entitle
from tests.billing.quota_server import QuotaServer, quota_server
from tests.conftest import Cast, make_person

FAR_MS = 4_000_000_000_000
HOUR_MS = 3_600_000
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tenant() -> str:
    return uuid.uuid4().hex


def tokens_only(tenant: str, cap: int) -> CompiledLimits:
    return CompiledLimits(tenant, [Limit("key", "k", "tokens", cap, HOUR_MS)])


def everything(tenant: str) -> CompiledLimits:
    """Five scopes, every kind; wide."""
    some = LimitSet(
        requests_per_minute=1000,
        tokens_per_minute=10**6,
        concurrency=100,
        spend_nano=10**9,
        input_tokens_per_minute=10**6,
        output_tokens_per_minute=10**6,
    )
    return limits_for(
        tenant_id=uuid.UUID(hex=tenant), plan=some, project_id=uuid.uuid4(), project=some, member_id=uuid.uuid4(),
        member=some, key_id=uuid.uuid4(), key=some, model_id=uuid.uuid4(), model=some,
    )  # fmt: skip


def grant_all(store: QuotaStore, limits: CompiledLimits, nano: int) -> None:
    for index in limits.indices("spend"):
        name = limits.limits[index].name
        assert store.grant(limits.tenant, name, epoch=1, block=1, nano=nano, ends_ms=FAR_MS, low_nano=0)[0]


async def admit(gate: QuotaGate, limits: CompiledLimits, rid: str, tokens: int = 10, output: int = 0) -> Ticket:
    return await gate.admit(
        limits, rid, kind="classify", model="m", project_id=uuid.uuid4(), key_id=None, tokens=tokens,
        output_tokens=output,
    )  # fmt: skip


def test_five_calls_at_once_cannot_use_more_than_the_limit(server: QuotaServer, tenant: str) -> None:
    """Elsewhere: tokens were counted after the answer, so 5 calls at once used 663 tokens of a limit of 100."""
    limits = tokens_only(tenant, 100)

    async def main() -> int:
        gate = QuotaGate(server.url, prices=price_books())
        tickets = await asyncio.gather(*(admit(gate, limits, f"r{n}", 13, 20) for n in range(5)))
        admitted = [ticket for ticket in tickets if ticket.denial is None]
        for ticket in admitted:
            gate.settle(ticket, input_tokens=13, output_tokens=20)
        await admit(gate, limits, "last", 0)
        gate.close()
        return 33 * len(admitted)

    used = asyncio.run(main())
    store = QuotaStore(server.url)
    assert used == 99 and store.peek(limits) == [1]
    store.close()


def test_no_way_for_a_call_to_fail_leaks_a_hold(
    server: QuotaServer, store: QuotaStore, tenant: str, tmp_path: Path
) -> None:
    """Elsewhere: calls that failed on their way kept their reservation, and budgets read as exceeded that were not."""
    limits = everything(tenant)
    grant_all(store, limits, 10**8)
    before = store.peek(limits)
    full = SpoolWriter(tmp_path)
    full.close()

    async def main() -> None:
        gate = QuotaGate(server.url, spool=full, prices=price_books())
        gate.release(await admit(gate, limits, "engine_failed", 100, 50))
        with pytest.raises(SpoolError):
            gate.settle(await admit(gate, limits, "disk_full", 100), input_tokens=5)
        twice = await admit(gate, limits, "twice", 100)
        gate.release(twice)
        gate.release(twice)
        assert gate.settle(twice, input_tokens=100) is None
        cancelled = asyncio.ensure_future(admit(gate, limits, "client_left", 100))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        failed = await admit(gate, limits, "extended", 10, 10)
        assert await gate.extend(failed, output_tokens=500, life_ms=1000)
        gate.release(failed)
        gate.release(await admit(gate, limits, "flush", 1))  # the next call releases what was in doubt
        await asyncio.sleep(0.05)
        gate.close()

    asyncio.run(main())
    store.reserve(limits, "crashed", tokens=10, output_tokens=10, nano=100, life_ms=0)
    for due in store.due(tenant):
        store.settle(tenant, due.reservation_id, tokens=0, nano=0)
    after = store.peek(limits)
    spent = 1  # the call that crashed: its tokens came back, its request did run
    assert [now for now, then in zip(after, before, strict=True) if now < then - spent] == []
    for name in ("records", "deadlines"):
        assert not server.command("EXISTS", f"q:{{{tenant}}}:{name}"), f"{name} leaked"
    for index in limits.indices("spend"):
        state, _ = store.lease_state(tenant, limits.limits[index].name)
        assert state is not None and (state.held, state.used, state.available) == (0, 0, 10**8)


@pytest.mark.slow
def test_many_gateways_that_meet_a_cold_counter_do_not_multiply_the_budget(server: QuotaServer) -> None:
    """Elsewhere: N processes each seeded a cold counter from the database by adding to it, so spend counted N times;
    the other way round, N grants of one budget would let N times the cap through."""
    person = make_person("ada")
    tenant_id, cap = person.tenant.id, 40_000
    limits = entitle(tenant_id, spend_nano=cap)
    admitted: list[int] = []

    def gateway(number: int) -> None:
        store = QuotaStore(server.url)
        for call in range(200):
            if store.reserve(limits, f"g{number}c{call}", nano=200).allowed:
                admitted.append(200)
            elif not lease_refill(
                store=store, tenant_id=tenant_id, scope="tenant", scope_id=tenant_id.hex, name="t:s", wanted=200
            ):
                break
            if (number, call) == (0, 20):
                server.command("FLUSHALL")  # every counter is cold again, in the middle
        store.close()
        connections.close_all()

    threads = [threading.Thread(target=gateway, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with tenant_scope(tenant_id):
        promised = sum(lease.granted_nano for lease in BudgetLease.objects.all())
    assert 0 < sum(admitted) <= promised <= cap


def test_answers_that_never_came_are_counted_once_or_not_at_all(tenant: str) -> None:
    """Elsewhere: after timeouts the counter in Redis stood three to six times above what was spent, for each retry
    counted once more."""
    with quota_server() as own:
        store = QuotaStore(own.url)
        limits = everything(tenant)
        grant_all(store, limits, 10**8)

        async def main() -> None:
            gate = QuotaGate(own.url, prices=price_books(), timeout=0.15)
            first = await admit(gate, limits, "first", 100)
            await asyncio.to_thread(own.pause)
            for attempt in range(6):
                lost = await admit(gate, limits, f"lost{attempt}", 100)
                assert lost.denial is not None and lost.denial.code == "quota_unavailable"
            await asyncio.to_thread(own.resume)
            number = 0
            while (alive := await admit(gate, limits, f"alive{number}", 1)).denial is not None:
                number += 1
                await asyncio.sleep(0.02)
            gate.release(alive)
            gate.settle(first, input_tokens=100)
            gate.settle(await admit(gate, limits, "last", 50), input_tokens=50)
            await admit(gate, limits, "end", 0)
            gate.close()

        asyncio.run(main())
        for index in limits.indices("spend"):
            state, _ = store.lease_state(tenant, limits.limits[index].name)
            assert state is not None and (state.used, state.held) == (150 * 20, 0)
        assert store.reserve(limits, "same", nano=100).allowed and store.reserve(limits, "same", nano=100).replayed
        store.close()


def test_a_counter_that_is_gone_is_closed_and_not_zero(server: QuotaServer, store: QuotaStore, cast: Cast) -> None:
    """Elsewhere: a spend counter lived for a minute, and whoever waited for it to expire began again at zero."""
    tenant_id, cap = cast.owner.tenant.id, 10_000
    limits = entitle(tenant_id, spend_nano=cap)

    def refill(wanted: int) -> bool:
        return lease_refill(
            store=store, tenant_id=tenant_id, scope="tenant", scope_id=tenant_id.hex, name="t:s", wanted=wanted
        )

    assert refill(9_000) and store.reserve(limits, "r1", nano=9_000).allowed
    store.settle(tenant_id, "r1", tokens=0, nano=9_000)
    server.command("DEL", limits.keys.leases)
    gone = store.reserve(limits, "r2", nano=1)
    assert not gone.allowed and gone.reason == "lease"
    lease_refill_all(store=store)
    refill(5_000)
    assert not store.reserve(limits, "r3", nano=1_001).allowed, "only what was never promised may be spent"


@pytest.mark.parametrize("cap", [20, 100, 1000])
def test_a_small_limit_can_be_used(server: QuotaServer, store: QuotaStore, tenant: str, cap: int) -> None:
    """Elsewhere: an answer of unknown length was estimated at 1,024 tokens, so limits below that refused everything."""
    limits = tokens_only(tenant, cap)

    async def main() -> list[int]:
        gate = QuotaGate(server.url, prices=price_books())
        ticket = await gate.admit(
            limits, "r", kind="classify", model="m", project_id=uuid.uuid4(), key_id=None, tokens=8,
            output_tokens=4096, at_least=4,
        )  # fmt: skip
        assert ticket.denial is None
        held = ticket.output_tokens
        gate.settle(ticket, input_tokens=8, output_tokens=3)
        refused = await gate.admit(
            limits, "r2", kind="classify", model="m", project_id=uuid.uuid4(), key_id=None, tokens=cap - 3,
            output_tokens=4096, at_least=4,
        )  # fmt: skip
        assert refused.denial is not None and "larger than the limit" in refused.denial.message
        gate.close()
        return [held]

    assert asyncio.run(main()) == [cap - 8]
    assert store.peek(limits) == [cap - 11]


def test_what_money_is_left_bounds_the_answer_and_its_price(store: QuotaStore, tenant: str) -> None:
    """The same for budgets: the last cents buy a short answer, and never one nano more than is left."""
    limits = CompiledLimits(tenant, [Limit("tenant", tenant, "spend", 10_000)])
    store.grant(tenant, "t:s", epoch=1, block=1, nano=1_000, ends_ms=FAR_MS, low_nano=0)
    fewer = Fewer(16, 7)
    decision = store.reserve(limits, "r", tokens=10, output_tokens=256, nano=100 + 256 * 7, fewer=fewer)
    assert decision.allowed and decision.output_tokens == 128 and decision.remaining == [4]
    assert not store.reserve(limits, "r2", output_tokens=256, nano=256 * 7, fewer=fewer).allowed
    assert not store.extend(tenant, "r", output_tokens=256, nano=256 * 7, fewer=fewer).allowed
    store.grant(tenant, "t:s", epoch=1, block=2, nano=150, ends_ms=FAR_MS, low_nano=0)
    extended = store.extend(tenant, "r", output_tokens=256, nano=256 * 7, fewer=fewer)
    assert extended.allowed and extended.output_tokens == 22
    state, _ = store.lease_state(tenant, "t:s")
    assert state is not None and (state.held, state.available) == (100 + 150 * 7, 0)


def test_a_call_refused_for_what_runs_already_burns_no_request(store: QuotaStore, tenant: str) -> None:
    """Elsewhere: calls refused for concurrency were counted against the requests per minute all the same."""
    limits = CompiledLimits(
        tenant, [Limit("key", "k", "requests", 10, HOUR_MS), Limit("member", "u", "concurrency", 1)]
    )
    assert store.reserve(limits, "r1").allowed
    for number in range(20):
        denied = store.reserve(limits, f"d{number}")
        assert denied.reason == "concurrency"
    assert store.peek(limits) == [9, 0]


def test_every_call_of_an_engine_goes_through_the_gate() -> None:
    """Elsewhere: budgets were checked route by route, and some routes were forgotten. Here an engine is asked for work
    in modules that reserve first, and limits are chosen inside the gate, so a route can leave out neither. This reads
    the modules, so that a new one is seen; `tests/contracts/test_spent_calls.py` calls every path of the gateway."""
    work = {kind.__name__.lower() for kind in Message.__subclasses__() if "weight" in kind.__struct_fields__}
    assert {"classify", "embed", "rank", "tag", "ask", "generate"} <= work
    asked: dict[str, bool] = {}
    for path in sorted((ROOT / "platform").rglob("*.py")):
        if "lab" in path.parts:
            continue
        tree = ast.parse(path.read_text())
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        named = [call for call in calls if isinstance(call, ast.Attribute)]
        if any(call.attr in work and _engine(call.value) for call in named):
            metered = {ast.unparse(call) for call in named} | {call.id for call in calls if isinstance(call, ast.Name)}
            asked[str(path.relative_to(ROOT))] = any(
                name.endswith(("gate.admit", "call.metered")) or name in ("call_metered", "metered") for name in metered
            )
    paths = ("gateway/calls.py", "gateway/writing/metered.py", "serving/trying.py")
    assert {f"platform/{path}" for path in paths} <= set(asked)
    for shadow in ("agreement.py", "writing/agreement.py"):  # what a shadow is asked is free: docs/decisions/0034, 0050
        del asked[f"platform/gateway/{shadow}"]
    assert all(asked.values()), f"an engine works without a reservation: {asked}"


def _engine(value: ast.expr) -> bool:
    return ast.unparse(value).split(".")[-1] in ("engine", "client")


def test_the_sweep_returns_what_a_dead_gateway_held_in_every_scope(
    server: QuotaServer, store: QuotaStore, cast: Cast
) -> None:
    """Elsewhere: counters drifted up with every crash until somebody reset them by hand."""
    ada = cast.owner
    tenant = ada.tenant.id.hex
    limits = everything(tenant)
    grant_all(store, limits, 10**8)
    before = store.peek(limits)
    for number in range(5):
        store.reserve(limits, f"dead{number}", tokens=10, output_tokens=5, nano=0, life_ms=0)
    assert reservations_sweep(store=store) == 5
    concurrency = [store.peek(limits)[index] for index in limits.indices("concurrency")]
    assert concurrency == [100] * 5 and before[-1] == store.peek(limits)[-1]
    assert not store.due(tenant)
