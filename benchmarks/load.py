"""Load on one URL: `wrk` where it is installed, a small asyncio client otherwise. Both send distinct bodies in turn."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent, and where."""

    url: str
    bodies: list[bytes]
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Result:
    """Requests per second, latencies in milliseconds, answers that were not 200."""

    rps: float
    p50: float
    p99: float
    failed: int
    requests: int


async def press(load: Load, *, connections: int, seconds: float) -> Result:
    """Send as fast as `connections` callers get answers."""
    return await (_wrk if shutil.which("wrk") else _aiohttp)(load, connections, seconds)


_SCRIPT = """
local bodies = {%s}
local n = 0
request = function()
  n = n %% #bodies + 1
  return wrk.format("POST", nil, nil, bodies[n])
end
wrk.headers["content-type"] = "application/json"
%s
done = function(summary, latency)
  io.write(string.format('RESULT {"requests": %%d, "us": %%d, "p50": %%f, "p99": %%f, "failed": %%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    summary.errors.status + summary.errors.timeout + summary.errors.read + summary.errors.connect))
end
"""


async def _wrk(load: Load, connections: int, seconds: float) -> Result:
    bodies = ",\n".join(json.dumps(body.decode()) for body in load.bodies)
    headers = "\n".join(f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}" for k, v in load.headers.items())
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "load.lua"
        script.write_text(_SCRIPT % (bodies, headers))
        process = await asyncio.create_subprocess_exec(
            "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "10s", "-s", str(script), load.url,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
    found = re.search(rb"RESULT (\{.*\})", output)
    if found is None:
        raise RuntimeError(f"wrk said nothing useful: {output.decode()[:500]}")
    data = json.loads(found[1])
    seconds = data["us"] / 1e6
    return Result(data["requests"] / seconds, data["p50"] / 1e3, data["p99"] / 1e3, data["failed"], data["requests"])


async def _aiohttp(load: Load, connections: int, seconds: float) -> Result:
    times: list[float] = []
    failed = 0
    begun = time.perf_counter()

    async def caller(session: aiohttp.ClientSession, place: int) -> None:
        nonlocal failed
        while time.perf_counter() - begun < seconds:
            place += connections
            started = time.perf_counter()
            async with session.post(load.url, data=load.bodies[place % len(load.bodies)]) as answer:
                await answer.read()
                failed += answer.status != 200
            times.append((time.perf_counter() - started) * 1000)

    headers = load.headers | {"content-type": "application/json"}
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        await asyncio.gather(*(caller(session, place) for place in range(connections)))
    took, ordered = time.perf_counter() - begun, sorted(times)
    return Result(len(times) / took, ordered[len(times) // 2], ordered[int(len(times) * 0.99)], failed, len(times))
