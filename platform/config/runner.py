"""The process runner behind `manage.py up`: start everything in order, show one log, stop everything together.

Each process starts when the ones it needs are healthy. The death of one stops all, except of those that are started
again. Children die with the runner, even
after a kill -9 (PR_SET_PDEATHSIG on Linux), and a second start finds engines that outlived it and uses them again.
"""

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

COLOURS = (36, 33, 35, 32, 34, 96, 93, 95, 92, 94)
AGAIN_SECONDS, AGAIN_MOST = 0.5, 30.0
LASTED_SECONDS = 60.0
"""Who ran for so long is started again at once, and not late for earlier ends."""
STOP_SECONDS = 25.0
"""How long children get to finish after SIGTERM; a trainer needs some of it to write a checkpoint."""
PR_SET_PDEATHSIG = 1

Check = Callable[[], Awaitable[bool]]


class StartError(RuntimeError):
    """Something cannot start; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Process:
    """One child: how to start it and how to know that it is up."""

    name: str
    command: Sequence[str]
    ready: Check | None = None
    environment: dict[str, str] = field(default_factory=dict)
    seconds: float = 90.0
    again: bool = False
    """When it ends it is started again, the next time later each time it did not last; the others go on."""
    leaves_early: bool = False
    """It takes SIGTERM up by itself as its first deed (`config.background`), and is started with it held back."""


class Console:
    """One stream of lines, each with its process's name in front."""

    def __init__(self, *, colour: bool | None = None) -> None:
        self.colour = sys.stdout.isatty() if colour is None else colour
        self.names: list[str] = []

    def line(self, name: str, text: str) -> None:
        """Print one line of a process."""
        if name not in self.names:
            self.names.append(name)
        label = f"{name:>9} │"
        if self.colour:
            label = f"\033[{COLOURS[self.names.index(name) % len(COLOURS)]}m{label}\033[0m"
        sys.stdout.write(f"{label} {text}\n")
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """Print a line of the runner's own."""
        width = shutil.get_terminal_size((100, 24)).columns
        sys.stdout.write((f"\033[1m{text[: width * 4]}\033[0m" if self.colour else text) + "\n")
        sys.stdout.flush()


class Runner:
    """Starts processes one after another and watches them all."""

    def __init__(self, console: Console, root: Path) -> None:
        self.console = console
        self.root = root
        self.children: dict[str, asyncio.subprocess.Process] = {}
        self.kept: dict[str, asyncio.Task[None]] = {}
        self.readers: list[asyncio.Task[None]] = []
        self.stopping = asyncio.Event()

    async def start(self, process: Process) -> None:
        """Start one process and wait until it is ready; StartError when it dies or takes too long."""
        child = await asyncio.create_subprocess_exec(
            *process.command,
            cwd=self.root,
            env=os.environ | process.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_later_with_parent if process.leaves_early else die_with_parent,
        )
        self.children[process.name] = child
        self.readers.append(asyncio.create_task(self._read(process.name, child)))
        deadline = time.monotonic() + process.seconds
        while process.ready is not None and not await process.ready():
            if child.returncode is not None:
                raise StartError(f"{process.name} stopped at once (exit {child.returncode}). Its last lines are above.")
            if time.monotonic() > deadline:
                raise StartError(f"{process.name} was not ready after {process.seconds:.0f} s.")
            if self.stopping.is_set():
                raise StartError("stopped while starting")
            await asyncio.sleep(0.05)
        if process.again and process.name not in self.kept:
            self.kept[process.name] = asyncio.create_task(self._keep(process))

    async def _keep(self, process: Process) -> None:
        """Start it again whenever it ends."""
        pause = AGAIN_SECONDS
        while not self.stopping.is_set():
            since = time.monotonic()
            code = await self.children[process.name].wait()
            if self.stopping.is_set():
                return
            if time.monotonic() - since > LASTED_SECONDS:
                pause = AGAIN_SECONDS
            self.console.line(process.name, f"ended (exit {code}); it is started again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(2 * pause, AGAIN_MOST)
            with contextlib.suppress(StartError):
                await self.start(process)

    async def _read(self, name: str, child: asyncio.subprocess.Process) -> None:
        assert child.stdout is not None  # noqa: S101 - we asked for a pipe
        while True:
            try:
                raw = await child.stdout.readline()
            except ValueError:  # a line longer than the buffer: show what is there
                raw = await child.stdout.read(1 << 16)
            if not raw:
                return
            self.console.line(name, raw.decode(errors="replace").rstrip())

    async def watch(self) -> tuple[str, int] | None:
        """Wait until somebody asks to stop (None) or a child ends: (its name, its exit code)."""
        children = {name: child for name, child in self.children.items() if name not in self.kept}
        waits = {asyncio.create_task(child.wait()): name for name, child in children.items()}
        asked = asyncio.create_task(self.stopping.wait())
        done, pending = await asyncio.wait([*waits, asked], return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        ended = next((task for task in done if task is not asked), None)
        return None if asked in done or ended is None else (waits[ended], int(ended.result()))

    async def stop(self) -> None:
        """SIGTERM to every child's group, newest first, then SIGKILL to what is left."""
        self.stopping.set()
        for keeper in self.kept.values():
            keeper.cancel()
        for child in reversed(self.children.values()):
            _signal(child, signal.SIGTERM)
        waits = [child.wait() for child in self.children.values()]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*waits), STOP_SECONDS)
        for child in self.children.values():
            _signal(child, signal.SIGKILL)
        await asyncio.gather(*self.readers, return_exceptions=True)


def _signal(child: asyncio.subprocess.Process, number: int) -> None:
    if child.returncode is None or number == signal.SIGKILL:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)


def die_with_parent() -> None:
    """Runs in the child before exec: the kernel ends it when the runner dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _die_later_with_parent() -> None:
    """The same for a child that takes SIGTERM up by itself: until then it waits, and is not lost."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    die_with_parent()


def http_ready(url: str) -> Check:
    """A check that a GET answers below 500."""
    host, _, path = url.removeprefix("http://").partition("/")
    address, _, port = host.partition(":")

    async def check() -> bool:
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(address, int(port)), 2)
            writer.write(f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            status = await asyncio.wait_for(reader.readline(), 10)
            writer.close()
            return status.startswith(b"HTTP/1.1 ") and int(status.split()[1]) < 500
        except (OSError, TimeoutError, ValueError, IndexError):
            return False

    return check


def socket_ready(address: str) -> Check:
    """A check that a `unix://PATH` or `tcp://HOST:PORT` address takes a connection."""

    async def check() -> bool:
        try:
            if address.startswith("unix://"):
                _, writer = await asyncio.open_unix_connection(address.removeprefix("unix://"))
            else:
                host, _, port = address.removeprefix("tcp://").rpartition(":")
                _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
        except OSError:
            return False
        return True

    return check


def need_port(host: str, port: int, what: str, setting: str) -> None:
    """StartError when a port is taken, with the way out."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartError(
                f"Port {port} ({what}) is taken by another program. Stop it, or choose another port with {setting}."
            ) from error
