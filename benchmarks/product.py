"""The product as a benchmark needs it: everything running on a home of its own, a live model, wide limits.

Importing this puts the repository's own import roots first, so that `serving` is the room and not the script.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_HERE = str(ROOT / "benchmarks")
sys.path[:] = [str(ROOT / "platform"), str(ROOT), *(path for path in sys.path if path != _HERE), _HERE]

_SENTENCE = (
    "please could you tell me why the payment for my last order has been taken twice from card account and when will "
    "parcel arrive since app shows nothing new after update which broke login page refund transfer balance"
)
WORDS = _SENTENCE.split()


@dataclass
class Server:
    """One server under load: the process at its door, and every process that works for it."""

    name: str
    url: str
    headers: dict[str, str]
    process: subprocess.Popen[bytes]
    model: str
    all_processes: list[subprocess.Popen[bytes]]


def texts(count: int) -> list[str]:
    """Distinct sentences of about 31 words."""
    rng = random.Random(7)
    return [" ".join(rng.choices(WORDS, k=rng.randint(26, 36))) for _ in range(count)]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    paths = f"{ROOT}:{ROOT / 'platform'}:{ROOT / 'benchmarks'}"
    environ = os.environ | {"PYTHONPATH": paths} | environment
    process = subprocess.Popen(command, env=environ, cwd=ROOT, start_new_session=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        with contextlib.suppress(ProcessLookupError):  # a peer's workers may outlive it, and burn the next one's time
            os.killpg(process.pid, signal.SIGKILL)


def until_answers(url: str, process: subprocess.Popen[bytes], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server for {url} ended with {process.returncode}")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{url} did not answer within {seconds} s")


def uvicorn(application: str, port: int, *options: str) -> list[str]:
    quiet = ["--log-level", "warning", "--no-access-log"]
    return [sys.executable, "-m", "uvicorn", application, "--port", str(port), *quiet, *options]


@contextlib.contextmanager
def ours(artefact: Path, *, stub_labels: int = 0, gateway_prefix: Sequence[str] = ()) -> Iterator[Server]:
    """The product: database, quota server, engine, gateway, a tenant with a deployed model and wide limits.

    `stub_labels` puts the stub in the engine's place; `gateway_prefix` is a command that starts the gateway's.
    """
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connections

    from config import embedded
    from config.engines import Postgres, Redis, make_roles

    postgres, redis = Postgres(settings.HOME, durable=False), Redis(settings.HOME)
    postgres.start()
    redis.start()
    try:
        make_roles(embedded.superuser_url(settings.HOME), embedded.DATABASE)
        call_command("migrate", database="owner", verbosity=0)
        port = free_port()
        engine = [sys.executable, "-m", "inference", "--listen", settings.ENGINE_ADDRESS]
        if stub_labels:
            engine = [sys.executable, str(ROOT / "benchmarks" / "stub_engine.py")]
        command = uvicorn("gateway.asgi:application", port, "--http", "kit.server:PatientHttp")
        with (
            running(
                engine,
                TUNESMITH_ENGINE_TOKEN=settings.ENGINE_TOKEN,
                ENGINE_ADDRESS=settings.ENGINE_ADDRESS,
                STUB_LABELS=str(stub_labels),
            ) as engine_process,
            running([*gateway_prefix, *command]) as gateway,
        ):
            until_answers(f"http://127.0.0.1:{port}/healthz", gateway)
            model, key = deployed_model(artefact)
            headers = {"authorization": f"Bearer {key}"}
            parts = [gateway, engine_process, *([redis.process] if redis.process else [])]
            yield Server("tunesmith", f"http://127.0.0.1:{port}/v1/classify", headers, gateway, model, parts)
    finally:
        connections.close_all()
        redis.stop()
        postgres.stop()


def deployed_model(artefact: Path) -> tuple[str, str]:
    """A tenant with wide limits and a live model: (model name, key)."""
    from billing.services.entitlements import override_set
    from tenants.scope import tenant_scope
    from tests.conftest import make_person
    from tests.inference.artefacts import Made
    from tests.serving.made import deployed, publish

    person = make_person("bench")
    wide = {
        "requests_per_minute": 10**7,
        "tokens_per_minute": 10**9,
        "concurrency": 10**4,
        "monthly_spend_nano": 10**15,
    }
    with tenant_scope(person.tenant.id):
        override_set(limits=wide, reason="benchmark", created_by="benchmark")
    made = Made(artefact, [], {}, {}, 1.0, 256)
    for _ in range(100):
        version = publish(person, made)
        row = deployed(person, version)
        if row.state == "live":
            return version.model.name, person.key
        time.sleep(0.2)
    raise RuntimeError(f"the model did not go live: {row.reason}")


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """Processor time the process has used, all threads."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def family_seconds(process: subprocess.Popen[bytes]) -> float:
    """The same of the process and all that descend from it now: peers work in processes of their own."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    total, left = 0, [process.pid]
    while left:
        pid = left.pop()
        left += parents.get(pid, [])
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")
