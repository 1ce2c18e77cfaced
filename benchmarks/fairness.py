"""What one organisation's flood does to another's latency, on one engine process.

    python benchmarks/fairness.py [--rounds 5] [--seconds 3] [--idle 0]

Organisation A sends one short text at a time; B keeps four requests of 256 long texts in flight. Windows with A alone
and with both alternate, so that what else happens on the machine hits both. Printed: A's p50 and p99 over all windows
of a kind, their ratios, and B's texts a second with and without A. With `--idle SECONDS` A pauses between its calls.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from inference.catalogue import DEFAULT_BASE
from inference.client import BlockingClient, EngineClient
from inference.errors import EngineError
from tests.inference.conftest import TOKEN, running

SHORT = "Why was I charged twice for the same order last week?"
LONG = "please tell me when the second payment will be returned to me and why it was taken at all " * 4
IN_FLIGHT, ROWS = 4, 256


async def flood(address: str) -> None:
    """B: until killed; one line for each answered request."""
    client = EngineClient(address, TOKEN, timeout=600)

    async def caller() -> None:
        while True:
            try:
                await client.embed(tenant="b", base=DEFAULT_BASE, texts=[LONG] * ROWS, timeout=600)
            except EngineError as error:
                await asyncio.sleep(error.retry_after or 1)
                continue
            print("answered", flush=True)

    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))


class Flood:
    """B in a process of its own, stopped between its windows; what it has queued leaves with its connection."""

    def __init__(self, address: str) -> None:
        self._command = [sys.executable, __file__, "--flood", address]

    def __enter__(self) -> Flood:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def settled(client: BlockingClient, busy: bool) -> None:
    """Wait until B's texts wait in the engine, or until none does."""
    while (client.health(timeout=30).queued_rows > ROWS) != busy:
        time.sleep(0.05)


def window(client: BlockingClient, seconds: float, idle: float) -> list[float]:
    """A's latencies in milliseconds."""
    times, end = [], time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        client.embed(tenant="a", base=DEFAULT_BASE, texts=[SHORT])
        times.append((time.perf_counter() - begun) * 1000)
        time.sleep(idle)
    return times


def rows_done(client: BlockingClient) -> int:
    return int(client.health(timeout=30).rows)


def measure(engine: tuple[str, ...], rounds: int, seconds: float, idle: float) -> None:
    alone: list[float] = []
    shared: list[float] = []
    rates: dict[bool, list[float]] = {False: [], True: []}  # B's texts a second, without A and with A
    with running(*engine) as started, started.client() as client:
        window(client, 1.0, 0.0)
        for _ in range(rounds):
            alone += window(client, seconds, idle)
            with Flood(started.address):
                settled(client, busy=True)
                for with_a in (False, True):
                    before, begun = rows_done(client), time.perf_counter()
                    times = window(client, seconds, idle) if with_a else time.sleep(seconds + 1.5) or []
                    rates[with_a].append((rows_done(client) - before - len(times)) / (time.perf_counter() - begun))
                    shared += times
            settled(client, busy=False)
        report = client.health()
    print(f"{report.backend} {report.precision}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    figures = {name: np.percentile(times, [50, 90, 99]) for name, times in (("alone", alone), ("with B", shared))}
    for name, (p50, p90, p99) in figures.items():
        calls = len(alone if name == "alone" else shared)
        print(f"A {name:<7}{calls:>7} calls  p50 {p50:7.2f}  p90 {p90:7.2f}  p99 {p99:7.2f} ms")
    ratio = figures["with B"] / figures["alone"]
    print(f"with B to alone:      p50 {ratio[0]:.2f}x  p90 {ratio[1]:.2f}x  p99 {ratio[2]:.2f}x")
    print(f"B: {np.median(rates[False]):.0f} texts/s without A, {np.median(rates[True]):.0f} with A")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--idle", type=float, default=0.0, help="pause of A between calls, in seconds")
    parser.add_argument("--flood", default="", help=argparse.SUPPRESS)
    parser.add_argument("engine", nargs="*", help="further arguments of the engine, after --")
    arguments = parser.parse_args()
    if arguments.flood:
        asyncio.run(flood(arguments.flood))
    measure(tuple(arguments.engine), arguments.rounds, arguments.seconds, arguments.idle)
    return 0


if __name__ == "__main__":
    sys.exit(main())
