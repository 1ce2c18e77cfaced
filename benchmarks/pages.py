"""What pages and API routes cost the web process: requests a second, latency, processor time, database traffic.

    python benchmarks/pages.py [--seconds 3] [--rounds 2] [--callers 8] [--only usage] [--beside FOLDER]

The real web process runs as in production (`DEBUG` off) against engines of its own. `--beside` names another checkout
with the same migrations: its web process serves the same database, and the two take turns, so that a difference is one
of the code. Connections are those PostgreSQL counted; statements are counted from its log, BEGIN and COMMIT included.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from product import ROOT, cpu_seconds, free_port, until_answers

COUNTED = 10
"""Requests whose statements are counted."""
SETTLE_SECONDS = 1.5
"""PostgreSQL's backends report their figures with a delay."""


@dataclass(frozen=True, slots=True)
class Web:
    """One web process."""

    name: str
    url: str
    process: subprocess.Popen[bytes]


@dataclass(frozen=True, slots=True)
class Route:
    """A page or an API route, and who asks for it."""

    name: str
    path: str
    headers: dict[str, str]


@dataclass
class Figures:
    """What was measured of a route on one web process, a value a round."""

    rps: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p95: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    connections: list[float] = field(default_factory=list)
    statements: float = 0.0

    def line(self) -> str:
        return (
            f"{median(self.rps):7.1f} req/s  p50 {median(self.p50):6.1f}  p95 {median(self.p95):6.1f} ms  "
            f"cpu {median(self.cpu):6.2f} ms  conn {median(self.connections):5.3f}  sql {self.statements:5.1f}"
        )


async def press(url: str, headers: dict[str, str], *, callers: int, seconds: float) -> list[float]:
    """Latencies in ms of one address, asked by several callers at once."""
    import aiohttp

    times: list[float] = []
    begun = time.perf_counter()

    async def caller(session: aiohttp.ClientSession) -> None:
        while time.perf_counter() - begun < seconds:
            started = time.perf_counter()
            async with session.get(url, allow_redirects=False) as answer:
                await answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"{url} answered {answer.status}")
            times.append((time.perf_counter() - started) * 1000)

    connector = aiohttp.TCPConnector(limit=callers)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        await asyncio.gather(*(caller(session) for _ in range(callers)))
    return sorted(times)


