"""What one admitted request costs the gateway process: processor microseconds, with keys, quota and metering on.

    python benchmarks/gateway_cost.py [--seconds 4] [--labels 77]

The engine is a stub that answers at once, so nothing but the gateway is measured. The cost of an idle gateway over the
same time (news, re-reading keys, shipping) is measured first and taken off; it is printed as well.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from product import Server, cpu_seconds, ours, texts


async def measure(server: Server, connections: int, seconds: float) -> tuple[float, float, float]:
    """(requests a second, microseconds a request, p50 in ms)."""
    from load import Load, press

    bodies = [json.dumps({"model": server.model, "input": text}).encode() for text in texts(500)]
    before = cpu_seconds(server.process)
    result = await press(Load(server.url, bodies, server.headers), connections=connections, seconds=seconds)
    if result.failed:
        raise RuntimeError(f"{result.failed} calls failed")
    return result.rps, (cpu_seconds(server.process) - before) * 1e6 / result.requests, result.p50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--labels", type=int, default=77)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as home, contextlib.ExitStack() as stack:
        os.chmod(home, 0o755)
        os.environ |= {"TUNESMITH_HOME": home, "DJANGO_SETTINGS_MODULE": "config.settings", "LOG_LEVEL": "ERROR"}
        from tests.inference.artefacts import make

        artefact = make(Path(home) / "artefact", labels=arguments.labels, max_length=256)
        server = stack.enter_context(ours(artefact.folder, stub_labels=arguments.labels))
        asyncio.run(measure(server, 8, 4.0))  # keys, routes and leases are read
        before, begun = cpu_seconds(server.process), time.monotonic()
        time.sleep(arguments.seconds)
        idle = (cpu_seconds(server.process) - before) / (time.monotonic() - begun)
        print(f"idle: {idle * 1000:.1f} ms of processor a second")
        for connections in (1, 8, 32):
            rps, cost, p50 = asyncio.run(measure(server, connections, arguments.seconds))
            print(f"c={connections:<3} {rps:7.0f} req/s  p50 {p50:6.2f} ms  {cost - idle * 1e6 / rps:6.0f} us/request")
    print(f"load average at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
