"""What the fleet adds to a call of an engine: microseconds of processor, with one engine and with three, against the
bare client, in turns.

    python benchmarks/fleet_cost.py [--calls 20000] [--rounds 5]

The engines answer at once (a server in this process on a Unix socket each), so that nothing but the calling side and
the wire is measured. Three engines are three lines: fewer answers come together in one read, which is most of what the
third figure has over the second; so it is measured for three bare clients in turn as well.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from pathlib import Path

from inference import wire
from inference.announcement import Heartbeat, digest
from inference.client import EngineClient
from inference.fleet import Fleet, Want

TOKEN = "a token"
AT_ONCE = 32
WANT = Want("base", "tenant", "model")


class Instant(asyncio.Protocol):
    def connection_made(self, transport) -> None:
        self.transport, self.frames = transport, wire.Frames()

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"".join(self.answer(wire.read_request(body)) for body in self.frames.feed(data)))

    @staticmethod
    def answer(message) -> bytes:
        if isinstance(message, wire.Hello):
            return wire.pack(wire.Welcome(wire.PROTOCOL, "none"))
        return wire.pack(wire.Classified(message.id, 2, b"\0" * 8, [3], 256, 1))


async def press(calls: int, ask) -> float:
    """Microseconds of processor for each call, so many at a time."""

    async def worker() -> None:
        for _ in range(calls // AT_ONCE):
            await ask()

    await asyncio.gather(*(worker() for _ in range(2)))
    started = time.process_time()
    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return (time.process_time() - started) * 1e6 / (calls // AT_ONCE * AT_ONCE)


async def main(calls: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="fc") as folder:
        loop = asyncio.get_running_loop()
        addresses = [f"unix:{Path(folder) / name}" for name in "abc"]
        for address in addresses:
            await loop.create_unix_server(Instant, address.removeprefix("unix:"))
        bare = EngineClient(addresses[0], TOKEN)
        one, three = Fleet(addresses[0], TOKEN), Fleet(addresses[0], TOKEN)
        resident = [digest(WANT.tenant, WANT.model)]
        three.heard(
            Heartbeat(name=address[-1], address=address, at=time.time(), bases=["base"], residents=resident)
            for address in addresses
        )

        def call(client):
            return client.classify(tenant="tenant", model="model", texts=["hello"])

        lines = itertools.cycle([EngineClient(address, TOKEN) for address in addresses])
        ways = {
            "bare client": lambda: call(bare),
            "three bare": lambda: call(next(lines)),
            "fleet of one": lambda: one.ask(WANT, call),
            "fleet of three": lambda: three.ask(WANT, call),
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, ask in ways.items():
                found[name].append(await press(calls, ask))
        base = statistics.median(found["bare client"])
        for name, costs in found.items():
            middle = statistics.median(costs)
            print(f"{name:>15}: {middle:6.1f} µs a call ({middle - base:+.1f}), {min(costs):.1f} to {max(costs):.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.calls, arguments.rounds))
