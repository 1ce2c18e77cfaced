"""`manage.py up`: start everything in the foreground, or some of it with --only; Ctrl-C stops it all."""

import asyncio
import fcntl
import os
import signal
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management import CommandError, call_command
from django.core.management.base import BaseCommand

from config import embedded
from config.engines import EngineError, Postgres, Redis, make_roles
from config.processes import PARTS, import_path, processes
from config.runner import Console, Process, Runner, StartError, need_port


class Command(BaseCommand):
    """Start Tunesmith."""

    help = "Start PostgreSQL, Redis, web, gateway, engine, workers, beat and the local Stripe in the foreground."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which parts, and where."""
        parser.add_argument("--only", default="", help=f"comma-separated parts of: {', '.join(PARTS)}")
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=urlsplit(settings.BASE_URL).port or 8000)
        parser.add_argument("--demo", action="store_true", help="then drive the whole main job")
        parser.add_argument("--exit", action="store_true", help="with --demo: stop after the last step")

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare the engines and the database, then run until told to stop."""
        everything = set(PARTS) - {"gateway"}
        only = {part for part in options["only"].split(",") if part} or everything
        if not 0 < options["port"] < 65_535:
            raise CommandError(f"--port {options['port']} is outside 1 to 65534.")
        if unknown := only - set(PARTS):
            raise CommandError(f"--only knows {', '.join(PARTS)}; not {', '.join(sorted(unknown))}.")
        os.environ["PYTHONPATH"] = import_path(settings.ROOT)
        if options["port"] != urlsplit(settings.BASE_URL).port and "BASE_URL" not in os.environ:
            os.environ["BASE_URL"] = settings.BASE_URL = f"http://localhost:{options['port']}"
        console = Console()
        try:
            with alone(settings.HOME / "up.lock"):
                need_ports(only, options["host"], options["port"])
                with engines(console):
                    code = asyncio.run(run(console, only, options))
        except (StartError, EngineError) as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(
                f"{error.filename or settings.HOME}: {error.strerror}. Make room there, or name another folder with "
                "TUNESMITH_HOME."
            ) from error
        sys.exit(code)


def need_ports(only: set[str], host: str, port: int) -> None:
    """StartError for the first port that another program holds, before anything is started."""
    for part, number, setting in (
        ("web", port, "--port and BASE_URL"),
        ("gateway", port + 1, "--port and BASE_URL"),
        ("stripe", settings.STRIPE_EMULATOR_PORT, "STRIPE_EMULATOR_PORT"),
    ):
        if part in only and (part != "stripe" or settings.EMBEDDED_STRIPE):
            need_port(host, number, part, setting)


async def run(console: Console, only: set[str], options: dict[str, Any]) -> int:
    """Start the processes, say where everything is, watch; returns the exit code."""
    runner, started = Runner(console, settings.ROOT), time.monotonic()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, runner.stopping.set)
    try:
        await start_all(runner, processes(only, host=options["host"], port=options["port"]))
        console.say(f"\nTunesmith is up after {time.monotonic() - started:.1f} s: {settings.BASE_URL}")
        if not options["demo"]:
            console.say(f"Sign up at {settings.BASE_URL}/account/signup/. Ctrl-C stops everything.\n")
        elif (code := await demo(runner, stay=not options["exit"])) is not None:
            return code
        ended = await runner.watch()
        if ended is not None:
            console.say(f"\n{ended[0]} ended (exit {ended[1]}), so everything stops.")
            return 1
        console.say("\nStopping …")
        return 0
    except StartError:
        if not runner.stopping.is_set():
            raise
        console.say("\nStopping …")  # asked for before all was up: that is no fault
        return 0
    finally:
        await runner.stop()


async def start_all(runner: Runner, wanted: list[Process]) -> None:
    """The engine compiles while the rest starts; the others one after another are slower than together."""
    await asyncio.gather(*(runner.start(process) for process in wanted))


async def demo(runner: Runner, *, stay: bool) -> int | None:
    """Run the journey as a child; its exit code, or None when all stays up afterwards."""
    script = [sys.executable, "-u", str(settings.ROOT / "examples" / "demo.py"), settings.BASE_URL]
    await runner.start(Process("demo", script))
    child = runner.children["demo"]
    code = await child.wait()
    await asyncio.sleep(0.2)  # let its last lines through
    del runner.children["demo"]
    return None if stay and code == 0 else code


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One `up` per home folder. The lock goes with the process, so a kill -9 leaves nothing to clean."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartError(f"Tunesmith is running already in {path.parent}. Stop it first.") from error
        yield


@contextmanager
def engines(console: Console) -> Iterator[None]:
    """PostgreSQL and Redis unless settings point elsewhere, roles, and the newest schema."""
    started: list[Postgres | Redis] = []
    try:
        if settings.EMBEDDED_POSTGRES:
            postgres = Postgres(settings.HOME)
            started.append(postgres)
            postgres.start()
            make_roles(embedded.superuser_url(settings.HOME), embedded.DATABASE)
            console.line("postgres", f"data in {postgres.data}")
        if settings.EMBEDDED_REDIS:
            redis = Redis(settings.HOME)
            started.append(redis)
            redis.start()
            console.line("redis", f"data in {redis.data}")
        call_command("migrate", database="owner", verbosity=0, interactive=False)
        console.line("migrate", "the schema is the newest")
        yield
    finally:
        for engine in reversed(started):
            engine.stop()
