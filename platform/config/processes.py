"""What `manage.py up` starts, in order: the list of processes and how each is known to be ready."""

import asyncio
import os
import sys
from pathlib import Path

from django.conf import settings

from config.runner import Process, http_ready, socket_ready
from inference.announcement import SHARED
from kit import redis

PARTS = ("stripe", "engine", "default", "ingest", "batch", "train", "beat", "web", "gateway")
WORKERS = {
    "default": ("--pool", "threads", "--concurrency", "4"),
    "ingest": ("--concurrency", "1"),
    "batch": ("--pool", "threads", "--concurrency", "2"),
    "train": ("--pool", "solo"),
}


def processes(only: set[str], *, host: str, port: int) -> list[Process]:
    """The wanted processes in start order. `gateway` has a process of its own only when it is asked for by name."""
    found: list[Process] = []
    for part in PARTS:
        if part not in only or (part == "stripe" and not settings.EMBEDDED_STRIPE):
            continue
        if part in WORKERS:
            inside = port if "gateway" not in only else port + 1
            found.append(worker(part, gateway_url=f"http://{_local(host)}:{inside}"))
        elif part == "web":
            found.append(web(host, port, gateway_inside="gateway" not in only))
        elif part == "gateway":
            found.append(gateway(host, port + 1))
        elif part == "engine":
            found += [engine(number) for number in range(1, settings.ENGINES + 1)]
            found += [engines_kept()] if settings.DEDICATED_REPLICAS else []
        else:
            found.append({"stripe": stripe_emulator, "beat": beat}[part]())
    return found


def _python(*arguments: str) -> list[str]:
    return [sys.executable, "-u", "-m", *arguments]


def stripe_emulator() -> Process:
    """The local Stripe."""
    port = settings.STRIPE_EMULATOR_PORT
    return Process(
        "stripe",
        _python(
            "billing.stripe_emulator",
            "--debug",
            *("--port", str(port)),
            *("--data", str(settings.HOME / "stripe")),
            *("--webhook-url", f"{settings.BASE_URL}/webhooks/stripe"),
            *("--webhook-secret", settings.STRIPE_WEBHOOK_SECRET),
        ),
        ready=http_ready(f"http://127.0.0.1:{port}/"),
    )


def engine(number: int = 1) -> Process:
    """An inference engine. The first listens where the settings say, the others beside it; all announce themselves."""
    address = settings.ENGINE_ADDRESS if number == 1 else beside(settings.ENGINE_ADDRESS, number)
    return Process(
        "engine" if number == 1 else f"engine{number}",
        engine_command(address, depot="depot" if number == 1 else f"depot{number}"),
        ready=socket_ready(address),
        environment=engine_environment(),
        seconds=180,
        again=True,
    )


def engine_command(address: str, *, depot: str, pool: str = SHARED) -> list[str]:
    """What starts an engine of this machine."""
    return _python(
        "inference",
        *("--listen", address, "--root", str(settings.HOME), "--pool", pool),
        *(("--catalogue", settings.BASES_FILE) if settings.BASES_FILE else ()),
        *(("--store", settings.STORAGE_ENDPOINT) if settings.STORAGE_ENDPOINT else ()),
        *("--depot", str(settings.HOME / depot)),
        *("--trials", str(settings.HOME / "trials")),
    )


def engine_environment() -> dict[str, str]:
    """The secrets of an engine, which are no arguments."""
    announce = settings.REDIS_URL if settings.ENGINE_TOKEN else ""
    return {"TUNESMITH_ENGINE_TOKEN": settings.ENGINE_TOKEN, "TUNESMITH_ENGINE_ANNOUNCE": announce}


def engines_kept() -> Process:
    """Starts and stops the engines of single deployments, where they are offered."""
    return Process("keeper", [sys.executable, "-u", "manage.py", "engines"], again=True)


def beside(address: str, number: int) -> str:
    """Where one more engine of this machine listens: another socket, or another port."""
    if address.startswith("unix://"):
        return f"{address}.{number}"
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + number - 1}"


def worker(queue: str, *, gateway_url: str) -> Process:
    """A Celery worker of one queue."""

    async def ready() -> bool:
        return bool(await asyncio.to_thread(redis.client().exists, f"worker:{queue}"))

    return Process(
        queue,
        _python(
            "config.background",
            *("--quiet", "worker", "--queues", queue, "--hostname", f"{queue}@%h"),
            *("--without-gossip", "--without-mingle", "--loglevel", "WARNING"),
            *WORKERS[queue],
        ),
        ready=ready,
        environment={"WORKER_QUEUE": queue, "GATEWAY_URL": os.environ.get("GATEWAY_URL", gateway_url)},
        leaves_early=True,
    )


def beat() -> Process:
    """The clock that rings periodic tasks."""
    command = _python("config.background", "--quiet", "beat", "--loglevel", "WARNING")
    return Process("beat", command, leaves_early=True)


def web(host: str, port: int, *, gateway_inside: bool) -> Process:
    """Console, control API and, unless it runs by itself, the gateway."""
    return _uvicorn("web", "config.asgi:application", host, port, GATEWAY_IN_WEB=str(gateway_inside).lower())


def gateway(host: str, port: int) -> Process:
    """The hot /v1 paths alone."""
    return _uvicorn("gateway", "gateway.asgi:application", host, port)


def _uvicorn(name: str, application: str, host: str, port: int, **environment: str) -> Process:
    return Process(
        name,
        _python(
            "uvicorn",
            application,
            *("--host", host, "--port", str(port), "--log-level", "warning", "--no-access-log"),
            *("--http", "kit.server:PatientHttp"),
            *("--ws", "none", "--no-server-header", "--timeout-graceful-shutdown", "5"),
        ),
        ready=http_ready(f"http://{_local(host)}:{port}/healthz"),
        environment=environment,
    )


def _local(host: str) -> str:
    """The address at which this machine reaches what listens at `host`."""
    return "127.0.0.1" if host in {"0.0.0.0", "::"} else host


def import_path(root: Path) -> str:
    """PYTHONPATH of every child."""
    return f"{root}:{root / 'platform'}"
