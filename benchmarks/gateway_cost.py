"""What one admitted request costs the gateway process: processor microseconds, with keys, quota and metering on.

    python benchmarks/gateway_cost.py [--seconds 4] [--rounds 2] [--labels 77]

The engine is a stub that answers at once, so nothing but the gateway is measured. The cost of an idle gateway over the
same time (news, re-reading keys, shipping) is measured first and taken off; it is printed as well. The floor is an
application that reads the body and answers as many bytes behind the same server, in turns with the gateway: what it
costs on the machine at hand to take a request in and to send an answer, before anything is done for it.
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

from product import Server, cpu_seconds, free_port, ours, running, texts, until_answers, uvicorn

FLOOR_BYTES = 4096


async def floor(scope, receive, send):
    """The least an application can do. Served as `gateway_cost:floor`."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body", False):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % FLOOR_BYTES)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b" " * FLOOR_BYTES})


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
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--labels", type=int, default=77)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as home, contextlib.ExitStack() as stack:
        os.chmod(home, 0o755)
        os.environ |= {"TUNESMITH_HOME": home, "DJANGO_SETTINGS_MODULE": "config.settings", "LOG_LEVEL": "ERROR"}
        from tests.inference.artefacts import make

        artefact = make(Path(home) / "artefact", labels=arguments.labels, max_length=256)
        server = stack.enter_context(ours(artefact.folder, stub_labels=arguments.labels))
        port = free_port()
        bare = stack.enter_context(running(uvicorn("gateway_cost:floor", port, "--http", "kit.server:PatientHttp")))
        url = f"http://127.0.0.1:{port}/"
        until_answers(url, bare)
        least = Server("floor", url, {}, bare, server.model, [bare])
        for warmed in (server, least):
            asyncio.run(measure(warmed, 8, 4.0))  # keys, routes and leases are read
        before, begun = cpu_seconds(server.process), time.monotonic()
        time.sleep(arguments.seconds)
        idle = (cpu_seconds(server.process) - before) / (time.monotonic() - begun)
        print(f"idle: {idle * 1000:.1f} ms of processor a second")
        for connections in (1, 8, 32):
            for _ in range(arguments.rounds):
                _, bottom, _ = asyncio.run(measure(least, connections, arguments.seconds))
                rps, cost, p50 = asyncio.run(measure(server, connections, arguments.seconds))
                cost -= idle * 1e6 / rps
                print(
                    f"c={connections:<3} {rps:7.0f} req/s  p50 {p50:6.2f} ms  {cost:6.0f} us/request  "
                    f"floor {bottom:5.0f} us  {cost / bottom:5.2f} times"
                )
    print(f"load average at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
