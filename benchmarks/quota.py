"""What a quota call costs, beside a bare PING on the same server, in one interleaved run.

    python benchmarks/quota.py [--rounds 8] [--url redis://…] [--before REVISION]

Prints the latency of one call at a time (p50, p99), the throughput with 32 in flight, and the processor time a call
takes in this process and in the server, for PING, reserve + settle through the asyncio line (eight limits over three
scopes, and fourteen over five), the whole gate with pricing and the usage file, and the same script through redis-py's
asyncio client. `--before` adds reserve + settle with the scripts of another revision of this repository, whose
reservations know no kinds of tokens, and prints what a call costs beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import redis.asyncio

from billing.metering.spool import SpoolWriter
from billing.prices import price_books
from billing.quotas import CompiledLimits, LimitSet, QuotaGate, QuotaStore, limits_for
from billing.quotas.scripts import run_id_of, script_text
from billing.quotas.wire import POST_SECONDS, AsyncLine, bulk, pack
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


def five_scopes() -> CompiledLimits:
    """The same, with limits of the member and the model, and input and output tokens counted apart."""
    rates = LimitSet(requests_per_minute=10**8, tokens_per_minute=10**9)
    kinds = LimitSet(requests_per_minute=10**8, input_tokens_per_minute=10**9, output_tokens_per_minute=10**9)
    plan = LimitSet(requests_per_minute=10**8, tokens_per_minute=10**9, concurrency=10**5, spend_nano=10**15)
    member = LimitSet(requests_per_minute=10**8, tokens_per_minute=10**9, spend_nano=10**15)
    return limits_for(
        tenant_id=uuid.uuid4(), plan=plan, project_id=uuid.uuid4(), project=rates, member_id=uuid.uuid4(),
        member=member, key_id=uuid.uuid4(), key=rates, model_id=uuid.uuid4(), model=kinds,
    )  # fmt: skip


def in_server(store: QuotaStore) -> int:
    """Microseconds the server has spent in scripts."""
    for line in store.line.command("INFO", "commandstats").decode().splitlines():
        if line.startswith("cmdstat_evalsha:"):
            return int(dict(part.split("=") for part in line.split(":")[1].split(","))["usec"])
    return 0


def script_costs(url: str, rounds: int, revision: str, count: int = 1500) -> dict[str, float]:
    """Microseconds inside the server of one reserve and of one settle, least of the interleaved rounds."""
    store, costs = QuotaStore(url), dict[str, list[float]]()
    limits = {"8 limits, 3 scopes": eight_limits(), "14 limits, 5 scopes": five_scopes(), "before": eight_limits()}
    grant(store, *limits.values())
    before = Before(revision, run_id_of(store.line.command("INFO", "server"))) if revision else None
    if before is None:
        del limits["before"]
    for command in before.loads() if before is not None else ():
        store.line._ask(command)
    for turn in range(rounds):
        for name, some in limits.items():
            ids = [f"{name}{turn}x{n}" for n in range(count)]
            packed = packed_before(some)
            since = in_server(store)
            for rid in ids:
                if name == "before" and before is not None:
                    store.line._ask(before.reserve(packed, rid.encode()))
                else:
                    store.reserve(some, rid, tokens=20, output_tokens=10, nano=400)
            reserved = in_server(store)
            for rid in ids:
                if name == "before" and before is not None:
                    store.line._ask(before.settle(some, rid.encode()))
                else:
                    store.settle(some.tenant, rid, tokens=18, output_tokens=5, nano=360)
            costs.setdefault(f"reserve, {name}", []).append((reserved - since) / count)
            costs.setdefault(f"settle, {name}", []).append((in_server(store) - reserved) / count)
    store.close()
    return {name: round(min(values), 1) for name, values in costs.items()}


def grant(store: QuotaStore, *compiled: CompiledLimits) -> None:
    for some in compiled:
        for index in some.indices("spend"):
            lease = some.limits[index].name
            store.grant(some.tenant, lease, epoch=1, block=1, nano=10**14, ends_ms=FAR_MS, low_nano=0)


class Before:
    """Reserve and settle as another revision sent them: one amount of tokens, no fewer ones, its own scripts."""

    def __init__(self, revision: str, run_id: str) -> None:
        self._texts = {name: _of(revision, "prelude").replace("@BOOT@", run_id) + _of(revision, name)
                       for name in ("reserve", "settle")}  # fmt: skip
        self._digests = {name: bulk(hashlib.sha1(text.encode()).hexdigest().encode())
                         for name, text in self._texts.items()}  # fmt: skip
        self._loads = [pack("SCRIPT", "LOAD", text) for text in self._texts.values()]

    def loads(self) -> list[bytes]:
        """Commands that give the server its scripts."""
        return self._loads

    def reserve(self, packed: bytes, rid: bytes) -> bytes:
        """One reserve, ready to send."""
        head = b"*13\r\n$7\r\nEVALSHA\r\n" + self._digests["reserve"] + packed
        return head + b"".join(map(bulk, (rid, b"120000", b"1", b"20", b"400")))

    def settle(self, limits: CompiledLimits, rid: bytes) -> bytes:
        """One settle, ready to send."""
        head = b"*11\r\n$7\r\nEVALSHA\r\n" + self._digests["settle"] + limits.keys.packed
        return head + b"".join(map(bulk, (b"settle", rid, b"18", b"360")))


def _of(revision: str, name: str) -> str:
    path = f"{revision}:billing/quotas/lua/{name}.lua"
    return subprocess.run(["git", "show", path], check=True, capture_output=True, text=True).stdout


def packed_before(limits: CompiledLimits) -> bytes:
    """The compiled limits as they were sent before: four fields of a lease."""
    spec = msgspec.msgpack.decode(limits.blob)
    spec[4] = [field for field in spec[4] if not field.endswith(".r")]
    return limits.keys.packed + bulk(msgspec.msgpack.encode(spec))


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


def server_cpu(store: QuotaStore) -> float:
    """Microseconds of processor time the quota server has used."""
    info = store.line.command("INFO", "cpu").decode()
    return sum(float(line.split(":")[1]) for line in info.splitlines() if line.startswith("used_cpu_")
               and "main_thread" in line) * 1e6  # fmt: skip


class Contenders:
    """Everything that is pressed in turn, on one quota server. Open it, press `calls`, close it."""

    def __init__(self, url: str, spool: SpoolWriter, revision: str) -> None:
        self._limits, self._five, self._old = eight_limits(), five_scopes(), eight_limits()
        self.blocking = QuotaStore(url)
        grant(self.blocking, self._limits, self._five, self._old)
        self._gate = QuotaGate(url, spool=spool, prices=price_books())
        self._line = AsyncLine(url)
        self._peer = redis.asyncio.Redis.from_url(url)
        self._info = self.blocking.line.command("INFO", "server")
        self._before = Before(revision, run_id_of(self._info)) if revision else None
        self._packed = packed_before(self._old)
        self._ping = pack("PING")
        self._project, self._key = uuid.uuid4(), uuid.uuid4()
        self._numbers = iter(range(10**9))
        self._digest = ""

    async def open(self) -> dict[str, Call]:
        """Connect, load scripts; what to press, by name."""
        await self._line.open()
        self._digest = await self._peer.script_load(script_text("reserve", run_id_of(self._info)))
        calls: dict[str, Call] = {"ping": self._do_ping, "reserve+settle": self._do_store, "five scopes": self._do_five}
        if self._before is not None:
            for command in self._before.loads():
                await self._line.send(command)
            calls["before"] = self._do_before
        return calls | {"gate": self._do_gate, "redis-py": self._do_peer}

    async def close(self) -> None:
        """Let go of every connection."""
        await self._peer.aclose()
        self._gate.close()
        self._line.close()
        self.blocking.close()

    async def _do_ping(self) -> None:
        await self._line.send(self._ping)

    async def _do_store(self) -> None:
        rid = f"s{next(self._numbers)}"
        await self._gate.store.reserve(self._limits, rid, tokens=20, nano=400)
        self._gate.store.settle(self._limits, rid, tokens=18, nano=360)

    async def _do_five(self) -> None:
        rid = f"f{next(self._numbers)}"
        await self._gate.store.reserve(self._five, rid, tokens=20, output_tokens=10, nano=400)
        self._gate.store.settle(self._five, rid, tokens=18, output_tokens=5, nano=360)

    async def _do_before(self) -> None:
        if self._before is not None:
            rid = b"b%d" % next(self._numbers)
            if (await self._line.send(self._before.reserve(self._packed, rid)))[0] != 1:
                raise RuntimeError("the scripts of before refused")
            self._line._queue(self._before.settle(self._old, rid), POST_SECONDS)

    async def _do_gate(self) -> None:
        ticket = await self._gate.admit(
            self._limits, f"req_{next(self._numbers)}", kind="classify", model="ft:b:o:s:1",
            project_id=self._project, key_id=self._key, tokens=20,
        )  # fmt: skip
        _ = ticket.headers
        self._gate.settle(ticket, input_tokens=18, gpu_ms=1)

    async def _do_peer(self) -> None:
        rid, keys = f"p{next(self._numbers)}", self._limits.keys
        await self._peer.evalsha(
            self._digest, 4, keys.rates, keys.leases, keys.deadlines, keys.records,
            self._limits.blob, rid, 1000, 1, 20, 0, 400, -1, 0,
        )  # fmt: skip
        self._gate.store.settle(self._limits, rid, tokens=18, nano=360)


async def measure(url: str, rounds: int, spool: SpoolWriter, revision: str) -> dict[str, dict[str, float]]:
    """Press all of them in turn; the figures of each, times in microseconds."""
    contenders = Contenders(url, spool, revision)
    calls = await contenders.open()
    samples: dict[str, list[float]] = {name: [] for name in calls}
    figures: dict[str, dict[str, list[float]]] = {
        name: {"cpu": [], "ops": [], "cpu32": [], "server": []} for name in calls
    }
    for _ in range(rounds):
        for name, call in calls.items():
            times, cpu = await one_at_a_time(call, 300)
            samples[name] += times
            used = server_cpu(contenders.blocking)
            ops, cpu32 = await many(call, 1600)
            figures[name]["server"].append((server_cpu(contenders.blocking) - used) / 1600)
            figures[name]["cpu"].append(cpu)
            figures[name]["ops"].append(ops)
            figures[name]["cpu32"].append(cpu32)
    await contenders.close()
    return {
        name: {
            "p50_us": round(statistics.median(samples[name]), 1),
            "p99_us": round(statistics.quantiles(samples[name], n=100)[98], 1),
            "ops_s_at_32": round(statistics.median(figures[name]["ops"])),
            "cpu_us": round(statistics.median(figures[name]["cpu"]), 1),
            "cpu_us_at_32": round(statistics.median(figures[name]["cpu32"]), 1),
            "server_us": round(statistics.median(figures[name]["server"]), 1),
        }
        for name in calls
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--url", help="a Redis that may be written to; by default one of its own")
    parser.add_argument("--before", default="", help="a revision whose scripts run beside ours")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spool = SpoolWriter(Path(folder))
        if arguments.url:
            result = asyncio.run(measure(arguments.url, arguments.rounds, spool, arguments.before))
            inside = script_costs(arguments.url, arguments.rounds, arguments.before)
        else:
            with quota_server() as server:
                result = asyncio.run(measure(server.url, arguments.rounds, spool, arguments.before))
                inside = script_costs(server.url, arguments.rounds, arguments.before)
        spool.close()
    for name, row in result.items():
        print(f"{name:16}", "  ".join(f"{key} {value:>9,}" for key, value in row.items()))
    for name, cost in inside.items():
        beside = inside.get(f"{name.split(',')[0]}, before")
        print(f"in the server: {name:28} {cost:6.1f} us" + (f"  x{cost / beside:.2f}" if beside else ""))
    if "before" in result:
        for name in ("reserve+settle", "five scopes"):
            ratios = {key: round(result[name][key] / value, 2) for key, value in result["before"].items() if value}
            print(f"{name} / before:", json.dumps(ratios))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
