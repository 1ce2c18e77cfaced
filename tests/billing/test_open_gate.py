"""The gateway's gate with everything behind it: Redis, the lease keeper, the usage file, PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.test import override_settings

from billing.metering import PostgresSink, Shipper
from billing.models import BudgetLease, UsageEvent
from billing.quotas import QuotaStore
from billing.quotas.store import DEFAULT_LIFE_MS
from billing.selectors.usage import UsageFilter, usage_totals
from billing.services.gate import OpenGate, open_gate, sink_dsn
from billing.services.metering import usage_rollup
from billing.services.reservations import reservations_sweep
from kit.clock import now
from tenants.scope import tenant_scope
from tests.billing.money import entitle
from tests.billing.quota_server import QuotaServer
from tests.conftest import Cast, Person

MODEL = "ft:all-MiniLM-L6-v2:o:s:1"


async def call(
    opened: OpenGate,
    person: Person,
    limits: object,
    rid: str,
    *,
    tokens: int,
    used: int,
    life_ms: int = DEFAULT_LIFE_MS,
) -> int:
    """One call through the gate; its status."""
    ticket = await opened.gate.admit(
        limits,  # type: ignore[arg-type]
        rid,
        kind="classify",
        model=MODEL,
        project_id=person.project.id,
        key_id=person.key_row.id,
        tokens=tokens,
        life_ms=life_ms,
    )
    if ticket.denial is not None:
        return ticket.denial.status
    opened.gate.settle(ticket, input_tokens=used, gpu_ms=1)
    return 200


@pytest.fixture
def gate_settings(server: QuotaServer, tmp_path: Path) -> object:
    with override_settings(REDIS_URL=server.url, USAGE_WAL_DIR=tmp_path / "usage"):
        yield


@pytest.mark.slow
def test_the_first_call_of_a_new_tenant_finds_a_lease_and_the_cap_holds_to_the_nano(
    gate_settings: object, server: QuotaServer, cast: Cast
) -> None:
    person = cast.owner
    cap = 20 * 1_000
    begun = now().replace(minute=0, second=0, microsecond=0)
    limits = entitle(person.tenant.id, spend_nano=cap)

    async def main() -> list[int]:
        opened = open_gate()
        # Bursts of calls that each may cost 40 tokens and take 10: holds collide with the cap, actuals fill it.
        statuses = []
        for burst in range(24):
            statuses += await asyncio.gather(
                *(call(opened, person, limits, f"req_{burst}_{n}", tokens=40, used=10) for n in range(20))
            )
            await asyncio.sleep(0.05)
        await opened.close()
        return statuses

    statuses = asyncio.run(main())
    assert statuses[0] == 200
    assert set(statuses) == {200, 402}
    with tenant_scope(person.tenant.id):
        events = list(UsageEvent.objects.all())
        granted = sum(lease.granted_nano for lease in BudgetLease.objects.all())
    spent = sum(event.cost_nano for event in events)
    assert len(events) == statuses.count(200)
    assert spent <= granted <= cap
    assert spent >= cap - 40 * 20, "settling gives the unused part back, so the budget can be used up"
    usage_rollup(tenant_id=person.tenant.id)
    with tenant_scope(person.tenant.id):
        assert usage_totals(wanted=UsageFilter(since=begun, until=now())).cost_nano == spent


def test_a_call_is_in_the_sums_within_seconds(gate_settings: object, cast: Cast) -> None:
    person = cast.owner
    limits = entitle(person.tenant.id, spend_nano=10**9)

    async def main() -> float:
        opened = open_gate()
        assert await call(opened, person, limits, "req_1", tokens=5, used=5) == 200
        begun = time.monotonic()
        while not await asyncio.to_thread(usage_rollup, tenant_id=person.tenant.id):
            await asyncio.sleep(0.05)
            assert time.monotonic() - begun < 8
        waited = time.monotonic() - begun
        await opened.close()
        return waited

    assert asyncio.run(main()) < 8


VICTIM = """
    import asyncio, sys, uuid
    import django
    django.setup()
    from billing.services.gate import open_gate
    from tests.billing.test_open_gate import call
    from tests.billing.money import entitle
    from types import SimpleNamespace

    tenant = SimpleNamespace(id=uuid.UUID(sys.argv[1]))
    person = SimpleNamespace(tenant=tenant, project=tenant, key_row=tenant)

    async def main():
        limits = await asyncio.to_thread(entitle, tenant.id, spend_nano=10**12)
        opened = open_gate()
        for n in range(10**6):
            assert await call(opened, person, limits, f"req_{n}", tokens=10, used=7, life_ms=1_000) == 200
            print(n, flush=True)

    asyncio.run(main())
"""


@pytest.mark.slow
def test_a_gateway_killed_with_kill_9_bills_every_answered_call_exactly_once(
    server: QuotaServer, cast: Cast, tmp_path: Path
) -> None:
    tenant_id = cast.owner.tenant.id
    folder = tmp_path / "usage"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "REDIS_URL": server.url,
        "USAGE_WAL_DIR": str(folder),
        "TUNESMITH_HOME": str(django_settings.HOME),
    }
    command = [sys.executable, "-c", textwrap.dedent(VICTIM), str(tenant_id)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    answered = [process.stdout.readline() for _ in range(300)]
    process.send_signal(signal.SIGKILL)
    answered += process.stdout.read().splitlines()
    process.wait()
    process.stdout.close()
    last = max(int(line) for line in answered if line.strip())

    sink = PostgresSink(sink_dsn())
    Shipper(folder, sink).ship()
    sink.close()
    with tenant_scope(tenant_id):
        numbers = sorted(int(rid.split("_")[1]) for rid in UsageEvent.objects.values_list("request_id", flat=True))
    assert numbers[: last + 1] == list(range(last + 1))
    assert len(numbers) <= last + 2

    # What it still held is found by the sweeper, and the counters agree with the events to the nano.
    store = QuotaStore(server.url)
    time.sleep(1.1)  # the life of a call that was running when the process was killed
    reservations_sweep(store=store)
    state, _ = store.lease_state(tenant_id, "t:s")
    assert state is not None
    assert state.held == 0
    assert 0 <= state.used - 7 * 20 * len(numbers) <= 10 * 20
    store.close()


def test_the_shippers_own_connection_has_the_patience_of_all_others() -> None:
    assert {"tcp_user_timeout=20000", "connect_timeout=10"} <= set(sink_dsn().split())


def test_a_gateway_that_stops_cleanly_gives_unspent_money_back(gate_settings: object, cast: Cast) -> None:
    person = cast.owner
    limits = entitle(person.tenant.id, spend_nano=10**6)

    async def main() -> None:
        opened = open_gate()
        assert await call(opened, person, limits, "req_1", tokens=5, used=5) == 200
        await opened.close()

    asyncio.run(main())
    with tenant_scope(person.tenant.id):
        assert [lease.granted_nano for lease in BudgetLease.objects.all()] == [5 * 20]
