"""What a quota call costs, beside a bare PING on the same server, in one interleaved run.

    python benchmarks/quota.py [--rounds 8] [--url redis://…]

Prints the latency of one call at a time (p50, p99), the throughput with 32 in flight, and the processor time a call
takes in this process, for PING, reserve + settle through the asyncio line (eight limits over three scopes), the whole
gate with pricing and the usage file, and the same script through redis-py's asyncio client.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import redis.asyncio

from billing.metering.spool import SpoolWriter
from billing.prices import price_books
from billing.quotas import CompiledLimits, LimitSet, QuotaGate, QuotaStore, limits_for
from billing.quotas.scripts import run_id_of, script_text
from billing.quotas.wire import AsyncLine, pack
from tests.billing.quota_server import quota_server

FAR_MS = 4_000_000_000_000
Call = Callable[[], Awaitable[object]]


def eight_limits() -> CompiledLimits:
    """Rates of three scopes, concurrency and money of the tenant; wide enough never to deny."""
    rates = LimitSet(requests_per_minute=10**8, tokens_per_minute=10**9)
    plan = LimitSet(requests_per_minute=10**8, tokens_per_minute=10**9, concurrency=10**5, spend_nano=10**15)
    return limits_for(
        tenant_id=uuid.uuid4(), plan=plan, project_id=uuid.uuid4(), project=rates, key_id=uuid.uuid4(), key=rates
    )


async def one_at_a_time(call: Call, count: int) -> tuple[list[float], float]:
    times = []
    cpu = time.process_time()
    for _ in range(count):
        begun = time.perf_counter()
        await call()
        times.append((time.perf_counter() - begun) * 1e6)
    return times, (time.process_time() - cpu) * 1e6 / count


async def many(call: Call, count: int, width: int = 32) -> tuple[float, float]:
    async def worker() -> None:
        for _ in range(count // width):
            await call()

    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(width)))
    done = count // width * width
    return done / (time.perf_counter() - begun), (time.process_time() - cpu) * 1e6 / done


async def measure(url: str, rounds: int, spool: SpoolWriter) -> dict[str, dict[str, float]]:
    limits = eight_limits()
    blocking = QuotaStore(url)
    lease = limits.limits[limits.indices("spend")[0]].name
    blocking.grant(limits.tenant, lease, epoch=1, block=1, nano=10**15, ends_ms=FAR_MS, low_nano=0)
    gate = QuotaGate(url, spool=spool, prices=price_books())
    line = AsyncLine(url)
    await line.open()
    peer = redis.asyncio.Redis.from_url(url)
    info = blocking.line.command("INFO", "server")
    digest = await peer.script_load(script_text("reserve", run_id_of(info)))
    ping = pack("PING")
    project, key = uuid.uuid4(), uuid.uuid4()
    counter = iter(range(10**9))
    keys = limits.keys

    async def do_ping() -> None:
        await line.send(ping)

    async def do_store() -> None:
        rid = f"s{next(counter)}"
        await gate.store.reserve(limits, rid, tokens=20, nano=400)
        gate.store.settle(limits, rid, tokens=18, nano=360)

    async def do_gate() -> None:
        ticket = await gate.admit(
            limits,
            f"req_{next(counter)}",
            kind="classify",
            model="ft:b:o:s:1",
            project_id=project,
            key_id=key,
            tokens=20,
        )
        _ = ticket.headers
        gate.settle(ticket, input_tokens=18, gpu_ms=1)

    async def do_peer() -> None:
        rid = f"p{next(counter)}"
        await peer.evalsha(
            digest, 4, keys.rates, keys.leases, keys.deadlines, keys.records, limits.blob, rid, 1000, 1, 20, 400
        )
        gate.store.settle(limits, rid, tokens=18, nano=360)

    calls: dict[str, Call] = {"ping": do_ping, "reserve+settle": do_store, "gate": do_gate, "redis-py": do_peer}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    figures: dict[str, dict[str, list[float]]] = {name: {"cpu": [], "ops": [], "cpu32": []} for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times, cpu = await one_at_a_time(call, 300)
            samples[name] += times
            ops, cpu32 = await many(call, 1600)
            figures[name]["cpu"].append(cpu)
            figures[name]["ops"].append(ops)
            figures[name]["cpu32"].append(cpu32)
    await peer.aclose()
    gate.close()
    line.close()
    blocking.close()
    return {
        name: {
            "p50_us": round(statistics.median(samples[name]), 1),
            "p99_us": round(statistics.quantiles(samples[name], n=100)[98], 1),
            "ops_s_at_32": round(statistics.median(figures[name]["ops"])),
            "cpu_us": round(statistics.median(figures[name]["cpu"]), 1),
            "cpu_us_at_32": round(statistics.median(figures[name]["cpu32"]), 1),
        }
        for name in calls
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--url", help="a Redis that may be written to; by default one of its own")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spool = SpoolWriter(Path(folder))
        if arguments.url:
            result = asyncio.run(measure(arguments.url, arguments.rounds, spool))
        else:
            with quota_server() as server:
                result = asyncio.run(measure(server.url, arguments.rounds, spool))
        spool.close()
    for name, row in result.items():
        print(f"{name:16}", "  ".join(f"{key} {value:>9,}" for key, value in row.items()))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