class Database:
    """The database server's own account of what it is asked."""

    def __init__(self, postgres: Any, superuser: str) -> None:
        self._postgres, self._superuser = postgres, superuser

    def sessions(self) -> int:
        """Sessions ever opened by the product's roles, this script's own left out as far as they stay the same."""
        time.sleep(SETTLE_SECONDS)
        return int(self._ask("SELECT sessions FROM pg_stat_database WHERE datname = 'tunesmith'")[0][0])

    @contextlib.contextmanager
    def logging(self) -> Iterator[list[str]]:
        """Fills the list with the statements of the time inside."""
        found: list[str] = []
        self._ask("ALTER SYSTEM SET log_statement = 'all'", "SELECT pg_reload_conf()")
        time.sleep(0.3)
        before = self._postgres.log.stat().st_size
        yield found
        with self._postgres.log.open("rb") as log:
            log.seek(before)
            lines = log.read().decode().splitlines()
        found += [line for line in lines if line.startswith(("LOG:  statement:", "LOG:  execute"))]
        self._ask("ALTER SYSTEM RESET log_statement", "SELECT pg_reload_conf()")
        time.sleep(0.3)

    def _ask(self, *statements: str) -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(self._superuser, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall()


@contextlib.contextmanager
def web(name: str, tree: Path) -> Iterator[Web]:
    """The web process of a checkout, as production runs it."""
    port = free_port()
    environment = os.environ | {"PYTHONPATH": f"{tree}:{tree / 'platform'}", "GATEWAY_IN_WEB": "false"}
    command = [sys.executable, "-m", "uvicorn", "config.asgi:application", "--port", str(port), "--log-level", "error"]
    command += ["--no-access-log", "--http", "kit.server:PatientHttp", "--ws", "none"]
    process = subprocess.Popen(command, env=environment, cwd=tree)
    try:
        until_answers(f"http://127.0.0.1:{port}/healthz", process)
        yield Web(name, f"http://127.0.0.1:{port}", process)
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def database() -> Iterator[Database]:
    """Engines of this run alone, with the schema."""
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
        call_command("collectstatic", interactive=False, verbosity=0)
        yield Database(postgres, embedded.superuser_url(settings.HOME, embedded.DATABASE))
    finally:
        connections.close_all()
        redis.stop()
        postgres.stop()


def production(home: str) -> None:
    """The environment of a production set-up in a folder of its own, for this process and its children."""
    os.chmod(home, 0o755)
    os.environ |= {
        "TUNESMITH_HOME": home,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "LOG_LEVEL": "ERROR",
        "DEBUG": "false",
        "SECRET_KEY": "for a benchmark on this machine only, thrown away after it has run",
        "ALLOWED_HOSTS": "127.0.0.1,localhost,testserver",
        "SECURE_SSL_REDIRECT": "false",
    }


def routes() -> list[Route]:
    """An organisation with some work behind it, and the addresses a person and a program ask for most."""
    from django.conf import settings

    from tests.conftest import make_person
    from tests.console.things import made_file, made_job, made_version

    person = make_person("bench")
    for place in range(12):
        made_file(person, name=f"support-{place}.csv")
    made_version(person)
    jobs = [made_job(person, state="cancelled", events=60) for _ in range(12)]
    cookie = person.browser.cookies[settings.SESSION_COOKIE_NAME].value
    page = {"cookie": f"{settings.SESSION_COOKIE_NAME}={cookie}"}
    key = {"authorization": f"Bearer {person.key}"}
    job = f"{person.workspace}/jobs/{jobs[0].public_id}/"
    return [
        Route("overview", f"{person.workspace}/", page),
        Route("datasets", f"{person.workspace}/datasets/", page),
        Route("job", job, page),
        Route("usage", f"{person.home}/usage/", page),
        Route("GET models", "/v1/models", key),
        Route("GET jobs", "/v1/fine_tuning/jobs", key),
        Route("GET files", "/v1/files", key),
    ]


def measure(webs: list[Web], route: Route, base: Database, *, rounds: int, callers: int, seconds: float) -> None:
    """Take turns on one route, and print a line for each web process."""
    figures = {web.name: Figures() for web in webs}
    for web_ in webs:
        asyncio.run(press(web_.url + route.path, route.headers, callers=callers, seconds=0.5))
        with base.logging() as statements:
            asyncio.run(_some(web_.url + route.path, route.headers, COUNTED))
        figures[web_.name].statements = len(statements) / COUNTED
    for turn in range(rounds):
        for web_ in webs if turn % 2 == 0 else reversed(webs):
            found, sessions, cpu = figures[web_.name], base.sessions(), cpu_seconds(web_.process)
            times = asyncio.run(press(web_.url + route.path, route.headers, callers=callers, seconds=seconds))
            spent, count = cpu_seconds(web_.process) - cpu, len(times)
            found.rps.append(count / seconds)
            found.p50.append(times[count // 2])
            found.p95.append(times[int(count * 0.95)])
            found.cpu.append(spent * 1000 / count)
            found.connections.append((base.sessions() - sessions - 1) / count)  # one is this script's, to ask
    for web_ in webs:
        print(f"{route.name:<12} {web_.name:<8} {figures[web_.name].line()}", flush=True)
    if len(webs) == 2:
        here, there = (figures[web_.name] for web_ in webs)
        print(
            f"{'':<12} {'ratio':<8} {median(here.rps) / median(there.rps):7.2f} of its requests a second, "
            f"{median(here.cpu) / median(there.cpu):.2f} of its processor time",
            flush=True,
        )


async def _some(url: str, headers: dict[str, str], count: int) -> None:
    import aiohttp

    async with aiohttp.ClientSession(headers=headers) as session:
        for _ in range(count):
            async with session.get(url) as answer:
                await answer.read()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--only", default="", help="routes whose name holds this")
    parser.add_argument("--beside", type=Path, help="another checkout, to take turns with")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as home, contextlib.ExitStack() as stack:
        production(home)
        base = stack.enter_context(database())
        wanted = [route for route in routes() if arguments.only in route.name]
        webs = [stack.enter_context(web("this", ROOT))]
        if arguments.beside:
            webs.append(stack.enter_context(web("beside", arguments.beside.resolve())))
        for route in wanted:
            measure(webs, route, base, rounds=arguments.rounds, callers=arguments.callers, seconds=arguments.seconds)
    print(f"load average at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
